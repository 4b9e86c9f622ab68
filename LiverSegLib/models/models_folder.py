"""Where installed models lie: one folder a user, and in it a folder a model, by its id."""

from __future__ import annotations

import os
import re
from pathlib import Path

from LiverSegLib.models.archive import cache_folder
from LiverSegLib.models.family import family_of
from LiverSegLib.models.spec import MODEL_NAME

VARIABLE = "LIVERSEG_MODELS"


def models_folder() -> Path:
    """$LIVERSEG_MODELS, else a folder of the cache; it may not be there yet."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen).expanduser() if chosen else cache_folder() / "models"


def installed_path(name: str, folder: Path | None = None) -> Path | None:
    """The folder of an installed model; None where there is none of that name.

    Args:
        name: any text; only a plain name can be one of an installed model.
        folder: where models lie; None for the user's own place.
    """
    if not re.fullmatch(MODEL_NAME, name):
        return None
    path = (folder or models_folder()) / name
    return path if family_of(path) is not None else None


def installed_names(folder: Path | None = None) -> list[str]:
    """The ids of all installed models."""
    folder = folder or models_folder()
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
    return [name for name in names if installed_path(name, folder) is not None]
