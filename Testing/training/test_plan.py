"""Plans from a data set's fingerprint, and sweeps over a recipe's keys."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from LiverSegLib.networks import build_network, reduction
from LiverSegLib.volume import Volume
from Testing.recipe_data import write_msd
from Training.__main__ import app
from Training.commands.planning import write_coarse
from Training.data.readers import RawCase
from Training.errors import DataError, RunError
from Training.planning import sweep
from Training.planning.fingerprint import Fingerprint, fingerprint, median_shape, raw_cases, target_spacing
from Training.planning.memory import FIXED, GIB, training_memory, validation_memory
from Training.planning.network import PLANNED, divisor, strides_for
from Training.planning.plan import Plan, make_plan
from Training.recipe import Recipe, RecipeError, load_recipe, parse_recipe
from Training.recipe.options import CT_ONLY
from Training.recipe.yaml_text import recipe_text

NETWORK_ARGUMENTS = {
    "SegResNetDS": "{init_filters: 8, norm: instance}",
    "DynUNet": "{filters: [8], norm_name: instance, kernel_size: [3], strides: [1], upsample_kernel_size: [1]}",
    "UNet": "{channels: [8, 16], strides: [2], norm: instance}",
}


OFF = [f"augment.{key}=0" for key in CT_ONLY]


def box_case(
    shape: tuple[int, int, int], spacing: Sequence[float], seed: int = 0, levels: tuple[float, float] = (60, 140)
) -> RawCase:
    """A body of 20 HU that fills the volume, with a labeled cube of evenly spread HU in its middle."""
    array = np.full(shape, 20, np.int16)
    label = np.zeros(shape, np.uint8)
    middle = tuple(slice(n // 4, n - n // 4) for n in shape)
    label[middle] = 1
    values = np.linspace(*levels, int(label.sum())).round().astype(np.int16)
    array[middle] = np.random.default_rng(seed).permutation(values).reshape(array[middle].shape)
    volume = Volume(array, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]), f"box {seed}", "CT")
    return RawCase(volume, label)


def recipe_with(network: str, changes: Sequence[str] = ()) -> Recipe:
    arguments = f"network={{name: {network}, arguments: {NETWORK_ARGUMENTS[network]}}}"
    return load_recipe("liver_tumor3d_best", [arguments, "optimization.precision=32-true", *changes])


def plan_for(network: str, shape: tuple[int, int, int], spacing: Sequence[float], gb: float, count: int = 3) -> Plan:
    return make_plan(recipe_with(network), [box_case(shape, spacing, n) for n in range(count)], gb)


def numbers(spacings: list[list[float]], shapes: list[list[int]]) -> Fingerprint:
    return Fingerprint(spacings=np.array(spacings, float), shapes=np.array(shapes), low=0.0, high=1.0)


def test_the_target_voxel_is_the_median_of_each_axis() -> None:
    found = numbers([[0.7, 0.7, 1.0], [0.8, 0.8, 1.5], [0.9, 0.9, 5.0]], [[512, 512, 200]] * 3)
    assert target_spacing(found) == [0.8, 0.8, 1.5]


def test_a_coarse_axis_takes_its_tenth_percentile() -> None:
    slices = [3.0, 4.0, 5.0, 6.0, 7.0]
    found = numbers([[0.8, 0.8, mm] for mm in slices], [[512, 512, 60]] * 5)
    assert target_spacing(found) == [0.8, 0.8, pytest.approx(np.percentile(slices, 10), abs=1e-3)]


def test_the_median_shape_is_counted_after_resampling() -> None:
    found = numbers([[1.0, 1.0, 2.0], [2.0, 2.0, 4.0]], [[100, 100, 50], [100, 100, 50]])
    assert median_shape(found, [1.0, 1.0, 1.0]) == [150, 150, 150]


def test_axes_are_those_of_the_recipe() -> None:
    turned = box_case((20, 30, 40), (1.0, 2.0, 3.0))
    affine = turned.volume.affine[:, [2, 0, 1, 3]]  # the first index now runs along the body
    case = RawCase(Volume(turned.volume.array.transpose(2, 0, 1), affine), turned.label.transpose(2, 0, 1))
    found = fingerprint([case], recipe_with("UNet"))
    assert found.spacings.tolist() == [[1.0, 2.0, 3.0]]
    assert found.shapes.tolist() == [[20, 30, 40]]


def test_air_around_the_body_does_not_count_where_the_recipe_crops_it() -> None:
    inner = box_case((20, 20, 20), (2, 2, 2))
    array = np.pad(inner.volume.array, 6, constant_values=-1000)
    case = RawCase(Volume(array, inner.volume.affine), np.pad(inner.label, 6))
    assert fingerprint([case], recipe_with("UNet")).shapes.tolist() == [[20, 20, 20]]
    whole = recipe_with("UNet", ["preprocess.crop_foreground=false"])
    assert fingerprint([case], whole).shapes.tolist() == [[32, 32, 32]]


def test_the_window_holds_99_percent_of_the_labeled_voxels() -> None:
    planned = plan_for("UNet", (48, 48, 48), (3, 3, 3), 4)
    assert planned.recipe["preprocess"]["window"] == [60, 140]
    wide = make_plan(recipe_with("UNet"), [box_case((60, 60, 60), (3, 3, 3), levels=(0, 1000))], 4)
    low, high = wide.recipe["preprocess"]["window"]
    assert (low, high) == (pytest.approx(5, abs=3), pytest.approx(995, abs=3))


def test_mr_keeps_its_normalization() -> None:
    recipe = load_recipe("liver3d_monai", ["modality=MR", "preprocess.normalize=zscore"])
    planned = make_plan(recipe, [box_case((48, 48, 32), (2, 2, 4))], 4)
    assert list(planned.recipe["preprocess"]["window"]) == [-200, 200]
    assert planned.recipe["preprocess"]["normalize"] == "zscore"


def two_images(first: RawCase, second: RawCase) -> RawCase:
    """A case of two images of one place."""
    return replace(first, volume=replace(first.volume, further=(second.volume.array,)))


@pytest.mark.parametrize("normalize", ["window", "percentiles"])
def test_sequences_of_mr_are_each_normalized_by_themselves(normalize: str) -> None:
    changes = ["modality=MR", "channels=[T1, T2]", f"preprocess.normalize={normalize}"]
    recipe = load_recipe("liver3d_monai", changes)
    shape, spacing = (48, 48, 32), (2, 2, 4)
    case = two_images(box_case(shape, spacing), box_case(shape, spacing, levels=(1000, 3000)))
    found = fingerprint([case], recipe)
    assert np.allclose(found.ranges, [(60, 140), (1010, 2990)], atol=12)
    planned = make_plan(recipe, [case], 4)
    assert planned.recipe["channels"] == ["T1", "T2"]
    # A fixed window suits no two sequences; what looks at each image by itself stays as it was chosen.
    assert planned.recipe["preprocess"]["normalize"] == ("zscore" if normalize == "window" else normalize)
    assert re.search(r"are \d+ and \d+ \(T1\), \d+ and \d+ \(T2\)\.$", planned.reasons["preprocess"])
    parse_recipe(planned.recipe, "planned")


def test_the_phases_of_a_ct_share_one_window() -> None:
    shape, spacing = (48, 48, 48), (3, 3, 3)
    case = two_images(box_case(shape, spacing, levels=(20, 90)), box_case(shape, spacing, levels=(60, 140)))
    planned = make_plan(recipe_with("UNet", ["channels=[native, portal]", *OFF]), [case], 4)
    low, high = planned.recipe["preprocess"]["window"]
    assert (low, high) == (pytest.approx(20, abs=2), pytest.approx(140, abs=2))


def test_every_channel_takes_memory() -> None:
    shape, spacing = (64, 64, 64), (1, 1, 1)
    cases = [box_case(shape, spacing), box_case(shape, spacing, levels=(0, 9))]
    one, two = recipe_with("UNet"), recipe_with("UNet", ["modality=MR", "channels=[T1, T2]", *OFF])
    needed = [make_plan(one, cases[:1], 4), make_plan(two, [two_images(*cases)], 4)]
    assert needed[1].recipe["patch_size"] == needed[0].recipe["patch_size"]
    assert needed[1].memory_gb > needed[0].memory_gb


def test_a_case_of_other_channels_is_one_sentence() -> None:
    recipe = recipe_with("UNet", ["modality=MR", "channels=[T1, T2]", *OFF])
    with pytest.raises(DataError, match="box 0 has 1 channel, but the recipe 2; name in its channels"):
        make_plan(recipe, [box_case((48, 48, 48), (3, 3, 3))], 4)


def test_an_axis_is_halved_until_four_voxels_are_left() -> None:
    strides = strides_for("DynUNet", [64, 64, 16], [1.0, 1.0, 1.0])
    assert divisor(strides) == (16, 16, 4)


def test_levels_are_those_of_nnunet() -> None:
    # What get_pool_and_conv_props of nnU-Net 2 gives for these patches and voxel sizes.
    for size, spacing, wanted in (
        ([512, 512, 20], [0.78, 0.78, 5.0], (128, 128, 4)),  # a thick CT: seven levels in plane
        ([128, 128, 128], [1.5, 1.5, 1.5], (32, 32, 32)),
        ([320, 320, 20], [0.6, 0.6, 3.6], (64, 64, 4)),
        ([64, 8, 8], [1.0, 1.0, 1.0], (8, 2, 2)),
    ):
        assert divisor(strides_for("DynUNet", [float(n) for n in size], spacing)) == wanted, size


def test_a_coarse_model_is_planned_where_patches_show_too_little(tmp_path: Path) -> None:
    shape = 96, 96, 72
    cases = [box_case(shape, (1, 1, 1), n) for n in range(2)]
    fine = make_plan(recipe_with("UNet"), cases, 0.9, lowres=True)
    assert fine.coarse is not None
    shown = np.prod(fine.recipe["patch_size"]) / np.prod(shape)
    assert shown < 0.25
    coarse = fine.coarse.recipe
    mm = np.array(coarse["preprocess"]["pixdim"])
    assert (mm > 1).all()
    assert np.prod(coarse["patch_size"]) / np.prod(np.round(shape / mm)) >= 0.25
    write_coarse(fine, tmp_path / "mine.yaml")
    assert load_recipe(tmp_path / "mine_lowres.yaml").preprocess.pixdim == tuple(mm)
    assert fine.recipe["inference"]["guide"] == {"model": "mine_lowres"}
    with pytest.raises(RecipeError, match="cannot be the name of a package"):
        write_coarse(fine, tmp_path / "my plan.yaml")
    assert make_plan(recipe_with("UNet"), cases, 0.9).coarse is None
    assert make_plan(recipe_with("UNet"), cases, 16, lowres=True).coarse is None


def test_a_coarse_axis_is_halved_later() -> None:
    for name in PLANNED:
        strides = strides_for(name, [128, 128, 32], [1.0, 1.0, 4.0])
        assert strides[0] == (2, 2, 1), name
        assert (2, 2, 2) in strides, name


@pytest.mark.parametrize("network", PLANNED)
@pytest.mark.parametrize(
    ("shape", "spacing"), [((96, 96, 80), (2, 2, 2)), ((96, 80, 20), (1.2, 1.2, 6)), ((40, 36, 33), (4, 4, 5))]
)
def test_the_planned_network_takes_the_planned_patch(
    network: str, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    planned = plan_for(network, shape, spacing, 2)
    recipe = parse_recipe(planned.recipe, "plan")
    factor = reduction(recipe.network.name, recipe.network_arguments())
    assert all(n % f == 0 and n // f >= 3 for n, f in zip(recipe.patch_size, factor, strict=True))
    with torch.device("meta"):
        module = build_network(recipe.network.name, recipe.network_arguments()).eval()
        out = module(torch.empty(1, 1, *recipe.patch_size))
    assert out.shape == (1, 3, *recipe.patch_size)
    assert recipe.inference.roi_size == recipe.patch_size


@pytest.mark.parametrize("network", PLANNED)
def test_more_memory_gives_larger_patches_and_never_more_than_there_is(network: str) -> None:
    voxels = []
    for gb in (1.5, 3, 6):
        planned = plan_for(network, (160, 160, 120), (1.5, 1.5, 2), gb)
        assert planned.memory_gb <= gb
        voxels.append(math.prod(planned.recipe["patch_size"]) * planned.recipe["optimization"]["batch_size"])
    assert voxels == sorted(voxels)
    assert voxels[0] < voxels[-1]


def test_memory_left_over_becomes_a_larger_batch_that_stays_a_small_part_of_the_data() -> None:
    few = plan_for("UNet", (48, 48, 48), (3, 3, 3), 16, count=3)
    many = plan_for("UNet", (48, 48, 48), (3, 3, 3), 16, count=100)
    assert few.recipe["optimization"]["batch_size"] == 2
    assert 2 < many.recipe["optimization"]["batch_size"] <= 5


_MEASURE = """
import json, sys, torch
from pathlib import Path
from LiverSegLib.networks import build_network, monai_import
monai_import.shorten()
name, arguments, patch, batch = json.loads(sys.argv[1])
torch.set_num_threads(1)

