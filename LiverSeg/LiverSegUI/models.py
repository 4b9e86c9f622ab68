"""The models to choose from, told from their metadata alone: torch must not be imported in Slicer's process."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from slicer.i18n import tr as _

from LiverSegLib.errors import ModelError
from LiverSegLib.io import display_name
from LiverSegLib.models.store import BUILT_IN, DEFAULT
from LiverSegLib.volume import label_for

_METADATA = "configs/metadata.json"
_MAX_BYTES = 8_000_000
_SHOWN = 110


@dataclass(frozen=True)
class ModelInfo:
    """What a user should know of a model before running it.

    Args:
        name: what `segment(model=...)` takes: name of a built-in package, or a path.
        title: name and version.
        labels: names of what it segments.
        modality: "CT", "MR" or "".
        data: on what it was trained.
        license: of the weights.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    modality: str
    data: str
    license: str

    @property
    def text(self) -> str:
        """Two or three lines for the panel; what it leaves out of the training data ends in dots."""
        return self._told(shorten(self.data.rstrip(". "), _SHOWN, placeholder=" …"))

    @property
    def longText(self) -> str:
        """The whole of it, for the tool tip."""
        return self._told(self.data.rstrip(". "))

    def _told(self, data: str) -> str:
        what = ", ".join(display_name(label) for label in self.labels)
        data += "" if data.endswith("…") else "."
        text = _("Segments {what} on {modality}. Trained on: {data} License: {license}.")
        return text.format(what=what, modality=self.modality or "?", data=data, license=self.license)


def builtInModels() -> list[ModelInfo]:
    """The packages that come with LiverSeg, the default first; damaged ones are left out."""
    found = []
    for folder in sorted(BUILT_IN.glob("*"), key=lambda path: (path.name != DEFAULT, path.name)):
        try:
            found.append(describeModel(folder, folder.name))
        except ModelError:
            continue
    return found


def describeModel(path: Path, name: str | None = None) -> ModelInfo:
    """What the metadata of a package folder or zip say.

    Raises:
        ModelError: it is no model package.
    """
    try:
        data = json.loads(_metadata(path))
        outputs = next(iter(data["network_data_format"]["outputs"].values()))["channel_def"]
        inputs = next(iter(data["network_data_format"]["inputs"].values()))
        numbered = sorted((int(key), str(value)) for key, value in outputs.items())
        labels = tuple(label_for(number, label).name for number, label in numbered if number)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        StopIteration,
        zipfile.BadZipFile,
    ) as error:
        text = _("{path} is no model package; choose a folder or zip with configs/metadata.json in it.")
        raise ModelError(text.format(path=path)) from error
    return ModelInfo(
        name=name or str(path),
        title=f"{data.get('name') or path.stem} {data.get('version', '')}".strip(),
        labels=labels,
        modality=str(inputs.get("modality", "")).upper(),
        data=str(data.get("data_source") or _("not stated")),
        license=str(data.get("license") or _("see its LICENSE file")),
    )


def _metadata(path: Path) -> Any:
    if path.is_dir():
        file = path / _METADATA
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        return file.read_text(encoding="utf-8")
    with zipfile.ZipFile(path) as archive:
        name = min((n for n in archive.namelist() if n.endswith(_METADATA)), key=len, default=_METADATA)
        if archive.getinfo(name).file_size > _MAX_BYTES:
            raise ValueError("too large")
        return archive.read(name).decode("utf-8")
