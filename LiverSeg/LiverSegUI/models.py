"""The models to choose from, as their metadata describe them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from slicer.i18n import tr as _

from LiverSegLib.errors import ModelError
from LiverSegLib.labels import Label
from LiverSegLib.models import read_description
from LiverSegLib.models.spec import NOT_STATED
from LiverSegLib.models.store import BUILT_IN, DEFAULT


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
        found = read_description(path)
    except ModelError as error:
        text = _("{path} is no model package; choose a folder or zip with configs/metadata.json in it.")
        raise ModelError(text.format(path=path)) from error
    return ModelInfo(
        name=name or str(path),
        title=found.title,
        labels=found.labels,
        modality=found.modality,
        data=_("not stated") if found.data_source == NOT_STATED else found.data_source,
        license=_("see its LICENSE file") if found.license == NOT_STATED else found.license,
        path=None if name else path,
    )
