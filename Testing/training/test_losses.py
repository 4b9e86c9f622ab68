"""Losses against hand calculations, schedules against their formulas."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from Training.fit.case_loss import CaseLoss, slabs
from Training.fit.losses import SegmentationLoss
from Training.fit.schedules import learning_rate_factor
from Training.recipe import RecipeError
from Training.recipe.options import Loss, Optimization

Kind = Literal["dice_ce", "dice", "cross_entropy", "bce_dice", "focal", "dice_focal", "tversky"]
KINDS = ["dice_ce", "dice", "cross_entropy", "bce_dice", "focal", "dice_focal", "tversky"]


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """Logits [2, 3, 4, 5] and labels [2, 1, 4, 5]."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, 3, 4, 5, generator=generator), torch.randint(0, 3, (2, 1, 4, 5), generator=generator)


def parts(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Softmax probabilities and one-hot truth."""
    logits, label = pair
    return logits.softmax(1), torch.nn.functional.one_hot(label[:, 0], 3).movedim(-1, 1).float()


def dice(p: Tensor, y: Tensor, axes: tuple[int, ...], squared: bool = False) -> Tensor:
    size = (p**2 + y**2 if squared else p + y).sum(axes)
    return (1 - (2 * (p * y).sum(axes) + 1e-5) / (size + 1e-5)).mean()


def loss(pair: tuple[Tensor, Tensor], **options: Any) -> float:
    return float(SegmentationLoss(Loss(**options))(*pair))


def test_dice_is_that_of_the_textbook(pair: tuple[Tensor, Tensor]) -> None:
    p, y = parts(pair)
    assert loss(pair, kind="dice", batch=False) == pytest.approx(float(dice(p[:, 1:], y[:, 1:], (2, 3))), abs=1e-5)
    assert loss(pair, kind="dice", batch=True) == pytest.approx(float(dice(p[:, 1:], y[:, 1:], (0, 2, 3))), abs=1e-5)
    whole = loss(pair, kind="dice", include_background=True, squared=True)
    assert whole == pytest.approx(float(dice(p, y, (0, 2, 3), squared=True)), abs=1e-5)


def test_cross_entropy_is_the_weighted_mean(pair: tuple[Tensor, Tensor]) -> None:
    p, y = parts(pair)
    each = -(y * p.log()).sum(1)
    assert loss(pair, kind="cross_entropy") == pytest.approx(float(each.mean()), abs=1e-5)
    weight = (y * torch.tensor([0.2, 1.0, 3.0])[:, None, None]).sum(1)
    found = loss(pair, kind="cross_entropy", class_weights=[0.2, 1, 3])
    assert found == pytest.approx(float((each * weight).sum() / weight.sum()), abs=1e-5)


def test_the_parts_of_a_sum_have_their_weights(pair: tuple[Tensor, Tensor]) -> None:
    ce, overlap = loss(pair, kind="cross_entropy"), loss(pair, kind="dice")
    assert loss(pair, dice_weight=0.3, ce_weight=2) == pytest.approx(0.3 * overlap + 2 * ce, abs=1e-5)
    focal = loss(pair, kind="focal")
    assert loss(pair, kind="dice_focal", ce_weight=4) == pytest.approx(overlap + 4 * focal, abs=1e-5)


def test_class_weights_leave_the_dice_part_alone(pair: tuple[Tensor, Tensor]) -> None:
    assert loss(pair, kind="dice_ce", ce_weight=0, class_weights=[0.1, 5, 9]) == loss(pair, kind="dice_ce", ce_weight=0)


def test_focal_fades_out_what_is_easy(pair: tuple[Tensor, Tensor]) -> None:
    p, y = parts(pair)
    each = -(y * (1 - p) ** 2 * p.log())
    assert loss(pair, kind="focal", gamma=2) == pytest.approx(float(each.mean()), abs=1e-5)


def test_tversky_weighs_false_positives_and_negatives(pair: tuple[Tensor, Tensor]) -> None:
    p, y = (t[:, 1:] for t in parts(pair))
    axes = (0, 2, 3)
    right, wrong, missed = (p * y).sum(axes), (p * (1 - y)).sum(axes), ((1 - p) * y).sum(axes)
    index = right / (right + 0.3 * wrong + 0.7 * missed)
    assert loss(pair, kind="tversky", alpha=0.3, beta=0.7) == pytest.approx(float((1 - index).mean()), abs=1e-4)


def test_binary_cross_entropy_is_that_of_each_label_against_the_rest(pair: tuple[Tensor, Tensor]) -> None:
    p, y = (t[:, 1:] for t in parts(pair))
    each = -(y * p.log() + (1 - y) * (1 - p).log())
    assert loss(pair, kind="bce_dice", dice_weight=0) == pytest.approx(float(each.mean()), abs=1e-5)
    weights = torch.tensor([1.0, 3.0])[:, None, None]
    weighted = (each * torch.where(y > 0, weights, torch.tensor(0.2))).mean()
    found = loss(pair, kind="bce_dice", dice_weight=0, class_weights=[0.2, 1, 3])
    assert found == pytest.approx(float(weighted), abs=1e-5)


def test_binary_cross_entropy_of_two_classes_is_the_usual_one(pair: tuple[Tensor, Tensor]) -> None:
    logits, label = pair[0][:, :2], pair[1].clamp(max=1)
    usual = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], label[:, 0].float())
    assert loss((logits, label), kind="bce_dice", dice_weight=0) == pytest.approx(float(usual), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1.0, 6e4])
def test_gradients_are_finite_up_to_the_end_of_half_precision(kind: Kind, size: float) -> None:
    logits = (torch.randn(2, 3, 6, 6) * size).clamp(-65504, 65504).half().requires_grad_()
    label = torch.randint(0, 3, (2, 1, 6, 6), dtype=torch.uint8)
    value = SegmentationLoss(Loss(kind=kind))(logits, label)
    value.backward()
    assert value.ndim == 0
    assert math.isfinite(float(value.detach()))
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_answer_costs_less_than_a_wrong_one(kind: Kind, pair: tuple[Tensor, Tensor]) -> None:
    _, y = parts(pair)
    assert loss((8 * y, pair[1]), kind=kind) < loss((-8 * y, pair[1]), kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_without_any_label_has_a_finite_loss(kind: str) -> None:
    assert math.isfinite(loss((torch.randn(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)), kind=kind, batch=False))


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_over_samples_is_that_of_two_halves(kind: Kind, pair: tuple[Tensor, Tensor]) -> None:
    logits, label = pair
    halves = [loss((logits[n : n + 1], label[n : n + 1]), kind=kind, batch=False) for n in range(2)]
    assert loss(pair, kind=kind, batch=False) == pytest.approx(sum(halves) / 2, abs=1e-6)


def test_several_outputs_are_weighed_and_see_the_label_at_their_size() -> None:
    fine, coarse = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 4, 4)
    label = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    label[..., 4:, :] = 1
    small = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    small[..., 2:, :] = 1
    both = SegmentationLoss(Loss(heads=[1, 0.25]))([fine, coarse], label)
    assert float(both) == pytest.approx(loss((fine, label)) + 0.25 * loss((coarse, small)), abs=1e-5)
    halved = SegmentationLoss(Loss())([fine, coarse], label)
    assert float(halved) == pytest.approx(loss((fine, label)) + 0.5 * loss((coarse, small)), abs=1e-5)
    stack = torch.stack([fine, fine], 1)
    assert float(SegmentationLoss(Loss())(stack, label)) == pytest.approx(1.5 * loss((fine, label)), abs=1e-5)


def test_a_weight_too_few_for_the_outputs_is_one_sentence() -> None:
    with pytest.raises(RecipeError, match=r"loss\.heads has 1 weights, but the network has 2"):
        SegmentationLoss(Loss(heads=[1]))([torch.randn(1, 3, 4, 4)] * 2, torch.zeros(1, 1, 4, 4))


def rates(schedule: str, steps: int = 100, **options: Any) -> list[float]:
    settings = Optimization(max_epochs=10, batch_size=1, schedule=schedule, **options)  # type: ignore[arg-type]
    factor = learning_rate_factor(settings, steps)
    return [factor(step) for step in range(steps)]


def test_schedules_follow_their_formulas() -> None:
    assert rates("constant") == [1.0] * 100
    assert rates("exponential", gamma=0.92) == pytest.approx([0.92 ** (step // 10) for step in range(100)])
    assert rates("poly", power=0.9) == pytest.approx([(1 - step / 100) ** 0.9 for step in range(100)])
    steps = [0.5 ** (step // 30) for step in range(100)]
    assert rates("step", gamma=0.5, step_epochs=3) == pytest.approx(steps)
    fallen = [0.1 ** ((step >= 20) + (step >= 70)) for step in range(100)]
    assert rates("multistep", gamma=0.1, milestones=[2, 7]) == pytest.approx(fallen)
    assert rates("cosine") == pytest.approx([(1 + math.cos(math.pi * step / 100)) / 2 for step in range(100)])


def test_milestones_are_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 1.0)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 4, 8], gamma=0.3)
    theirs = []
    for _ in range(10):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates("multistep", gamma=0.3, milestones=[3, 4, 8])[::10] == pytest.approx(theirs)


def test_a_multistep_schedule_needs_milestones() -> None:
    with pytest.raises(ValidationError, match="needs milestones"):
        rates("multistep")


@pytest.mark.parametrize("schedule", ["cosine", "poly", "exponential", "step", "constant"])
def test_warm_up_rises_to_the_full_rate(schedule: str) -> None:
    found = rates(schedule, warmup_epochs=2)
    assert found[:20] == pytest.approx([(step + 1) / 21 for step in range(20)])
    assert found[20] == 1.0
    assert all(a >= b for a, b in pairwise(found[20:]))


def test_one_cycle_is_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, 200, pct_start=0.1, cycle_momentum=False)
    theirs = []
    for _ in range(200):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates("one_cycle", 200) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [None, [0.2, 1.0, 3.0]])
@pytest.mark.parametrize("background", [False, True])
def test_a_loss_taken_slab_by_slab_is_the_loss_of_the_whole(
    kind: Kind, weights: list[float] | None, background: bool
) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(1, 3, 9, 5, 4, generator=generator)
    label = torch.randint(0, 3, (1, 1, 9, 5, 4), generator=generator).to(torch.uint8)
    label[:, :, 4:6] = 0  # a slab without a label
    for squared in (False, True):
        options = Loss(
            kind=kind, class_weights=weights, include_background=background, squared=squared, dice_weight=0.7
        )
        whole = SegmentationLoss(options)
        parts = CaseLoss(whole)
        for part in slabs((9, 5, 4), most=40):
            parts.add(logits[:, :, part], label[:, :, part])
        assert parts.value() == pytest.approx(float(whole(logits, label)), rel=1e-5)


SIGMOID: list[dict[str, Any]] = [
    {"kind": "bce_dice", "dice_weight": 0.7},
    {"kind": "bce_dice", "class_weights": [0.2, 1.0, 3.0]},
    {"kind": "dice", "include_background": True, "squared": True},
    {"kind": "focal"},
    {"kind": "tversky", "include_background": True},
]


@pytest.mark.parametrize("options", SIGMOID, ids=lambda o: o["kind"])
def test_a_sigmoid_loss_taken_slab_by_slab_is_the_loss_of_the_whole(options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(1, 3, 9, 5, 4, generator=generator)
    label = torch.randint(0, 3, (1, 1, 9, 5, 4), generator=generator).to(torch.uint8)
    whole = SegmentationLoss(Loss(activation="sigmoid", **options))
    parts = CaseLoss(whole)
    for part in slabs((9, 5, 4), most=40):
        parts.add(logits[:, :, part], label[:, :, part])
    assert parts.value() == pytest.approx(float(whole(logits, label)), rel=1e-5)


def test_sigmoid_cross_entropy_is_torchs_over_all_channels(pair: tuple[Tensor, Tensor]) -> None:
    logits, y = pair[0], parts(pair)[1]
    found = loss(pair, kind="bce_dice", activation="sigmoid", dice_weight=0)
    assert found == pytest.approx(float(torch.nn.BCEWithLogitsLoss()(logits, y)), abs=1e-6)


def test_sigmoid_dice_is_that_of_the_textbook(pair: tuple[Tensor, Tensor]) -> None:
    logits, y = pair[0], parts(pair)[1]
    found = loss(pair, kind="dice", activation="sigmoid", include_background=True)
    assert found == pytest.approx(float(dice(logits.sigmoid(), y, (0, 2, 3))), abs=1e-5)


@pytest.mark.parametrize("kind", ["dice_ce", "cross_entropy", "dice", "tversky"])
def test_a_sigmoid_that_would_not_train_every_class_is_refused(kind: Kind) -> None:
    with pytest.raises(ValidationError, match=r"softmax|include_background"):
        Loss(kind=kind, activation="sigmoid")


_PEAK = """
import resource, torch
from Training.fit.case_loss import CaseLoss, slabs
from Training.fit.losses import SegmentationLoss
from Training.recipe.options import Loss
torch.set_num_threads(1)
shape = (224, 224, 224)
logits = torch.zeros(1, 3, *shape)
label = torch.zeros(1, 1, *shape, dtype=torch.uint8)
loss = CaseLoss(SegmentationLoss(Loss()))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for part in slabs(shape):
    loss.add(logits[:, :, part], label[:, :, part])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other units")
def test_the_loss_of_a_large_image_needs_memory_for_a_slab() -> None:
    """11 million voxels of 3 classes: 450 MB for the whole at once, here below 150."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) / 1024 < 150
