"""Prediction of many images at once, through the same engine as `liverseg segment`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from LiverSegLib.cli.batch import Outcome, run_batch
from LiverSegLib.cli.output_plan import Case, check_inputs_stay
from LiverSegLib.cli.outputs import check_replaceable, check_writable, write_outputs
from LiverSegLib.engine.progress import Progress
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.engine.two_step import segment_within
from LiverSegLib.errors import InputError
from LiverSegLib.io import read_slice
from LiverSegLib.io.atomic import atomic_file
from LiverSegLib.io.channels import read_channels
from LiverSegLib.io.picture import PICTURES
from LiverSegLib.labels import Label, organs_of_pieces
from LiverSegLib.pictures.animation import save_animation
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.pictures.colors import picture_colors
from LiverSegLib.pictures.gray import blend, gray_pixels
from LiverSegLib.pictures.scene import Scene
from LiverSegLib.printable import csv_text
from LiverSegLib.volume import Result, Volume
from Training.evaluation.predict_inputs import find_inputs
from Training.files import write_csv

log = logging.getLogger(__name__)
SUMMARY = "summary.csv"
_BEFORE = ("locate", "vote", "prepare", "resample")
Report = Callable[[float, int, str], None]


def predict(
    model: Segmenter,
    inputs: Sequence[Path],
    out: Path,
    *,
    within: Segmenter | None = None,
    margin_mm: float = 0.0,
    slices: bool = False,
    further: Sequence[Path] = (),
    animate: bool = False,
    progress: Report | None = None,
) -> list[Outcome]:
    """Segment every image of `inputs`; an image that cannot be read or segmented does not stop the others.

    A volume gives the files of `liverseg segment`. A single slice or picture gives `<name>.png`, the picture at its
    own size with its segments in color, and `<name>_labels.png`, whose pixels are the label values in a palette.
    `summary.csv` has a line for each input and is complete after each one.

    Args:
        model: the model on its device.
        inputs: files and folders; folders are searched (see `find_inputs`).
        out: folder to write to.
        within: a model of an organ; what `model` finds outside it, by more than `margin_mm`, is removed.
        slices: take each DICOM file as a picture of its own instead of putting series together.
        further: the other images of the one case in `inputs`, for a model of several.
        animate: also write a GIF through each volume.
        progress: called with how many inputs are done (with fractions), how many there are, and what goes on.

    Raises:
        InputError: there is nothing to segment, or there are further images of one case and several cases.
        OutputError: `out` cannot be written to.
        SegmentationCancelled: Ctrl-C.
    """
    found = find_inputs(inputs, out, slices=slices)
    segment = model.segment if within is None else partial(segment_within, within, model, margin_mm=margin_mm)
    if further and (len(found) > 1 or slices):
        raise InputError(
            f"Further images belong to one case, but {len(found)} were given; segment one at a time."
            if len(found) > 1
            else "Further images belong to a volume, not to a DICOM file that is a picture of its own; leave one out."
        )
    read = partial(_read, further=further, wanted=len(model.package.inputs))
    return predict_cases(found, read, segment, out, further=further, animate=animate, progress=progress)


def _read(case: Case, further: Sequence[Path], wanted: int) -> Volume:
    return read_slice(case.path)[0] if case.single else read_channels([case.path, *further], wanted)


def predict_cases(
    found: Sequence[Case],
    read: Callable[[Case], Volume],
    segment: Callable[..., Result],
    out: Path,
    *,
    further: Sequence[Path] = (),
    animate: bool = False,
    progress: Report | None = None,
) -> list[Outcome]:
    """Segment cases that are listed already, and write what `predict` writes.

    Args:
        found: the cases, each with a name of its own.
        read: gives the image of one.
        segment: gives its result; takes the image and `progress`.
        further: other files that are read, and must not be replaced by results.
        out, animate, progress: as of `predict`.

    Raises:
        OutputError: `out` cannot be written to, or results would replace an input.
        SegmentationCancelled: Ctrl-C.
    """
    _check_place(found, out, further)
    done: list[Outcome] = []

    def work(case: Case) -> tuple[Result, list[Path]]:
        report = partial(_share, progress, len(done), len(found), case.name)
        report(Progress("prepare", 0, 1))
        volume = read(case)
        result = segment(volume, progress=report)
        return result, _write(case, volume, result, animate=animate)

    for outcome in run_batch(found, work):
        if outcome.cause is not None:
            log.info("%s", outcome.error, exc_info=outcome.cause)
        done.append(outcome)
        _write_summary(out / SUMMARY, done)
    if progress is not None:
        progress(len(found), len(found), "")
    return done


def _check_place(found: Sequence[Case], out: Path, further: Sequence[Path]) -> None:
    """Nothing of the user's will be replaced by results; the folder is made."""
    written = [file for case in found for file in _possible_files(case)]
    check_inputs_stay(written, [*(case.path for case in found), *further])
    check_replaceable([out / SUMMARY])
    check_writable(out)
    out.mkdir(parents=True, exist_ok=True)


