"""The models to choose from, as their metadata describe them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path

from slicer.i18n import tr as _

from LiverSegLib.errors import ModelError
from LiverSegLib.labels import labels_for
from LiverSegLib.models import ModelDescription, read_description
from LiverSegLib.models.installed import INSTALLED, ModelStore
from LiverSegLib.models.sidecar import Sidecar
from LiverSegLib.models.spec import MANY_LABELS, NOT_STATED
from LiverSegLib.models.store import BUILT_IN, DEFAULT


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What a user should know of a model before running it.

    Args:
        name: what `segment(model=...)` takes: name of a built-in or installed model, or a path.
        about: what its metadata say.
        path: of a package that the user added to the list; None for a built-in or installed one.
        folder: of an installed one.
    """

    name: str
    about: ModelDescription
    path: Path | None = None
    folder: Path | None = None

    @property
    def place(self) -> str:
        """What the worker is told: it may have been started before the settings named the folder of models."""
        return str(self.folder) if self.folder is not None else self.name

    @property
    def hasLesions(self) -> bool:
        """Whether it marks lesions."""
        return any(label.is_lesion for label in self.about.labels)

    @property
    def shownTitle(self) -> str:
        """The title; of an added package with its file, as others may have the same name."""
        return self.about.title if self.path is None else f"{self.about.title} ({self.path.name})"

    @property
    def text(self) -> str:
        """What it segments and what it does not, in a line or two."""
        names = [label.display_name for label in self.about.labels]
        what = ", ".join(name[:1].lower() + name[1:] for name in names[:MANY_LABELS])
        if len(names) > MANY_LABELS:
            what = _("{count} structures, among them {what},").format(count=len(names), what=what)
        text = _("Segments {what} on {modality}.").format(what=what, modality=self.about.modality or _("any image"))
        if len(self.about.inputs) > 1:
            text += " " + _("Needs {count} images of a case: {names}.").format(
                count=len(self.about.inputs), names=", ".join(self.about.inputs)
            )
        if not self.hasLesions:
            text += " " + _("Marks no tumors.")
        return text

    @property
    def longText(self) -> str:
        """The rest: training data, license, place."""
        data, terms = self.about.data_source, self.about.license
        data = _("not stated") if data == NOT_STATED else data.rstrip(". ")
        terms = _("see its LICENSE file") if terms == NOT_STATED else terms
        text = _("Trained on: {data}. License: {license}.").format(data=data, license=terms)
        return text if self.path is None else text + " " + _("Package: {path}").format(path=self.path)

    def html(self, isLong: bool) -> str:
        """The text for the panel, with a link that shows or hides the rest. What a package says is no markup."""
        if isLong:
            return f'{escape(self.text)} {escape(self.longText)} <a href="less">{_("less")}</a>'
        return f'{escape(self.text)} <a href="more">{_("more")}</a>'


def builtInModels() -> list[ModelInfo]:
    """The packages that come with LiverSeg, the default first; damaged ones are left out."""
    found = []
    for folder in sorted(BUILT_IN.glob("*"), key=lambda path: (path.name != DEFAULT, path.name)):
        with suppress(ModelError):
            found.append(describeModel(folder, folder.name))
    return found


def installedModels(store: ModelStore) -> list[ModelInfo]:
    """The models of the store that are here; what one does not tell of itself its entry in the catalogue tells."""
    found = []
    for listed in store.entries():
        if listed.state != INSTALLED or listed.path is None:
            continue
        try:
            about = read_description(listed.path)
        except ModelError:
            about = _described(listed.entry.about)
        found.append(ModelInfo(name=listed.entry.id, about=about, folder=listed.path))
    return found


def _described(about: Sidecar) -> ModelDescription:
    names = about.names or dict(enumerate(about.targets, start=1))
    return ModelDescription(
        name=about.title,
        version=about.version,
        modality=about.modality,
        labels=labels_for(names),
        license=about.license or NOT_STATED,
        data_source=about.data_source or NOT_STATED,
        targets=about.targets,
    )


def describeModel(path: Path, name: str | None = None) -> ModelInfo:
    """What the metadata of a package folder or zip say.

    Raises:
        ModelError: it is no model package.
    """
    try:
        about = read_description(path)
    except ModelError as error:
        text = _("{path} is no model package; choose a folder or zip with configs/metadata.json in it.")
        raise ModelError(text.format(path=path)) from error
    return ModelInfo(name=name or str(path), about=about, path=None if name else path)
