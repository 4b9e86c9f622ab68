"""Every recipe, small, from raw data to a package that `liverseg segment` runs."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from LiverSegLib.cli import commands
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.labels import labels_for
from LiverSegLib.models import read_package
from Testing.recipe_data import (
    GRAY,
    PHANTOM_BEST,
    SMALL,
    draw_slice,
    write_dicom_slice,
    write_dicom_slices,
    write_msd,
    write_slices2d,
    write_xrays,
)
from Training.__main__ import app
from Training.data.readers.prepared import Case, write_index
from Training.evaluation.cases import load_cases
from Training.evaluation.evaluate import evaluate
from Training.fit.batches import CaseData
from Training.recipe import CONFIGS, Recipe, load_recipe

UNETS = ("unet2d_vgg16", "unet2d_bn", "unet2d_attention")
COLOR = "unet2d_vgg16_color"
OF_PICTURES = {*UNETS, COLOR, "lung_xray2d", "pyramid2d_multi"}
AMOS = "sources=[{kind: files, name: amos, image: 'slices-dicom/images/{patient}_slice{slice}.dcm', masks: [%s]}]"
REGIONS = "values: {6: 1, 1: 2, 2: 3, 3: 3, 7: 4}"


def call(program: typer.Typer, *arguments: str | Path) -> str:
    """Run a command in this process; its failure is the test's."""
    done = CliRunner().invoke(program, [str(a) for a in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def make_model(name: str, data: Path, folder: Path, changes: list[str]) -> Path:
    """prepare, train, evaluate, export: as the documentation has it. Returns the package."""
    set_ = [f"--set={change}" for change in changes]
    call(app, "prepare", name, "--data", data, "--out", folder / "prepared", *set_)
    call(app, "train", name, "--data", folder / "prepared", "--run", folder / "run", *set_)
    package = folder / "package"
    call(app, "export", folder / "run", "--out", package)
    return package


def segment(package: Path, picture: Path, out: Path, *options: str | Path) -> npt.NDArray[Any]:
    """The label map that `liverseg segment` writes."""
    call(commands.app, "segment", picture, "--model", package, "--out", out, "--device=cpu", *options)
    (found,) = out.glob("*_labels.nii.gz")
    return np.asarray(nib.load(found).dataobj)


def scores_of(package: Path, prepared: Path, out: Path, split: str = "val") -> dict[str, Any]:
    call(app, "evaluate", prepared, "--model", package, "--split", split, "--out", out, "--device=cpu")
    found: dict[str, Any] = json.loads((out / "scores.json").read_text())
    return found


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def msd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_msd(tmp_path_factory.mktemp("msd"))


@pytest.fixture(scope="module")
def slices2d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slices2d(tmp_path_factory.mktemp("slices2d"))


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_a_shipped_recipe_is_valid_and_named_as_its_file(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert "Not for clinical use" in recipe.card.intended_use or "not for clinical use" in recipe.card.intended_use


def test_every_recipe_is_run_small() -> None:
    assert set(SMALL) == {path.stem for path in CONFIGS.glob("*.yaml")}


def test_the_three_2d_networks_share_everything_but_the_network() -> None:
    alike = [load_recipe(name).model_dump(exclude={"name", "network", "card"}) for name in UNETS]
    assert alike[0] == alike[1] == alike[2]
    assert len({str(load_recipe(name).network) for name in UNETS}) == 3


def test_the_attention_unet_is_the_unet_with_the_gate_alone() -> None:
    plain, gated = (load_recipe(name).network for name in ("unet2d_bn", "unet2d_attention"))
    assert gated.name == plain.name
    assert gated.arguments == {**plain.arguments, "gate": True}


def test_the_recipes_keep_the_settings_of_their_systems() -> None:
    monai, tumor, best = (load_recipe(n) for n in ("liver3d_monai", "liver_tumor3d", "liver_tumor3d_best"))
    assert (monai.preprocess.pixdim, monai.preprocess.crop_foreground) == ((1.5, 1.5, 1.0), True)
    assert tumor.sampling.labels == {0: 0.2, 1: 0.3, 2: 0.5}
    assert (tumor.split.train, tumor.split.val, tumor.patch_size) == (105, 26, (96, 96, 96))
    for name in UNETS:
        o = load_recipe(name).optimization
        assert (o.optimizer, o.learning_rate, o.schedule, o.gamma, o.batch_size, o.max_epochs) == (
            "adam",
            1e-4,
            "exponential",
            0.92,
            2,
            50,
        )
    xray = load_recipe("lung_xray2d")
    assert (xray.preprocess.size, xray.loss.kind, xray.modality) == ((512, 512, -1), "bce_dice", "DX")
    assert best.optimization.ema_decay > 0
    assert best.optimization.precision != "32-true"


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_every_sample_of_a_recipe_fits_into_one_batch(name: str, tmp_path: Path) -> None:
    """Loader processes as `train` starts them, all augmentation as shipped; only the pictures are smaller."""
    recipe = load_recipe(name)
    patch = tuple(min(n, 32) for n in recipe.patch_size)
    small = recipe.optimization.model_copy(update={"samples_per_epoch": 24, "batch_size": 6})
    recipe = recipe.model_copy(update={"patch_size": patch, "optimization": small})
    cases = write_noise(tmp_path, recipe, tuple(n + 8 for n in patch))
    batches = list(CaseData(recipe, tmp_path).train_dataloader())
    assert len(batches) == 4
    assert len(cases) == 4
    for batch in batches:
        assert (batch["image"].dtype, batch["label"].dtype) == (torch.float32, torch.uint8)
        assert batch["image"].shape == (6, recipe.in_channels, *patch)
        assert batch["label"].shape == (6, 1, *patch)
        assert int(batch["label"].max()) <= len(recipe.labels)


def write_noise(folder: Path, recipe: Recipe, size: tuple[int, ...]) -> list[Case]:
    """A prepared folder for any recipe: four cases with every label, in noise."""
    (folder / "cases").mkdir()
    cases = []
    for number in range(4):
        rng = np.random.default_rng(number)
        label = (np.indices(size).sum(0) // 8 % (len(recipe.labels) + 1)).astype(np.uint8)
        image = rng.normal(0, 100, (recipe.in_channels, *size)) + 40 * label
        image = image if recipe.in_channels > 1 else image[0]
        case, source = f"{recipe.sources[0].name}_{number}", recipe.sources[0].name
        np.save(folder / "cases" / f"{case}_image.npy", image.astype(np.int16))
        np.save(folder / "cases" / f"{case}_label.npy", label)
        voxels = np.bincount(label.ravel(), minlength=len(recipe.labels) + 1).tolist()
        split = "train" if number else "val"
        cases.append(Case(id=case, patient=case, source=source, split=split, voxels=voxels))
    write_index(folder, recipe, folder, cases)
    return cases


@pytest.mark.parametrize("name", sorted(n for n in SMALL if n.removesuffix("_original") not in OF_PICTURES))
def test_a_recipe_of_volumes_runs_from_raw_data_to_segments(name: str, msd: Path, tmp_path: Path) -> None:
    package = make_model(name, msd, tmp_path, SMALL[name])
    image = msd / "Task03_Liver" / "imagesTr" / "liver_000.nii.gz"
    labels = segment(package, image, tmp_path / "out", "--no-overlay")
    assert labels.shape == nib.load(image).shape
    assert set(np.unique(labels)) <= set(range(len(load_recipe(name).labels) + 1))
    if name == "liver_tumor3d_best":  # the command draws a page, which shows nothing of the recipe
        assert len(scores_of(package, tmp_path / "prepared", tmp_path / "scores")["cases"]) >= 1
    else:
        scores = evaluate(load_cases(tmp_path / "prepared"), Segmenter(package, "cpu"))
        assert len(scores.cases) >= 1
    (row,) = history(tmp_path / "run")
    assert 0 <= float(row["val_dice"]) <= 1


def write_cut_livers(msd: Path, folder: Path) -> Path:
    """Images of the drawn MSD folder with their livers cut into eight: by the middle of each axis."""
    (folder / "cut").mkdir(parents=True)
    for path in sorted((msd / "Task03_Liver" / "labelsTr").glob("*.nii.gz")):
        drawn = nib.load(path)
        liver = np.asarray(drawn.dataobj) > 0
        pieces = np.where(liver, 1, 0).astype(np.uint8)
        places = np.indices(liver.shape)
        for axis in range(3):
            at = places[axis]
            pieces[liver & (at > np.median(at[liver]))] += 2**axis
        name = path.name.removesuffix(".nii.gz")
        nib.save(nib.Nifti1Image(pieces, drawn.affine), folder / "cut" / f"{name}_couinaud.nii.gz")
        shutil.copy(msd / "Task03_Liver" / "imagesTr" / path.name, folder / "cut" / f"{name}_ct.nii.gz")
    return folder


def test_all_segments_of_the_liver_run_from_raw_data_to_their_shares(msd: Path, tmp_path: Path) -> None:
    names = [f"liver_segment_{number}" for number in range(1, 9)]
    drawn = ("labels", "sources", "sampling")
    changes = [change for change in SMALL["liver_segments3d_ct"] if not change.startswith(drawn)]
    values = "{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8}"
    masks = f"[{{path: 'cut/{{patient}}_couinaud.nii.gz', values: {values}}}]"
    changes += [f"sources=[{{kind: files, name: cut, image: 'cut/{{patient}}_ct.nii.gz', masks: {masks}}}]"]
    package = make_model("liver_segments3d_ct", write_cut_livers(msd, tmp_path / "data"), tmp_path, changes)
    assert read_package(package).labels == labels_for(dict(enumerate(names, start=1)))
    (row,) = history(tmp_path / "run")
    assert {f"val_dice_{name}" for name in names} <= row.keys()
    scores = scores_of(package, tmp_path / "prepared", tmp_path / "scores")
    assert scores["labels"] == [*names, "liver"]
    assert [score["label"] for score in scores["cases"][0]["labels"]] == [*names, "liver"]
    assert {"liver_dice_mean", "liver_segment_8_dice_mean"} <= scores["summary"].keys()
    cut = tmp_path / "data" / "cut"
    labels = segment(package, cut / "liver_000_ct.nii.gz", tmp_path / "out")
    with (tmp_path / "out" / "liver_000_ct_measurements.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], row["name"]) for row in rows] == [*(("segment", name) for name in names), ("organ", "liver")]
    assert int(rows[-1]["voxels"]) == np.count_nonzero(labels)
    shares = sum(float(row["organ_percent"] or 0) for row in rows[:-1])
    assert shares == pytest.approx(100 if labels.any() else 0, abs=0.1)
    call(app, "predict", package, cut / "liver_000_ct.nii.gz", "--out", tmp_path / "predicted", "--device=cpu")
    (summary,) = csv.DictReader((tmp_path / "predicted" / "summary.csv").read_text().splitlines())
    assert summary["liver_voxels"] == rows[-1]["voxels"]


def test_another_organ_is_three_overrides(msd: Path, tmp_path: Path) -> None:
    (tmp_path / "Task09_Spleen").symlink_to(msd / "Task03_Liver")
    changes = [
        *SMALL["liver3d_monai"],
        "labels={1: spleen}",
        "sources=[{kind: msd, name: msd_spleen, folder: Task09_Spleen, labels: {1: 1}, others: background}]",
        "preprocess.window=[-57, 164]",
    ]
    package = make_model("liver3d_monai", tmp_path, tmp_path / "made", changes)
    assert [label.name for label in read_package(package).labels] == ["spleen"]


@pytest.fixture(scope="module")
def compared(slices2d: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three 2D networks, trained on one prepared folder and evaluated; in it, a folder for each."""
    folder = tmp_path_factory.mktemp("compared")
    prepared = folder / "prepared"
    for name in UNETS:
        set_ = [f"--set={change}" for change in SMALL[name]]
        if name == UNETS[0]:
            call(app, "prepare", name, "--data", slices2d, "--out", prepared, *set_)
        call(app, "train", name, "--data", prepared, "--run", folder / name / "run", *set_)
        call(app, "export", folder / name / "run", "--out", folder / name / "package")
        scores_of(folder / name / "package", prepared, folder / name / "scores")
    return folder


@pytest.mark.parametrize("name", UNETS)
def test_a_2d_network_runs_from_jpeg_slices_to_segments(
    name: str, compared: Path, slices2d: Path, tmp_path: Path
) -> None:
    picture = next((slices2d / "slices2d" / "images").glob("*.jpg"))
    assert segment(compared / name / "package", picture, tmp_path / "out").shape == (64, 64, 1)
    scores = json.loads((compared / name / "scores" / "scores.json").read_text())
    assert scores["summary"]["cases"] == 4
    assert all(0 <= scores["summary"][key] <= 1 for key in ("f_score", "miou", "mpa"))
    assert (compared / name / "run" / "model.txt").stat().st_size > 200


def test_the_three_networks_are_compared_in_one_table_and_plot(compared: Path, tmp_path: Path) -> None:
    shown = call(app, "compare", *(compared / name / "scores" for name in UNETS), "--out", tmp_path)
    assert "mIoU" in shown
    assert list(tmp_path.glob("*.png"))
    assert list(tmp_path.glob("*.html"))


def test_a_prediction_is_blended_over_the_picture(compared: Path, slices2d: Path, tmp_path: Path) -> None:
    picture = next((slices2d / "slices2d" / "images").glob("*.jpg"))
    call(app, "predict", compared / "unet2d_bn" / "package", picture, "--out", tmp_path, "--device=cpu")
    (labels,) = tmp_path.glob("*_labels.png")
    (blend,) = set(tmp_path.glob("*.png")) - {labels}
    for path in (labels, blend):
        with Image.open(path) as image:
            assert image.size == (64, 64)


def test_a_2d_model_segments_the_slices_of_a_ct(compared: Path, msd: Path, tmp_path: Path) -> None:
    image = msd / "Task03_Liver" / "imagesTr" / "liver_001.nii.gz"
    labels = segment(compared / "unet2d_bn" / "package", image, tmp_path / "out")
    assert labels.shape == nib.load(image).shape


def test_the_vgg16_encoder_starts_from_a_local_imagenet_file(slices2d: Path, tmp_path: Path) -> None:
    from LiverSegLib.networks import build_network
    from Training.fit.module import SegmentationModule
    from Training.fit.train import Hardware, train

    small = [*SMALL["unet2d_vgg16"], "optimization.learning_rate=1e-12"]
    recipe = load_recipe("unet2d_vgg16", small)
    colors = build_network("VGG16UNet", {"in_channels": 3, "out_channels": 2, "spatial_dims": 2})
    state = {f"features.{k}": v for k, v in _torchvision_keys(colors).items()}
    torch.save(state, tmp_path / "vgg16.pth")
    started = load_recipe("unet2d_vgg16", [*small, f"network.pretrained={tmp_path / 'vgg16.pth'}"])
    call(
        app,
        "prepare",
        "unet2d_vgg16",
        "--data",
        slices2d,
        "--out",
        tmp_path / "prepared",
        *(f"--set={change}" for change in small),
    )
    best = train(started, tmp_path / "prepared", tmp_path / "run", hardware=Hardware(accelerator="cpu"))
    trained = torch.load(best, weights_only=True)["state_dict"]
    fresh = SegmentationModule(recipe).state_dict()
    deep = [k for k in fresh if k.startswith("network.features") and fresh[k].shape == (512, 512, 3, 3)][-1]
    wanted = state[deep.removeprefix("network.")]
    assert torch.allclose(trained[deep].float(), wanted, atol=1e-6)


def _torchvision_keys(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k.removeprefix("features."): v for k, v in network.state_dict().items() if k.startswith("features.")}


@pytest.mark.slow
def test_the_network_for_colors_runs_from_slices_to_segments(slices2d: Path, tmp_path: Path) -> None:
    package = make_model(COLOR, slices2d, tmp_path, SMALL[COLOR])
    assert read_package(package).inputs == ("red", "green", "blue")
    picture = next((slices2d / "slices2d" / "images").glob("*.jpg"))
    assert segment(package, picture, tmp_path / "out").shape == (64, 64, 1)
    call(app, "predict", package, picture, "--out", tmp_path / "predicted", "--device=cpu")
    assert len(list((tmp_path / "predicted").glob("*_labels.png"))) == 1


def test_the_xray_recipe_runs_from_pictures_to_segments(tmp_path: Path) -> None:
    data = write_xrays(tmp_path / "raw")
    package = make_model("lung_xray2d", data, tmp_path, SMALL["lung_xray2d"])
    assert segment(package, data / "xray" / "1.jpg", tmp_path / "out").shape == (80, 80, 1)
    (row,) = history(tmp_path / "run")
    assert 0 < float(row["val_accuracy"]) <= 1


def test_left_and_right_lung_masks_are_joined(tmp_path: Path) -> None:
    from Training.data.readers import list_cases

    apart = load_recipe(
        "lung_xray2d",
        [
            "sources=[{kind: files, name: xray, image: 'xray/{name}.jpg', masks: [{path: 'masks/left/{name}.png', "
            "above: 127}, {path: 'masks/right/{name}.png', above: 127}]}]"
        ],
    )
    one = list_cases(load_recipe("lung_xray2d").sources[0], write_xrays(tmp_path / "joined"))[0].load()
    two = list_cases(apart.sources[0], write_xrays(tmp_path / "apart", joined=False))[0].load()
    assert np.array_equal(one.label, two.label)
    # The patient's left lung is on the right of the picture: at high x, which runs to the left.
    left = np.asarray(Image.open(tmp_path / "apart" / "masks" / "left" / "1.png")).T > 127
    assert two.label[..., 0][left].all()
    assert np.argwhere(left)[:, 0].mean() > 40


@pytest.mark.parametrize("kind", ["dcm", "npy", "png", "jpg"])
def test_the_pyramid_recipe_reads_labels_of_every_format(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from Training.data.readers import list_cases

    monkeypatch.chdir(tmp_path)
    values = REGIONS
    if kind == "jpg":
        values = f"values: {{{GRAY[6]}: 1, {GRAY[1]}: 2, {GRAY[2]}: 3, {GRAY[7]}: 4}}"
    mask = f"{{path: 'slices-dicom/masks/{{patient}}_slice{{slice}}.{kind}', {values}, others: background}}"
    recipe = load_recipe("pyramid2d_multi", [AMOS % mask])
    data = write_dicom_slices(tmp_path, kind)  # type: ignore[arg-type]
    entries = list_cases(recipe.sources[0], data)
    assert {entry.patient.removeprefix(f"{entry.source}_") for entry in entries} == {"amos_0001", "amos_0002"}
    cases = [entry.load() for entry in entries]
    assert len(cases) == 4
    _, drawn = draw_slice(100)
    wanted = np.select([drawn == 6, drawn == 1, (drawn == 2) | (drawn == 3), drawn == 7], [1, 2, 3, 4])
    assert cases[0].volume.spacing[:2] == (5.0, 5.0)
    same = float((cases[0].label[..., 0] == wanted).mean())
    assert same == 1.0 if kind != "jpg" else same > 0.97


def test_the_pyramid_recipe_runs_from_dicom_slices_to_segments(tmp_path: Path) -> None:
    data = write_dicom_slices(tmp_path / "raw")
    changes = [*SMALL["pyramid2d_multi"], "optimization.max_epochs=2"]
    package = make_model("pyramid2d_multi", data, tmp_path, changes)
    assert [label.name for label in read_package(package).labels] == ["liver", "spleen", "kidneys", "stomach"]
    picture = tmp_path / "new.dcm"
    write_dicom_slice(picture, draw_slice(7)[0].T, "new", 1)
    assert segment(package, picture, tmp_path / "out").shape == (64, 64, 1)
    (kept,) = (tmp_path / "run" / "checkpoints").glob("epoch_*.ckpt")
    state = torch.load(kept, weights_only=True)
    assert state["optimizer_states"]
    assert [row["epoch"] for row in history(tmp_path / "run")] == ["0", "1"]
    assert {"first_batch.png", "history.png", "system.json"} <= {path.name for path in (tmp_path / "run").iterdir()}


def test_both_stages_of_the_pyramid_enter_the_loss() -> None:
    from Training.fit.losses import SegmentationLoss
    from Training.fit.module import SegmentationModule

    recipe = load_recipe("pyramid2d_multi", SMALL["pyramid2d_multi"])
    network = SegmentationModule(recipe).network.train()
    outputs = network(torch.randn(2, 1, 64, 64))
    assert len(outputs) == 2
    label = torch.randint(0, 5, (2, 1, 64, 64))
    loss = SegmentationLoss(recipe.loss)
    both = loss(outputs, label)
    alone = [loss(output, label) for output in outputs]
    assert min(alone) <= both <= sum(alone) + 1e-5
    for number in (0, 1):
        (gradient,) = torch.autograd.grad(both, outputs[number], retain_graph=True)
        assert gradient.abs().sum() > 0


@pytest.mark.usefixtures("float32")
def test_a_lesion_model_is_restricted_to_an_organ(tmp_path: Path) -> None:
    """The two-step use: the organ from a second package, and from a label map."""
    data = write_xrays(tmp_path / "raw")
    longer = [
        *SMALL["lung_xray2d"],
        "optimization.max_epochs=3",
        "optimization.samples_per_epoch=24",
        "optimization.learning_rate=0.01",
    ]
    organ = make_model("lung_xray2d", data, tmp_path / "organ", longer)
    lesion = make_model("lung_xray2d", data, tmp_path / "lesion", [*longer, "labels={1: infection}", "seed=6"])
    picture = data / "xray" / "2.jpg"
    lungs = segment(organ, picture, tmp_path / "lungs", "--no-overlay") > 0
    raw = ("--no-postprocess", "--no-overlay")
    alone = segment(lesion, picture, tmp_path / "alone", *raw) > 0
    joint = segment(lesion, picture, tmp_path / "joint", "--within", organ, *raw)
    assert lungs.any()
    assert alone.any()
    assert np.array_equal(joint > 0, lungs)
    (image,) = [nib.load(path) for path in (tmp_path / "lungs").glob("*_labels.nii.gz")]
    half = alone.astype(np.uint8)
    half[40:] = 0
    assert half.any()
    assert (alone & (half == 0)).any()
    nib.save(nib.Nifti1Image(half, image.affine), tmp_path / "half.nii.gz")
    within = segment(lesion, picture, tmp_path / "half", "--within", tmp_path / "half.nii.gz", *raw)
    assert np.array_equal(within == 2, half > 0)
    assert not (within[40:] > 0).any()


def test_a_sweep_of_the_loss_weight_makes_a_table(tmp_path: Path) -> None:
    data = write_xrays(tmp_path / "raw")
    set_ = [f"--set={change}" for change in SMALL["lung_xray2d"]]
    call(app, "prepare", "lung_xray2d", "--data", data, "--out", tmp_path / "prepared", *set_)
    command: list[str | Path] = [
        "sweep",
        "lung_xray2d",
        "--data",
        tmp_path / "prepared",
        "--run",
        tmp_path / "sweep",
        "--vary",
        "loss.ce_weight=0.2,0.8",
        *set_,
    ]
    shown = call(app, *command)
    assert "loss.ce_weight=0.2" in shown
    rows = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert all(0 <= row["best_val_dice"] <= 1 for row in rows)
    best = tmp_path / "sweep" / rows[0]["run"] / "checkpoints" / "best.ckpt"
    written = best.stat().st_mtime_ns
    call(app, *command)
    assert best.stat().st_mtime_ns == written


# The same on real pictures, where they are.


@pytest.fixture
def trained_on(shared_data: Path, tmp_path: Path) -> Callable[[str, list[str]], Path]:
    """Makes a small model of a recipe from the real data."""

    def make(name: str, changes: list[str]) -> Path:
        return make_model(name, shared_data, tmp_path, changes)

    return make


def test_the_xray_recipe_runs_on_real_xrays(
    shared_data: Path, trained_on: Callable[[str, list[str]], Path], tmp_path: Path
) -> None:
    package = trained_on("lung_xray2d", SMALL["lung_xray2d"])
    assert segment(package, shared_data / "xray" / "1.jpg", tmp_path / "out").shape == (512, 512, 1)


def test_the_pyramid_recipe_runs_on_real_dicom_slices(
    shared_data: Path, trained_on: Callable[[str, list[str]], Path], tmp_path: Path
) -> None:
    package = trained_on("pyramid2d_multi", SMALL["pyramid2d_multi"])
    (tmp_path / "one").mkdir()
    # Alone in its folder: the whole series would be read otherwise.
    picture = shutil.copy(shared_data / "slices-dicom" / "images" / "amos_0013_slice0050.dcm", tmp_path / "one")
    assert segment(package, Path(picture), tmp_path / "out").shape == (512, 512, 1)


def test_a_2d_network_runs_on_real_slices(
    shared_data: Path, trained_on: Callable[[str, list[str]], Path], tmp_path: Path
) -> None:
    few = (
        "sources=[{kind: files, name: s, image: 'slices2d/images/{how}_1001{patient}_{slice}.jpg', masks: [{path: "
        "'slices2d/masks/{how}_1001{patient}_{slice}.jpg', above: 127}], window: [0, 250], rows: x, "
        "flip: {flipped: y, mirrored: x}}]"
    )
    package = trained_on("unet2d_bn", [*SMALL["unet2d_bn"], few])
    picture = shared_data / "slices2d" / "images" / "flipped_10001_103.jpg"
    assert segment(package, picture, tmp_path / "out").shape == (256, 256, 1)


def test_the_mr_volumes_train_a_3d_recipe(shared_data: Path, tmp_path: Path) -> None:
    changes = [
        *SMALL["liver3d_monai"],
        "modality=MR",
        "preprocess.normalize=zscore",
        "split={folds: 4, fold: 1}",
        "sources=[{kind: files, name: mr, image: 'mr/{name}_image.nii.gz', masks: [{path: 'mr/{name}_label.nii.gz', "
        "values: {1: 1}}]}]",
    ]
    package = make_model("liver3d_monai", shared_data, tmp_path, changes)
    assert read_package(package).modality == "MR"
    labels = segment(package, shared_data / "mr" / "mr01_image.nii.gz", tmp_path / "out", "--no-overlay")
    assert labels.shape == (240, 240, 48)


@pytest.mark.slow
def test_the_best_recipe_learns_phantoms_in_twenty_minutes(tmp_path: Path) -> None:
    """Liver Dice >= 0.95 and lesion Dice >= 0.6 on twelve phantoms of the same kind that it never saw."""
    package = make_model("liver_tumor3d_best", tmp_path, tmp_path / "made", PHANTOM_BEST)
    unseen = [PHANTOM_BEST[0].replace("count: 40, seed: 300", "count: 12, seed: 900"), *PHANTOM_BEST[1:]]
    changes = [part for change in unseen for part in ("--set", change)]
    call(app, "prepare", "liver_tumor3d_best", "--data", tmp_path, "--out", tmp_path / "unseen", *changes)
    arguments: list[str | Path] = ["--split", "all", "--model", package, "--out", tmp_path / "scores", "--device=cpu"]
    call(app, "evaluate", tmp_path / "unseen", *arguments)
    summary = json.loads((tmp_path / "scores" / "scores.json").read_text())["summary"]
    assert summary["liver_dice_mean"] >= 0.95
    assert summary["tumor_dice_mean"] >= 0.6
