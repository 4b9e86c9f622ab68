"""`liverseg.json` in the root of a model's folder: what we know of a model that its own files do not tell."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from LiverSegLib.errors import InputError, ModelError
from LiverSegLib.io.atomic import atomic_file
from LiverSegLib.labels import label_for, labels_for
from LiverSegLib.models.folder import PackageFolder
from LiverSegLib.models.spec import MODEL_NAME, WIDEST_MARGIN, Guide, ModelDescription
from LiverSegLib.models.text import find_odd_text, is_name, shown
from LiverSegLib.plain_data import from_plain

FILE = "liverseg.json"
MAX_BYTES = 1_000_000
_LONGEST_NAME = 100
_LONGEST_TEXT = 2000
_MOST_NAMES = 255
"""Labels are stored as uint8, and 0 is the background."""
_AXES = ("LR", "AP", "SI")
_SAME = ("version", "license", "data_source", "intended_use")
"""What a description has under the same name."""
D = TypeVar("D", bound=ModelDescription)


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What stands in the file; every part may be missing, and what is missing is as the model itself has it.

    Args:
        id: the plain name under which the model is installed; "" where it is not known.
        title, version: for lists and titles.
        modality: "CT", "MR", "DX" or "" for any.
        license, data_source, intended_use: one line each, for people.
        axcodes: axes of the array that the network wants, in the order x, y, z, for example "RAS"; "": as in the image.
        guide: another model, installed or built in, that says where to look.
        targets: names of the labels that are segmented unless others are asked for; (): all.
        names: the name of a label by its value: one of ours where it means the same, else their own.
        mirror: whether the network also sees the mirrored images that its training showed, of whose results the mean is
            taken; None: as the model has it.
    """

    id: str = ""
    title: str = ""
    version: str = ""
    modality: str = ""
    license: str = ""
    data_source: str = ""
    intended_use: str = ""
    axcodes: str = ""
    guide: Guide | None = None
    targets: tuple[str, ...] = ()
    names: dict[int, str] = field(default_factory=dict)
    mirror: bool | None = None

    def __post_init__(self) -> None:
        for wrong, what in (
            (self.id and not re.fullmatch(MODEL_NAME, self.id), f"the id {shown(self.id)}; a plain name is needed"),
            (not _is_short(self.title), f"the title {shown(self.title)}; a short name is needed"),
            (not _is_short(self.version), f"the version {shown(self.version)}; a short text is needed"),
            (not _is_short(self.modality), f"the modality {shown(self.modality)}; CT, MR or DX is meant"),
            (self.axcodes and not is_axcodes(self.axcodes), f"the axcodes {shown(self.axcodes)}; RAS is an example"),
            (self.guide and not _is_guide(self.guide), f"the guide {shown(self.guide, 100)}; {_A_GUIDE}"),
            (len(self.names) > _MOST_NAMES, f"{len(self.names)} names of labels; {_MOST_NAMES} are the most"),
            (len(self.targets) > _MOST_NAMES, f"{len(self.targets)} targets; {_MOST_NAMES} are the most"),
        ):
            if wrong:
                raise InputError(f"It has {what}.")
        for value, name in self.names.items():
            if not 0 < value <= _MOST_NAMES or not is_name(name, _LONGEST_NAME):
                raise InputError(f"It calls the label {shown(value)} {shown(name)}; {_A_NAME}.")
        for name in self.targets:
            if not is_name(name, _LONGEST_NAME):
                raise InputError(f"It has the target {shown(name)}; {_A_NAME}.")
        for text in (self.license, self.data_source, self.intended_use):
            if len(text) > _LONGEST_TEXT or not text.isprintable():
                raise InputError(f"It has the text {shown(text)}; one line of at most {_LONGEST_TEXT} is needed.")


_A_NAME = f"names of values from 1 to {_MOST_NAMES} that begin with a letter or a digit are needed"
_A_GUIDE = f"the plain name of a model and a margin_mm of 0 to {WIDEST_MARGIN:g} are needed"


def is_axcodes(text: str) -> bool:
    """Whether a text names the positive direction of each of three axes, such as "RAS" or "LPS"."""
    return len(text) == 3 and all(sum(letter in axis for letter in text) == 1 for axis in _AXES)


def _is_short(text: str) -> bool:
    return text == "" or is_name(text, _LONGEST_NAME)


def _is_guide(guide: Guide) -> bool:
    return re.fullmatch(MODEL_NAME, guide.model) is not None and 0 <= guide.margin_mm <= WIDEST_MARGIN


def read_sidecar(files: PackageFolder) -> Sidecar:
    """What the file of a model's folder says; an empty one where there is none.

    Raises:
        ModelError: it is damaged, or says what makes no sense.
    """
    if not files.has(FILE):
        return Sidecar()
    data = files.read_json(FILE, MAX_BYTES)
    try:
        return sidecar_from(data)
    except InputError as error:
        raise ModelError(f"{files.path / FILE} cannot be used: {error}") from error


def sidecar_from(data: dict[str, Any]) -> Sidecar:
    """What a JSON object says that stands in the file.

    Raises:
        InputError: a part is unknown, of a wrong type, or makes no sense.
    """
    if (odd := find_odd_text(data)) is not None:
        raise InputError(f"It holds the text {shown(odd)}, which is odd.")
    data = dict(data)
    names = data.pop("names", {})
    found = from_plain(Sidecar, data, FILE)
    if not isinstance(names, dict):
        raise InputError(f"It has the names {shown(names)}; an object of names by value is needed.")
    wrong = next((key for key in names if not re.fullmatch(r"[1-9][0-9]{0,2}", key)), None)
    if wrong is not None or not all(isinstance(name, str) for name in names.values()):
        raise InputError(f"It has the names {shown(names)}; {_A_NAME}.")
    return replace(found, names={int(key): name for key, name in names.items()})


def with_sidecar(found: D, sidecar: Sidecar) -> D:
    """A description in which what the sidecar says takes the place of what the model says of itself.

    Raises:
        ModelError: it gives two labels the same name.
    """
    said: dict[str, Any] = {"name": sidecar.title, "guide": sidecar.guide, "targets": sidecar.targets}
    said |= {key: getattr(sidecar, key) for key in _SAME}
    said["modality"] = sidecar.modality.upper()
    names = {label.value: label.name for label in found.labels}
    named = {v: label_for(v, sidecar.names[v]).name if v in sidecar.names else name for v, name in names.items()}
    if named != names:
        if len(set(named.values())) < len(named):
            raise ModelError(f"{FILE} of {found.title} gives two labels the same name; repair its names.")
        new = zip(found.labels, labels_for(named), strict=True)
        said["labels"] = tuple(old if named[old.value] == old.name else label for old, label in new)
    return replace(found, **{key: value for key, value in said.items() if value})


def sidecar_entry(sidecar: Sidecar) -> dict[str, Any]:
    """The JSON object of a sidecar; what is missing is left out."""
    data = {key: value for key, value in asdict(sidecar).items() if value not in ("", None, (), {})}
    if sidecar.names:
        data["names"] = {str(value): name for value, name in sorted(sidecar.names.items())}
    return data | ({"targets": list(sidecar.targets)} if sidecar.targets else {})


def write_sidecar(folder: Path, sidecar: Sidecar) -> None:
    """Put the file into a model's folder.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(folder / FILE) as file:
        file.write((json.dumps(sidecar_entry(sidecar), indent=2, ensure_ascii=False) + "\n").encode())