def _possible_files(case: Case) -> list[Path]:
    """All that may be written for an input; which of it depends on what it turns out to be."""
    more = [case.out / f"{case.name}{ending}" for ending in (".png", "_labels.png", ".gif")]
    return [*case.files(picture=True), *more, case.out / SUMMARY]


def _share(progress: Report | None, number: int, count: int, name: str, step: Progress) -> None:
    """Tell `progress` how far one input is; the network takes nearly all of the time."""
    if progress is not None:
        share = step.done / max(step.total, 1) if step.stage == "network" else float(step.stage not in _BEFORE)
        progress(number + share, count, name)


def _write(case: Case, volume: Volume, result: Result, *, animate: bool) -> list[Path]:
    is_flat = volume.array.shape[2] == 1
    # A picture tells no place in the patient that a NIfTI file could keep.
    is_picture = is_flat and case.path.suffix.lower() in PICTURES
    pictures = [case.out / f"{case.name}{ending}" for ending in (".png", "_labels.png")] if is_flat else []
    check_replaceable(pictures)
    files = []
    if not is_picture:
        files = write_outputs(case.out, case.name, volume, result, not is_flat, case.source_id)
    if is_flat:
        scene = build_scene(volume, result.labelmap, result.labels)
        save_blend(pictures[0], scene)
        save_indexed(pictures[1], scene, result.labels)
    elif animate:
        pictures.append(case.out / f"{case.name}.gif")
        save_animation(pictures[0], volume, result)
    return files + pictures


def save_blend(path: Path, scene: Scene) -> None:
    """Write a single slice with its segments in color, a PNG of as many pixels as the slice has.

    Raises:
        OutputError: the file cannot be written.
    """
    plane = scene.planes[0]
    pixels = plane.cut(scene.image)
    if pixels.dtype != np.uint8:
        pixels = gray_pixels(pixels, scene.window)
    line = max(1, round(min(pixels.shape) / 400))
    _save_png(path, blend(pixels, plane.cut(scene.labelmap), scene.overlays, line))


def save_indexed(path: Path, scene: Scene, labels: Sequence[Label]) -> None:
    """Write a single slice's label map as a PNG of 8 bits: values are labels, the palette has their colors.

    Raises:
        OutputError: the file cannot be written.
    """
    palette = [0] * 768
    colors = picture_colors(labels)
    for label in labels:
        palette[3 * label.value : 3 * label.value + 3] = colors[label.name]
    _save_png(path, scene.planes[0].cut(scene.labelmap), palette)


def _save_png(path: Path, pixels: Any, palette: list[int] | None = None) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    mark.add_text("Software", "LiverSeg")  # by which a later run knows that it may replace the file
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if palette is not None:
        picture.putpalette(palette)
    with atomic_file(path) as file:
        picture.save(file, "PNG", pnginfo=mark)


def _write_summary(path: Path, done: list[Outcome]) -> None:
    """A line for each input; volumes in mL, of single slices only the count of pixels."""
    labels = next((one.result.labels for one in done if one.result is not None), ())
    names = [*(label.name for label in labels), *organs_of_pieces(labels)]
    sizes = [f"{name}_{what}" for name in names for what in ("voxels", "ml")]
    rows = []
    for one in done:
        row: dict[str, Any] = {"name": csv_text(one.case.name), "input": csv_text(str(one.case.path))}
        row |= {"status": "failed" if one.result is None else "done", "seconds": round(one.seconds, 2)}
        row["message"] = csv_text(one.error)
        if one.result is not None:
            flat = one.result.labelmap.shape[2] == 1
            measured = one.result.measurements
            for found in (*measured.segments, *measured.organs):
                row |= {f"{found.name}_voxels": found.voxels}
                row |= {} if flat else {f"{found.name}_ml": round(found.volume_ml, 3)}
            row |= {"lesions": len(measured.lesions)} if any(label.is_lesion for label in labels) else {}
            row["message"] = csv_text(" ".join(one.result.warnings))
        rows.append(row)
    write_csv(path, ["name", "input", "status", "seconds", *sizes, "lesions", "message"], rows)
