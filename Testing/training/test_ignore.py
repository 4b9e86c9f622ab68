"""Voxels of which nobody knows what they are, and labels that a source does not draw: they count nowhere."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from LiverSegLib.labels import labels_for
from LiverSegLib.measure import measure
from LiverSegLib.volume import Result, Volume
from Testing.tiny_run import tiny_recipe
from Training.augment.ct import RandLesiond
from Training.data.prepare import prepare
from Training.data.preprocess import convert
from Training.data.readers import RawCase, list_cases
from Training.evaluation.cases import LabeledVolume, load_cases
from Training.evaluation.evaluate import score
from Training.fit.batches import CaseData
from Training.fit.case_loss import CaseLoss
from Training.fit.losses import SegmentationLoss
from Training.fit.module import SegmentationModule
from Training.recipe import Recipe, load_recipe
from Training.recipe.options import Loss
from Training.recipe.sources import IGNORE

LPS = np.diag([-2.0, -2.0, 3.0, 1.0])
SMALL = ["preprocess.pixdim=[4, 4, 6]", "patch_size=[8, 8, 8]", "inference.roi_size=[8, 8, 8]", "sampling={}"]
KINDS = ("dice_ce", "bce_dice", "dice_focal", "tversky")


def noise(shape: tuple[int, ...], seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [True, False])
def test_ignored_voxels_are_as_if_they_were_not_there(kind: str, batch: bool) -> None:
    """Half of the image to be ignored gives the loss of the other half, whatever the network says there."""
    loss = SegmentationLoss(Loss.model_validate({"kind": kind, "batch": batch, "include_background": True}))
    logits = noise((2, 3, 8, 6))
    label = torch.randint(0, 3, (2, 1, 8, 6), generator=torch.Generator().manual_seed(2))
    expected = loss(logits[:, :, :4], label[:, :, :4])
    ignored = label.clone()
    ignored[:, :, 4:] = IGNORE
    assert float(loss(logits, ignored)) == pytest.approx(float(expected), abs=1e-6)
    logits.requires_grad_()
    loss(logits, ignored).backward()
    assert logits.grad is not None
    assert (logits.grad[:, :, 4:] == 0).all()
    assert (logits.grad[:, :, :4] != 0).any()


def test_a_patch_to_ignore_as_a_whole_moves_nothing() -> None:
    loss, logits = SegmentationLoss(Loss()), noise((1, 3, 4, 4)).requires_grad_()
    value = loss(logits, torch.full((1, 1, 4, 4), IGNORE))
    value.backward()
    assert float(value.detach()) == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("hidden", [None, torch.tensor([[0, 1, 0]])], ids=["all drawn", "2 not drawn"])
def test_networks_with_several_outputs_ignore_the_same(hidden: torch.Tensor | None) -> None:
    loss, fine, coarse = SegmentationLoss(Loss()), noise((1, 3, 8, 8)), noise((1, 3, 4, 4), 2)
    label = torch.randint(0, 2, (1, 1, 4, 4), generator=torch.Generator().manual_seed(2))
    label[:, :, :2] = IGNORE
    label = label.repeat_interleave(2, 2).repeat_interleave(2, 3)
    parts = loss(fine, label, hidden) + 0.5 * loss(coarse, label[:, :, ::2, ::2], hidden)
    assert float(loss([fine, coarse], label, hidden)) == pytest.approx(float(parts), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_case_by_slabs_ignores_the_same(kind: str) -> None:
    loss = SegmentationLoss(Loss.model_validate({"kind": kind}))
    logits = noise((1, 3, 6, 5))
    label = torch.randint(0, 3, (1, 1, 6, 5), generator=torch.Generator().manual_seed(3))
    label[:, :, 1, 2:] = IGNORE
    label[:, :, 4] = IGNORE
    added = CaseLoss(loss)
    for row in range(6):
        added.add(logits[:, :, row : row + 1], label[:, :, row : row + 1])
    assert added.value() == pytest.approx(float(loss(logits, label)), abs=1e-6)


def test_validation_does_not_count_them() -> None:
    recipe = tiny_recipe()
    module = SegmentationModule(recipe).eval()
    image, label = torch.rand(1, 1, 32, 32), torch.zeros(1, 1, 32, 32, dtype=torch.int64)
    label[:, :, :8] = IGNORE
    with torch.no_grad():
        module.validation_step({"image": image, "label": label}, 0)
    (scored,) = module._images
    assert scored[-1, 1] == 24 * 32
    found = module(image).argmax(1)[0]
    assert scored[-1, 0] <= 24 * 32
    assert scored[0, 1] <= (found[8:] > 0).sum()


def test_resampling_does_not_mix_them_with_labels() -> None:
    label = np.zeros((24, 20, 14), np.uint8)
    label[4:12, 4:16], label[12:20, 4:16] = 1, IGNORE
    image = np.random.default_rng(0).integers(0, 99, label.shape).astype(np.int16)
    recipe = load_recipe("liver3d_phantom", SMALL)
    assert set(np.unique(convert(RawCase(Volume(image, LPS), label), recipe)[1])) == {0, 1, IGNORE}


def test_no_lesion_is_painted_where_nobody_knows() -> None:
    image, label = np.full((1, 60, 60), 100.0, np.float32), np.full((1, 60, 60), IGNORE, np.uint8)
    label[:, :20] = 1
    paint = RandLesiond(1.0, tumor_label=2)
    paint.set_random_state(1)
    done = paint({"image": image, "label": label})["label"]
    assert done.dtype == np.uint8
    assert (done[:, 20:] == IGNORE).all()
    assert (done[:, :20] != IGNORE).all()


def result_of(labelmap: np.ndarray, volume: Volume) -> Result:
    labels = labels_for({1: "liver", 2: "tumor"})
    measured = measure(labelmap, volume.affine, labels, volume.array, "HU")
    return Result(labelmap=labelmap, affine=volume.affine, labels=labels, measurements=measured)


def test_scores_leave_them_out() -> None:
    rng = np.random.default_rng(0)
    volume = Volume(rng.integers(0, 99, (10, 10, 4)).astype(np.int16), LPS)
    truth, found, ignored = np.zeros((3, 10, 10, 4), np.uint8)
    truth[2:6, 2:6, 1:3], found[2:6, 2:6, 1:3] = 1, 1
    found[7:9, 7:9, 1:3], ignored[7:9, 7:9] = 1, 1
    case = LabeledVolume(name="a", volume=volume, reference=truth, names=("liver", "tumor"), patient="a")
    known = LabeledVolume(**{**case.__dict__, "ignored": ignored.astype(bool)})
    dice = {row.label: row.dice for row in score(known, result_of(found, volume)).labels}
    assert dice["liver"] == 1
    less = {row.label: row.dice for row in score(case, result_of(found, volume)).labels}
    assert less["liver"] is not None
    assert less["liver"] < 1
    confusion = score(known, result_of(found, volume)).confusion
    assert confusion is not None
    assert np.sum(confusion) == truth.size - ignored.sum()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four CTs with liver and tumor, of which value 3 is a place that nobody could tell, and four without tumors."""
    for seed in range(8):
        image = np.full((24, 20, 14), -1000, np.int16)
        image[6:18, 5:15] = np.random.default_rng(seed).integers(0, 100, (12, 10, 14))
        label = np.zeros(image.shape, np.uint8)
        label[8:14, 7:13, 3:10], label[9:12, 8:11, 4:8], label[14:16, 7:13, 3:10] = 1, 2 if seed < 4 else 0, 3
        folder = tmp_path / ("whole" if seed < 4 else "partly")
        folder.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(image, LPS), folder / f"p{seed}_ct.nii.gz")
        nib.save(nib.Nifti1Image(label, LPS), folder / f"p{seed}_label.nii.gz")
    return tmp_path


