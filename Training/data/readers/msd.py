"""Folders in the layout of the Medical Segmentation Decathlon (https://doi.org/10.1038/s41467-022-30695-9)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from LiverSegLib.io import read_label_map, read_volume
from Training.data.readers.case import Entry, Listing, RawCase, blamed_on, recode
from Training.data.readers.templates import inside
from Training.errors import DataError
from Training.recipe.sources import MsdSource


@dataclass(frozen=True)
class MsdFolder:
    """What dataset.json tells. `labels`: value -> name, without the background; `pairs`: image and label files."""

    file: Path
    labels: dict[int, str]
    pairs: list[tuple[Path, Path]]


def msd_listing(source: MsdSource, data: Path) -> Listing:
    """The training cases that dataset.json lists.

    Raises:
        DataError: dataset.json is missing, damaged, lists nothing or points outside its folder.
    """
    folder = read_msd(inside(data, source.folder, f"source {source.name}"))
    found = Listing()
    for image, label in folder.pairs:
        name, read = msd_name(image), partial(_case, source, image, label)
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder} holds no readable dataset.json with a training list.", file) from error
    if not isinstance(listed, list) or not listed:
        raise DataError(f"{file} has an empty training list.", file)
    return MsdFolder(file, labels, [_pair(file, item) for item in listed])


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


def _case(source: MsdSource, image: Path, label: Path) -> RawCase:
    volume = read_volume(image)
    with blamed_on(label):
        values = read_label_map(label, volume)
    return RawCase(volume, recode(values, source.labels, source.others, label))
