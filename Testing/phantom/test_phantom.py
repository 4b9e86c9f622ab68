"""The phantom: anatomy that holds, the same world on every grid, and an MSD-style data set."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from LiverSegLib.phantom import Phantom, make_phantom
from LiverSegLib.phantom.imaging import axis_codes, orient
from Training.data.phantoms import write_dataset

nib = pytest.importorskip("nibabel")

COARSE: dict[str, Any] = {"spacing": (4.0, 4.0, 5.0)}
# Every seed is drawn the same way; more of them are for the slow tests.
SEEDS = (0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (3, 4, 5)))


@functools.cache
def _made(seed: int, options: tuple[tuple[str, Any], ...]) -> Phantom:
    return make_phantom(seed, **dict(options))


def coarse(seed: int, **options: Any) -> Phantom:
    """A quick phantom; equal ones are made once."""
    return _made(seed, tuple(sorted((COARSE | options).items())))


def milliliters(mask: np.ndarray, phantom: Phantom) -> float:
    return float(mask.sum() * np.prod(phantom.volume.spacing) / 1000)


def centroid(phantom: Phantom) -> Any:
    """Center of the liver in RAS mm."""
    middle = np.argwhere(phantom.labelmap > 0).mean(axis=0)
    return phantom.volume.affine[:3, :3] @ middle + phantom.volume.affine[:3, 3]


def median_hu(phantom: Phantom) -> float:
    return float(np.median(phantom.volume.array[phantom.labelmap == 1]))


@pytest.fixture(scope="module", params=SEEDS)
def a_phantom(request: pytest.FixtureRequest) -> Phantom:
    return coarse(request.param)


def test_same_seed_same_phantom() -> None:
    first, second = coarse(7), make_phantom(7, **COARSE)
    assert np.array_equal(first.volume.array, second.volume.array)
    assert np.array_equal(first.labelmap, second.labelmap)
    assert np.array_equal(first.volume.affine, second.volume.affine)


def test_other_seed_other_phantom() -> None:
    assert np.linalg.norm(centroid(coarse(7)) - centroid(coarse(2))) > 0.5


def test_array_and_labelmap_fit(a_phantom: Phantom) -> None:
    assert a_phantom.volume.array.dtype == np.int16
    assert a_phantom.labelmap.dtype == np.uint8
    assert a_phantom.labelmap.shape == a_phantom.volume.array.shape
    assert set(np.unique(a_phantom.labelmap)) <= {0, 1, 2}


def test_liver_has_a_human_size(a_phantom: Phantom) -> None:
    assert 900 < milliliters(a_phantom.labelmap > 0, a_phantom) < 2500


def test_liver_is_on_the_right(a_phantom: Phantom) -> None:
    assert centroid(a_phantom)[0] > 15


def test_liver_is_one_piece(a_phantom: Phantom) -> None:
    assert ndimage.label(a_phantom.labelmap > 0)[1] == 1


def test_hu_are_those_of_a_ct(a_phantom: Phantom) -> None:
    values = a_phantom.volume.array
    assert values.min() >= -1024
    assert 300 < values.max() < 3072
    assert np.median(values[..., :1]) < -100
    assert 0 < median_hu(a_phantom) < 140


@pytest.mark.parametrize(("phase", "low", "high"), [("native", 40, 70), ("arterial", 55, 90), ("portal", 85, 130)])
def test_liver_enhances_with_the_phase(phase: Any, low: float, high: float) -> None:
    assert low < median_hu(coarse(3, phase=phase, fatty=False, lesions=0)) < high


def test_fatty_liver_is_dark() -> None:
    assert 5 < median_hu(coarse(3, phase="native", fatty=True, lesions=0)) < 42


def test_noise_level_is_respected() -> None:
    quiet, loud = (coarse(3, noise=level, lesions=0, phase="native") for level in (5.0, 25.0))
    spread = [float(p.volume.array[ndimage.binary_erosion(p.labelmap == 1, iterations=3)].std()) for p in (quiet, loud)]
    assert spread[0] < 12
    assert 20 < spread[1] < 32


def test_lesions_lie_in_the_liver() -> None:
    phantom = coarse(5, lesions=5, spacing=(2.5, 2.5, 3.0))
    tumor = phantom.labelmap == 2
    assert ndimage.label(tumor)[1] >= 1
    closed = ndimage.binary_fill_holes(phantom.labelmap > 0)
    assert closed[tumor].all()
    assert milliliters(tumor, phantom) < 0.4 * milliliters(phantom.labelmap > 0, phantom)


def test_no_lesions_when_none_are_asked_for() -> None:
    assert not (coarse(5, lesions=0).labelmap == 2).any()


def test_all_orientations_show_the_same_world() -> None:
    reference = coarse(2, orientation="RAS")
    assert len(set(axis_codes())) == 48
    # Painting is the same for all; turning the array is what can go wrong.
    for code in axis_codes():
        array, affine = orient(reference.labelmap, reference.volume.affine, code)
        assert "".join(nib.aff2axcodes(affine)) == code
        middle = affine[:3, :3] @ np.argwhere(np.asarray(array) > 0).mean(axis=0) + affine[:3, 3]
        assert np.allclose(middle, centroid(reference), atol=1e-6)


@pytest.mark.parametrize("code", ["LPS", "AIR", "SLP"])
def test_orientation_is_what_was_asked_for(code: str) -> None:
    phantom = coarse(2, orientation=code)
    assert "".join(nib.aff2axcodes(phantom.volume.affine)) == code
    assert np.allclose(centroid(phantom), centroid(coarse(2, orientation="RAS")), atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"spacing": (3.0, 3.0, 3.0)}, {"oblique_degrees": 12.0}, {"coverage": "abdomen"}, {"arms": True}]
)
def test_anatomy_does_not_depend_on_the_grid(options: dict[str, Any]) -> None:
    one, other = coarse(4), coarse(4, **options)
    assert np.linalg.norm(centroid(one) - centroid(other)) < 2.5
    volumes = [milliliters(p.labelmap > 0, p) for p in (one, other)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.05)


def test_spacing_is_kept() -> None:
    phantom = make_phantom(1, spacing=(5.0, 5.5, 6.0), orientation="RAS")
    assert phantom.volume.spacing == pytest.approx((5.0, 5.5, 6.0))


def test_oblique_affine_is_rigid() -> None:
    phantom = coarse(1, oblique_degrees=10.0, orientation="RAS")
    axes = phantom.volume.affine[:3, :3] / np.array(phantom.volume.spacing)
    assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    assert not np.allclose(axes, np.eye(3), atol=1e-3)


def test_trunk_reaches_beyond_the_liver() -> None:
    phantom = coarse(1, coverage="trunk", orientation="RAS")
    with_liver = np.asarray((phantom.labelmap > 0).any(axis=(0, 1)))
    assert with_liver.mean() < 0.5
    assert not with_liver[:20].any()
    assert not with_liver[-15:].any()


def test_mass_takes_room_that_is_not_liver() -> None:
    plain, ill = (coarse(6, mass=mass, lesions=0, orientation="RAS", noise=5.0) for mass in (False, True))
    changed = np.abs(plain.volume.array.astype(float) - ill.volume.array) > 40
    assert milliliters(changed, ill) > 60
    assert 900 < milliliters(ill.labelmap > 0, ill) < 2500


def test_ascites_surrounds_the_liver_with_fluid() -> None:
    def rim(ascites: bool) -> float:
        phantom = coarse(6, ascites=ascites, lesions=0, phase="portal", noise=5.0, spacing=(3.0, 3.0, 3.0))
        liver = phantom.labelmap > 0
        shell = ndimage.binary_dilation(liver, iterations=3) & ~ndimage.binary_dilation(liver)
        return float(((phantom.volume.array > 0) & (phantom.volume.array < 25))[shell].mean())

    assert rim(True) > 2 * rim(False)


def test_arms_add_bone_beside_the_body() -> None:
    for arms in (False, True):
        phantom = coarse(6, arms=arms, orientation="RAS")
        x = phantom.volume.affine[0, 0] * np.arange(phantom.volume.array.shape[0]) + phantom.volume.affine[0, 3]
        beside = phantom.volume.array[np.abs(x) > 185]
        assert bool((beside > 300).any()) is arms


@pytest.mark.parametrize("options", [{"orientation": "XYZ"}, {"coverage": "head"}, {"spacing": (0.0, 1.0, 1.0)}])
def test_nonsense_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        make_phantom(0, **options)


def test_dataset_is_laid_out_like_msd(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    description = write_dataset(tmp_path, 2, 3, progress=lambda *now: seen.append(now), coverage="liver", **COARSE)
    entries = json.loads(description.read_text(encoding="utf-8"))
    assert entries["labels"] == {"0": "background", "1": "liver", "2": "cancer"}
    assert entries["modality"] == {"0": "CT"}
    assert entries["numTraining"] == len(entries["training"]) == 2
    assert seen == [(1, 2), (2, 2)]
    for case in entries["training"]:
        image, label = (nib.load(tmp_path / case[key]) for key in ("image", "label"))
        assert image.shape == label.shape
        assert np.allclose(image.affine, label.affine)
        assert np.allclose(image.get_sform(), image.get_qform(), atol=1e-3)
        assert image.get_data_dtype() == np.int16
        assert label.get_data_dtype() == np.uint8
        assert (np.asarray(label.dataobj) == 1).any()
    assert (entries["numTest"], entries["test"]) == (0, [])


def test_dataset_cases_differ_and_repeat(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_dataset(tmp_path / folder, 2, seed=5, coverage="liver", spacing=(6.0, 6.0, 6.0))
    files = [tmp_path / folder / "imagesTr" / f"liver_{case:03d}.nii.gz" for folder in "ab" for case in (0, 1)]
    arrays = [np.asarray(nib.load(file).dataobj) for file in files]
    assert np.array_equal(arrays[0], arrays[2])
    assert np.array_equal(arrays[1], arrays[3])
    assert arrays[0].shape != arrays[1].shape or not np.array_equal(arrays[0], arrays[1])


def test_negative_count_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="count is -1"):
        write_dataset(tmp_path, -1)
