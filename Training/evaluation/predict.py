"""Prediction of many images at once, through the same engine as `liverseg segment`."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from LiverSegLib.cli.output_plan import check_inputs_stay
from LiverSegLib.cli.outputs import check_writable, result_files, write_outputs
from LiverSegLib.engine.progress import Progress, ProgressCallback
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.engine.two_step import segment_within
from LiverSegLib.errors import LiverSegError, SegmentationCancelled
from LiverSegLib.io import read_volume
from LiverSegLib.io.atomic import atomic_file
from LiverSegLib.pictures.animation import save_animation
from LiverSegLib.pictures.blend import blend, grey_pixels
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.pictures.colors import picture_colors
from LiverSegLib.pictures.scene import Scene
from LiverSegLib.printable import csv_text
from LiverSegLib.volume import Label, Result, Volume
from Training.data.readers.dicom import read_slice
from Training.evaluation.predict_inputs import Input, find_inputs

log = logging.getLogger(__name__)
SUMMARY = "summary.csv"
_BEFORE = ("prepare", "resample")
Report = Callable[[float, int, str], None]


@dataclass(frozen=True)
class Prediction:
    """What became of one input.

    `files`: what was written. `result`: None where it failed, and then `error` is the sentence that says why.
    `seconds`: reading, segmenting and writing.
    """

    name: str
    path: Path
    seconds: float
    files: list[Path] = field(default_factory=list)
    result: Result | None = None
    error: str = ""


def predict(
    model: Segmenter,
    inputs: Sequence[Path],
    out: Path,
    *,
    within: Segmenter | None = None,
    margin_mm: float = 0.0,
    slices: bool = False,
    animate: bool = False,
    progress: Report | None = None,
) -> list[Prediction]:
    """Segment every image of `inputs`; an image that cannot be read or segmented does not stop the others.

    A volume gives the files of `liverseg segment`. A single slice or picture gives `<name>.png`, the picture at its
    own size with its segments in colour, and `<name>_labels.png`, whose pixels are the label values in a palette.
    `summary.csv` has a line for each input and is complete after each one.

    Args:
        model: the model on its device.
        inputs: files and folders; folders are searched (see `find_inputs`).
        out: folder to write to.
        within: a model of an organ; what `model` finds outside it, by more than `margin_mm`, is removed.
        slices: take each DICOM file as a picture of its own instead of putting series together.
        animate: also write a GIF through each volume.
        progress: called with how many inputs are done (with fractions), how many there are, and what goes on.

    Raises:
        InputError: there is nothing to segment.
        OutputError: `out` cannot be written to.
        SegmentationCancelled: Ctrl-C.
    """
    found = find_inputs(inputs, out, slices=slices)
    check_inputs_stay([file for item in found for file in _possible_files(out, item)], [item.path for item in found])
    check_writable(out)
    out.mkdir(parents=True, exist_ok=True)
    segment = model.segment if within is None else partial(segment_within, within, model, margin_mm=margin_mm)
    done: list[Prediction] = []
    for number, item in enumerate(found):
        report = partial(_share, progress, number, len(found), item.name)
        report(Progress("prepare", 0, 1))
        done.append(_one(segment, item, out, report, animate=animate))
        _write_summary(out / SUMMARY, done)
    if progress is not None:
        progress(len(found), len(found), "")
    return done


def _possible_files(out: Path, item: Input) -> list[Path]:
    """All that may be written for an input; which of it depends on what it turns out to be."""
    more = [out / f"{item.name}{ending}" for ending in (".png", "_labels.png", ".gif")]
    return [*result_files(out, item.name, item.path.name, picture=True), *more, out / SUMMARY]


def _share(progress: Report | None, number: int, count: int, name: str, step: Progress) -> None:
    """Tell `progress` how far one input is; the network takes nearly all of the time."""
    if progress is not None:
        share = step.done / max(step.total, 1) if step.stage == "network" else float(step.stage not in _BEFORE)
        progress(number + share, count, name)


def _one(
    segment: Callable[..., Result], item: Input, out: Path, report: ProgressCallback, *, animate: bool
) -> Prediction:
    started = time.perf_counter()
    files: list[Path] = []
    try:
        volume = read_slice(item.path)[0] if item.single else read_volume(item.path)
        result = segment(volume, progress=report)
        files = _write(out, item, volume, result, animate=animate)
    except SegmentationCancelled:
        raise
    except LiverSegError as error:
        log.info("%s failed", item.path, exc_info=error)
        return Prediction(item.name, item.path, time.perf_counter() - started, error=str(error))
    except Exception as error:  # whatever a damaged file does to a reader: the others are still wanted
        log.info("%s failed", item.path, exc_info=error)
        message = f"{item.path} could not be segmented ({type(error).__name__}: {error})."
        return Prediction(item.name, item.path, time.perf_counter() - started, error=message)
    return Prediction(item.name, item.path, time.perf_counter() - started, files, result)


def _write(out: Path, item: Input, volume: Volume, result: Result, *, animate: bool) -> list[Path]:
    if volume.array.shape[2] > 1:
        files = write_outputs(out, item.name, volume, result, picture=True)
        if animate:
            files.append(out / f"{item.name}.gif")
            save_animation(files[-1], volume, result)
        return files
    # A picture tells no place in the patient that a NIfTI file could keep.
    files = [] if item.is_picture else write_outputs(out, item.name, volume, result, picture=False)
    scene = build_scene(volume, result)
    files += [out / f"{item.name}.png", out / f"{item.name}_labels.png"]
    save_blend(files[-2], scene)
    save_indexed(files[-1], scene, result.labels)
    return files


def save_blend(path: Path, scene: Scene) -> None:
    """Write a single slice with its segments in colour, a PNG of as many pixels as the slice has.

    Raises:
        OutputError: the file cannot be written.
    """
    plane = scene.planes[0]
    grey = plane.cut(scene.image)
    pixels = grey if grey.dtype == np.uint8 else grey_pixels(grey, scene.window)
    line = max(1, round(min(pixels.shape) / 400))
    _save_png(path, blend(pixels, plane.cut(scene.labelmap), scene.overlays, line))


def save_indexed(path: Path, scene: Scene, labels: Iterable[Label]) -> None:
    """Write a single slice's label map as a PNG of 8 bits: values are labels, the palette has their colours.

    Raises:
        OutputError: the file cannot be written.
    """
    palette = [0] * 768
    labels = list(labels)
    colors = picture_colors(labels)
    for label in labels:
        palette[3 * label.value : 3 * label.value + 3] = colors[label.name]
    _save_png(path, scene.planes[0].cut(scene.labelmap), palette)


def _save_png(path: Path, pixels: Any, palette: list[int] | None = None) -> None:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if palette is not None:
        picture.putpalette(palette)
    with atomic_file(path) as file:
        picture.save(file, "PNG")


def _write_summary(path: Path, done: list[Prediction]) -> None:
    """A line for each input; volumes in mL, of single slices only the count of pixels."""
    labels = next((one.result.labels for one in done if one.result is not None), ())
    names = [label.name for label in labels]
    sizes = [f"{name}_{what}" for name in names for what in ("voxels", "ml")]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["name", "input", "status", "seconds", *sizes, "lesions", "message"], restval="")
    writer.writeheader()
    for one in done:
        row: dict[str, Any] = {"name": csv_text(one.name), "input": csv_text(str(one.path))}
        row |= {"status": "failed" if one.result is None else "done", "seconds": round(one.seconds, 2)}
        row["message"] = csv_text(one.error)
        if one.result is not None:
            flat = one.result.labelmap.shape[2] == 1
            for found in one.result.measurements.segments:
                row |= {f"{found.name}_voxels": found.voxels}
                row |= {} if flat else {f"{found.name}_ml": round(found.volume_ml, 3)}
            row |= {"lesions": len(one.result.measurements.lesions)} if any(label.is_lesion for label in labels) else {}
            row["message"] = csv_text(" ".join(one.result.warnings))
        writer.writerow(row)
    with atomic_file(path) as file:
        file.write(text.getvalue().encode("utf-8"))
