"""Known changes are found: on a phantom that was turned and shifted, and on two real scans of one patient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.errors import InputError
from LiverSegLib.followup import TimePoint, compare
from LiverSegLib.followup.changes import status_of
from LiverSegLib.followup.register import register
from LiverSegLib.io import read_volume
from LiverSegLib.labels import labels_for
from Testing.followup.patients import LABELS, motion, places, scan

MOVED = motion(12, (14, -9, 22))
# Status, note, radii before and after; each of these balls stays where it is in the liver.
EXPECTED = [
    ("grown", "", [9], [14]),
    ("shrunk", "", [14], [8]),
    ("gone", "", [8], []),
    ("stable", "", [11], [11]),
    ("new", "", [], [7]),
    ("stable", "", [5], [7]),  # a large share, but less than 5 mm
]


def patient() -> tuple[TimePoint, TimePoint]:
    """Baseline and follow-up, on another grid and in another place."""
    spots = places(len(EXPECTED))
    before = [(spot, r[0]) for spot, (_, _, r, _) in zip(spots, EXPECTED, strict=True) if r]
    after = [(spot, r[0]) for spot, (_, _, _, r) in zip(spots, EXPECTED, strict=True) if r]
    return scan(before, "earlier"), scan(after, "later", spacing=(2.5, 2.5, 4.0), moved=MOVED)


def test_a_moved_patient_has_the_known_changes() -> None:
    first, second = patient()
    found = compare(first, second)
    assert found.registration.dice is not None
    assert found.registration.dice > 0.93
    assert found.warnings == ()
    assert len(found.changes) == len(EXPECTED)
    for spot, (status, note, before, after) in zip(places(len(EXPECTED)), EXPECTED, strict=True):
        change = min(found.changes, key=lambda one: np.linalg.norm(np.array(one.center_ras) - spot))
        assert (change.status, change.note) == (status, note)
        assert change.baseline_mm == pytest.approx(sum(2 * r for r in before), abs=4.5)
        assert change.followup_mm == pytest.approx(sum(2 * r for r in after), abs=5.5)
        assert change.baseline_ml == pytest.approx(sum(4 / 3 * np.pi * (r / 10) ** 3 for r in before), rel=0.15)
        assert change.followup_ml == pytest.approx(sum(4 / 3 * np.pi * (r / 10) ** 3 for r in after), rel=0.15)
        there = MOVED[:3, :3] @ spot + MOVED[:3, 3]
        assert np.linalg.norm(np.array(change.followup_center_ras) - there) < 5
    assert found.followup_liver_ml == pytest.approx(found.baseline_liver_ml, rel=0.03)


def test_the_motion_is_found_to_a_voxel_and_always_the_same() -> None:
    first, second = patient()
    found = register(first, second)
    points = np.argwhere(first.organ())[::50] @ first.affine[:3, :3].T + first.affine[:3, 3]
    true = points @ MOVED[:3, :3].T + MOVED[:3, 3]
    assert np.linalg.norm(found.to_followup(points) - true, axis=-1).max() < 4
    np.testing.assert_allclose(found.to_baseline(found.to_followup(points)), points, atol=1e-6)
    np.testing.assert_array_equal(register(first, second).matrix, found.matrix)


def test_a_given_transform_needs_no_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    first, second = patient()
    found = compare(first, second, transform=MOVED)
    assert found.registration.kind == "given"
    assert sorted(change.status for change in found.changes) == sorted(status for status, *_ in EXPECTED)
    with pytest.raises(InputError, match="SimpleITK"):
        compare(first, second)


def test_split_and_merged_lesions_are_told_as_such() -> None:
    one, two, *_ = places(4)
    apart = np.array([0, 0, 12.0])
    halves = [(one - apart, 8), (one + apart, 8)]
    whole = (two, 16)
    first = scan([*halves, whole], "earlier")
    second = scan([(one, 17), (two - apart, 8), (two + apart, 8)], "later")
    found = compare(first, second, transform=np.eye(4))
    assert sorted((change.note, len(change.baseline), len(change.followup)) for change in found.changes) == [
        ("merged", 2, 1),
        ("split", 1, 2),
    ]


@pytest.mark.slow
def test_a_bent_liver_lies_better_when_bending_is_allowed() -> None:
    first, _ = patient()
    index = np.stack(np.meshgrid(*map(np.arange, first.labelmap.shape), indexing="ij"), axis=-1).astype(float)
    bent = index.copy()
    bent[..., 2] += 5 * np.sin(index[..., 0] / first.labelmap.shape[0] * 2 * np.pi)
    nearest = tuple(np.clip(np.round(bent[..., a]), 0, n - 1).astype(int) for a, n in enumerate(first.labelmap.shape))
    second = replace(first, labelmap=first.labelmap[nearest], name="bent")
    rigid, deformed = register(first, second), register(first, second, deformable=True)
    assert rigid.dice is not None
    assert deformed.dice is not None
    assert deformed.dice > rigid.dice + 0.02
    points = np.argwhere(first.organ())[::50] @ first.affine[:3, :3].T + first.affine[:3, 3]
    np.testing.assert_allclose(deformed.to_baseline(deformed.to_followup(points)), points, atol=0.1)


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        ((25.0, 8.0), (30.0, 8.0), "grown"),
        ((24.0, 8.0), (28.9, 8.0), "stable"),
        ((40.0, 8.0), (46.0, 8.0), "stable"),
        ((20.0, 4.0), (14.0, 4.0), "shrunk"),
        ((10.0, 0.5), (6.0, 0.1), "stable"),
        ((30.0, 14.0), (30.0, 60.0), "grown"),  # across its longest axis
    ],
)
def test_the_rule(before: tuple[float, float], after: tuple[float, float], status: str) -> None:
    assert status_of(before[0], after[0], before[1], after[1]) == status


def test_what_cannot_be_compared_is_told() -> None:
    first, second = patient()
    with pytest.raises(InputError, match="earlier has no voxels of liver"):
        compare(replace(first, labelmap=np.zeros_like(first.labelmap)), second)
    with pytest.raises(InputError, match="no label of lesions"):
        compare(replace(first, labels=LABELS[:1]), second, transform=np.eye(4))
    far = compare(first, second, transform=motion(0, (60, 0, 0)))
    assert "The livers lie poorly on each other" in far.warnings[0]


def test_no_lesions_at_both_times_is_no_error() -> None:
    found = compare(scan([], "a"), scan([], "b"), transform=np.eye(4))
    assert found.changes == ()
    assert found.baseline_sum_mm == 0


def real(folder: Path, case: str) -> TimePoint:
    image = read_volume(folder / f"lits_{case}_ct.nii.gz")
    labels = np.asarray(read_volume(folder / f"lits_{case}_label.nii.gz").array).astype(np.uint8)
    return TimePoint(
        labelmap=labels,
        affine=image.affine,
        labels=tuple(labels_for({1: "liver", 2: "tumor"})),
        name=case,
        volume=image,
    )


def test_one_lesion_of_a_real_patient_is_the_same_at_both_times(shared_data: Path) -> None:
    folder = shared_data / "lits_liver"
    if not (folder / "lits_022_ct.nii.gz").is_file():
        pytest.skip("two scans of one patient of LiTS are not there")
    found = compare(real(folder, "022"), real(folder, "023"))
    (change,) = found.changes
    assert (change.status, change.baseline, change.followup) == ("stable", (1,), (1,))
    assert change.baseline_ml == pytest.approx(31.4, abs=0.1)
    assert change.followup_ml == pytest.approx(23.2, abs=0.1)
    assert found.registration.dice is not None
    assert found.registration.dice > 0.85
