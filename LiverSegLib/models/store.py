"""Which packages are at hand, by name or path."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from LiverSegLib.errors import ModelError
from LiverSegLib.models.text import one_line

if TYPE_CHECKING:
    from LiverSegLib.models.spec import ModelPackage

BUILT_IN = Path(__file__).parent / "packages"
DEFAULT = "liver_tumor3d_ct"


def built_in_names() -> list[str]:
    """Names of the packages that ship with LiverSeg."""
    return sorted(p.name for p in BUILT_IN.glob("*") if (p / "configs").is_dir())


def find_package(name_or_path: str | Path | None = None) -> Path:
    """The folder or zip of a package.

    Args:
        name_or_path: a path, the name of a built-in package, or None for the default.

    Raises:
        ModelError: neither exists.
    """
    wanted = DEFAULT if name_or_path is None else name_or_path
    if isinstance(wanted, str) and wanted in built_in_names():
        return BUILT_IN / wanted
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # too long, a NUL, ~ of a user who is not there
        path = Path(wanted).expanduser()
        if path.exists():
            return path
    names = ", ".join(built_in_names()) or "none"
    raise ModelError(f"There is no model {one_line(wanted, 300)}; give the path of a package or one of: {names}.")


def find_partner(name: str, package: ModelPackage) -> Path:
    """The folder of a package that another one names as a part of its chain.

    Args:
        name: a plain name, as `guide` and `divides` have it.
        package: which names it; what lies beside it comes before what ships with LiverSeg.

    Raises:
        ModelError: there is none.
    """
    for folder in (package.path.parent, BUILT_IN):
        if (folder / name / "configs").is_dir():
            return folder / name
    raise ModelError(
        f"The model {package.name} works with a second one, {name}, which is not there; put its package folder beside "
        f"{package.path}."
    )
