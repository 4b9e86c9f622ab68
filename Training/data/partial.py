"""What a preparation has converted so far: the next one goes on from there."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from pydantic import TypeAdapter

from Training.data.findings import Facts, Finding
from Training.data.folder import PreparedFolder
from Training.data.readers import Case, Entry
from Training.recipe import Recipe

Converted = tuple[list[Finding], Facts, list[Case]]
_KEPT = TypeAdapter(tuple[str, Converted])
# Raised when the same files and recipe would be converted to something else.
_FORMAT = 2


def partial_folder(out: Path) -> Path:
    """Where the cases of an unfinished preparation of `out` lie, beside it."""
    target = out.resolve()
    return target.with_name(f".{target.name}-partial")


class Partial:
    """Converted cases in a folder; each counts only once its files are complete.

    Args:
        folder: becomes the prepared folder; what is done is remembered beside its cases.
        recipe: a case that was converted for another grid, other labels or from another source is not taken.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self._done = PreparedFolder(folder), folder / "done"
        self._sources = {source.name: source.model_dump(mode="json") for source in recipe.sources}
        self._recipe = recipe.model_dump(
            mode="json", include={"preprocess", "labels", "channels", "spatial_dims", "modality"}
        )
        for made in (self.folder.cases, self._done):
            made.mkdir(parents=True, exist_ok=True)

    def __bool__(self) -> bool:
        return any(self._done.iterdir())

    def get(self, entry: Entry) -> Converted | None:
        """What is kept of a case whose files have not changed since."""
        try:
            key, kept = _KEPT.validate_json(self._file(entry).read_bytes())
        except (OSError, ValueError):
            return None
        return kept if key == self._key(entry) else None

    def put(self, entry: Entry, converted: Converted) -> None:
        """Remember a case whose files are written."""
        self._file(entry).write_bytes(_KEPT.dump_json((self._key(entry), converted)))

    def finish(self, cases: list[Case]) -> None:
        """Leave nothing but the files of these cases."""
        wanted = {file for case in cases for file in (self.folder.image(case.id), self.folder.label(case.id))}
        for file in self.folder.cases.iterdir():
            if file not in wanted:
                file.unlink()
        shutil.rmtree(self._done)

    def _file(self, entry: Entry) -> Path:
        return self._done / f"{entry.id}.json"

    def _key(self, entry: Entry) -> str:
        """Changes with the files' sizes and times, and with all of the recipe that conversion depends on."""
        files: list[tuple[str, int, int]] = []
        for path in (entry.image, *entry.further, *entry.masks):
            if path is not None:
                inside = sorted(path.rglob("*")) if path.is_dir() else [path]
                files += [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in inside]
        parts = [_FORMAT, self._recipe, self._sources[entry.source], entry.name, entry.patient, files]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
