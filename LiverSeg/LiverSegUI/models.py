"""The models to choose from, told from their metadata alone: torch must not be imported in Slicer's process."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from LiverSegLib.errors import ModelError
from LiverSegLib.labels import Label, labels_for
from LiverSegLib.models.store import BUILT_IN, DEFAULT

_METADATA = "configs/metadata.json"
_MAX_BYTES = 8_000_000


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What a user should know of a model before running it.

    Args:
        name: what `segment(model=...)` takes: name of a built-in package, or a path.
        title: name and version.
        labels: what it segments.
        modality: "CT", "MR" or "".
        data: on what it was trained.
        license: of the weights.
        path: of a package that the user added; None for a built-in one.
    """

    name: str
    title: str
    labels: tuple[Label, ...]
    modality: str
    data: str
    license: str
    path: Path | None = None

    @property
    def hasLesions(self) -> bool:
        """Whether it marks lesions."""
        return any(label.is_lesion for label in self.labels)

    @property
    def shownTitle(self) -> str:
        """The title; of an added package with its file, as others may have the same name."""
        return self.title if self.path is None else f"{self.title} ({self.path.name})"

    @property
    def text(self) -> str:
        """What it segments and what it does not, in a line or two."""
        what = ", ".join(label.display_name.lower() for label in self.labels)
        text = _("Segments {what} on {modality}.").format(what=what, modality=self.modality or _("any image"))
        if not self.hasLesions:
            text += " " + _("Marks no tumors.")
        return text

    @property
    def longText(self) -> str:
        """The rest: training data, license, place."""
        text = _("Trained on: {data}. License: {license}.")
        lines = text.format(data=self.data.rstrip(". "), license=self.license)
        return lines if self.path is None else lines + " " + _("Package: {path}").format(path=self.path)

    def html(self, isLong: bool) -> str:
        """The text for the panel, with a link that shows or hides the rest. What a package says is no markup."""
        if isLong:
            return f'{escape(self.text)} {escape(self.longText)} <a href="less">{_("less")}</a>'
        return f'{escape(self.text)} <a href="more">{_("more")}</a>'


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
        labels = labels_for({int(key): str(value) for key, value in outputs.items() if int(key)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration, zipfile.BadZipFile) as error:
        text = _("{path} is no model package; choose a folder or zip with configs/metadata.json in it.")
        raise ModelError(text.format(path=path)) from error
    return ModelInfo(
        name=name or str(path),
        title=f"{data.get('name') or path.stem} {data.get('version', '')}".strip(),
        labels=labels,
        modality=str(inputs.get("modality", "")).upper(),
        data=str(data.get("data_source") or _("not stated")),
        license=str(data.get("license") or _("see its LICENSE file")),
        path=None if name else path,
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
