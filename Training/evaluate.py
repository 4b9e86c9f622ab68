"""Evaluation through the same engine that users run, case by case."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.io import read_volume
from LiverSegLib.volume import Result, Volume
from Training.prepare import DataError

log = logging.getLogger(__name__)
Mask = npt.NDArray[np.bool_]


class CaseEntry(BaseModel):
    """One image and its reference; `values` are the reference's voxel values of the organ.

    Without a label the case is run for its picture and volume only.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    image: str
    label: str | None = None
    values: list[int] = Field(default_factory=lambda: [1])


@dataclass(frozen=True)
class Score:
    """One row of an evaluation.

    Dice and IoU are in [0, 1]; both are 1 where reference and result are empty. None: no reference.
    `components` counts the connected parts of the result, `seconds` is the segmentation alone.
    """

    case: str
    dice: float | None
    iou: float | None
    volume_ml: float
    reference_ml: float | None
    seconds: float
    warnings: str


@dataclass(frozen=True)
class LabelledVolume:
    """An image with its reference mask [i, j, k], None where nobody drew one."""

    name: str
    volume: Volume
    reference: Mask | None


def load_cases(listing: Path, data: Path) -> Iterator[LabelledVolume]:
    """Cases of a YAML list, or of an MSD folder's dataset.json.

    Args:
        listing: .yaml with entries of `CaseEntry`, or a folder with dataset.json.
        data: what the paths in a YAML list are relative to.

    Raises:
        DataError: the list is wrong, or an image and its reference differ in shape.
    """
    if listing.is_dir():
        try:
            training = json.loads((listing / "dataset.json").read_text(encoding="utf-8"))["training"]
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{listing} holds no readable dataset.json with a training list.") from error
        entries = [
            CaseEntry(name=Path(e["image"]).name.split(".")[0], image=e["image"], label=e["label"], values=[1, 2])
            for e in training
        ]
        data = listing
    else:
        try:
            entries = [CaseEntry(**e) for e in yaml.safe_load(listing.read_text(encoding="utf-8"))]
        except (OSError, yaml.YAMLError, ValidationError, TypeError) as error:
            raise DataError(f"{listing} is not a list of cases: {error}") from error
    for entry in entries:
        yield _load(entry, data)


def _load(entry: CaseEntry, data: Path) -> LabelledVolume:
    volume = read_volume(data / entry.image)
    if entry.label is None:
        return LabelledVolume(entry.name, volume, None)
    label = read_volume(data / entry.label)
    reference = on_grid_of(volume, label)
    return LabelledVolume(entry.name, volume, np.isin(reference, entry.values))


def on_grid_of(volume: Volume, label: Volume) -> npt.NDArray[np.generic]:
    """The label's array in the volume's axis order, where both are the same grid stored differently.

    Raises:
        DataError: the grids differ by more than axis order and direction.
    """
    to_label = np.linalg.inv(label.affine) @ volume.affine
    turn = np.round(to_label[:3, :3])
    if not np.allclose(to_label[:3, :3], turn, atol=0.02) or not np.array_equal(np.abs(turn).sum(0), [1, 1, 1]):
        raise DataError(f"{volume.name} and {label.name} are not the same grid; resample the label first.")
    order = [int(np.argmax(np.abs(turn[:, axis]))) for axis in range(3)]
    signs = [int(turn[order[axis], axis]) for axis in range(3)]
    array = label.array.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    # Where the volume's first voxel must fall: on the label's first, or last where the axis runs backwards.
    first = [0 if sign > 0 else size - 1 for sign, size in zip(signs, array.shape, strict=True)]
    off = np.abs(to_label[:3, 3][order] - first).max()
    if array.shape != volume.array.shape or off > 0.5:
        raise DataError(f"{volume.name} {volume.array.shape} and {label.name} {array.shape} lie on different grids.")
    return array


def dice(a: Mask, b: Mask) -> float:
    """Dice overlap of two masks of one shape; 1 where both are empty."""
    both = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / both if both else 1.0


def score(case: LabelledVolume, result: Result) -> Score:
    """Compare the result's liver (lesions included) with the reference."""
    found = result.mask("liver")
    overlap = None if case.reference is None else dice(found, case.reference)
    voxel_ml = abs(float(np.linalg.det(case.volume.affine[:3, :3]))) / 1000
    return Score(
        case=case.name,
        dice=overlap,
        iou=None if overlap is None else overlap / (2 - overlap),
        volume_ml=int(found.sum()) * voxel_ml,
        reference_ml=None if case.reference is None else int(case.reference.sum()) * voxel_ml,
        seconds=sum(result.timings.values()),
        warnings=" ".join(result.warnings),
    )


def evaluate(
    cases: Iterable[LabelledVolume],
    segmenter: Segmenter,
    out: Path | None = None,
    title: str = "",
    command: str = "",
    pictures_below: float = 1.0,
) -> list[Score]:
    """Segment and score every case.

    Args:
        cases: what to evaluate, loaded one at a time.
        segmenter: the model.
        out: folder for scores.csv, scores.json (written after every case) and slice pictures; None for none.
        title, command: what scores.json says of itself.
        pictures_below: which cases get a picture: those without a reference, or with a Dice up to this.
    """
    from LiverSegLib.pictures import save_slice_grid

    scores = []
    if out:
        out.mkdir(parents=True, exist_ok=True)
    for case in cases:
        result = segmenter.segment(case.volume)
        scores.append(score(case, result))
        if out:
            write_scores(out, scores, title, command)
            if (scores[-1].dice or 0.0) <= pictures_below:
                save_slice_grid(out / f"{case.name.replace(', ', '_').replace(' ', '_')}.png", case.volume, result)
    return scores


def write_scores(out: Path, scores: list[Score], title: str = "", command: str = "") -> None:
    """scores.csv and scores.json, the latter with a summary, a title and the command that made it."""
    rows = [asdict(s) for s in scores]
    content = {"title": title, "command": command, "summary": summary(scores), "cases": rows}
    (out / "scores.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    with (out / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Score.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(rows)


def summary(scores: list[Score]) -> dict[str, float]:
    """Mean, median, 5th percentile and minimum of the Dice."""
    values = np.array([s.dice for s in scores if s.dice is not None])
    if not values.size:
        return {}
    return {
        "cases": float(values.size),
        "dice_mean": float(values.mean()),
        "dice_median": float(np.median(values)),
        "dice_p5": float(np.percentile(values, 5)),
        "dice_min": float(values.min()),
    }


def markdown(scores: list[Score]) -> str:
    """The scores as a Markdown table, for the model card."""
    lines = ["| case | Dice | volume (mL) | reference (mL) | seconds |", "|---|---|---|---|---|"]
    for s in scores:
        numbers = ["-" if v is None else f"{v:.{n}f}" for v, n in ((s.dice, 3), (s.volume_ml, 0), (s.reference_ml, 0))]
        lines.append(f"| {s.case} | {' | '.join(numbers)} | {s.seconds:.1f} |")
    return "\n".join(lines)