def peak(reset):
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    rows = Path("/proc/self/status").read_text().split("\\n")
    return int(next(row for row in rows if row.startswith("VmHWM")).split()[1]) * 1024

def step(network, optimizer, size, batch):
    optimizer.zero_grad()
    out = network(torch.randn(batch, 1, *size))
    heads = out if isinstance(out, list) else [out]
    loss = sum(torch.nn.functional.cross_entropy(h, torch.zeros(h.shape[0], *h.shape[2:], dtype=torch.long))
               for h in heads)
    loss.backward()
    optimizer.step()

def run(size, batch):
    network = build_network(name, arguments).train()
    step(network, torch.optim.AdamW(network.parameters()), size, batch)

run([16, 16, 16], 1)  # libraries load with their first use
before = peak(True)
run(patch, batch)
print(peak(False) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize(
    ("name", "arguments", "patch", "batch"),
    [
        ("SegResNetDS", {"init_filters": 16, "blocks_down": [1, 2, 2], "norm": "instance", "dsdepth": 2}, 48, 2),
        ("UNet", {"channels": [32, 64, 64], "strides": [2, 2], "num_res_units": 2, "norm": "instance"}, 64, 2),
    ],
)
def test_the_memory_estimate_is_within_a_factor_of_two(
    name: str, arguments: dict[str, object], patch: int, batch: int
) -> None:
    full = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, **arguments}
    size = (patch,) * 3
    estimate = training_memory(name, full, size, batch) - FIXED
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, json.dumps([name, full, size, batch])],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    measured = int(done.stdout)
    assert measured / 2 < estimate < measured * 2, f"{estimate / GIB:.2f} against {measured / GIB:.2f} GiB"


