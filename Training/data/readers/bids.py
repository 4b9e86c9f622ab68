"""Trees in the manner of BIDS (https://bids-specification.readthedocs.io): subjects, sessions, entities in names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from LiverSegLib.io import read_label_map
from LiverSegLib.io.channels import read_channels
from Training.data.readers.case import Entry, Listing, RawCase, blamed_on, recode
from Training.data.readers.templates import inside, natural
from Training.errors import DataError, listed
from Training.recipe.sources import BidsSource

_NAME = re.compile(r"((?:[A-Za-z0-9]+-[A-Za-z0-9+.]+_)+)([A-Za-z0-9]+)(\.nii(?:\.gz)?|\.nrrd|\.mha)")
# What the name of a label map says of the label map and not of its image.
_OF_DERIVATIVES = ("space", "desc", "label", "res", "den", "seg", "atlas", "scale", "hemi")
Entities = dict[str, str]
Named = tuple[Path, Entities]


def bids_listing(source: BidsSource, data: Path) -> Listing:
    """The images that have a label map among the derivatives; the subject is the patient.

    Raises:
        DataError: the folder or that of the derivatives is missing.
    """
    where = f"source {source.name}"
    folder = inside(data, source.folder, where)
    derivatives = inside(folder, source.derivatives, where)
    for needed in (folder, derivatives):
        if not needed.is_dir():
            raise DataError(f"{where}: the folder {needed} is missing; correct folder or derivatives.", needed)
    found, taken = Listing(), dict[Path, Path]()
    drawn: dict[str, list[Named]] = {}
    for path, entities in _files(derivatives, source.datatype, source.suffix):
        if source.entities.items() <= entities.items():
            drawn.setdefault(entities["sub"], []).append((path, entities))
    for image, entities in _files(folder, source.datatype, source.images[0]):
        maps = _maps(drawn.get(entities["sub"], []), entities)
        if not maps:
            found.remarks.append(DataError(f"{image} has no label map {source.suffix}; left out.", image))
            continue
        found.problems.extend(_problems(source, image, maps, taken))
        first, *further = _channels(source, image)
        name, patient = image.name.partition(f"_{source.images[0]}.")[0], f"sub-{entities['sub']}"
        found.entries.append(
            Entry(
                name=name,
                patient=patient,
                source=source.name,
                image=first,
                further=tuple(further),
                masks=(maps[0],),
                read=partial(_case, source, (first, *further), maps[0]),
            )
        )
    return found


def _channels(source: BidsSource, image: Path) -> list[Path]:
    """The files of a case, that of the first channel first."""
    first = source.images[0]
    return [image.with_name(image.name.replace(f"_{first}.", f"_{suffix}.")) for suffix in source.images]


def _problems(source: BidsSource, image: Path, maps: list[Path], taken: dict[Path, Path]) -> Iterator[DataError]:
    """What keeps an image with label maps from being a case; `taken` remembers whose label map is whose."""
    for path in _channels(source, image)[1:]:
        if not path.exists():
            yield DataError(f"{image} has no channel {path.name} beside it.", image)
    if len(maps) > 1:
        names = listed(path.name for path in maps)
        yield DataError(f"{image} has several label maps ({names}); choose by entities, as {{desc: manual}}.", image)
    elif (other := taken.setdefault(maps[0], image)) is not image:
        yield DataError(f"{maps[0]} fits {other.name} and {image.name}; exclude one of them.", image)


def _files(folder: Path, datatype: str, suffix: str) -> list[Named]:
    """The files of a suffix below `sub-*/[ses-*/]datatype`, in natural order, with the entities of their names."""
    paths = [path for depth in ("sub-*", "sub-*/ses-*") for path in folder.glob(f"{depth}/{datatype}/*_{suffix}.*")]
    found = []
    for path in sorted(paths, key=lambda path: natural(path.name)):
        match = _NAME.fullmatch(path.name)
        if match and match[2] == suffix:
            entities = dict(pair.split("-", 1) for pair in match[1].rstrip("_").split("_"))
            if "sub" in entities:
                found.append((path, entities))
    return found


def _maps(drawn: list[Named], image: Entities) -> list[Path]:
    """The label maps of an image among those of its subject: those that say most of what its own name says."""
    mine = []
    for path, entities in drawn:
        own = {key: value for key, value in entities.items() if key not in _OF_DERIVATIVES}
        if own.items() <= image.items() and own.get("ses") == image.get("ses"):
            mine.append((path, len(own)))
    most = max((count for _, count in mine), default=0)
    return [path for path, count in mine if count == most]


def _case(source: BidsSource, images: tuple[Path, ...], label: Path) -> RawCase:
    volume = read_channels(images)
    with blamed_on(label):
        drawn = read_label_map(label, volume)
    return RawCase(volume, recode(drawn, source.labels, source.others, label))
