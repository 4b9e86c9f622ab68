"""Mirrored images at test time: a model that sees each window also as in a mirror, and answers with the mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from LiverSegLib.errors import ModelError
from LiverSegLib.models.package import read_package
from LiverSegLib.models.spec import ModelPackage
from LiverSegLib.models.store import find_package


def mirrored_model(model: Path | str | None) -> ModelPackage:
    """A package that is run with the mirror images that its training showed; every further axis takes twice the time.

    Args:
        model: path of a package, name of a built-in or installed one, or None for the default.

    Raises:
        ModelError: it cannot be read, or tells no axis along which its training mirrored images: to such a network a
            mirrored body is one that it has never seen.
    """
    package = read_package(find_package(model))
    if not package.mirror_axes:
        raise ModelError(
            f"{package.name} tells of no mirrored images in its training, so mirroring would harm it; run it without "
            "--mirror, or train it with augment.flip and export it again."
        )
    return replace(package, inferer=replace(package.inferer, mirror=package.mirror_axes))