def test_mixed_precision_takes_less() -> None:
    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [8, 8], "strides": [2]}
    full = training_memory("UNet", arguments, (64, 64, 64), 2)
    assert training_memory("UNet", arguments, (64, 64, 64), 2, mixed=True) < full


def test_validating_a_whole_case_counts() -> None:
    """512 x 512 x 400 voxels stay below 3 GB: logits beyond 1 GB lie in main memory, the loss is taken in slabs."""
    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [8, 8], "strides": [2]}
    voxels = 512 * 512 * 400
    assert 9 * voxels < validation_memory("UNet", arguments, voxels) < 3 * GIB
    assert 21 * 10**7 < validation_memory("UNet", arguments, 10**7) - FIXED < 60 * 10**7
    planned = plan_for("UNet", (48, 48, 48), (3, 3, 3), 4)
    assert "largest case" in planned.reasons["inference"]
    assert planned.memory_gb >= 0.75


def test_the_reading_of_cases_is_counted(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    recipe = load_recipe("liver_tumor3d_best")
    read = list(raw_cases(recipe, write_msd(tmp_path, 2), lambda done, total: seen.append((done, total))))
    assert len(read) == 2
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_what_cannot_be_planned_is_one_sentence() -> None:
    with pytest.raises(RecipeError, match="unet2d_bn is 2D"):
        make_plan(load_recipe("unet2d_bn"), [], 8)
    with pytest.raises(RecipeError, match="DoubleConvUNet cannot be planned"):
        make_plan(load_recipe("liver_tumor3d"), [], 8)
    with pytest.raises(DataError, match="no cases"):
        make_plan(recipe_with("UNet"), [], 8)
    with pytest.raises(RunError, match="--memory-gb more"):
        plan_for("UNet", (48, 48, 48), (3, 3, 3), 0.8)
    empty = box_case((16, 16, 16), (2, 2, 2))
    empty.label[:] = 0
    with pytest.raises(DataError, match="No case has a label"):
        make_plan(recipe_with("UNet"), [empty], 8)


def test_the_command_writes_a_recipe_that_says_why(tmp_path: Path) -> None:
    data, out = write_msd(tmp_path, 2), tmp_path / "mine.yaml"
    done = CliRunner().invoke(app, ["plan", "liver_tumor3d_best", f"--data={data}", "--memory-gb=3", f"--out={out}"])
    assert done.exit_code == 0, done.output
    recipe = load_recipe(out)
    assert recipe.preprocess.pixdim == (6.0, 6.0, 6.0)
    assert recipe.sampling.labels == load_recipe("liver_tumor3d_best").sampling.labels
    comments = [line for line in out.read_text().splitlines() if line.startswith("# ")]
    assert any("median voxel 6 x 6 x 6 mm" in line for line in comments)
    assert any("of 3 GB" in line for line in comments)


def test_a_planned_recipe_of_a_recipe_is_the_same_recipe_where_nothing_was_planned() -> None:
    recipe = load_recipe("liver_tumor3d_best")
    from Training.recipe.yaml_text import recipe_data

    assert parse_recipe(recipe_data(recipe), "again") == recipe
    text = recipe_text(recipe_data(recipe), "title", {"patch_size": "because"})
    assert text.index("# because") < text.index("patch_size:") < text.index("# because") + 30


def test_only_training_cases_of_a_prepared_folder_are_looked_at(tmp_path: Path) -> None:
    from Training.data.prepare import prepare

    recipe = load_recipe(
        "liver_tumor3d_best",
        ["preprocess.pixdim=[8, 8, 8]", "split={train: 2, val: 1}", "optimization.precision=32-true"],
    )
    data = write_msd(tmp_path, 3)
    prepare(recipe, data, tmp_path / "prepared")
    assert len(list(raw_cases(recipe, data))) == 3
    assert len(list(raw_cases(recipe, tmp_path / "prepared"))) == 2


def write_history(run: Path, dice: Sequence[float | None]) -> None:
    run.mkdir(parents=True, exist_ok=True)
    with (run / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "train_loss", "val_loss", "val_dice"])
        writer.writerows([n, 1 / (n + 1), 2 / (n + 1), "" if d is None else d] for n, d in enumerate(dice))


