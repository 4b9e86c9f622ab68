"""What is evaluated: images with a reference, from a prepared folder, an MSD folder or a YAML list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import Field, ValidationError, model_validator

from LiverSegLib.errors import LiverSegError
from LiverSegLib.io import read_label_map
from LiverSegLib.io.channels import read_channels
from LiverSegLib.labels import MAIN_ORGAN, label_for
from LiverSegLib.volume import Volume
from Training.data.folder import PreparedFolder
from Training.data.readers.msd import msd_name, read_msd
from Training.data.readers.prepared import count_prepared, prepared_cases
from Training.errors import DataError
from Training.recipe import Recipe
from Training.recipe.options import Part
from Training.recipe.sources import IGNORE

_IGNORED = "ignore"


@dataclass(frozen=True, kw_only=True)
class LabeledVolume:
    """One image and what a person drew on it.

    Args:
        name: unique in its list.
        volume: the image.
        reference: uint8 [i, j, k] on the volume's grid, 0 for background and n for `names[n - 1]`; None where
            nobody drew one.
        names: the labels that were drawn, lower case; an absent label is not the same as an empty one.
        patient: whose image it is, for statistics; the name where that is not known.
        ignored: where nobody knows what is there, [i, j, k]: these voxels count in no score; None for nowhere.
    """

    name: str
    volume: Volume
    reference: npt.NDArray[np.uint8] | None
    names: tuple[str, ...]
    patient: str
    ignored: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Unreadable:
    """A case that could not be loaded, and the sentence that says why."""

    name: str
    reason: str


class CaseEntry(Part):
    """One entry of a YAML list. `image`: a file or folder, or a list of them, one a channel; or a 4D NIfTI file.

    `values` are the reference's voxel values of the liver, lesions included; `labels` tells the meaning of each
    value instead, for example {1: liver, 2: tumor, 3: ignore}. Several cases of one `patient` count as one in
    statistics. Without a label file the case is run for its picture and volume only.
    """

    name: str
    image: str | list[str]
    label: str | None = None
    values: list[int] = Field(default=[])
    labels: dict[int, str] = Field(default={})
    patient: str = ""

    @model_validator(mode="after")
    def _one_way(self) -> CaseEntry:
        if self.values and self.labels:
            raise ValueError(f"case {self.name!r} has both values and labels; give one of them")
        return self

    @property
    def meaning(self) -> dict[int, str]:
        """What the reference's values mean."""
        return self.labels or dict.fromkeys(self.values or [1], MAIN_ORGAN)


def count_cases(where: Path, split: str = "val", changes: list[str] | None = None) -> int | None:
    """How many cases `load_cases` gives, found without reading an image; None where that cannot be told."""
    try:
        if PreparedFolder(where).complete:
            return count_prepared(where, split, PreparedFolder(where).recipe(changes))
        return len(_entries(where))
    except LiverSegError:
        return None  # what is wrong is said when they are loaded


def load_cases(
    where: Path, data: Path = Path(), split: str = "val", changes: list[str] | None = None, *, images: int = 1
) -> Iterator[LabeledVolume | Unreadable]:
    """Cases with their references, loaded one at a time.

    Args:
        where: a folder of `prepare`, an MSD folder with dataset.json, or a YAML list of `CaseEntry`.
        data: what the paths in a YAML list are relative to.
        split: of a prepared folder: "val", "test", "train" or "all".
        changes: "key=value" for a prepared folder's recipe, for example ["split.fold=2"].
        images: how many images of a case the model takes; a 4D NIfTI file of as many volumes is all of them.

    Yields:
        The cases; `Unreadable` for one that cannot be read or whose reference does not fit.

    Raises:
        DataError: there is no list, or it is wrong.
    """
    if PreparedFolder(where).complete:
        yield from _prepared(where, split, PreparedFolder(where).recipe(changes))
        return
    entries = _entries(where)
    if not entries:
        raise DataError(f"{where} lists no case; add some.")
    name, count = Counter(entry.name for entry in entries).most_common(1)[0]
    if count > 1:
        raise DataError(f"{where} has two cases called {name}; give each a name of its own.")
    for entry in entries:
        try:
            yield _load(entry, data, images)
        except LiverSegError as error:
            yield Unreadable(entry.name, str(error))


def _prepared(folder: Path, split: str, recipe: Recipe) -> Iterator[LabeledVolume | Unreadable]:
    names = names_of(recipe.labels)
    count = 0
    try:
        for entry, raw in prepared_cases(folder, split, recipe):
            count += 1
            drawn = as_classes(raw.label, recipe.labels)
            yield LabeledVolume(
                name=entry.id,
                volume=raw.volume,
                reference=drawn,
                names=names,
                patient=entry.patient,
                ignored=_mask_of(raw.label, {IGNORE}),
            )
    except DataError as error:
        if not count:
            raise
        yield Unreadable(f"number {count + 1} and on", str(error))


def _entries(where: Path) -> list[CaseEntry]:
    return _msd_entries(where) if where.is_dir() else _listed_entries(where)


def _msd_entries(folder: Path) -> list[CaseEntry]:
    found = read_msd(folder)
    if not found.labels:
        raise DataError(f"{found.file} does not tell what the labels mean; add labels to it.", found.file)
    return [
        CaseEntry(name=msd_name(image), image=str(image), label=str(label), labels=found.labels)
        for image, label in found.pairs
    ]


def _listed_entries(listing: Path) -> list[CaseEntry]:
    try:
        return [CaseEntry(**entry) for entry in yaml.safe_load(listing.read_text(encoding="utf-8"))]
    except FileNotFoundError as error:
        raise DataError(f"{listing} does not exist; give a prepared folder, an MSD folder or a YAML list.") from error
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise DataError(f"{listing} is not a list of cases: {key} {problem['msg']}.") from error
    except (OSError, ValueError, yaml.YAMLError, TypeError) as error:
        raise DataError(f"{listing} is not a list of cases with name, image and label.") from error


def _load(entry: CaseEntry, data: Path, images: int) -> LabeledVolume:
    files = [entry.image] if isinstance(entry.image, str) else entry.image
    volume, patient = read_channels([data / file for file in files], images), entry.patient or entry.name
    if entry.label is None:
        return LabeledVolume(name=entry.name, volume=volume, reference=None, names=(), patient=patient)
    known = {value: name for value, name in entry.meaning.items() if name != _IGNORED}
    values = read_label_map(data / entry.label, volume)
    return LabeledVolume(
        name=entry.name,
        volume=volume,
        reference=as_classes(values, known),
        names=names_of(known),
        patient=patient,
        ignored=_mask_of(values, entry.meaning.keys() - known),
    )


def _mask_of(array: npt.NDArray[Any], values: Collection[int]) -> npt.NDArray[np.bool_] | None:
    """Where an array has one of these values; None where nowhere."""
    mask = np.isin(array, list(values)) if values else None
    return mask if mask is not None and mask.any() else None


def names_of(labels: Mapping[int, str]) -> tuple[str, ...]:
    """The names that `labels` gives to values, each once, as models write them (cancer is tumor)."""
    return tuple(dict.fromkeys(label_for(value, name).name for value, name in sorted(labels.items())))


def as_classes(array: npt.NDArray[Any], labels: Mapping[int, str]) -> npt.NDArray[np.uint8]:
    """A label map as numbers of `names_of(labels)`, counted from 1; values without a name become 0."""
    names = names_of(labels)
    classes = np.zeros(array.shape, np.uint8)
    for value, name in labels.items():
        classes[array == value] = names.index(label_for(value, name).name) + 1
    return classes
