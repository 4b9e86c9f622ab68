"""Metrics against MONAI, SimpleITK and torchmetrics, their conventions, and the statistics on top of them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from LiverSegLib.volume import Volume
from Training.evaluation.lesions import SIZES, LesionMatch, LesionScore, match_lesions
from Training.evaluation.metrics import LabelScore, confusion_matrix, dice, label_score, set_score, surface
from Training.evaluation.statistics import bootstrap_interval, describe, holm, paired_difference

Mask = npt.NDArray[np.bool_]
SPACING = (0.7, 1.3, 4.0)


def ball(shape: tuple[int, ...], center: tuple[float, ...], radius: tuple[float, ...]) -> Mask:
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    inside: Mask = (((grid - center) / radius) ** 2).sum(-1) <= 1
    return inside


def two_blobs() -> tuple[Mask, Mask]:
    first = ball((48, 40, 16), (22, 18, 7), (13, 11, 4)) | ball((48, 40, 16), (40, 33, 12), (3, 3, 2))
    return first, ball((48, 40, 16), (25, 20, 8), (12, 12, 5))


ANISOTROPIC = np.diag((*SPACING, 1.0))


def scored(found: Mask, reference: Mask | None, affine: npt.ArrayLike = ANISOTROPIC, **options: float) -> LabelScore:
    return label_score("liver", found, reference, Volume(np.zeros(found.shape), np.asarray(affine)), **options)


def test_surface_metrics_are_those_of_monai_on_anisotropic_voxels() -> None:
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    found, reference = two_blobs()
    ours = scored(found, reference, tolerance_mm=3.0)
    y_pred, y = (torch.from_numpy(m)[None, None].float() for m in (found, reference))
    options: dict[str, Any] = {"include_background": True, "spacing": SPACING}
    assert ours.nsd == pytest.approx(compute_surface_dice(y_pred, y, [3.0], **options).item(), abs=1e-6)
    assert ours.hd95_mm == pytest.approx(
        compute_hausdorff_distance(y_pred, y, percentile=95, **options).item(), abs=1e-4
    )
    assd = compute_average_surface_distance(y_pred, y, symmetric=True, **options)
    assert ours.assd_mm == pytest.approx(assd.item(), abs=1e-4)


def test_overlaps_and_volumes_are_those_of_simpleitk() -> None:
    import SimpleITK as sitk  # noqa: N813

    found, reference = two_blobs()
    ours = scored(found, reference)
    images = [sitk.GetImageFromArray(m.astype(np.uint8).transpose(2, 1, 0)) for m in (found, reference)]
    measures = sitk.LabelOverlapMeasuresImageFilter()
    measures.Execute(*images)
    assert ours.dice == pytest.approx(measures.GetDiceCoefficient())
    assert ours.iou == pytest.approx(measures.GetJaccardCoefficient())
    assert ours.recall == pytest.approx(1 - measures.GetFalseNegativeError())
    assert ours.precision == pytest.approx(1 - measures.GetFalseDiscoveryRate())
    assert ours.volume_ml == pytest.approx(found.sum() * np.prod(SPACING) / 1000)
    assert ours.volume_error_percent == pytest.approx(100 * (found.sum() / reference.sum() - 1))


def test_the_largest_surface_distance_is_simpleitks_hausdorff_distance() -> None:
    import SimpleITK as sitk  # noqa: N813

    from Training.evaluation.metrics import surface_distances

    found, reference = two_blobs()
    images = [sitk.GetImageFromArray(surface(m).astype(np.uint8).transpose(2, 1, 0)) for m in (found, reference)]
    for image in images:
        image.SetSpacing(SPACING)
    distance = sitk.HausdorffDistanceImageFilter()
    distance.Execute(*images)
    there, back = surface_distances(found, reference, np.diag((*SPACING, 1.0)))
    assert max(there.max(), back.max()) == pytest.approx(distance.GetHausdorffDistance(), rel=1e-5)


def test_a_picture_has_a_2d_contour_like_monais() -> None:
    from monai.metrics import compute_hausdorff_distance

    first, second = (m[..., 7:8] for m in two_blobs())
    ours = scored(first, second)
    y_pred, y = (torch.from_numpy(m[..., 0])[None, None].float() for m in (first, second))
    theirs = compute_hausdorff_distance(y_pred, y, include_background=True, percentile=95, spacing=SPACING[:2])
    assert ours.hd95_mm == pytest.approx(theirs.item(), abs=1e-4)
    assert surface(first, (False, False, True)).sum() < first.sum()


@pytest.mark.parametrize("turn", ["oblique", "sheared"])
def test_distances_follow_the_affine(turn: str) -> None:
    a = np.zeros((12, 12, 12), bool)
    b = a.copy()
    a[2, 2, 2] = b[2, 2, 8] = True  # six voxels apart along k
    affine = np.diag([1.0, 1, 3, 1])
    if turn == "oblique":
        angle = np.deg2rad(30)
        rotation = np.eye(4)
        rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        affine = rotation @ affine
        expected = 18.0
    else:
        affine[1, 2] = 4.0  # a tilted gantry: each slice 4 mm further along y, 5 mm from the last
        expected = 30.0
    assert scored(a, b, affine).hd95_mm == pytest.approx(expected)


def test_the_tolerance_is_in_millimeters() -> None:
    a = np.zeros((20, 20, 20), bool)
    a[5:15, 5:15, 5:15] = True
    b = np.roll(a, 1, axis=2)  # one slice of 4 mm away
    assert scored(a, b, tolerance_mm=4.0).nsd == 1.0
    assert scored(a, b, tolerance_mm=3.9).nsd < 1.0  # type: ignore[operator]


def test_nothing_on_both_sides_is_no_agreement() -> None:
    nothing = np.zeros((4, 4, 4), bool)
    assert scored(nothing, nothing) == LabelScore(label="liver", volume_ml=0.0, reference_ml=0.0)
    assert np.isnan(dice(nothing, nothing))


@pytest.mark.parametrize("empty", ["found", "reference"])
def test_one_empty_mask_has_no_distance_and_no_overlap(empty: str) -> None:
    nothing, something = np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)
    found, reference = (nothing, something) if empty == "found" else (something, nothing)
    score = scored(found, reference)
    assert (score.dice, score.iou, score.nsd) == (0, 0, 0)
    assert (score.precision, score.recall) == ((None, 0) if empty == "found" else (0, None))
    assert (score.hd95_mm, score.assd_mm) == (None, None)
    assert score.volume_error_percent == (-100 if empty == "found" else None)


def test_without_a_reference_there_is_only_a_volume() -> None:
    score = scored(np.ones((10, 10, 10), bool), None, np.eye(4))
    assert score == LabelScore(label="liver", volume_ml=1.0)


def test_metrics_of_random_masks_stay_between_0_and_1() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        a, b = rng.random((2, 6, 7, 8)) < rng.random((2, 1, 1, 1)) ** 2
        a[0, 0, 0] = b[5, 6, 7] = True  # neither is empty
        score = scored(a, b, tolerance_mm=float(rng.uniform(0, 5)))
        values = (score.dice, score.iou, score.nsd, score.precision, score.recall)
        assert all(v is not None and 0 <= v <= 1 for v in values)
        same = scored(a, a)
        assert (same.dice, same.iou, same.nsd) == (1, 1, 1)
        assert (same.hd95_mm, same.assd_mm) == (0, 0)


@pytest.mark.timing
def test_a_whole_liver_takes_seconds() -> None:
    found = np.zeros((512, 512, 130), bool)
    found[100:300, 150:380, 20:110] = ball((200, 230, 90), (100, 115, 45), (99, 114, 44))
    reference = np.roll(found, (2, 1, 1), axis=(0, 1, 2))
    started = time.process_time()
    score = scored(found, reference, np.diag([0.7, 0.7, 2.0, 1.0]))
    assert time.process_time() - started < 10
    assert score.dice is not None
    assert 0.95 < score.dice < 1


def test_picture_scores_of_a_hand_made_confusion_matrix() -> None:
    #              found 0   1   2
    score = set_score([[50, 10, 0], [5, 20, 5], [0, 0, 10]])
    assert score.pixel_accuracy == pytest.approx(80 / 100)
    assert score.f_score == pytest.approx((2 * 20 / (30 + 30) + 2 * 10 / (10 + 15)) / 2)
    assert score.miou == pytest.approx((50 / 65 + 20 / 40 + 10 / 15) / 3)
    assert score.mpa == pytest.approx((50 / 60 + 20 / 30 + 1) / 3)


def test_picture_scores_are_those_of_torchmetrics() -> None:
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_f1_score,
        multiclass_jaccard_index,
    )

    rng = np.random.default_rng(1)
    reference = rng.integers(0, 3, (32, 24, 1)).astype(np.uint8)
    found = np.where(rng.random(reference.shape) < 0.7, reference, rng.integers(0, 3, reference.shape)).astype(np.uint8)
    matrix = confusion_matrix(reference, found, 3)
    assert matrix[1, 2] == ((reference == 1) & (found == 2)).sum()
    score = set_score(matrix)
    y_pred, y = torch.from_numpy(found).long(), torch.from_numpy(reference).long()
    assert score.miou == pytest.approx(multiclass_jaccard_index(y_pred, y, 3).item(), abs=1e-6)
    assert score.mpa == pytest.approx(multiclass_accuracy(y_pred, y, 3, average="macro").item(), abs=1e-6)
    assert score.pixel_accuracy == pytest.approx(multiclass_accuracy(y_pred, y, 3, average="micro").item(), abs=1e-6)
    each = multiclass_f1_score(y_pred, y, 3, average="none")
    assert score.f_score == pytest.approx(each[1:].mean().item(), abs=1e-6)


def test_a_class_that_nobody_has_is_left_out() -> None:
    only_background = set_score([[7, 0], [0, 0]])
    assert (only_background.f_score, only_background.miou, only_background.mpa) == (None, None, None)
    assert only_background.pixel_accuracy == 1
    invented = set_score([[6, 1], [0, 0]])
    assert invented.f_score == 0
    assert invented.miou == pytest.approx((6 / 7 + 0) / 2)
    assert invented.mpa == pytest.approx(6 / 7)


def lesions(*boxes: tuple[int, int]) -> Mask:
    mask = np.zeros((40, 4, 4), bool)
    for start, stop in boxes:
        mask[start:stop] = True
    return mask


def test_lesions_are_found_missed_and_made_up() -> None:
    reference = lesions((0, 10), (20, 24))
    marked = lesions((9, 12), (30, 35))  # a tenth of the first lesion, and nothing
    score = match_lesions(marked, reference, np.eye(4))
    assert [lesion.matched for lesion in score.reference] == [True, False]
    assert [(lesion.volume_ml, lesion.matched) for lesion in score.marked] == [(0.08, False), (0.048, True)]
    assert (score.sensitivity, score.precision, score.f1) == (0.5, 0.5, 0.5)
    assert (score.found, score.false) == (1, 1)
    barely = match_lesions(lesions((19, 20)), lesions((0, 20), (38, 40)), np.eye(4))
    assert [lesion.matched for lesion in barely.reference] == [False, False]


def test_lesions_that_touch_at_a_corner_are_one_and_sizes_are_in_mm() -> None:
    reference = np.zeros((8, 8, 8), bool)
    reference[1, 1, 1] = reference[2, 2, 2] = True
    score = match_lesions(reference, reference, np.diag([2.0, 2, 2, 1]))
    assert len(score.reference) == 1
    assert score.reference[0].volume_ml == pytest.approx(0.016)
    assert 5 < score.reference[0].longest_diameter_mm < 8


def test_conventions_without_lesions() -> None:
    none, some = lesions(), lesions((3, 6))
    both = match_lesions(none, none, np.eye(4))
    assert (both.precision, both.sensitivity, both.f1, both.false) == (None, None, None, 0)
    missed = match_lesions(none, some, np.eye(4))
    assert (missed.precision, missed.sensitivity, missed.f1, missed.false) == (None, 0, 0, 0)
    made_up = match_lesions(some, none, np.eye(4))
    assert (made_up.precision, made_up.sensitivity, made_up.f1, made_up.false) == (0, None, 0, 1)


def test_lesions_are_divided_by_their_longest_diameter() -> None:
    sizes = (9.9, 10.0, 19.9, 20.0, 80.0)
    score = LesionScore(tuple(LesionMatch(mm, 1.0, mm > 15) for mm in sizes), (LesionMatch(12.0, 1.0, False),))
    parts = [score.of_size(size) for size in SIZES]
    assert [(part.found, len(part.reference)) for part in parts] == [(0, 1), (1, 2), (2, 2)]
    assert [part.false for part in parts] == [0, 1, 0]
    assert (parts[0].sensitivity, parts[1].sensitivity, parts[2].precision) == (0, 0.5, None)


def test_the_interval_of_the_mean_is_the_normal_one_for_many_cases() -> None:
    values = np.random.default_rng(2).normal(10, 2, 400)
    low, high = bootstrap_interval(values, [str(n) for n in range(400)])
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)
    assert bootstrap_interval(values, [str(n) for n in range(400)]) == (low, high)


def test_cases_of_one_patient_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(3).normal(0.9, 0.02, 12)
    names = [str(n) for n in range(12)]
    alone = bootstrap_interval(values, names)
    repeated = bootstrap_interval(np.repeat(values, 10), np.repeat(names, 10).tolist())
    assert repeated == pytest.approx(alone)
    assert bootstrap_interval(values, ["one"] * 12) == (None, None)


def test_missing_values_are_counted() -> None:
    found = describe([1.0, None, 3.0], ["a", "b", "c"])
    assert found is not None
    assert (found.n, found.missing, found.mean, found.median, found.minimum) == (2, 1, 2, 2, 1)
    nothing = describe([None, None], ["a", "b"])
    assert (nothing.n, nothing.missing, nothing.mean, nothing.minimum, nothing.ci_low) == (0, 2, None, None, None)


def test_the_mean_of_equal_values_is_that_value() -> None:
    found = describe([0.1] * 3, ["a", "b", "c"])
    assert found is not None
    assert found.mean == found.ci_low == found.ci_high == 0.1


def test_paired_tests_need_six_patients() -> None:
    names = [str(n) for n in range(8)]
    first = [0.8, 0.7, 0.9, 0.85, 0.75, 0.6, 0.65, 0.95]
    second = [x + 0.01 * (n + 1) for n, x in enumerate(first)]
    result = paired_difference(first, second, names)
    assert result is not None
    assert result.p == pytest.approx(2 / 2**8)  # all eight ranks on one side
    assert result.mean == pytest.approx(0.045)
    few = paired_difference(first[:5], second[:5], names[:5])
    assert few is not None
    assert few.p is None
    same_patient = paired_difference(first, second, ["one"] * 8)
    assert same_patient is not None
    assert (same_patient.patients, same_patient.p) == (1, None)
    unchanged = paired_difference(first, first, names)
    assert unchanged is not None
    assert unchanged.p == 1.0
    part = paired_difference([*first, None, 0.5], [*second, 0.5, None], [*names, "x", "y"])
    assert (part.n, part.missing, part.patients) == (8, 2, 8)
    assert (part.mean, part.p) == (result.mean, result.p)
    nothing = paired_difference([None], [0.5], ["a"])
    assert (nothing.n, nothing.missing, nothing.mean, nothing.p) == (0, 1, None, None)


def test_holm_steps_down() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
