"""Folders in the layout of the Medical Segmentation Decathlon (https://doi.org/10.1038/s41467-022-30695-9)."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from LiverSegLib.io import read_label_map
from LiverSegLib.io.channels import read_channels
from Training.data.readers.case import Entry, Listing, RawCase, blamed_on, recode
from Training.data.readers.chosen import chosen_channels
from Training.data.readers.templates import inside
from Training.errors import DataError
from Training.recipe.sources import MsdSource


@dataclass(frozen=True, kw_only=True)
class MsdFolder:
    """What dataset.json tells.

    `labels`: value -> name, without the background; `pairs`: image and label files; `channels`: number -> name of the
    images of a case, which a 4D file holds one after the other.
    """

    file: Path
    labels: dict[int, str]
    pairs: list[tuple[Path, Path]]
    channels: dict[int, str]


def msd_listing(source: MsdSource, data: Path) -> Listing:
    """The training cases that dataset.json lists.

    Raises:
        DataError: dataset.json is missing, damaged, lists nothing, points outside its folder, or lacks a channel that
            the source names.
    """
    folder = read_msd(inside(data, source.folder, f"source {source.name}"))
    chosen = chosen_channels(source.channels, folder.channels, folder.file)
    found = Listing()
    for image, label in folder.pairs:
        name, read = msd_name(image), partial(_case, source, image, label, chosen, len(folder.channels))
        entry = Entry(name=name, patient=name, source=source.name, image=image, masks=(label,), read=read)
        found.entries.append(entry)
    named = {image for image, _ in folder.pairs}
    for path in sorted({path for image in named for path in image.parent.glob("*.nii*")} - named):
        if not path.name.startswith("."):
            found.remarks.append(DataError(f"{path} is not listed in dataset.json and will not be used.", path))
    return found


def msd_name(image: Path) -> str:
    """What the case of an image is called."""
    return image.name.split(".")[0]


def read_msd(folder: Path) -> MsdFolder:
    """Read dataset.json of a folder.

    Raises:
        DataError: it is missing, damaged, lists nothing or points outside its folder.
    """
    file = folder / "dataset.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "training" not in content and "channel_names" in content:
            raise DataError(_nnunet_hint(file, content), file)
        listed = content["training"]
        labels = {int(value): str(name) for value, name in content.get("labels", {}).items() if int(value) > 0}
        channels = _channels(content.get("modality"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder} holds no readable dataset.json with a training list.", file) from error
    if not isinstance(listed, list) or not listed:
        raise DataError(f"{file} has an empty training list.", file)
    pairs = [_pair(file, item) for item in listed]
    return MsdFolder(file=file, labels=labels, pairs=pairs, channels=channels)


def _channels(modality: Any) -> dict[int, str]:
    """Number -> name of the images of a case; one where dataset.json does not tell them one by one.

    Raises:
        ValueError: they are numbered with gaps.
    """
    told = modality if isinstance(modality, dict) and modality else {0: str(modality or "image")}
    channels = {int(number): str(name) for number, name in told.items()}
    if sorted(channels) != list(range(len(channels))):
        raise ValueError("channels with gaps")
    return channels


def _pair(file: Path, item: Any) -> tuple[Path, Path]:
    try:
        image, label = (inside(file.parent, str(item[key]), str(file)) for key in ("image", "label"))
    except (KeyError, TypeError) as error:
        raise DataError(f"{file} lists a case without an image and a label: {item}.", file) from error
    return image, label


def _nnunet_hint(file: Path, content: dict[str, Any]) -> str:
    """What to write for a folder of nnU-Net version 2, whose dataset.json lists no cases."""
    labels = content.get("labels")
    name = next((name for name in labels if name not in ("background", "ignore")), 1) if labels else 1
    return (
        f"{file} is of nnU-Net version 2, which lists no cases; use a source of kind: nnunet with "
        f"folder: '{file.parent.name}' and labels: {{{name}: 1}} instead."
    )


def _case(source: MsdSource, image: Path, label: Path, chosen: list[int], count: int) -> RawCase:
    """A case made of the `chosen` ones of the `count` images in its file."""
    volume = read_channels([image], count)
    if len(volume.channels) == count:
        first, *further = (volume.channels[number] for number in chosen)
        volume = replace(volume, array=first, further=tuple(further))
    with blamed_on(label):
        values = read_label_map(label, volume)
    return RawCase(volume, recode(values, source.labels, source.others, label))
