"""Folders of one case each with a file for each structure (https://doi.org/10.1148/ryai.230024)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import numpy as np

from LiverSegLib.io import read_label_map, read_volume
from Training.data.readers.case import Entry, Labels, Listing, RawCase, blamed_on
from Training.data.readers.templates import inside, natural
from Training.errors import DataError, listed
from Training.recipe.sources import TotalSegmentatorSource

_ENDINGS = (".nii.gz", ".nii")
Drawn = tuple[tuple[Path, int], ...]


def totalsegmentator_listing(source: TotalSegmentatorSource, data: Path) -> Listing:
    """The folders that hold the image, each a patient.

    Raises:
        DataError: the folder is missing, or no case has a structure that the source names.
    """
    folder = inside(data, source.folder, f"source {source.name}")
    found, seen = Listing(), dict.fromkeys(source.labels, False)
    structures: set[str] = set()
    for case in sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: natural(path.name)):
        image = case / source.image
        if case.name.startswith(".") or not (image.exists() or image.is_symlink()):
            continue
        files = _structures(case / source.segmentations)
        structures.update(files)
        drawn, lacking = _chosen(source, files)
        seen |= dict.fromkeys(source.labels.keys() - set(lacking), True)
        if lacking and source.missing == "refuse":
            found.problems.append(
                DataError(
                    f"{case / source.segmentations} has no file of {listed(lacking)}; say missing: background if such "
                    "a structure is not in the image, or exclude the case.",
                    image,
                )
            )
        read = partial(_case, image, drawn)
        masks = tuple(path for path, _ in drawn)
        found.entries.append(
            Entry(name=case.name, patient=case.name, source=source.name, image=image, masks=masks, read=read)
        )
    nowhere = [name for name, there in seen.items() if not there]
    if found.entries and nowhere:
        raise DataError(
            f"No case below {folder} has the structure {listed(nowhere)}; correct the name (there are "
            f"{listed(sorted(structures))}).",
            folder,
        )
    return found


def _structures(folder: Path) -> dict[str, Path]:
    """Structure -> its file."""
    files = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        ending = next((ending for ending in _ENDINGS if path.name.endswith(ending)), None)
        if ending is not None and not path.name.startswith("."):
            files[path.name.removesuffix(ending)] = path
    return files


def _chosen(source: TotalSegmentatorSource, files: dict[str, Path]) -> tuple[Drawn, list[str]]:
    """The files that a case's labels are made of with their labels, and the names that no file of it fits."""
    drawn, lacking = list[tuple[Path, int]](), []
    for name, label in source.labels.items():
        fitting = [path for structure, path in files.items() if fnmatchcase(structure, name)]
        drawn += [(path, label) for path in fitting]
        lacking += [] if fitting else [name]
    return tuple(drawn), lacking


def _case(image: Path, drawn: Drawn) -> RawCase:
    volume = read_volume(image)
    label: Labels = np.zeros(volume.array.shape, np.uint8, order="F")
    for path, value in drawn:
        with blamed_on(path):
            inside_it = read_label_map(path, volume)
        if inside_it.dtype.kind == "f" and not np.isfinite(inside_it).all():
            raise DataError(f"{path} holds values that are no numbers; a mask is needed.", path)
        label[inside_it > 0] = value
    return RawCase(volume, label)
