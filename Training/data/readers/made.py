"""Cases without files of labels: phantoms and parts of a volume that show nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from Training.data.readers.case import Entry, Listing, RawCase
from Training.data.readers.templates import inside
from Training.errors import DataError
from Training.recipe.sources import EmptySource, PhantomSource


def phantom_listing(source: PhantomSource, data: Path) -> Listing:  # noqa: ARG001 (every listing is asked alike)
    """One entry a phantom; the same seed gives the same phantoms."""
    rng = np.random.default_rng(source.seed)
    entries = []
    for number in range(source.count):
        hard = rng.random(4) < source.hard_fraction * np.array([0.5, 0.5, 0.3, 0.6])
        name, read = f"{number:03d}", partial(_phantom, source, number, *(bool(h) for h in hard))
        entries.append(Entry(name=name, patient=name, source=source.name, read=read))
    return Listing(entries=entries)


def _phantom(source: PhantomSource, number: int, mass: bool, ascites: bool, arms: bool, trunk: bool) -> RawCase:
    from LiverSegLib.phantom import make_phantom

    phantom = make_phantom(
        source.seed + number, mass=mass, ascites=ascites, arms=arms, coverage="trunk" if trunk else "abdomen"
    )
    label = np.zeros(phantom.labelmap.shape, np.uint8)
    for theirs, ours in source.labels.items():
        label[phantom.labelmap == theirs] = ours
    return RawCase(phantom.volume, label)


def empty_listing(source: EmptySource, data: Path) -> Listing:
    """The one volume whose slices hold nothing."""
    path = inside(data, source.image, f"source {source.name}")
    name, read = source.name, partial(_empty, source, path)
    return Listing(entries=[Entry(name=name, patient=name, source=name, image=path, read=read)])


def _empty(source: EmptySource, path: Path) -> RawCase:
    from LiverSegLib.io import read_volume

    volume = read_volume(path)
    first, stop = source.slices
    size = volume.array.shape[2]
    if not 0 <= first < stop <= size:
        raise DataError(f"{source.name}: slices {first} to {stop} are not in {source.image}, which has {size}.", path)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * first
    part = volume.mapped(lambda channel: channel[:, :, first:stop], affine=affine)
    return RawCase(part, np.zeros(part.array.shape, np.uint8))
