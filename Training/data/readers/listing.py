"""The cases that a source holds, found without reading a voxel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from Training.data.readers.bids import bids_listing
from Training.data.readers.case import Entry, Listing
from Training.data.readers.files import files_listing
from Training.data.readers.made import empty_listing, phantom_listing
from Training.data.readers.msd import msd_listing
from Training.data.readers.nnunet import nnunet_listing
from Training.data.readers.totalsegmentator import totalsegmentator_listing
from Training.errors import DataError
from Training.recipe.sources import Source

_LISTINGS: dict[str, Callable[[Any, Path], Listing]] = {
    "files": files_listing,
    "msd": msd_listing,
    "nnunet": nnunet_listing,
    "totalsegmentator": totalsegmentator_listing,
    "bids": bids_listing,
    "empty": empty_listing,
    "phantom": phantom_listing,
}
"""What lists the cases of a source, by its kind."""


def survey(source: Source, data: Path) -> Listing:
    """What lies in a source's folder, problems included.

    Args:
        source: a recipe's source.
        data: the folder that its paths are relative to.

    Raises:
        DataError: the folder is missing or cannot be listed at all.
    """
    found = _LISTINGS[source.kind](source, data)
    exclude: list[str] = getattr(source, "exclude", [])
    found.excluded.extend(entry.name for entry in found.entries if entry.name in exclude)
    kept = [entry for entry in found.entries if entry.name not in exclude]
    found.entries[:] = [replace(entry, patient=source.person(entry.patient)) for entry in kept]
    if not found.entries and not found.problems:
        raise DataError(f"The source {source.name} holds no case; check its folder below {data}.", data)
    for name in sorted(set(exclude) - set(found.excluded)):
        problem = f"The source {source.name} excludes {name}, which is not there; correct the name."
        found.problems.append(DataError(problem))
    for name, count in sorted(Counter(entry.name for entry in found.entries).items()):
        if count > 1:
            files = [str(entry.image) for entry in found.entries if entry.name == name]
            found.problems.append(DataError(f"{' and '.join(files)} are both called {name}; rename one of them."))
    return found


def list_cases(source: Source, data: Path) -> list[Entry]:
    """The cases of a source.

    Args:
        source: a recipe's source.
        data: the folder that its paths are relative to.

    Raises:
        DataError: the folder is missing, holds no case, or two of one name.
    """
    found = survey(source, data)
    if found.problems:
        raise found.problems[0]
    return found.entries
