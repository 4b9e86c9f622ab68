"""From several images of a case on disk to a trained package that runs on several images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.io.channels import read_channels
from LiverSegLib.labels import labels_for
from LiverSegLib.models import read_package
from LiverSegLib.models.intensity import ScaleRange
from LiverSegLib.request import Settings
from Testing.tiny_run import NO_AUGMENT
from Testing.two_images import write_two_images
from Training.__main__ import app
from Training.data.prepare import BadDataError, prepare
from Training.data.readers import RawCase, list_cases, load_index, prepared_cases
from Training.errors import DataError
from Training.evaluation.cases import LabeledVolume, Unreadable, load_cases
from Training.evaluation.evaluate import evaluate
from Training.fit.batches import CaseData, TrainingSamples, ValidationImages
from Training.fit.train import Hardware, train
from Training.packages.export import export
from Training.recipe import Recipe, RecipeError, load_recipe, parse_recipe

LPS = np.diag([-2.0, -2.0, 3.0, 1.0])
SEQUENCES: dict[str, Any] = {
    "kind": "files",
    "name": "mr",
    "image": "{name}_t1.nii.gz",
    "further": ["{name}_t2.nii.gz"],
    "masks": [{"path": "{name}_label.nii.gz", "values": {1: 1}}],
}
RECIPE: dict[str, Any] = {
    "name": "two",
    "spatial_dims": 3,
    "modality": "MR",
    "channels": ["T1", "T2"],
    "labels": {1: "liver"},
    "sources": [SEQUENCES],
    "split": {"validation_fraction": 0.3},
    "preprocess": {"pixdim": [2, 2, 3], "normalize": "zscore"},
    "network": {"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2], "norm": "instance"}},
    "patch_size": [8, 8, 8],
    "augment": {**NO_AUGMENT, "noise": 1.0, "blur": 0.5, "affine": 1.0, "gamma": 0.5, "low_resolution": 0.5},
    "optimization": {"max_epochs": 1, "samples_per_epoch": 4, "batch_size": 2, "ema_decay": 0},
    "inference": {"roi_size": [16, 16, 16]},
    "card": {
        "title": "Two",
        "version": "1",
        "license": "CC0",
        "data_source": "made up",
        "intended_use": "tests",
        "limits": "all",
    },
}


def recipe_of(**changes: Any) -> Recipe:
    return parse_recipe({**RECIPE, **changes}, "two")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four patients; the liver is bright in T2 alone."""
    folder = tmp_path / "data"
    folder.mkdir()
    for seed in range(4):
        rng = np.random.default_rng(seed)
        label = np.zeros((24, 20, 14), np.uint8)
        label[8:16, 6:14, 3:10] = 1
        first = rng.integers(1, 100, label.shape).astype(np.int16)
        second = (rng.integers(1, 100, label.shape) + np.where(label > 0, 900, 0)).astype(np.int16)
        for part, array in (("t1", first), ("t2", second), ("label", label)):
            nib.save(nib.Nifti1Image(array, LPS), folder / f"p{seed}_{part}.nii.gz")
    return folder


def test_each_channel_is_prepared_by_itself(data: Path, tmp_path: Path) -> None:
    recipe = recipe_of()
    entry = list_cases(recipe.sources[0], data)[0]
    assert [path.name for path in entry.further] == ["p0_t2.nii.gz"]
    report = prepare(recipe, data, tmp_path / "out")
    image = np.load(tmp_path / "out/cases/mr_p0_image.npy")
    assert (image.shape, image.dtype) == ((2, 24, 20, 14), np.float32)
    assert np.allclose(image.mean((1, 2, 3)), 0, atol=1e-4)
    assert np.allclose(image.std((1, 2, 3)), 1, atol=1e-4)
    assert report.facts[0].shape == (24, 20, 14)
    assert load_recipe(tmp_path / "out/recipe.yaml") == recipe
    with pytest.raises(DataError, match=r"prepared for other channels \(T1, T2\)"):
        load_index(tmp_path / "out", recipe_of(channels=["T1", "FLAIR"]))


def test_samples_hold_every_channel_moved_alike(data: Path, tmp_path: Path) -> None:
    """Both channels show the same place: where T2 is bright, there is liver, whatever was done to the patch."""
    moved = {"affine": 1.0, "elastic": 1.0, "crop": 1.0, "flip": {"x": 1.0}, "shift": 2}
    recipe = recipe_of(augment={**NO_AUGMENT, **moved}, patch_size=[16, 16, 8])
    cases = prepare(recipe, data, tmp_path / "out").cases
    samples = TrainingSamples(recipe, tmp_path / "out", cases)
    seen = 0
    for seed in range(6):
        sample = samples[(0, seed)]
        image, inside = sample["image"].numpy(), sample["label"].numpy()[0] == 1
        assert (image.shape, sample["label"].shape) == ((2, 16, 16, 8), (1, 16, 16, 8))
        if inside.any() and not inside.all():
            seen += 1
            assert image[1][inside].mean() > image[1][~inside].mean() + 1
            assert abs(image[0][inside].mean() - image[0][~inside].mean()) < 1
    assert seen


