"""The store: which models there are, and getting, adding, checking and removing them.

A model is fetched and unpacked beside its place and appears there in one step, whole and with its checksums. What
was there before stays until then. Nothing is fetched unless somebody asks for it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from LiverSegLib.errors import LicenseNotAcceptedError, LiverSegError, ModelError
from LiverSegLib.io.atomic import temporary_folder, told
from LiverSegLib.io.leftovers import remove_leftovers, temporary_name
from LiverSegLib.models.archive import is_folder, unpack
from LiverSegLib.models.catalogue import Catalogue, Entry, read_catalogue
from LiverSegLib.models.checksums import digest, write_checksums
from LiverSegLib.models.download import Patience, download
from LiverSegLib.models.family import BUNDLE, Family, family_of, find_root
from LiverSegLib.models.folder import PackageFolder
from LiverSegLib.models.folder_lock import locked
from LiverSegLib.models.model_files import check_files, copy_files, has_sizes, size_of, sizes_of
from LiverSegLib.models.models_folder import installed_names, installed_path, models_folder
from LiverSegLib.models.package import read_description, read_package
from LiverSegLib.models.record import Record, read_record, text_sha256, write_record
from LiverSegLib.models.sidecar import Sidecar, read_sidecar, write_sidecar
from LiverSegLib.models.spec import MODEL_NAME, NOT_STATED
from LiverSegLib.models.store import BUILT_IN, built_in_names
from LiverSegLib.models.text import is_name, one_line, shown
from LiverSegLib.models.transfer import TransferCallback, Watch, size_text

_DOWNLOADS = ".downloads"
_LOCKS = ".locks"
_SPACE = 3
"""Times the bytes of the zip: the zip itself, what it holds, and the weights in another form."""
StopCallback = Callable[[], bool]

BUILT_IN_STATE = "built in"
INSTALLED = "installed"
NOT_INSTALLED = "not installed"
DAMAGED = "damaged"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A model of the catalogue, or one that the user added, and whether it is here.

    Args:
        entry: what is known of it.
        state: "built in", "installed", "not installed" or "damaged".
        bytes: on the disk; of a model that is not installed those that would be fetched, 0 where nobody knows.
        path: its folder; None where it is not installed.
        accepted: the user has accepted its license, or need not.
    """

    entry: Entry
    state: str
    bytes: int = 0
    path: Path | None = None
    accepted: bool = False


