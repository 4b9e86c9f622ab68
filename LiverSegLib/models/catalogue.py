"""The catalogue: models that can be had, ours and others', with what a user should know before choosing one.

It is data: `catalogue.json` beside this file, then `*.json` in the folder of models, then the files and folders that
$LIVERSEG_CATALOGUE names. A later entry takes the place of an earlier one of the same id, so that a hospital can point
to a server of its own.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from LiverSegLib.errors import InputError, ModelError
from LiverSegLib.io.regular_file import open_plain
from LiverSegLib.models.address import check_address
from LiverSegLib.models.archive import is_folder
from LiverSegLib.models.config import parse_json
from LiverSegLib.models.family import FAMILIES
from LiverSegLib.models.models_folder import models_folder
from LiverSegLib.models.sidecar import Sidecar, sidecar_entry, sidecar_from
from LiverSegLib.models.text import is_name, shown
from LiverSegLib.plain_data import from_plain

VARIABLE = "LIVERSEG_CATALOGUE"
OURS = Path(__file__).with_name("catalogue.json")
_MAX_BYTES = 8_000_000
_MOST_BYTES = 64 * 1024**3
_MOST_ENTRIES = 5000
_LONGEST = 2000
_CHECKSUM = r"sha256:[0-9a-f]{64}|sha1:[0-9a-f]{40}"
_SIDECAR_KEYS = tuple(part.name for part in fields(Sidecar))
"""What an entry says of a model that goes with it as its `liverseg.json`."""


@dataclass(frozen=True)
class Metric:
    """One published result: "liver Dice", 0.965, and where it was read."""

    name: str
    value: float
    source: str


@dataclass(frozen=True)
class Timing:
    """How long one image took: on which machine, seconds, and who measured what."""

    device: str
    seconds: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model of the catalogue.

    Args:
        about: id, title, license and all else that goes with the model as its `liverseg.json`.
        family: the form of its package, one of `FAMILIES`.
        url: where it is fetched; "" for one that ships with LiverSeg, or that the user added.
        bytes: of what is fetched; 0 where nobody knows.
        checksum: "sha256:..." or "sha1:..."; "" where nobody knows: then that of the first download counts.
        license_url, license_note: where the license can be read, and what it asks for beyond its name.
        non_commercial: it may not be used for money.
        homepage: of those who made it.
        metrics: published results.
        timings: measured times.
        memory_gb: memory of a GPU that it needs, as its authors say; 0 where nobody does.
        resolution: what the network sees, for example "1.5 mm".
        note: what matters for the choice.
    """

    about: Sidecar
    family: str = "bundle"
    url: str = ""
    bytes: int = 0
    checksum: str = ""
    license_url: str = ""
    license_note: str = ""
    non_commercial: bool = False
    homepage: str = ""
    metrics: tuple[Metric, ...] = ()
    timings: tuple[Timing, ...] = ()
    memory_gb: float = 0.0
    resolution: str = ""
    note: str = ""

    @property
    def id(self) -> str:
        """The plain name by which it is installed and run."""
        return self.about.id

    @property
    def title(self) -> str:
        """What people call it."""
        return self.about.title

    @property
    def license_text(self) -> str:
        """What the user is shown and accepts."""
        parts = (self.about.license, self.license_note, self.license_url)
        return "\n".join(part for part in parts if part)

    def __post_init__(self) -> None:
        """Raise InputError where an entry makes no sense."""
        texts = (self.license_url, self.license_note, self.homepage, self.resolution, self.note)
        for wrong, what in (
            (not self.id, "has no id"),
            (not self.title, "has no title"),
            (not self.about.license, "has no license"),
            (
                self.family not in FAMILIES,
                f"has the family {shown(self.family)}, which is none of {', '.join(FAMILIES)}",
            ),
            (not 0 <= self.bytes <= _MOST_BYTES, f"has {shown(self.bytes)} bytes"),
            (self.checksum and not re.fullmatch(_CHECKSUM, self.checksum), _checksum_text(self.checksum)),
            (any(len(text) > _LONGEST or not text.isprintable() for text in texts), "has a text that is not one line"),
            (not all(is_name(metric.name, 100) for metric in self.metrics), "has a metric without a name"),
            (not all(time.seconds > 0 for time in self.timings), "has a time that is none"),
            (not 0 <= self.memory_gb <= 1000, f"has {shown(self.memory_gb)} GB"),
        ):
            if wrong:
                raise InputError(f"it {what}")
        if self.url:
            check_address(self.url)


def _checksum_text(checksum: str) -> str:
    return f"has the checksum {shown(checksum)}; sha256: and 64 lower-case digits are needed, or sha1: and 40"


def entry_from(data: dict[str, Any]) -> Entry:
    """An entry from its JSON object, in which what goes into the `liverseg.json` stands beside all else.

    Raises:
        InputError: it lacks something, or makes no sense; the text ends a sentence.
        ModelError: its address is none.
    """
    about = sidecar_from({key: value for key, value in data.items() if key in _SIDECAR_KEYS})
    rest = {key: value for key, value in data.items() if key not in _SIDECAR_KEYS}
    if "about" in rest:
        raise InputError("it has the unknown field 'about'")
    plain = {key: value for key, value in sidecar_entry(about).items() if key != "names"}
    return replace(from_plain(Entry, rest | {"about": plain}, "it"), about=about)


@dataclass(frozen=True)
class Catalogue:
    """All entries by id, in the order of their files, and a sentence for each file or entry that cannot be used."""

    entries: dict[str, Entry] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def find(self, name: str) -> Entry | None:
        """The entry of that id."""
        return self.entries.get(name)


def read_catalogue(folder: Path | None = None) -> Catalogue:
    """Ours, and what the user and the hospital have added. A damaged file never hides the others.

    Args:
        folder: where models lie; None for the user's own place.
    """
    entries: dict[str, Entry] = {}
    problems: list[str] = []
    for path in [OURS, *_json_files(folder or models_folder()), *_named()]:
        try:
            data = _read(path)
        except ModelError as error:
            problems.append(str(error))
            continue
        for number, item in enumerate(data, start=1):
            try:
                entry = entry_from(item)
            except (InputError, ModelError) as error:
                problems.append(f"Entry {number} of {path} is left out: {error}")
            else:
                entries[entry.id] = entry
    return Catalogue(entries, tuple(problems))


def _read(path: Path) -> list[dict[str, Any]]:
    """The entries of a file, as they stand there."""
    try:
        with open_plain(path, _MAX_BYTES) as file:
            data = parse_json(file.read(), path)
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"The catalogue {path} cannot be read ({reason}); check {VARIABLE} and the file.") from error
    models = data.get("models")
    if data.get("version") != 1 or not isinstance(models, list) or len(models) > _MOST_ENTRIES:
        raise ModelError(f"{path} is no catalogue of models; it needs a version of 1 and a list of models.")
    wrong = next((item for item in models if not isinstance(item, dict)), None)
    if wrong is not None:
        raise ModelError(f"{path} is no catalogue of models; it lists {shown(wrong)}, which is no object.")
    return models


def _named() -> list[Path]:
    """The files that the environment variable names; of a folder all that end in .json."""
    given = [Path(text).expanduser() for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    return [file for path in given for file in (_json_files(path) if is_folder(path) else [path])]


def _json_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except OSError:
        return []