def test_noise_and_blur_of_channels_are_their_own(data: Path, tmp_path: Path) -> None:
    recipe = recipe_of(augment={**NO_AUGMENT, "noise": 1.0})
    plain = recipe_of(augment={**NO_AUGMENT})
    cases = prepare(recipe, data, tmp_path / "out").cases
    with_noise, without = (TrainingSamples(one, tmp_path / "out", cases)[(0, 5)]["image"] for one in (recipe, plain))
    first, second = (with_noise - without).numpy()
    assert first.std() > 0
    assert second.std() > 0
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.5


def test_what_is_trained_is_what_runs(data: Path, tmp_path: Path) -> None:
    """From the files to a package: the engine's labels of the raw images are those of the network while training."""
    recipe, out = recipe_of(), tmp_path / "out"
    prepare(recipe, data, out)
    batch = next(iter(CaseData(recipe, out, workers=0).train_dataloader()))
    assert batch["image"].shape == (2, 2, 8, 8, 8)
    train(recipe, out, tmp_path / "run", workers=0, hardware=Hardware(accelerator="cpu"))
    export(tmp_path / "run", tmp_path / "package")
    package = read_package(tmp_path / "package")
    assert package.inputs == ("T1", "T2")
    assert "channels T1, T2 (MR)" in (tmp_path / "package/docs/README.md").read_text()
    segmenter = Segmenter(package, "cpu", Settings(largest_component=False, fill_holes=False))
    images = [data / f"p0_{part}.nii.gz" for part in ("t1", "t2")]
    result = segmenter.segment(read_channels(images))
    _, raw = next(prepared_cases(out, "all"))
    assert np.array_equal(segmenter.segment(raw.volume).labelmap, result.labelmap)
    x = ValidationImages(recipe, out, [[load_index(out, recipe)[0]]])[0]["image"]
    assert x.shape == (1, 2, 24, 20, 14)
    scores = evaluate(load_cases(out, split="val"), segmenter)
    assert scores.cases[0].error == ""
    listing = tmp_path / "cases.yaml"
    entry = {"name": "a", "image": ["p0_t1.nii.gz", "p0_t2.nii.gz"], "label": "p0_label.nii.gz"}
    listing.write_text(yaml.safe_dump([entry]))
    (listed,) = load_cases(listing, data)
    assert isinstance(listed, LabeledVolume)
    assert len(listed.volume.channels) == 2


@pytest.fixture
def decathlon(data: Path, tmp_path: Path) -> Path:
    """The same patients as an MSD folder, whose 4D files hold both images of a case."""
    folder = tmp_path / "msd" / "Task00"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    pairs = []
    for seed in range(4):
        both = [np.asarray(nib.load(data / f"p{seed}_{part}.nii.gz").dataobj) for part in ("t1", "t2")]
        nib.save(nib.Nifti1Image(np.stack(both, axis=-1), LPS), folder / f"imagesTr/p{seed}.nii.gz")
        nib.save(nib.load(data / f"p{seed}_label.nii.gz"), folder / f"labelsTr/p{seed}.nii.gz")
        pairs.append({"image": f"./imagesTr/p{seed}.nii.gz", "label": f"./labelsTr/p{seed}.nii.gz"})
    told = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "liver"}, "training": pairs}
    (folder / "dataset.json").write_text(json.dumps(told))
    return folder


MSD: dict[str, Any] = {"kind": "msd", "name": "msd", "folder": "Task00", "labels": {1: 1}}


def test_4d_files_of_the_decathlon_are_channels(data: Path, decathlon: Path, tmp_path: Path) -> None:
    """The same voxels as of the files apart, in training, in a list for evaluate and in evaluate of the folder."""
    prepare(recipe_of(), data, tmp_path / "apart")
    prepare(recipe_of(sources=[MSD]), decathlon.parent, tmp_path / "whole")
    for seed in range(4):
        apart = np.load(tmp_path / f"apart/cases/mr_p{seed}_image.npy")
        assert np.array_equal(np.load(tmp_path / f"whole/cases/msd_p{seed}_image.npy"), apart)
    listing = tmp_path / "cases.yaml"
    listing.write_text(yaml.safe_dump([{"name": "a", "image": "imagesTr/p0.nii.gz", "label": "labelsTr/p0.nii.gz"}]))
    (listed,) = load_cases(listing, decathlon, images=2)
    first, *others = load_cases(decathlon, images=2)
    for case in (listed, first):
        assert isinstance(case, LabeledVolume)
        assert np.array_equal(case.volume.further[0], np.asarray(nib.load(data / "p0_t2.nii.gz").dataobj))
    assert len(others) == 3
    (refused,) = load_cases(listing, decathlon)
    assert isinstance(refused, Unreadable)
    assert "4D series" in refused.reason