class ModelStore:
    """The models of one user. Any thread may call it; it knows no window and asks nobody.

    Args:
        folder: where the models lie; None for $LIVERSEG_MODELS, else a folder of the cache.
        patience: how long a server may be silent.
    """

    def __init__(self, folder: Path | str | None = None, *, patience: Patience | None = None) -> None:
        self.folder = models_folder() if folder is None else Path(folder)
        self._patience = patience

    def catalogue(self) -> Catalogue:
        """What can be had; `problems` has a sentence for each file of somebody's that cannot be used."""
        return read_catalogue(self.folder)

    def entries(self) -> list[Listed]:
        """Every model: first those that ship with LiverSeg, then the catalogue, then what the user added."""
        found = self.catalogue().entries
        built_in, installed = built_in_names(), installed_names(self.folder)
        names = [*built_in, *(n for n in found if n not in built_in)]
        names += [name for name in installed if name not in names]
        return [self._listed(name, found.get(name)) for name in names]

    def find(self, name: str) -> Listed:
        """One model by its id.

        Raises:
            ModelError: nobody knows it.
        """
        entry = self.catalogue().find(name)
        if entry is None and name not in built_in_names() and installed_path(name, self.folder) is None:
            raise ModelError(f"There is no model {one_line(name, 100)}; see: liverseg models list")
        return self._listed(name, entry)

    def path_of(self, name: str) -> Path:
        """The folder of a model that is here.

        Raises:
            ModelError: it is not.
        """
        found = self.find(name)
        if found.path is None:
            raise ModelError(_not_installed(name) if found.state != DAMAGED else _damaged(name))
        return found.path

    def needed(self, entry: Entry) -> list[Entry]:
        """What is to be fetched so that `entry` runs: the models that it names and that are not here, then itself.

        Raises:
            ModelError: it names one that nobody knows.
        """
        wanted, left = [entry], [entry]
        while left:
            guide = left.pop().about.guide
            if guide is not None and guide.model not in (one.id for one in wanted):
                listed = self.find(guide.model)
                wanted.append(listed.entry)
                left.append(listed.entry)
        return [one for one in reversed(wanted) if self._listed(one.id, one).path is None or one is entry]

    def install(
        self,
        entry: Entry,
        *,
        accept_license: bool = False,
        allow_change: bool = False,
        progress: TransferCallback | None = None,
        should_stop: StopCallback | None = None,
    ) -> Path:
        """Fetch a model of the catalogue, and first those that it works with; a model that is here is left alone.

        Args:
            entry: which.
            accept_license: the user has read and accepted the licenses of all that is `needed`.
            allow_change: take the file although it is another one than when it was first fetched.
            progress: called in this thread.
            should_stop: asked often, in this thread.

        Returns:
            Its folder.

        Raises:
            LicenseNotAcceptedError: the license has to be accepted first.
            ModelError: it cannot be fetched, is not what it should be, or is no model.
            OutputError: it cannot be written.
            InstallCancelled: the caller wanted to stop.
        """
        for one in self.needed(entry):
            self._check_license(one, accept_license)
        for one in self.needed(entry):
            if one.id not in built_in_names():
                self._fetch(one, allow_change, Watch(one.title, progress, should_stop))
        return self.path_of(entry.id)

    def add(
        self,
        path: Path | str,
        *,
        name: str | None = None,
        accept_license: bool = False,
        progress: TransferCallback | None = None,
        should_stop: StopCallback | None = None,
    ) -> Listed:
        """Install a zip or a folder that is here, for machines without a network and for models of one's own.

        A file that the catalogue knows by its checksum, or by its name, gets what the catalogue says of it.

        Args:
            path: the zip or the folder; it stays as it is.
            name: the id that it gets, or that of its entry in the catalogue; None: found out.
            accept_license: the user has accepted the license of the catalogue's entry.
            progress: called in this thread.
            should_stop: asked often, in this thread.

        Raises:
            LicenseNotAcceptedError: the catalogue has a license for it, which has to be accepted first.
            ModelError: there is nothing, it is no model, or the id is taken.
            OutputError: it cannot be written.
            InstallCancelled: the caller wanted to stop.
        """
        path = Path(path).expanduser()
        if name is not None and not re.fullmatch(MODEL_NAME, name):
            raise ModelError(f"{shown(name)} cannot be the name of a model; take letters, digits, '.', '_' and '-'.")
        watch = Watch(one_line(path.name, 100), progress, should_stop)
        sha256 = _file_sha256(path, watch)
        entry = self._known(path, sha256, name)
        wanted = name or (entry.id if entry else _plain_name(path))
        if wanted in built_in_names() or installed_path(wanted, self.folder) is not None:
            raise ModelError(f"There is a model {wanted} already; remove it first, or give another name.")
        if entry is not None:
            self._check_license(entry, accept_license)
            _compare(entry, sha256, path)
        with self._locked(wanted, watch):
            self._check_space(size_of(path))
            record = replace(read_record(self.folder, wanted), url="", sha256=sha256)
            self._place(path, wanted, entry, record, watch)
        return self.find(wanted)

    def verify(
        self, name: str, *, progress: TransferCallback | None = None, should_stop: StopCallback | None = None
    ) -> None:
        """Compare every file of a model with its checksum.

        Raises:
            ModelError: one is missing, changed or was added; the sentence names it.
            InstallCancelled: the caller wanted to stop.
        """
        found = self.find(name)
        path = found.path or self._place_of(name)
        if not is_folder(path):
            raise ModelError(_not_installed(name))
        watch = Watch(found.entry.title, progress, should_stop)
        check_files(path, name, watch)

    def remove(self, name: str) -> None:
        """Take an installed model off the disk; that its license was accepted is remembered.

        Raises:
            ModelError: it is not installed, or ships with LiverSeg.
            OutputError: it is in use, or may not be removed.
        """
        if name in built_in_names():
            raise ModelError(f"The model {name} ships with LiverSeg and cannot be removed.")
        path = self._place_of(name)
        if not is_folder(path):
            raise ModelError(f"The model {one_line(name, 100)} is not installed; see: liverseg models list")
        with self._locked(name, Watch(name)):
            self._discard(path)
            write_record(self.folder, name, replace(read_record(self.folder, name), sizes={}))

    def accepted(self, entry: Entry) -> bool:
        """Whether the user has accepted this very license text."""
        return read_record(self.folder, entry.id).accepted == text_sha256(entry.license_text)

    def _place_of(self, name: str) -> Path:
        if not re.fullmatch(MODEL_NAME, name):
            raise ModelError(f"There is no model {one_line(name, 100)}; see: liverseg models list")
        return self.folder / name

    def _listed(self, name: str, entry: Entry | None) -> Listed:
        if name in built_in_names():
            path = BUILT_IN / name
            known = entry or _entry_of(path, name)
            return Listed(entry=known, state=BUILT_IN_STATE, bytes=size_of(path), path=path, accepted=True)
        path = self._place_of(name)
        if not is_folder(path):
            assert entry is not None
            return Listed(entry=entry, state=NOT_INSTALLED, bytes=entry.bytes, accepted=self.accepted(entry))
        known = entry or _entry_of(path, name)
        if not has_sizes(path, read_record(self.folder, name).sizes):
            return Listed(entry=known, state=DAMAGED, bytes=size_of(path), accepted=self.accepted(known))
        return Listed(entry=known, state=INSTALLED, bytes=size_of(path), path=path, accepted=True)

    def _check_license(self, entry: Entry, accept: bool) -> None:
        if entry.id in built_in_names() or self.accepted(entry):
            return
        if not accept:
            raise LicenseNotAcceptedError.of(entry.id, entry.title, entry.about.license)
        with told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            record = replace(read_record(self.folder, entry.id), accepted=text_sha256(entry.license_text))
            write_record(self.folder, entry.id, record)

    def _fetch(self, entry: Entry, allow_change: bool, watch: Watch) -> None:
        if not entry.url:
            raise ModelError(f"The catalogue has no address for {entry.title}; add its file: liverseg models add FILE")
        with self._locked(entry.id, watch):
            if self._listed(entry.id, entry).path is not None:  # another process was first
                return
            file = self.folder / _DOWNLOADS / f"{entry.id}.zip"
            with told(file):
                file.parent.mkdir(exist_ok=True)
            sha256 = download(
                entry.url,
                file,
                watch=watch,
                checksum=entry.checksum,
                check_size=self._check_space,
                patience=self._patience,
            )
            before = read_record(self.folder, entry.id)
            changed = not entry.checksum and before.url == entry.url and before.sha256 not in ("", sha256)
            if changed and not allow_change:
                file.unlink()
                raise ModelError(
                    f"The file at {entry.url} is another one than when it was first fetched here; if those who made it "
                    f"say so, fetch it with: liverseg models get {entry.id} --changed"
                )
            self._place(file, entry.id, entry, replace(before, url=entry.url, sha256=sha256), watch)
            with suppress(OSError):
                file.unlink()

    def _place(self, source: Path, name: str, entry: Entry | None, record: Record, watch: Watch) -> None:
        """Unpack or copy `source` beside the place of the model, complete it, and put it there in one step."""
        with told(self.folder), temporary_folder(self.folder) as stage:
            if is_folder(source):
                root, family = find_root(source, source)
                copy_files(root, stage / "model", watch)
                root = stage / "model"
            else:
                (stage / "unpacked").mkdir()
                unpack(source, stage / "unpacked", lambda done, total: watch.report("unpack", done, total))
                root, family = find_root(stage / "unpacked", source)
            files = PackageFolder(root)
            files.check_listed(weights=True)
            files.check_listed(weights=False)
            watch.report("prepare")
            _prepare(family, root, source, watch)
            about = entry.about if entry is not None else read_sidecar(files)
            write_sidecar(root, replace(about, id=name))
            write_checksums(root, watch.counting("list", size_of(root)))
            read_package(root)  # what cannot be run is told now, and not installed
            watch.check()
            place = self._place_of(name)
            if is_folder(place):  # a damaged one
                self._discard(place)
            with told(place):
                root.rename(place)
        write_record(self.folder, name, replace(record, sizes=sizes_of(place)))

    def _known(self, path: Path, sha256: str, name: str | None) -> Entry | None:
        """The entry of the catalogue that a file is of: by the id that is given, its checksum, or its name."""
        entries = self.catalogue().entries
        if name is not None:
            return entries.get(name)
        by_sum = [one for one in entries.values() if sha256 and one.checksum == f"sha256:{sha256}"]
        by_name = [one for one in entries.values() if one.url and one.url.rpartition("/")[2] == path.name]
        found = by_sum or (by_name if len(by_name) == 1 else [])
        return found[0] if found else None

    def _check_space(self, count: int) -> None:
        """Refuse a zip of `count` bytes that would fill the disk."""
        free = shutil.disk_usage(self.folder).free
        if free < _SPACE * count:
            raise ModelError(
                f"There is not enough space in {self.folder}: {size_text(_SPACE * count)} are needed and "
                f"{size_text(free)} are free; free some, or let LIVERSEG_MODELS name another folder."
            )

    @contextmanager
    def _locked(self, name: str, watch: Watch) -> Iterator[None]:
        with told(self.folder):
            (self.folder / _LOCKS).mkdir(parents=True, exist_ok=True)
            lock = self.folder / _LOCKS / f"{name}.lock"
            lock.touch()
        with locked(lock, lambda: watch.report("wait")):
            remove_leftovers(self.folder)
            yield

    def _discard(self, path: Path) -> None:
        """Out of its place in one step, then off the disk."""
        gone = self.folder / temporary_name()
        with told(path):
            path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _prepare(family: Family, root: Path, source: Path, watch: Watch) -> None:
    try:
        family.prepare(root, watch.check)
    except ImportError as error:
        raise ModelError(
            f"{source} needs the Python package {error.name} to bring its weights into a safe form; install that first."
        ) from error


