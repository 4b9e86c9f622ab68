"""Which packages are at hand, by name or path."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from LiverSegLib.errors import ModelError
from LiverSegLib.models.catalogue import read_catalogue
from LiverSegLib.models.family import family_of
from LiverSegLib.models.models_folder import installed_names, installed_path, models_folder
from LiverSegLib.models.text import one_line

if TYPE_CHECKING:
    from LiverSegLib.models.spec import ModelPackage

BUILT_IN = Path(__file__).parent / "packages"
DEFAULT = "liver_tumor3d_ct"
LOCATOR = "liver_segments3d_ct"
"""Finds the liver for models of others; the guide of the default."""


def built_in_names() -> list[str]:
    """Names of the packages that ship with LiverSeg."""
    return sorted(p.name for p in BUILT_IN.glob("*") if (p / "configs").is_dir())


def model_names() -> list[str]:
    """Names of all packages that can be run by name: those that ship with LiverSeg, then the installed ones."""
    built_in = built_in_names()
    return built_in + [name for name in installed_names() if name not in built_in]


def find_package(name_or_path: str | Path | None = None) -> Path:
    """The folder or zip of a package.

    Args:
        name_or_path: a path, the name of a built-in package or of an installed one, or None for the default.

    Raises:
        ModelError: neither exists.
    """
    wanted = DEFAULT if name_or_path is None else name_or_path
    if isinstance(wanted, str) and wanted in built_in_names():
        return BUILT_IN / wanted
    installed = installed_path(wanted) if isinstance(wanted, str) else None
    if installed is not None:
        return installed
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # too long, a NUL, ~ of a user who is not there
        path = Path(wanted).expanduser()
        if path.exists():
            return path
    if isinstance(wanted, str) and read_catalogue().find(wanted) is not None:
        raise ModelError(f"The model {wanted} is not installed; fetch it with: liverseg models get {wanted}")
    names = ", ".join(model_names()) or "none"
    raise ModelError(f"There is no model {one_line(wanted, 300)}; give the path of a package or one of: {names}.")


def find_partner(name: str, package: ModelPackage) -> Path:
    """The folder of a package that another one names as a part of its chain.

    Args:
        name: a plain name, as `guide` and `divides` have it.
        package: which names it; what lies beside it comes before what ships with LiverSeg, and that before what is
            installed.

    Raises:
        ModelError: there is none.
    """
    for folder in (package.path.parent, BUILT_IN, models_folder()):
        if family_of(folder / name) is not None:
            return folder / name
    if read_catalogue().find(name) is not None:
        raise ModelError(
            f"The model {package.name} works with a second one, {name}, which is not installed; fetch it with: "
            f"liverseg models get {name}"
        )
    raise ModelError(
        f"The model {package.name} works with a second one, {name}, which is not there; put its package folder beside "
        f"{package.path}."
    )
