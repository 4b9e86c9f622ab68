"""Corrected cases in the layout of the Medical Segmentation Decathlon, a folder to which one is added at a time.

    imagesTr/<case>.nii.gz   the image as it was segmented
    labelsTr/<case>.nii.gz   the corrected labels on its grid
    dataset.json             which cases there are, and what the values mean: the same in all of them
    corrections.json         who corrected what of which model, and when

A case is called by a digest of its voxels, which tells nothing of the patient and knows an image again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError, OutputError
from LiverSegLib.io.atomic import atomic_file, told
from LiverSegLib.io.plain_nifti import write_plain_nifti
from LiverSegLib.labels import label_for
from LiverSegLib.volume import Volume

Mask = npt.NDArray[np.bool_]
_MOST_BYTES = 1 << 26
_LISTED = "dataset.json"
_CORRECTIONS = "corrections.json"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a correction comes from.

    Args:
        who: the person who corrected.
        model: the model whose result was corrected, "" where that is not known.
    """

    who: str = ""
    model: str = ""


def add_case(folder: Path, volume: Volume, masks: Mapping[str, Mask], origin: Origin) -> str:
    """Add a corrected image to a training set, which is made where there is none yet.

    The lists are written last, so a case that was interrupted is none.

    Args:
        folder: of the training set.
        volume: the image.
        masks: what was drawn [i, j, k], by the names of labels. Lesions lie on top of organs, as in our label maps.
        origin: who corrected what.

    Returns:
        The name of the case.

    Raises:
        InputError: nothing is drawn, or the image is a case of this training set already.
        OutputError: the folder cannot be written to, or holds lists that are damaged.
    """
    drawn = {name: mask for name, mask in masks.items() if mask.any()}
    if not drawn:
        raise InputError(f"Nothing is drawn on {volume.name}; correct its segmentation before it is added.")
    listed = _read(folder / _LISTED, {"name": "Corrected segmentations", "labels": {}, "training": []}, dict)
    corrections = _read(folder / _CORRECTIONS, [], list)
    case = _digest(volume)
    image, labels = f"./imagesTr/{case}.nii.gz", f"./labelsTr/{case}.nii.gz"
    if any(isinstance(item, dict) and item.get("image") == image for item in listed["training"]):
        raise InputError(
            f"{volume.name} is in the training set {folder} already, as {case}; choose another folder for another "
            "version of it."
        )
    values = _values(listed, drawn, folder)
    labelmap = np.zeros(volume.array.shape, np.uint8, order="F")
    for name in sorted(drawn, key=lambda name: (label_for(1, name).is_lesion, label_for(1, name).is_piece, name)):
        labelmap[drawn[name]] = values[name]
    for place in ("imagesTr", "labelsTr"):
        with told(folder / place):
            (folder / place).mkdir(parents=True, exist_ok=True)
    write_plain_nifti(folder / image, volume.array, volume.affine)
    write_plain_nifti(folder / labels, labelmap, volume.affine)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    corrections.append({"case": case, "labels": sorted(drawn), "who": origin.who, "when": now, "model": origin.model})
    listed["labels"] = {"0": "background"} | {str(value): name for name, value in values.items()}
    listed["training"].append({"image": image, "label": labels})
    listed["numTraining"] = len(listed["training"])
    _write(folder / _CORRECTIONS, corrections)
    _write(folder / _LISTED, listed)
    return case


def _digest(volume: Volume) -> str:
    """A name that the same voxels at the same place always have."""
    found = hashlib.blake2b(f"{volume.array.shape} {volume.array.dtype.str}".encode(), digest_size=8)
    found.update(np.asarray(volume.affine, "<f8").tobytes())
    for k in range(volume.array.shape[2]):
        found.update(volume.array[:, :, k].tobytes(order="F"))
    return f"case_{found.hexdigest()}"


def _values(listed: dict[str, Any], drawn: Mapping[str, Mask], folder: Path) -> dict[str, int]:
    """The value of each name: those that the list has, and the next free ones for new names."""
    try:
        values = {str(name): int(value) for value, name in listed["labels"].items() if int(value) > 0}
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(folder / _LISTED) from error
    for name in sorted(drawn.keys() - values.keys(), key=lambda name: (label_for(1, name).is_lesion, name)):
        values[name] = max(values.values(), default=0) + 1
    if max(values.values()) > np.iinfo(np.uint8).max:
        raise OutputError(f"{folder / _LISTED} has more than 255 labels; choose another folder.")
    return values


def _read(path: Path, empty: Any, kind: type[Any]) -> Any:
    """A list of the training set; `empty` where there is none yet."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _damaged(path)
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return empty
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(found, kind):
        raise _damaged(path)
    if isinstance(found, dict) and not (
        isinstance(found.get("training"), list) and isinstance(found.get("labels"), dict)
    ):
        raise _damaged(path)
    return found


def _damaged(path: Path) -> OutputError:
    return OutputError(f"{path} is no list of a training set; choose another folder, or an empty one.")


def _write(path: Path, content: Any) -> None:
    with atomic_file(path) as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False).encode("utf-8") + b"\n")