def fake_start(seen: list[tuple[str, bool]], dice: dict[str, Sequence[float]]) -> sweep.Start:
    """Stands for `train`: leaves what a run leaves, without training."""
    import yaml

    def start(trial: sweep.Trial, resume: bool) -> None:
        seen.append((trial.run.name, resume))
        write_history(trial.run, dice[trial.run.name])
        (trial.run / "checkpoints").mkdir(exist_ok=True)
        (trial.run / "checkpoints" / "last.ckpt").touch()
        text = yaml.safe_dump(trial.recipe.model_dump(mode="json"))
        (trial.run / "recipe.yaml").write_text(text)

    return start


def test_a_sweep_runs_every_combination_in_its_own_folder(tmp_path: Path) -> None:
    vary = ["loss.ce_weight=0.2,0.8", "augment.flip={},{x: 0.5}"]
    found = sweep.trials("lung_xray2d", vary, tmp_path)
    assert len({trial.run for trial in found}) == 4
    assert all(trial.run.parent == tmp_path for trial in found)
    assert {(t.recipe.loss.ce_weight, tuple(t.recipe.augment.flip.items())) for t in found} == {
        (0.2, ()),
        (0.2, (("x", 0.5),)),
        (0.8, ()),
        (0.8, (("x", 0.5),)),
    }


