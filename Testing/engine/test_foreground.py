"""Only the foreground is shown to the network: as MONAI's CropForegroundd does it in its place in the preprocessing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from LiverSegLib.engine.axes import AxisOrder
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import InputError
from LiverSegLib.io import read_volume
from LiverSegLib.models import read_package
from LiverSegLib.models.crop import ForegroundCrop
from LiverSegLib.models.resampling import Resampling
from LiverSegLib.request import Settings
from LiverSegLib.volume import Volume
from Testing.equivalence.bundle_reference import bundle_labels

MakePackage = Callable[..., Path]
RAW = Settings(largest_component=False, fill_holes=False, lesions_inside=False)
GRID = np.diag([1.4, 1.6, 3.0, 1.0])
SHAPE = (32, 28, 22)
FILLED = (slice(6, 24), slice(10, 23), slice(7, 16))
"""Where the case has values above 0, nearer to one end of each axis. It ends more than a model voxel before the image
does: the image's first voxel lies on one, and just one outside the box MONAI's rounding errors decide what it is."""
FIRST = Resampling(normalize_first=True)
PLACES: dict[str, dict[str, Any]] = {
    "before resampling": {"crop": ForegroundCrop()},
    "with a margin": {"crop": ForegroundCrop(margin=2)},
    "what is not 0": {"crop": ForegroundCrop(nonzero=True), "below": 0.0},
    "after resampling": {"crop": ForegroundCrop(resampled=True)},
    "last": {"crop": ForegroundCrop(resampled=True, normalized=True)},
    "last with a margin": {"crop": ForegroundCrop(resampled=True, normalized=True, margin=1)},
    "labels": {"crop": ForegroundCrop(resampled=True, normalized=True), "nearest": True},
    "labels from the input": {"crop": ForegroundCrop(), "nearest": True},
    "probabilities": {"crop": ForegroundCrop(resampled=True, normalized=True), "softmax": True, "labels": 2},
    "a size": {"crop": ForegroundCrop(), "pixdim": (-1, -1, -1), "size": (17, 19, 11)},
    "intensities first": {"crop": ForegroundCrop(), "resampling": FIRST},
    "by intensities": {"crop": ForegroundCrop(normalized=True), "resampling": FIRST},
    "first and last": {"crop": ForegroundCrop(resampled=True, normalized=True), "resampling": FIRST},
    "on its own axes": {"crop": ForegroundCrop(margin=1), "axcodes": "ijk"},
    "padded": {"crop": ForegroundCrop(resampled=True), "divisible": (16, 16, 4)},
}


def all_orientations() -> list[npt.NDArray[np.float64]]:
    """The 48 ways in which an array can lie along the patient's axes."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = GRID[:3, :3][:, order] * np.array(signs)
            affine[:3, 3] = 12, -34, 56
            found.append(affine)
    return found


def case(affine: npt.NDArray[np.float64] = GRID, below: float = -200.0) -> Volume:
    """Values all over an off-center box with `below` around it."""
    rng = np.random.default_rng(8)
    rough = rng.normal(80, 150, (8, 7, 6)).repeat(4, 0).repeat(4, 1).repeat(4, 2)[:, :, :22]
    values = np.full(SHAPE, below, np.float32)
    values[FILLED] = np.maximum(rough, below)[FILLED]
    values[6, 10, 7] = values[23, 22, 15] = 90.0
    return Volume(values.round().astype(np.int16), affine, "the case", "CT")


def of_monai(package: Path, volume: Volume, folder: Path) -> npt.NDArray[np.uint8]:
    nib.save(nib.Nifti1Image(np.asarray(volume.array), volume.affine), folder / "case.nii.gz")
    return bundle_labels(package, folder / "case.nii.gz")


def changed(place: str) -> tuple[dict[str, Any], float]:
    options: dict[str, Any] = {
        "pixdim": (1.93, 1.71, 2.23),
        "roi_size": (16, 16, 16),
        "overlap": 0.5,
        "window": (0.0, 300.0),
    }
    options |= PLACES[place]
    return options, options.pop("below", -200.0)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("place", PLACES)
def test_the_box_is_the_one_of_monai(random_package: MakePackage, tmp_path: Path, place: str) -> None:
    options, below = changed(place)
    package, volume = random_package(**options), case(below=below)
    theirs = of_monai(package, volume, tmp_path)
    ours = Segmenter(package, "cpu", RAW).segment(read_volume(tmp_path / "case.nii.gz")).labelmap
    assert (ours != theirs).sum() <= 2
    assert 0.02 < (theirs > 0).mean() < 0.5
    without = Segmenter(replace(read_package(package), crop=None), "cpu", RAW).segment(volume).labelmap
    assert (without != theirs).mean() > 0.01


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("place", ["with a margin", "last"])
@pytest.mark.parametrize("number", range(0, 48, 5))
def test_so_it_is_on_every_orientation(random_package: MakePackage, tmp_path: Path, place: str, number: int) -> None:
    options, below = changed(place)
    package, volume = random_package(**options), case(all_orientations()[number], below)
    theirs = of_monai(package, volume, tmp_path)
    ours = Segmenter(package, "cpu", RAW).segment(read_volume(tmp_path / "case.nii.gz")).labelmap
    assert (ours != theirs).sum() <= 2


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("place", ["with a margin", "last", "labels"])
def test_it_is_the_same_patient_in_all_48_orientations(random_package: MakePackage, place: str) -> None:
    options, below = changed(place)
    segmenter = Segmenter(random_package(**options), "cpu", RAW)
    volume = case(below=below)
    expected = segmenter.segment(volume).labelmap
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            axes = AxisOrder(order, flips)  # type: ignore[arg-type]
            turned = Volume(axes.apply(volume.array), turned_affine(volume, axes), "the case", "CT")
            found = segmenter.segment(turned).labelmap
            assert (found == axes.apply(expected)).all(), axes


def turned_affine(volume: Volume, axes: AxisOrder) -> npt.NDArray[np.float64]:
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for axis, (source, flip) in enumerate(zip(axes.order, axes.flip, strict=True)):
        matrix[source, axis] = -1 if flip else 1
        matrix[source, 3] = volume.array.shape[source] - 1 if flip else 0
    return volume.affine @ matrix


@pytest.mark.parametrize("place", ["before resampling", "after resampling", "what is not 0"])
def test_nothing_is_found_outside_the_box(threshold_package: MakePackage, place: str) -> None:
    """A network that calls everything liver, and an image that is the background around a small box."""
    options, below = changed(place)
    package = threshold_package(**options | {"window": (-2000.0, -1000.0)})
    values = np.full(SHAPE, below, np.float32)
    values[FILLED] = 100
    found = Segmenter(package, "cpu", RAW).segment(Volume(values, GRID)).labelmap
    outside = found.copy()
    outside[tuple(slice(side.start - 2, side.stop + 2) for side in FILLED)] = 0
    assert found[FILLED].all()
    assert not outside.any()


@pytest.mark.parametrize(
    ("crop", "words"),
    [(ForegroundCrop(), "lies above 0"), (ForegroundCrop(resampled=True, normalized=True), "lies above 0")],
)
def test_an_image_without_foreground_is_refused(random_package: MakePackage, crop: ForegroundCrop, words: str) -> None:
    volume = Volume(np.where(case().array > 0, -150, -200), GRID, "the case")
    with pytest.raises(InputError, match=f"Toy model .* {words}, and the case has none; check"):
        Segmenter(random_package(crop=crop), "cpu").segment(volume)
