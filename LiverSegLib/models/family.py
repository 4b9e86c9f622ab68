"""In which form somebody has trained and packed a model, recognized by the files that lie there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from LiverSegLib.errors import ModelError
from LiverSegLib.models.nnunet_checkpoint import FOLD, keep_safetensors
from LiverSegLib.models.text import one_line

_DEPTH = 4
_MOST_FOLDERS = 5000


def _nothing(_folder: Path, _between: Callable[[], None]) -> None:
    """A family whose folders are run as they come."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One form of model packages.

    Args:
        name: as a catalogue has it.
        title: for people.
        marks: the files by which it is known, relative to the package; one of each group is needed.
        prepare: called once with the folder of a model that is being installed, before its files are listed with
            their checksums, and with a function to be called between steps, which may raise: what needs long, such as
            bringing weights into a form that is read safely and fast.
        part: the names of folders in a package that also stand for it, as a regular expression; "" for none.
    """

    name: str
    title: str
    marks: tuple[tuple[str, ...], ...]
    prepare: Callable[[Path, Callable[[], None]], None] = _nothing
    part: str = ""


BUNDLE = Family(
    name="bundle",
    title="MONAI bundle",
    marks=(("configs/metadata.json",), ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")),
)
NNUNET = Family(
    name="nnunet", title="nnU-Net v2", marks=(("plans.json",), ("dataset.json",)), prepare=keep_safetensors, part=FOLD
)
AUTO3DSEG = Family(name="auto3dseg", title="MONAI Auto3DSeg", marks=(("labels.csv",), ("model.pt",)))
FAMILIES = {family.name: family for family in (BUNDLE, NNUNET, AUTO3DSEG)}


def family_of(folder: Path) -> Family | None:
    """The family of the package whose files lie directly in `folder`; None where it is no package."""
    for family in FAMILIES.values():
        if all(any(os.path.isfile(folder / name) for name in group) for group in family.marks):  # noqa: PTH113
            return family
    return None


def model_folder(folder: Path, source: Path | None = None) -> Path:
    """The folder of the model that `folder` means: itself, the one that it is a part of, or the only one below it.

    `folder` itself where there is none.

    Args:
        folder: what somebody gave.
        source: what errors call it, where that is not `folder`.

    Raises:
        ModelError: it holds more than one.
    """
    above = family_of(folder.parent)
    if above is not None and above.part and re.fullmatch(above.part, folder.name):
        return folder.parent
    if family_of(folder) is not None or os.path.isdir(folder / "configs"):  # noqa: PTH112 (raises for odd names)
        return folder
    found = _models_in(folder)
    if len(found) > 1:
        raise ModelError(f"{source or folder} holds {_counted(found)}; give the folder of one.")
    return found[0][0] if found else folder


def find_root(folder: Path, source: Path) -> tuple[Path, Family]:
    """The one package in `folder` or in the folders below it.

    Args:
        folder: what was unpacked, or what the user has.
        source: what errors call it.

    Raises:
        ModelError: there is none, or more than one.
    """
    found = _models_in(folder)
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelError(f"{source} holds {_counted(found)}; unpack it and give the folder of one.")
    known = ", ".join(family.title for family in FAMILIES.values())
    raise ModelError(f"{source} holds no model of a form that LiverSeg knows ({known}); check what it is.")


def _models_in(folder: Path) -> list[tuple[Path, Family]]:
    """All packages in `folder` and in the folders below it, as far as people pack them."""
    found = []
    level, seen = [folder], 0
    for _depth in range(_DEPTH):
        below: list[Path] = []
        for path in level:
            family = family_of(path)
            if family is not None:
                found.append((path, family))
            else:
                folders = (entry for entry in _sorted(path) if os.path.isdir(entry))  # noqa: PTH112 (raises for odd names)
                below += [entry for entry in folders if not entry.is_symlink()]
        seen += len(below)
        if seen > _MOST_FOLDERS:
            break
        level = below
    return found


def _counted(found: list[tuple[Path, Family]]) -> str:
    names = one_line(", ".join(path.name for path, _family in found), 300)
    return f"{len(found)} models ({names})"


def _sorted(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
