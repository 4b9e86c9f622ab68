"""Evaluation through the same engine that users run, case by case."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import LiverSegError
from LiverSegLib.labels import LESION, Label, label_for, labels_for, organs_of_pieces, values_of
from LiverSegLib.request import ALL, SegmentationRequest
from LiverSegLib.volume import Result
from Training.errors import DataError
from Training.evaluation.cases import LabeledVolume, Unreadable
from Training.evaluation.lesions import LesionScore, match_lesions
from Training.evaluation.metrics import TOLERANCE_MM, LabelScore, Mask, confusion_matrix, label_score
from Training.evaluation.scores import CaseScore, Scores, summarize, write_scores
from Training.files import new_folder

log = logging.getLogger(__name__)
Classes = npt.NDArray[np.uint8]
_SAVE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """Result and reference as classes of one numbering.

    Args:
        labels: the model's, numbered from 1 as the classes are, then the organs that only pieces of it make up; 0 is
            background.
        common: the names that both have, whole organs included that one of them has in pieces only; without a
            reference, all of the model's.
        found, reference: class numbers [i, j, k]; the reference is None where nobody drew one.
    """

    labels: tuple[Label, ...]
    common: frozenset[str]
    found: Classes
    reference: Classes | None

    def mask(self, classes: Classes, name: str) -> Mask:
        """Where `name` is; the liver holds its tumors."""
        mask: Mask = np.isin(classes, values_of(name, self.labels))
        return mask


def _compared(case: LabeledVolume, result: Result) -> _Compared:
    """Bring both to one numbering.

    Labels that only one of the two has cannot be compared: a tumor or a segment of the liver is liver then, anything
    else background.
    """
    names = names_to_score(result.labels)
    wholes = (label_for(1, name) for name in names[len(result.labels) :])
    labels = tuple(replace(label, value=number) for number, label in enumerate((*result.labels, *wholes), start=1))
    drawn = labels_for(dict(enumerate(case.names, start=1)))
    common = frozenset(names if case.reference is None else {*names}.intersection(names_to_score(drawn)))
    if not common:
        raise DataError(
            f"{case.name}: the reference has {', '.join(case.names)} but the model segments "
            f"{', '.join(label.name for label in result.labels)}; give both the same names."
        )
    found, reference = _classes(result.labels, labels, common)[result.labelmap], None
    if case.reference is not None:
        reference = _classes(drawn, labels, common)[case.reference]
    if case.ignored is not None:
        found[case.ignored] = 0
    return _Compared(labels=labels, common=common, found=found, reference=reference)


def names_to_score(labels: Sequence[Label]) -> tuple[str, ...]:
    """The names of labels, then those of the organs that they make up together without one being called so."""
    return (*(label.name for label in labels), *organs_of_pieces(labels))


def _classes(labels: Iterable[Label], numbered: Sequence[Label], common: frozenset[str]) -> Classes:
    """The class number of each voxel value; what is not in `common` counts as the organ that it is part of."""
    numbers = {label.name: label.value for label in numbered if label.name in common}
    table = np.zeros(256, np.uint8)
    for label in labels:
        table[label.value] = numbers.get(label.name, numbers.get(label.part_of or "", 0))
    return table


def score(case: LabeledVolume, result: Result, tolerance_mm: float = TOLERANCE_MM) -> CaseScore:
    """Compare a result with its reference, label by label.

    Args:
        case: image and reference; labels are matched by name, an organ includes its lesions.
        result: what the model found, on the same grid.
        tolerance_mm: of the normalized surface Dice.

    Raises:
        DataError: model and reference have no label in common.
    """
    both = _compared(case, result)
    rows: list[LabelScore] = []
    lesions: dict[str, LesionScore] = {}
    for label in both.labels:
        is_common = label.name in both.common
        # What cannot be compared still has its volume.
        found = both.mask(both.found, label.name) if is_common else result.mask(label.name)
        reference = both.mask(both.reference, label.name) if is_common and both.reference is not None else None
        rows.append(label_score(label.name, found, reference, case.volume, tolerance_mm))
        if label.is_lesion and reference is not None:
            lesions[label.name] = match_lesions(found, reference, case.volume.affine)
    confusion = None
    if both.reference is not None:
        pairs = confusion_matrix(both.reference, both.found, len(both.labels) + 1)
        # Voxels to ignore were taken as background on both sides.
        pairs[0, 0] -= 0 if case.ignored is None else int(case.ignored.sum())
        confusion = pairs.tolist()
    return CaseScore(
        case=case.name,
        patient=case.patient,
        labels=rows,
        confusion=confusion,
        lesions=LesionScore.of_all(lesions.values()),
        lesion_label=next(iter(lesions), LESION),
        seconds=sum(result.timings.values()),
        warnings=" ".join(result.warnings),
        evidence={} if result.quality is None else result.quality.evidence,
        expected_dice=None if result.quality is None else result.quality.expected_dice,
    )


def evaluate(
    cases: Iterable[LabeledVolume | Unreadable],
    segmenter: Segmenter,
    out: Path | None = None,
    *,
    title: str = "",
    command: str = "",
    pictures_below: float = 1.0,
    tolerance_mm: float = TOLERANCE_MM,
    report: Callable[[Path, Scores], object] | None = None,
) -> Scores:
    """Segment and score every case; one that fails is listed with its reason and does not stop the others.

    Args:
        cases: what to evaluate, loaded one at a time.
        segmenter: the model.
        out: folder for scores, tables and pictures; None for none.
        title, command: what the scores say of themselves.
        pictures_below: which cases get a picture: those without a reference, or with a Dice up to this.
        tolerance_mm: of the normalized surface Dice.
        report: writes a page into `out` at the end, also where an error ends it.
    """
    scored: list[CaseScore] = []
    pictures = None if out is None else new_folder(out / "pictures")
    saved = time.monotonic()

    def together() -> Scores:
        labels = names_to_score(segmenter.package.labels)
        return summarize(scored, labels, tolerance_mm, title, command, segmenter.package.title)

    try:
        for number, case in enumerate(cases):
            made, result = _segmented(case, segmenter, tolerance_mm)
            if pictures and result and (made.confusion is None or made.worst_dice <= pictures_below):
                made = made.model_copy(update={"picture": _drawn(pictures, number, case, result)})
            scored.append(made)
            if out and time.monotonic() - saved > _SAVE_SECONDS:  # so that little is lost if the process is killed
                write_scores(out, together())
                saved = time.monotonic()
    finally:
        scores = together()
        if out and scored:
            write_scores(out, scores)
            if report is not None:
                report(out, scores)
    return scores


def _segmented(
    case: LabeledVolume | Unreadable, segmenter: Segmenter, tolerance_mm: float
) -> tuple[CaseScore, Result | None]:
    """The score of a case, and its result unless it failed."""
    if isinstance(case, Unreadable):
        return CaseScore(case=case.name, patient=case.name, error=case.reason), None
    try:
        everything = SegmentationRequest(targets=ALL, settings=segmenter.settings)
        result = segmenter.segment(case.volume, request=everything)
        return score(case, result, tolerance_mm), result
    except LiverSegError as error:
        log.warning("%s: %s", case.name, error)
        return CaseScore(case=case.name, patient=case.patient, error=str(error)), None


def _drawn(folder: Path, number: int, case: LabeledVolume | Unreadable, result: Result) -> str:
    """Draw a case; the picture's path beside the scores."""
    # Here, as they need matplotlib, and the scores do not.
    from LiverSegLib.pictures import save_slice_grid
    from Training.evaluation.pictures import save_triplet

    assert isinstance(case, LabeledVolume)
    # The number keeps names apart that differ only in signs that file names cannot have.
    path = folder / f"{number:03d}_{re.sub(r'[^A-Za-z0-9.-]+', '_', case.name)[:80]}.png"
    both = _compared(case, result)
    if both.reference is None:
        save_slice_grid(path, case.volume, result)
    else:
        save_triplet(case.volume, both.reference, result.labelmap, both.labels, path)
    return f"{folder.name}/{path.name}"