def recipe_of(*changes: str) -> Recipe:
    whole = {
        "kind": "files",
        "name": "whole",
        "image": "whole/{name}_ct.nii.gz",
        "masks": [{"path": "whole/{name}_label.nii.gz", "values": {1: 1, 2: 2, 3: "ignore"}}],
    }
    partly = {
        "kind": "files",
        "name": "partly",
        "image": "partly/{name}_ct.nii.gz",
        "masks": [{"path": "partly/{name}_label.nii.gz", "values": {1: 1, 3: "ignore"}}],
        "undivided": {2: 0},
    }
    text = yaml.safe_dump([whole, partly], default_flow_style=True, width=10**6)
    return load_recipe("liver3d_phantom", [f"sources={text}", *SMALL, "split={validation_fraction: 0.3}", *changes])


def test_from_files_to_a_batch_and_to_cases_of_an_evaluation(data: Path, tmp_path: Path) -> None:
    recipe, out = recipe_of("optimization.batch_size=4"), tmp_path / "out"
    raw = list_cases(recipe.sources[0], data)[0].load()
    report = prepare(recipe, data, out)
    assert report.facts[0].voxels == [int((raw.label == value).sum()) for value in (0, 1, 2)]
    assert all(len(case.voxels) == 3 for case in report.cases)
    assert load_recipe(out / "recipe.yaml") == recipe
    batch = next(iter(CaseData(recipe, out, workers=0).train_dataloader()))
    assert set(batch["label"].unique().tolist()) <= {0, 1, 2, IGNORE}
    loss = SegmentationLoss(recipe.loss)(noise((4, 3, 8, 8, 8)), batch["label"], batch["undivided"])
    assert torch.isfinite(loss)
    case = next(iter(load_cases(out, split="val")))
    assert isinstance(case, LabeledVolume)
    assert case.ignored is not None
    assert case.ignored.sum() == 2 * 6 * 7
    listing = tmp_path / "cases.yaml"
    entry = {"name": "a", "image": "whole/p0_ct.nii.gz", "label": "whole/p0_label.nii.gz"}
    listing.write_text(yaml.safe_dump([{**entry, "labels": {1: "liver", 2: "tumor", 3: "ignore"}}]))
    (listed,) = load_cases(listing, data)
    assert isinstance(listed, LabeledVolume)
    assert listed.names == ("liver", "tumor")
    assert listed.ignored is not None
    assert listed.ignored.sum() == 2 * 6 * 7


def test_a_label_that_is_not_drawn_is_neither_right_nor_wrong() -> None:
    """What the network calls label 2 in the background of a source that does not draw it costs nothing."""
    loss, label = SegmentationLoss(Loss()), torch.zeros(1, 1, 6, 6)
    label[..., :3] = 1
    calm, bold = torch.zeros(1, 3, 6, 6), torch.zeros(1, 3, 6, 6)
    calm[:, 1, :, :3], bold[:, 1, :, :3] = 9.0, 9.0
    calm[:, 0, :, 3:], bold[:, 2, :, 3:] = 9.0, 9.0
    hidden = torch.tensor([[0, 1, 0]])
    assert float(loss(bold, label, hidden)) == pytest.approx(float(loss(calm, label, hidden)), abs=1e-5)
    assert loss(bold, label) > 2
