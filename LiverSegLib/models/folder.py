"""A package's folder: its files are plain, lie inside it, have bounded sizes and are those of its checksums."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

from LiverSegLib.errors import ModelError
from LiverSegLib.io.regular_file import TooLargeError, UnsafeFileError, open_plain
from LiverSegLib.models import checksums
from LiverSegLib.models.checksums import digest
from LiverSegLib.models.config import parse_json

METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"
INFERENCE_YAML = ("configs/inference.yaml", "configs/inference.yml")
"""Where bundles have it that were written by hand; read where there is none in JSON."""
CARD = "docs/README.md"
LICENSE = "LICENSE"
WEIGHTS = ("models/model.safetensors", "models/model.pt")
"""The first that is there is loaded."""
_WEIGHTS_END = (".safetensors", ".pt", ".pth")
_OTHERS = ("liverseg.json", "plans.json", "dataset.json", "labels.csv", "model.pt")
PACKAGE_FILES = (checksums.FILE, METADATA, INFERENCE, *INFERENCE_YAML, LICENSE, *WEIGHTS, *_OTHERS)
"""What is read at fixed places of the packages of any family."""
MAX_WEIGHTS = 8 * 1024**3
MAX_TEXT = 8_000_000


def is_weights(name: str) -> bool:
    """Whether a file of this name holds weights, of any family of models."""
    return name.endswith(_WEIGHTS_END)


class PackageFolder:
    """Opens the files of one package. Once it has a list of checksums, only files of that list are read.

    Args:
        path: the folder.

    Raises:
        ModelError: its list of checksums cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._wanted: dict[str, str] | None = None
        if self.has(checksums.FILE):
            with self._opened(checksums.FILE, checksums.MAX_BYTES) as file:
                self._wanted = checksums.parse(file.read(checksums.MAX_BYTES), path / checksums.FILE)

    def has(self, name: str) -> bool:
        """Whether anything of that name is there, be it a file or not."""
        return os.path.lexists(self.path / name)

    def open(self, name: str, limit: int) -> BinaryIO:
        """A file of the package, its checksum compared.

        Args:
            name: relative path with forward slashes.
            limit: most bytes that it may have.

        Raises:
            ModelError: it is missing, no plain file, too large, not the listed one, or not listed.
        """
        file = self.peek(name, limit)
        try:
            if self._wanted is not None:
                self._compare(name, file)
        except BaseException:
            file.close()
            raise
        return file

    def peek(self, name: str, limit: int) -> BinaryIO:
        """As `open`, without its checksum: for what large files tell beside the weights that are compared when loaded.

        Raises:
            ModelError: it is missing, no plain file, too large, or not listed.
        """
        if self._wanted is not None and name not in self._wanted and self.has(name):
            raise ModelError(
                f"{self.path / name} is not in the package's {checksums.FILE}: it was added later; get the package "
                "again."
            )
        return self._opened(name, limit)

    def read(self, name: str, limit: int = MAX_TEXT) -> bytes:
        """The content of a file of the package.

        Raises:
            ModelError: as `open`.
        """
        with self.open(name, limit) as file:
            content = file.read(limit + 1)
        if len(content) > limit:  # some files of the system tell a size of 0 and hold more
            raise ModelError(f"{self.path / name} is larger than any package configuration; it is not read.")
        return content

    def read_json(self, name: str, limit: int = MAX_TEXT) -> dict[str, Any]:
        """The JSON object in a file of the package.

        Raises:
            ModelError: as `open`, or it is no JSON object of plain text.
        """
        return parse_json(self.read(name, limit), self.path / name)

    def check_listed(self, weights: bool) -> None:
        """Compare all listed files that are there: the weights, or everything else.

        Raises:
            ModelError: one is not what was listed.
        """
        for name in self._wanted or {}:
            if is_weights(name) == weights and self.has(name):
                self.open(name, MAX_WEIGHTS).close()

    def _opened(self, name: str, limit: int) -> BinaryIO:
        path = self.path / name
        try:
            return open_plain(path, limit, self.path)
        except FileNotFoundError as error:
            raise ModelError(f"{path} is missing; the folder is not a complete model package.") from error
        except TooLargeError as error:
            what = "weights" if is_weights(name) else "package configuration"
            raise ModelError(f"{path} is larger than any {what}; it is not read.") from error
        except UnsafeFileError as error:
            raise ModelError(f"{path} cannot be part of a package: {error}.") from error
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror or error}); get the package again.") from error

    def _compare(self, name: str, file: BinaryIO) -> None:
        assert self._wanted is not None
        try:
            found = digest(file)
            file.seek(0)
        except OSError as error:
            raise ModelError(f"{self.path / name} cannot be read ({error.strerror}); get the package again.") from error
        if found != self._wanted[name]:
            raise ModelError(
                f"{self.path / name} has a wrong checksum: it is damaged or was changed; get the package again."
            )
