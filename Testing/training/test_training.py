"""The training chain on phantoms: recipe -> prepared data -> run -> package -> segments."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import nibabel as nib
import numpy as np
import pytest
import torch

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.models import read_package
from LiverSegLib.phantom import make_phantom
from Testing.conftest import DrawCase
from Testing.conftest import _threshold_weights as threshold_weights
from Testing.recipe_data import SMALL, write_msd
from Testing.tiny_run import write_recipe
from Training.augment import ct as augment
from Training.data.prepare import prepare
from Training.data.readers import load_index
from Training.errors import DataError, RunError
from Training.fit.batches import CaseData, TrainingSamples
from Training.fit.module import SegmentationModule
from Training.fit.train import Hardware, train
from Training.packages.export import export, load_run
from Training.recipe import Recipe, RecipeError, load_recipe, parse_recipe

SMALL_3D = [
    "sources=[{kind: phantom, count: 4, seed: 1, labels: {1: 1, 2: 2}}]",
    "preprocess.pixdim=[8, 8, 8]",
    "patch_size=[32, 32, 32]",
    "inference.roi_size=[32, 32, 32]",
    "optimization.max_epochs=2",
    "optimization.samples_per_epoch=4",
    "optimization.batch_size=2",
    "optimization.validate_every=1",
]


def small(name: str, changes: list[str]) -> Recipe:
    return load_recipe(name, changes)


@pytest.fixture(scope="module")
def recipe_3d() -> Recipe:
    return small("liver3d_phantom", SMALL_3D)


CPU = Hardware(accelerator="cpu")


@pytest.fixture(scope="module")
def prepared_3d(recipe_3d: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:  # the recipe's grid is coarser still
        patch.setattr("LiverSegLib.phantom.make_phantom", partial(make_phantom, spacing=(5.0, 5.0, 5.0)))
        prepare(recipe_3d, Path(), folder)
    return folder


@pytest.fixture(scope="module")
def run_3d(recipe_3d: Recipe, prepared_3d: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    train(recipe_3d, prepared_3d, run, workers=0, hardware=CPU)
    return run


def test_every_recipe_in_the_repository_is_valid() -> None:
    from Training.recipe import CONFIGS

    names = sorted(p.stem for p in CONFIGS.glob("*.yaml"))
    assert "liver2d_starter" in names
    for name in names:
        assert load_recipe(name).name == name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("optimization.epochs=3", "optimization.epochs"),
        ("optimization.max_epochs=0", "optimization.max_epochs"),
        ("patch_size=[96, 96]", "patch_size"),
        ("network.name=ResNet", "ResNet"),
        ("network.arguments.depth=4", "depth"),
        ("labels={1: liver, 3: tumor}", "labels"),
        ("sources=[]", "sources"),
        ("sources=[{kind: phantom, count: 2, labels: {1: 7}}]", "label 7"),
        ("nothing.at.all=1", "nothing"),
        ("labels", "key=value"),
        ("loss.knd=dice", "loss.knd: is not a key that recipes have; did you mean kind?"),
        ("labels={1: cancer, 2: tumor}", "two labels have the same name"),
        ("name.first=a", "name has no keys"),
        ("=3", "key=value"),
        ("split={", "split={.*: the value cannot be read as YAML: line 1, column 2"),
        ("seed=[1", "seed=.*: the value cannot be read as YAML"),
        ("inference.voters=[a]", "name a guide, too"),
        ("inference.divides=a/b", "inference.divides: String should match pattern"),
        ("seed=-1", "seed: Input should be greater than or equal to 0"),
        ("optimization.learning_rate=.inf", "optimization.learning_rate"),
        ("seed=" + "9" * 5000, "cannot be read as YAML"),
        ("network.arguments=" + "[" * 3000, "lie more than 40 deep"),
        ("network.arguments={channels: &a [1, *a]}", r"aliases \(\*name\) are not allowed"),
    ],
)
def test_an_impossible_key_is_one_sentence_that_names_it(change: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        load_recipe("liver3d_phantom", [change])
    assert "\n" not in str(caught.value)
    assert "Value error" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name: [" * 3000, "deep"),
        ("seed: " + "9" * 5000, "mine.yaml"),
        ("&a name: *a", "aliases"),
        ("network: &n {arguments: *n}", "aliases"),
        ("name: 2001-99-99", "spatial_dims"),  # a text as any other
        ("name: !!python/object/apply:os.system [ls]", "python"),
        ("a: " + "x" * 2**21, "more than 1 MB"),
        ("name: 'open", "mine.yaml"),
        ("\x00", "mine.yaml"),
        ("", "valid dictionary"),
    ],
    ids=lambda text: text[:24],
)
def test_a_recipe_file_of_odd_content_is_one_sentence(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=words) as caught:
        load_recipe(path, ["seed=3"] if content else None)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_key_of_a_section_that_the_file_leaves_out_may_be_set() -> None:
    assert load_recipe("liver3d_phantom", ["loss.kind=dice"]).loss.kind == "dice"
    vgg = load_recipe("unet2d_vgg16", ["network.arguments.batch_norm=true"])
    assert vgg.network.arguments["batch_norm"] is True
    assert load_recipe("liver_tumor3d", ["sampling.labels.1=0.9"]).sampling.labels == {0: 0.2, 1: 0.9, 2: 0.5}
    assert load_recipe("liver3d_monai", ["sampling.labels.1=0.9"]).sampling.labels == {1: 0.9}


def test_a_version_that_looks_like_a_date_is_a_text() -> None:
    assert load_recipe("liver3d_phantom", ["card.version=2026-11-21"]).card.version == "2026-11-21"


def test_an_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(RecipeError, match="liver2d_starter"):
        load_recipe("no_such_recipe")


def test_a_recipe_extends_another_by_name_or_file(tmp_path: Path) -> None:
    base = load_recipe("liver3d_phantom")
    (tmp_path / "first.yaml").write_text(
        "extends: liver3d_phantom\nname: first\nlabels: {1: liver}\n"
        "sources: [{kind: phantom, count: 2, labels: {1: 1, 2: 1}}]\nsampling: {labels: {0: 1, 1: 1}}\n"
        "optimization: {max_epochs: 7}\n"
    )
    (tmp_path / "second.yaml").write_text("extends: first.yaml\nname: second\nloss: {kind: dice}\n")
    recipe = load_recipe(tmp_path / "second.yaml", ["seed=9"])
    assert (recipe.name, recipe.labels, recipe.seed, recipe.loss.kind) == ("second", {1: "liver"}, 9, "dice")
    assert recipe.optimization == base.optimization.model_copy(update={"max_epochs": 7})
    assert recipe.network == base.network


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("mine.yaml", "does not lead back here"),
        ("[a, b]", "name of one recipe"),
        ("''", "name of one recipe"),
        ("no_such_recipe", "There is no recipe no_such_recipe"),
    ],
)
def test_a_recipe_that_extends_nothing_is_refused(base: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"extends: {base}\nname: mine\n")
    with pytest.raises(RecipeError, match=words):
        load_recipe(tmp_path / "mine.yaml")


def test_a_recipe_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(RecipeError, match="mine"):
        parse_recipe(["not", "a", "recipe"], "mine")


def test_prepare_is_the_same_twice(tmp_path: Path) -> None:
    recipe = small("liver3d_phantom", SMALL["liver3d_phantom"])
    data = write_msd(tmp_path / "data")
    once, again = (prepare(recipe, data, tmp_path / name / "prepared").cases for name in ("a", "b"))
    assert once == again
    for part in ("image", "label"):
        stored = [np.load(tmp_path / name / "prepared" / "cases" / f"{once[0].id}_{part}.npy") for name in ("a", "b")]
        assert np.array_equal(stored[0], stored[1])


def test_data_prepared_for_another_grid_is_refused(prepared_3d: Path) -> None:
    other = small("liver3d_phantom", [*SMALL_3D, "preprocess.pixdim=[5, 5, 5]"])
    with pytest.raises(DataError, match="prepare again"):
        load_index(prepared_3d, other)


def test_a_training_sample_is_a_patch_in_the_window(recipe_3d: Recipe, prepared_3d: Path) -> None:
    sample = TrainingSamples(recipe_3d, prepared_3d, load_index(prepared_3d, recipe_3d))[0, 5]
    assert tuple(sample["image"].shape) == (1, 32, 32, 32)
    assert tuple(sample["label"].shape) == (1, 32, 32, 32)
    assert 0 <= float(sample["image"].min()) <= float(sample["image"].max()) <= 1


AUGMENTATIONS = [
    augment.RandContrastd,
    augment.RandOrganContrastd,
    augment.RandLesiond,
    augment.RandMassd,
    augment.RandFluidd,
    augment.RandArmsd,
    augment.RandCropFieldd,
    augment.RandBlurd,
    augment.RandLowResolutiond,
    augment.RandNoised,
]


@pytest.fixture(scope="module")
def slice_case() -> dict[str, np.ndarray]:
    phantom = make_phantom(4, spacing=(3, 3, 6), phase="portal")
    k = int((phantom.labelmap > 0).sum((0, 1)).argmax())
    label = (phantom.labelmap[..., k] > 0).astype(np.uint8)
    return {"image": phantom.volume.array[..., k].astype(np.float32)[None], "label": label[None]}


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_augmentation_changes_the_image_and_keeps_the_original(kind: type, slice_case: dict[str, np.ndarray]) -> None:
    before = slice_case["image"].copy()
    transform = kind(1.0).set_random_state(3)
    after = transform(slice_case)
    assert after["image"].shape == before.shape
    assert np.isfinite(after["image"]).all()
    assert not np.array_equal(after["image"], before)
    assert np.array_equal(slice_case["image"], before)
    if kind is not augment.RandCropFieldd:
        assert np.array_equal(after["label"], slice_case["label"])


def test_a_mass_stays_outside_the_liver(slice_case: dict[str, np.ndarray]) -> None:
    mass: Any = augment.RandMassd(1.0).set_random_state(0)
    after = mass(slice_case)
    inside = slice_case["label"] > 0
    assert np.array_equal(after["image"][inside], slice_case["image"][inside])


def test_lesions_become_tumor_where_the_model_has_it(slice_case: dict[str, np.ndarray]) -> None:
    lesion: Any = augment.RandLesiond(1.0, tumor_label=2).set_random_state(1)
    after = lesion(slice_case)
    assert (after["label"] == 2).any()
    assert np.array_equal(after["label"] > 0, slice_case["label"] > 0)


def test_a_run_leaves_recipe_checkpoints_and_logs(run_3d: Path) -> None:
    assert (run_3d / "recipe.yaml").is_file()
    assert {p.name for p in (run_3d / "checkpoints").glob("*.ckpt")} >= {"best.ckpt", "last.ckpt"}
    assert list((run_3d / "logs" / "tensorboard").glob("*/events.*"))
    with (run_3d / "logs" / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    dice = [float(r["val_dice"]) for r in rows if r.get("val_dice")]
    assert len(dice) == 2
    assert all(0 <= d <= 1 for d in dice)


def test_a_new_run_may_start_from_another_runs_weights(
    recipe_3d: Recipe, prepared_3d: Path, run_3d: Path, tmp_path: Path
) -> None:
    start = run_3d / "checkpoints" / "best.ckpt"
    still = recipe_3d.model_copy(
        update={"optimization": recipe_3d.optimization.model_copy(update={"learning_rate": 1e-12, "weight_decay": 0.0})}
    )
    train(still, prepared_3d, tmp_path, init=start, workers=0, hardware=CPU)
    _, before = load_run(run_3d)
    _, after = load_run(tmp_path)
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in before)
    wide = load_recipe("liver3d_phantom", [*SMALL_3D, "network.arguments.init_filters=16"])
    with pytest.raises(RunError, match="do not fit"):
        train(wide, prepared_3d, tmp_path / "other", init=start, workers=0, hardware=CPU)


def test_another_recipe_cannot_resume_a_run(recipe_3d: Recipe, prepared_3d: Path, run_3d: Path) -> None:
    longer = load_recipe("liver3d_phantom", [*SMALL_3D, "optimization.max_epochs=3", "seed=99"])
    assert longer != recipe_3d
    with pytest.raises(RunError, match="another recipe"):
        train(longer, prepared_3d, run_3d, resume=True, workers=0, hardware=CPU)


def test_resuming_nothing_is_one_sentence(recipe_3d: Recipe, prepared_3d: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="resume"):
        train(recipe_3d, prepared_3d, tmp_path, resume=True)


def test_the_exported_package_segments(run_3d: Path, tmp_path: Path) -> None:
    export(run_3d, tmp_path / "package")
    package = read_package(tmp_path / "package")
    assert [label.name for label in package.labels] == ["liver", "tumor"]
    phantom = make_phantom(9, spacing=(6, 6, 6))
    result = Segmenter(package, "cpu").segment(phantom.volume)
    assert result.labelmap.shape == phantom.labelmap.shape
    card = (tmp_path / "package" / "docs" / "README.md").read_text()
    assert "Not for clinical use" in card


def test_exported_weights_are_those_of_the_best_checkpoint(run_3d: Path, tmp_path: Path) -> None:
    from LiverSegLib.models.weights import read_weights

    _, weights = load_run(run_3d)
    export(run_3d, tmp_path)
    stored = read_weights(tmp_path / "models" / "model.safetensors")
    assert stored.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.allclose(stored[name].float(), tensor.float(), rtol=2e-3, atol=1e-6), name


def test_validation_and_evaluation_find_the_same_dice(draw_case: DrawCase, tmp_path: Path) -> None:
    """The number by which the checkpoint is chosen is the number that users get.

    The network calls all above 100 HU liver and above 200 HU tumor, so that bright crumbs beside the liver are wrong
    before postprocessing.
    """
    from Training.evaluation.cases import load_cases
    from Training.evaluation.evaluate import evaluate

    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -48, -40, -36
    for number in range(2):
        image = draw_case(affine, (48, 40, 36)).array.astype(np.int16)
        label = np.roll((image > 100).astype(np.uint8) + (image > 200), 2 + number, axis=0)
        image[2:8, 2:8, 2 : 8 + number] = 150
        for part, array in (("ct", image), ("label", label)):
            nib.save(nib.Nifti1Image(array, affine), tmp_path / f"p{number}_{part}.nii.gz")
    recipe = load_recipe(
        "liver3d_phantom",
        [
            "sources=[{kind: files, name: ct, image: '{name}_ct.nii.gz', masks: [{path: '{name}_label.nii.gz', "
            "values: {1: 1, 2: 2}}]}]",
            "network={name: BasicUNet, arguments: {features: [2, 2, 2, 2, 2, 2], norm: batch}}",
            "preprocess={axcodes: LPS, pixdim: [2, 2, 2], window: [-100, 300]}",
            "split={folds: 2}",
            "patch_size=[32, 32, 32]",
            "inference.roi_size=[32, 32, 32]",
        ],
    )
    prepare(recipe, tmp_path, tmp_path / "prepared")
    module = SegmentationModule(recipe)
    module.network.load_state_dict(threshold_weights(recipe.network_arguments()))
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": module.state_dict()}, tmp_path / "run" / "checkpoints" / "best.ckpt")
    write_recipe(recipe, tmp_path / "run" / "recipe.yaml")
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (found,) = trainer.validate(module, CaseData(recipe, tmp_path / "prepared"), verbose=False)
    export(tmp_path / "run", tmp_path / "package")
    scores = evaluate(load_cases(tmp_path / "prepared"), Segmenter(tmp_path / "package", "cpu"))
    for name in ("liver", "tumor"):
        assert found[f"val_dice_{name}"] == pytest.approx(scores.summary[f"{name}_dice_mean"], abs=2e-3)
        assert 0.6 < found[f"val_dice_{name}"] < 0.99


def test_exporting_nothing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="train first"):
        export(tmp_path, tmp_path / "package")
