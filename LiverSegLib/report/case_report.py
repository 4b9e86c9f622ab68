"""The report of one case: what was found, how large it is, where to look again, and what made it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from LiverSegLib import __version__
from LiverSegLib.errors import OutputError
from LiverSegLib.io.atomic import Opener, atomic_file
from LiverSegLib.labels import Label, short_name
from LiverSegLib.measure import Lesion, SegmentMeasurement
from LiverSegLib.report import page
from LiverSegLib.volume import Result, Volume

if TYPE_CHECKING:
    from LiverSegLib.models.spec import ModelDescription
    from LiverSegLib.pictures.scene import Scene

_NOTICE = "Not for clinical use"
_MOST_PICTURES = 12


def write_case_report(
    volume: Volume,
    result: Result,
    out: Path,
    *,
    model: ModelDescription | None = None,
    by_hand: Sequence[str] = (),
    opener: Opener = atomic_file,
) -> None:
    """Write one HTML page of a case, complete in itself: it opens without a network and prints on A4.

    Args:
        volume: the image.
        result: its segmentation, on the same grid.
        out: the .html file; what stood there is replaced only once the page is complete.
        model: what made the result: its version, license and intended use are told; None where it is not known.
        by_hand: names of the labels that a person drew or changed, or that came from elsewhere.
        opener: opens the file; given where it must appear together with others.

    Raises:
        OutputError: the file cannot be written, matplotlib is missing, or the result is of another image.
    """
    try:
        import matplotlib  # noqa: F401 (asked here, so that the reason is told well)
    except ModuleNotFoundError as error:
        raise OutputError(f"A report needs matplotlib ({error}); run pip install 'liverseg[pictures]'.") from error
    text = page.page(volume.name, _NOTICE, _parts(volume, result, model, by_hand))
    with opener(Path(out)) as file:
        # The name of an input that is no text becomes an escape.
        file.write(text.encode("utf-8", "backslashreplace"))


def _parts(volume: Volume, result: Result, model: ModelDescription | None, by_hand: Sequence[str]) -> Iterator[str]:
    from LiverSegLib.pictures.build import build_scene

    scene = build_scene(volume, result.labelmap, result.labels)
    yield page.paragraph(_summary(volume, result), "quiet")
    yield from _quality(result)
    yield from _overview(scene, volume, result)
    yield from _volumes(result)
    yield from _lesions(scene, result)
    yield from _origin(result, model, by_hand)


def _summary(volume: Volume, result: Result) -> str:
    size = " x ".join(str(n) for n in volume.array.shape)
    spacing = " x ".join(f"{step:.3g}" for step in volume.spacing)
    kind = f"{volume.modality}, " if volume.modality else ""
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    made = f", segmented by {result.model}" if result.model else ""
    return f"{kind}{size} voxels of {spacing} mm{made}; report of {now}"


def _quality(result: Result) -> Iterator[str]:
    """What is believed of the result, and what the user should read."""
    quality = result.quality
    told = [] if quality is None else [doubt.sentence(quality.organ) for doubt in quality.doubts]
    notes = [note for note in result.warnings if note not in told]
    if quality is None and not notes:
        return
    yield page.heading("Quality")
    if quality is not None:
        yield page.paragraph(quality.text or "The model was not calibrated, so no Dice is expected of it.")
    if quality is not None and quality.doubts:
        where = [", ".join(f"{x:.0f}" for x in doubt.center_ras) for doubt in quality.doubts]
        rows = [(sentence, place) for sentence, place in zip(told, where, strict=True)]
        yield page.table(("Place to check", "Center, RAS mm"), rows)
    if notes:
        yield page.bullets(notes)


def _overview(scene: Scene, volume: Volume, result: Result) -> Iterator[str]:
    from LiverSegLib.pictures import figures

    draw = figures.slice_figure if len(scene.planes) == 1 else figures.case_figure
    yield page.heading("Overview")
    png = figures.png_of(draw(scene, volume.name, result))
    yield page.image(png, "Slices with the segments outlined, and their surface", kind="overview")


def _volumes(result: Result) -> Iterator[str]:
    """All segments but the pieces of an organ, which have a table of their own."""
    from LiverSegLib.pictures.colors import picture_colors

    colors = {name: "#{:02x}{:02x}{:02x}".format(*color) for name, color in picture_colors(result.labels).items()}
    labels = {label.name: label for label in result.labels}
    measured = result.measurements
    whole = [*measured.organs, *(found for found in measured.segments if not labels[found.name].is_piece)]
    pieces = [found for found in measured.segments if labels[found.name].is_piece]
    yield page.heading("Volumes")
    tables = []
    if whole:
        rows = [
            (_shown(found, labels), _ml(found.volume_ml), _gray(found), _percent(found.burden_percent))
            for found in whole
        ]
        titles = ("Segment", "mL", _gray_title(result), "% of its organ")
        tables.append(page.table(titles, rows, colors=[colors.get(found.name, "") for found in whole]))
    if pieces:
        rows = [
            (short_name(found.name), _ml(found.volume_ml), _gray(found), _percent(found.organ_percent))
            for found in pieces
        ]
        titles = (f"Part of {measured.shared_organ or 'its organ'}", "mL", _gray_title(result), "%")
        tables.append(page.table(titles, rows, colors=[colors[found.name] for found in pieces]))
    yield page.group("side", tables)
    if pieces or any(label.is_lesion for label in result.labels):
        yield page.paragraph(
            "An organ's volume includes its lesions; its parts are given in percent of it without them.", "quiet"
        )


def _lesions(scene: Scene, result: Result) -> Iterator[str]:
    from LiverSegLib.report.key_slices import key_slices, picture_of

    measured = result.measurements
    if not any(label.is_lesion for label in result.labels):
        return
    yield page.heading("Lesions")
    if not measured.lesions:
        yield page.paragraph("None was found.")
        return
    keys = key_slices(scene, result, _MOST_PICTURES)
    in_slice = {(key.lesion.name, key.number): f"{key.diameter_mm:.1f}" for key in keys}
    shown = {label.name: label.display_name or label.name for label in result.labels}
    rows = []
    for number, lesion in measured.numbered_lesions():
        place = ", ".join(f"{x:.0f}" for x in lesion.center_ras)
        sizes = (f"{lesion.longest_diameter_mm:.1f}", in_slice.get((lesion.name, number), ""))
        rows.append((f"{shown[lesion.name]} {number}", f"{lesion.volume_ml:.2f}", *sizes, _gray(lesion), place))
    titles = ("Lesion", "mL", "Longest, 3D (mm)", "Longest, axial (mm)", _gray_title(result), "Center, RAS mm")
    yield page.table(titles, rows)
    if len(keys) < len(rows):
        yield page.paragraph(f"Pictures of the {len(keys)} largest follow.", "quiet")
    cards = []
    for key in keys:
        caption = f"{shown[key.lesion.name]} {key.number}: {key.lesion.volume_ml:.2f} mL"
        cards.append(page.image(picture_of(scene, key), f"Axial slice through {caption}", caption=caption))
    yield page.group("cards", cards)


def _origin(result: Result, model: ModelDescription | None, by_hand: Sequence[str]) -> Iterator[str]:
    rows = [("Made by", result.model or "not known")]
    if model is not None:
        rows += [
            ("Model", model.title),
            ("License", model.license),
            ("Training data", model.data_source),
            ("Intended use", model.intended_use),
        ]
    if by_hand:
        shown = {label.name: label.display_name or label.name for label in result.labels}
        rows.append(
            ("Drawn or changed by hand, or from elsewhere", ", ".join(shown.get(name, name) for name in by_hand))
        )
    rows.append(("Software", f"LiverSeg {__version__}"))
    if result.timings:
        rows.append(("Ran on", f"{result.device}, {sum(result.timings.values()):.1f} s"))
    yield page.heading("How it was made")
    yield page.facts(rows)
    told = "Automatic segmentation by research software. It was not checked by a person"
    if by_hand:
        told = "Made with research software, at least in part by hand or elsewhere"
    yield page.paragraph(f"{told}; do not use it for diagnosis or treatment.", "bad")


def _shown(found: SegmentMeasurement, labels: dict[str, Label]) -> str:
    label = labels.get(found.name)
    return found.name.capitalize() if label is None else label.display_name or label.name


def _ml(volume: float) -> str:
    return f"{volume:.0f}" if volume >= 100 else f"{volume:.1f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1f}"


def _gray(found: SegmentMeasurement | Lesion) -> str:
    mean, deviation = found.mean_intensity, found.std_intensity
    return "" if mean is None or deviation is None else f"{mean:.0f} ± {deviation:.0f}"


def _gray_title(result: Result) -> str:
    unit = result.measurements.intensity_unit
    return f"Mean ± SD ({unit})" if unit else "Mean ± SD"