def test_a_source_may_take_some_of_the_decathlons_images_in_another_order(decathlon: Path) -> None:
    def read(channels: list[int | str]) -> RawCase:
        recipe = recipe_of(sources=[{**MSD, "channels": channels}])
        return list_cases(recipe.sources[0], decathlon.parent)[0].load()

    both, turned, one = read([]), read(["T2", 0]), read(["T2"])
    assert np.array_equal(turned.volume.array, both.volume.further[0])
    assert np.array_equal(turned.volume.further[0], both.volume.array)
    assert np.array_equal(one.volume.array, both.volume.further[0])
    assert one.volume.further == ()
    with pytest.raises(DataError, match=r"has no channel FLAIR; name one of T1, T2"):
        read(["FLAIR"])


def test_a_recipe_of_one_image_is_told_of_the_others(decathlon: Path, tmp_path: Path) -> None:
    with pytest.raises(BadDataError) as caught:
        prepare(recipe_of(channels=[], sources=[MSD]), decathlon.parent, tmp_path / "out")
    assert "The case has 2 channels but the recipe 1 channel" in caught.value.report.errors[0].message


def test_evaluate_and_predict_take_cases_of_several_images(data: Path, decathlon: Path, tmp_path: Path) -> None:
    labels = labels_for({1: "spleen", 2: "liver"})  # the liver is what is bright in the second image
    options: dict[str, Any] = {"intensity": (ScaleRange(0, 1000),), "pixdim": (2.0, 2.0, 3.0), "labels": labels}
    model = write_two_images(tmp_path / "package", **options)
    out = tmp_path / "scores"
    words = ["evaluate", str(decathlon), "--model", str(model), "-o", str(out), "--device", "cpu"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    predicted = []
    apart = [str(data / "p0_t1.nii.gz"), "--channel", str(data / "p0_t2.nii.gz")]
    for number, images in enumerate(([str(decathlon / "imagesTr/p0.nii.gz")], apart)):
        place = tmp_path / f"predicted{number}"
        words = ["predict", str(model), *images, "-o", str(place), "--device", "cpu"]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        (labelmap,) = place.glob("*.nii.gz")
        predicted.append(np.asarray(nib.load(labelmap).dataobj))
    assert np.array_equal(predicted[0], predicted[1])
    liver = np.asarray(nib.load(data / "p0_label.nii.gz").dataobj) > 0
    assert np.array_equal(predicted[0] == 2, liver)
    cases = json.loads((out / "scores.json").read_text())["cases"]
    assert len(cases) == 4
    assert all(case["error"] == "" for case in cases)
    words = ["predict", str(model), str(data), "-o", str(tmp_path / "no"), "--channel", str(data / "p0_t2.nii.gz")]
    several = CliRunner().invoke(app, words)
    assert several.exit_code != 0
    assert "Further images belong to one case" in str(several.exception) + several.output
    assert not (tmp_path / "no").exists()


def test_what_channels_cannot_be_is_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="two channels have the same name"):
        recipe_of(channels=["T1", "T1"])
    with pytest.raises(RecipeError, match="lesion paints into one CT"):
        recipe_of(augment={**NO_AUGMENT, "lesion": 0.5}, modality="CT", preprocess={"normalize": "window"})
    with pytest.raises(RecipeError, match="has the field 'other', which image lacks"):
        recipe_of(sources=[{**SEQUENCES, "further": ["{other}_t2.nii.gz"]}])
    (data / "p1_t2.nii.gz").unlink()
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.int16), LPS), data / "p2_t2.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((24, 20, 14), np.int16), LPS), data / "p3_t2.nii.gz")
    with pytest.raises(BadDataError) as caught:
        prepare(recipe_of(), data, tmp_path / "out")
    told = [finding.message for finding in caught.value.report.errors]
    assert "has no channel" in told[0]
    assert "does not lie on the grid of p2_t1.nii.gz" in told[1]
    assert "Channel T2 of the image is constant" in told[2]


def test_pictures_in_color_are_prepared_as_three_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 20, 24, 3)).astype(np.uint8)
    for n, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"p{n}.png")
        Image.fromarray((picture[..., 0] > 99).astype(np.uint8) * 255).save(tmp_path / f"p{n}-mask.png")
    source = {"kind": "files", "name": "photo", "image": "{name}.png", "color": True}
    source["masks"] = [{"path": "{name}-mask.png", "above": 127}]
    recipe = recipe_of(
        spatial_dims=2,
        modality="",
        channels=["red", "green", "blue"],
        sources=[source],
        preprocess={"pixdim": [-1, -1, -1], "normalize": "window", "window": [0, 255]},
        patch_size=[16, 16],
        inference={"roi_size": [-1, -1]},
        network={"name": "VGG16UNet"},
    )
    prepare(recipe, tmp_path, tmp_path / "out")
    image = np.load(tmp_path / "out/cases/photo_p0_image.npy")
    assert image.shape == (3, 24, 20)
    assert np.array_equal(image.transpose(2, 1, 0), pixels[0])
    batch = next(iter(CaseData(recipe, tmp_path / "out", workers=0).train_dataloader()))
    assert batch["image"].shape == (2, 3, 16, 16)
    assert recipe.network_arguments()["in_channels"] == 3
    color = load_recipe("unet2d_vgg16_color")
    assert (color.in_channels, color.patch_size) == (3, (512, 512))
