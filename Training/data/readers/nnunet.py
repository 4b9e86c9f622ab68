"""Raw folders of nnU-Net version 2 (its documentation/dataset_format.md): images by channel, labels by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from LiverSegLib.io import read_label_map
from LiverSegLib.io.channels import read_channels
from LiverSegLib.io.picture import PICTURES
from Training.data.readers.case import Entry, Listing, RawCase, blamed_on, recode
from Training.data.readers.chosen import chosen_channels
from Training.data.readers.templates import inside, natural
from Training.errors import DataError, listed
from Training.recipe.sources import IGNORE, NnunetSource

_IGNORED = "ignore"
Channels = dict[int, Path]


@dataclass(frozen=True, kw_only=True)
class NnunetFolder:
    """What dataset.json tells.

    Args:
        file: dataset.json.
        channels: number -> name.
        labels: name -> value, or the values of a region.
        ending: of images and labels, for example ".nii.gz".
        cases: name -> images by the number of their channel, and label.
    """

    file: Path
    channels: dict[int, str]
    labels: dict[str, int | list[int]]
    ending: str
    cases: dict[str, tuple[Channels, Path]]


def nnunet_listing(source: NnunetSource, data: Path) -> Listing:
    """The cases in imagesTr, or those that dataset.json lists.

    Raises:
        DataError: dataset.json is missing or damaged, or lacks a label or a channel that the source names.
    """
    folder = read_nnunet(inside(data, source.folder, f"source {source.name}"))
    values, wanted = _values(source, folder), chosen_channels(source.channels, folder.channels, folder.file)
    found = Listing()
    for name, (images, label) in folder.cases.items():
        # A picture in color is one file of three channels.
        single = len(images) == 1 and folder.ending.lower() in PICTURES
        chosen = [images[number] for number in ([*images] if single else wanted) if number in images]
        anyone = images[min(images)]
        lacking = [] if single else [number for number in wanted if number not in images]
        if lacking:
            which = listed(f"{number:04d} ({folder.channels[number]})" for number in lacking)
            found.problems.append(DataError(f"{anyone} has no channel {which}.", anyone))
        elif not label.exists():
            found.problems.append(DataError(f"{anyone} has no label {label}.", anyone))
        read = partial(_case, source, tuple(chosen), label, values, len(wanted))
        first, *further = chosen or [anyone]
        entry = Entry(
            name=name, patient=name, source=source.name, image=first, further=tuple(further), masks=(label,), read=read
        )
        found.entries.append(entry)
    used = {label for _, label in folder.cases.values()}
    for path in sorted((folder.file.parent / "labelsTr").glob(f"*{folder.ending}")):
        if path not in used and not path.name.startswith("."):
            found.remarks.append(DataError(f"{path} is a label without an image.", path))
    return found


def read_nnunet(folder: Path) -> NnunetFolder:
    """Read dataset.json of a folder and find its cases.

    Raises:
        DataError: it is missing, damaged, or points outside its folder.
    """
    file = folder / "dataset.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if "training" in content and "channel_names" not in content:
            raise DataError(f"{file} is of the Medical Segmentation Decathlon; use a source of kind: msd.", file)
        channels = {int(number): str(name) for number, name in content["channel_names"].items()}
        labels = {str(name): _whole(value) for name, value in content["labels"].items()}
        ending, given = str(content["file_ending"]), content.get("dataset")
        if sorted(channels) != list(range(len(channels))):
            raise ValueError("channels with gaps")
        cases = _found(folder, ending) if given is None else {n: _given(file, one) for n, one in dict(given).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder} holds no readable dataset.json with channel_names, labels and file_ending.", file
        ) from error
    return NnunetFolder(file=file, channels=channels, labels=labels, ending=ending, cases=cases)


def _whole(value: Any) -> int | list[int]:
    return [int(one) for one in value] if isinstance(value, list) else int(value)


def _found(folder: Path, ending: str) -> dict[str, tuple[Channels, Path]]:
    """The cases whose images lie in imagesTr, in natural order."""
    pattern = re.compile(rf"(.+)_(\d{{4}}){re.escape(ending)}")
    channels: dict[str, Channels] = {}
    for path in (folder / "imagesTr").iterdir():
        match = pattern.fullmatch(path.name)
        if match and not path.name.startswith("."):
            channels.setdefault(match[1], {})[int(match[2])] = path
    return {name: (channels[name], folder / "labelsTr" / f"{name}{ending}") for name in sorted(channels, key=natural)}


def _given(file: Path, one: Mapping[str, Any]) -> tuple[Channels, Path]:
    """A case that dataset.json lists by itself."""
    images = {number: inside(file.parent, str(image), str(file)) for number, image in enumerate(one["images"])}
    if not images:
        raise ValueError("a case without images")
    return images, inside(file.parent, str(one["label"]), str(file))


def _values(source: NnunetSource, folder: NnunetFolder) -> dict[int, int]:
    """File value -> the recipe's label, as the source names it; the data set's `ignore` stays that."""
    values: dict[int, int] = {}
    ignored = folder.labels.get(_IGNORED)
    if isinstance(ignored, int):
        values[ignored] = IGNORE
    for key, target in source.labels.items():
        theirs = folder.labels.get(str(key)) if not isinstance(key, int) else key
        if isinstance(theirs, list):
            raise DataError(
                f"{folder.file} calls the region of the values {listed(theirs)} {key}; regions overlap, so map single "
                f"values in the labels of source {source.name}, for example {theirs[0]}: 1.",
                folder.file,
            )
        if theirs is None:
            known = listed(name for name in folder.labels if name != "background")
            raise DataError(f"{folder.file} has no label {key}; name one of {known}.", folder.file)
        values[theirs] = target
    return values


def _case(
    source: NnunetSource, images: tuple[Path, ...], label: Path, values: Mapping[int, int], wanted: int
) -> RawCase:
    volume = read_channels(images, wanted)
    with blamed_on(label):
        drawn = read_label_map(label, volume)
    told = not images[0].name.lower().endswith(PICTURES)
    return RawCase(volume, recode(drawn, values, source.others, label), told)