def test_the_sweeps_plot_has_whole_epochs_and_tells_equal_curves_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    from LiverSegLib.pictures import figures

    drawn: list[Figure] = []
    monkeypatch.setattr(figures, "save", lambda figure, *_: drawn.append(figure))
    planned = sweep.trials("lung_xray2d", ["loss.ce_weight=0.2,0.5,0.8"], tmp_path)
    for trial in planned:
        trial.run.mkdir()
        (trial.run / "history.csv").write_text("epoch,val_dice\n0,0.5\n1,0.7\n")
    sweep.write_sweep(planned, tmp_path)
    curves = drawn[0].axes[0]
    drawn[0].draw_without_rendering()
    low, high = curves.get_xlim()
    assert [tick for tick in curves.get_xticks() if low <= tick <= high] == [0, 1]
    looks = {(line.get_linestyle(), line.get_marker(), line.get_linewidth()) for line in curves.get_lines()}
    assert len(looks) == 3


def test_a_sweep_skips_what_is_finished_and_resumes_what_is_not(tmp_path: Path) -> None:
    found = sweep.trials("lung_xray2d", ["loss.ce_weight=0.2,0.8"], tmp_path, ["optimization.max_epochs=3"])
    first, second = (trial.run.name for trial in found)
    seen: list[tuple[str, bool]] = []
    sweep.run_sweep(found, tmp_path, fake_start(seen, {first: [0.1, 0.5, 0.4], second: [0.2]}))
    outcomes = sweep.run_sweep(found, tmp_path, fake_start(seen, {second: [0.2, 0.3, 0.6]}))
    assert seen == [(first, False), (second, False), (second, True)]
    assert [(o.best_val_dice, o.best_epoch, o.epochs) for o in outcomes] == [(0.5, 1, 3), (0.6, 2, 3)]
    assert outcomes[0].train_loss == pytest.approx(1 / 3)
    with (tmp_path / "sweep.csv").open() as file:
        assert [row["best_val_dice"] for row in csv.DictReader(file)] == ["0.5", "0.6"]
    assert (tmp_path / "sweep.png").stat().st_size > 5000


def test_a_sweep_does_not_mix_runs_of_other_recipes(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []
    found = sweep.trials("lung_xray2d", ["loss.ce_weight=0.5"], tmp_path, ["optimization.max_epochs=1"])
    sweep.run_sweep(found, tmp_path, fake_start(seen, {found[0].run.name: [0.5]}))
    other = sweep.trials("lung_xray2d", ["loss.ce_weight=0.5"], tmp_path, ["optimization.max_epochs=2"])
    with pytest.raises(RunError, match="another recipe"):
        sweep.run_sweep(other, tmp_path, fake_start(seen, {}))


@pytest.mark.parametrize("vary", ["loss.ce_weight", "loss.ce_weight=", "=1,2", "loss.ce_weight=[1"])
def test_a_wrong_vary_is_one_sentence(vary: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--vary"):
        sweep.trials("lung_xray2d", [vary], tmp_path)


def test_an_impossible_value_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"loss\.ce_weight"):
        sweep.trials("lung_xray2d", ["loss.ce_weight=0.5,-1"], tmp_path)
    with pytest.raises(RecipeError, match="both called"):
        sweep.trials("lung_xray2d", ["loss.ce_weight=0.5,0.5"], tmp_path)
