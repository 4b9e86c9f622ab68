"""Cases as the readers of all sources give them: image and label on the grid of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import LiverSegError
from LiverSegLib.volume import Volume
from Training.errors import DataError, listed

Labels = npt.NDArray[np.uint8]
_COUNTED = 65535


@dataclass(frozen=True)
class RawCase:
    """One image with its label, as its source has it.

    Args:
        volume: the image; a picture is one slice [x, y, 1] that runs left and posterior.
        label: values of the recipe's labels on exactly the volume's grid [i, j, k]; `IGNORE` where nobody knows.
        spacing_told: False where the file does not tell how large its pixels are; the volume then says 1 mm.
    """

    volume: Volume
    label: Labels
    spacing_told: bool = True


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A case that a source lists, not yet read.

    Args:
        name: unique within its source.
        patient: `<cohort>_<patient>`, by whom cases are split; before `survey` has looked, the patient alone.
        source: the source's name.
        image: its file or DICOM folder; None where it is made on the spot.
        further: the files of its other channels.
        masks: its label files.
        read: what reads it.
    """

    name: str
    patient: str
    source: str
    image: Path | None = None
    further: tuple[Path, ...] = ()
    masks: tuple[Path, ...] = ()
    read: Callable[[], RawCase]

    @property
    def id(self) -> str:
        """`<source>_<case>`, the name of what it becomes."""
        return f"{self.source}_{self.name}"

    def load(self) -> RawCase:
        """Read image and masks.

        Raises:
            DataError: they cannot be read or do not match; `file` tells which.
        """
        with blamed_on(self.image):
            return self.read()


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies in a source's folder.

    Args:
        entries: its cases.
        excluded: names that the recipe leaves out and that are there.
        problems: what is wrong before anything is read, such as two cases of one name.
        remarks: what is strange but does not stop training, such as a mask without an image.
    """

    entries: list[Entry] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    problems: list[DataError] = field(default_factory=list)
    remarks: list[DataError] = field(default_factory=list)


@contextmanager
def blamed_on(path: Path | None) -> Iterator[None]:
    """What goes wrong inside is a DataError of this file, unless it already names one."""
    try:
        yield
    except DataError:
        raise
    except (LiverSegError, OSError) as error:
        raise DataError(str(error), path) from error


def recode(array: npt.NDArray[Any], values: Mapping[int, int], others: str, file: Path) -> Labels:
    """A file's label values as the recipe's.

    Args:
        array: the file's values, any shape.
        values: file value -> the recipe's label.
        others: "refuse" or "background": what a value other than 0 means that `values` does not name.
        file: named in the error.

    Raises:
        DataError: values that are not whole numbers, or unknown ones where `others` refuses them.
    """
    if array.dtype.kind not in "iufb":
        raise DataError(f"{file} holds {array.dtype} values; a label map of whole numbers is needed.", file)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or not np.array_equal(array, np.round(array)):
            raise DataError(f"{file} holds values that are not whole numbers; a label map is needed.", file)
        array = array.astype(np.int32)
    found = present(array)
    unknown = [value for value in found if value != 0 and value not in values]
    if unknown and others == "refuse":
        raise DataError(
            f"{file} holds the label {listed(unknown)}, which the recipe does not name; "
            "add it to the source's values or set others: background.",
            file,
        )
    label = np.zeros(array.shape, np.uint8)
    for theirs in found:
        if theirs in values:
            label[array == theirs] = values[theirs]
    return label


def counts(label: npt.NDArray[Any], classes: int) -> list[int]:
    """How many voxels have each label value below `classes`, the background's first; those to ignore are in none."""
    return [int(n) for n in np.bincount(label.ravel(order="K"), minlength=classes)[:classes]]


def present(array: npt.NDArray[Any]) -> list[int]:
    """The values of a label map of whole numbers, rising."""
    if array.size and array.min() >= 0 and array.max() <= _COUNTED:
        # Much quicker than sorting a volume.
        return [int(v) for v in np.flatnonzero(np.bincount(array.ravel(order="K")))]
    return [int(v) for v in np.unique(array)]