def _not_installed(name: str) -> str:
    return f"The model {name} is not installed; fetch it with: liverseg models get {name}"


def _damaged(name: str) -> str:
    return f"Files of the model {name} are missing or broken off; fetch it again with: liverseg models get {name}"


def _entry_of(path: Path, name: str) -> Entry:
    """What is known of a model that no catalogue has: what it tells itself."""
    about = Sidecar()
    with suppress(LiverSegError):
        about = read_sidecar(PackageFolder(path))
    with suppress(LiverSegError):
        told_by_itself = read_description(path)
        about = replace(
            about,
            title=about.title or told_by_itself.name,
            version=about.version or told_by_itself.version,
            modality=about.modality or told_by_itself.modality,
            license=about.license or told_by_itself.license,
            data_source=about.data_source or told_by_itself.data_source,
            targets=about.targets or tuple(label.name for label in told_by_itself.labels),
        )
    about = replace(about, id=name, title=about.title or name, license=about.license or NOT_STATED)
    return Entry(about=about, family=(family_of(path) or BUNDLE).name)


def _plain_name(path: Path) -> str:
    """An id from the name of a file."""
    stem = path.stem if path.suffix.lower() == ".zip" else path.name
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:100]
    return name if is_name(name, 100) else "model"


def _file_sha256(path: Path, watch: Watch) -> str:
    """SHA-256 of a zip; "" for a folder."""
    if is_folder(path):
        return ""
    try:
        with path.open("rb") as file:
            return digest(file, watch.counting("check", path.stat().st_size))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{one_line(path, 300)} cannot be read ({reason}); check the path.") from error


def _compare(entry: Entry, sha256: str, path: Path) -> None:
    kind, _, wanted = entry.checksum.partition(":")
    if sha256 and kind == "sha256" and wanted != sha256:
        raise ModelError(
            f"{path} is not the file that the catalogue has for {entry.title}: it has another checksum; get it "
            "again, or give it a name of its own with --name."
        )
