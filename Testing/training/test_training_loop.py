"""The loop itself: stopping and going on, several processes, what a run leaves, what it refuses."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image

from LiverSegLib.errors import LiverSegError
from Testing.tiny_run import tiny_recipe, write_prepared, write_recipe
from Training.data.readers import Case
from Training.data.readers.prepared import write_index
from Training.errors import DataError, RunError
from Training.fit.batches import CaseData
from Training.fit.callbacks import Extras, StoppedError, layer_summary
from Training.fit.initial import load_initial
from Training.fit.module import SegmentationModule
from Training.fit.run_folder import RunFolder
from Training.fit.train import Hardware, train
from Training.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parents[2]
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("tiny") / "prepared")


def run(recipe: Recipe, prepared: Path, folder: Path, *, pictures: bool = False, **options: Any) -> Path:
    """Train in this process; pictures, which take longer than all else of a tiny run, are drawn where asked for."""
    hardware = Hardware(**{"accelerator": "cpu", **options.pop("hardware", {})})
    with pytest.MonkeyPatch.context() as patch:
        if not pictures:
            patch.setattr("Training.fit.curves.plot_history", lambda _: None)
            patch.setattr("Training.fit.preview.save_preview", lambda *_: None)
        return train(recipe, prepared, folder, **{"workers": 0, "hardware": hardware, **options})


def history(folder: Path) -> Rows:
    """history.csv without the seconds, which differ."""
    with (folder / "history.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def checkpoint(folder: Path, name: str = "last.ckpt") -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def assert_same_run(one: Path, other: Path) -> None:
    assert history(one) == history(other)
    a, b = checkpoint(one), checkpoint(other)
    for part in ("state_dict", "current_model_state"):
        assert a[part].keys() == b[part].keys()
        for name, tensor in a[part].items():
            assert torch.equal(tensor, b[part][name]), name
    assert a["global_step"] == b["global_step"]
    assert (one / "checkpoints" / "best.ckpt").is_file()
    best, other_best = (checkpoint(folder, "best.ckpt")["state_dict"] for folder in (one, other))
    assert all(torch.equal(best[name], other_best[name]) for name in best)


LONG = {"max_epochs": 40, "samples_per_epoch": 8, "schedule": "cosine", "validate_every": 2}


@pytest.fixture(scope="module")
def whole_run(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(tiny_recipe(optimization=LONG), prepared, folder, pictures=True)
    return folder


def start(prepared: Path, folder: Path, *extra: str) -> subprocess.Popen[str]:
    recipe = write_recipe(tiny_recipe(optimization=LONG), folder.parent / "recipe.yaml")
    command = [sys.executable, "-m", "Training", "train", str(recipe), f"--data={prepared}", f"--run={folder}",
               "--workers=0", "--accelerator=cpu", *extra]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.is_file() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.4))


def test_a_run_killed_at_a_random_moment_ends_with_the_same_curve(
    prepared: Path, whole_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with start(prepared, folder) as process:
        wait_for(folder / "checkpoints" / "last.ckpt", process)
        process.kill()
    assert 0 < len(history(folder)) < 40
    run(tiny_recipe(optimization=LONG), prepared, folder, resume=True)
    assert_same_run(folder, whole_run)


def test_ctrl_c_saves_and_says_how_to_go_on(prepared: Path, whole_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with start(prepared, folder) as process:
        wait_for(folder / "checkpoints" / "last.ckpt", process)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "--resume" in output
    assert "Traceback" not in output
    run(tiny_recipe(optimization=LONG), prepared, folder, resume=True)
    assert_same_run(folder, whole_run)


ACCUMULATING = {"max_epochs": 3, "samples_per_epoch": 8, "accumulate": 2}


@pytest.fixture(scope="module")
def accumulated(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("accumulated") / "run"
    run(tiny_recipe(optimization=ACCUMULATING), prepared, folder)
    return folder


@pytest.mark.parametrize("batch", [0, 3, 4, 7])
def test_a_run_stopped_within_an_epoch_goes_on_at_the_next_step(
    batch: int, accumulated: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four batches an epoch, two a step."""
    recipe = tiny_recipe(optimization=ACCUMULATING)
    seen = 0
    step = SegmentationModule.training_step

    def step_and_signal(self: SegmentationModule, *args: Any) -> torch.Tensor:
        nonlocal seen
        seen += 1
        if seen == batch + 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args)

    monkeypatch.setattr(SegmentationModule, "training_step", step_and_signal)
    with pytest.raises(StoppedError, match=f"epoch {(batch // 2 + 1) // 2}"):
        run(recipe, prepared, tmp_path / "broken")
    assert checkpoint(tmp_path / "broken")["global_step"] == batch // 2 + 1
    run(recipe, prepared, tmp_path / "broken", resume=True)
    assert_same_run(tmp_path / "broken", accumulated)


def test_sigint_means_what_it_meant_before_once_training_is_over(prepared: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    run(tiny_recipe(), prepared, tmp_path)
    assert signal.getsignal(signal.SIGINT) is before


def test_loader_processes_change_nothing(prepared: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(optimization={"max_epochs": 2}, augment={"affine": 1.0, "elastic": 0.5})
    run(recipe, prepared, tmp_path / "none", workers=0)
    run(recipe, prepared, tmp_path / "two", workers=2)
    assert_same_run(tmp_path / "none", tmp_path / "two")


def test_reading_ahead_changes_nothing(prepared: Path, tmp_path: Path) -> None:
    for name, budget in (("none", 0), ("some", 0.01), ("all", 100)):
        recipe = tiny_recipe(optimization={"max_epochs": 2, "cache_mb": budget}, patch_size=[24, 24])
        run(recipe, prepared, tmp_path / name)
    assert_same_run(tmp_path / "none", tmp_path / "all")
    assert_same_run(tmp_path / "some", tmp_path / "all")


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="this system does not tell private memory")
def test_loader_processes_share_the_memory_of_the_data(tmp_path: Path) -> None:
    """100 MB of cases: two loader processes that have read them all keep next to nothing of their own."""
    (tmp_path / "cases").mkdir()
    cases = []
    for n in range(4):
        image = np.random.default_rng(n).integers(-100, 300, (256, 256, 128), dtype=np.int16)
        label = (image > 0).astype(np.uint8)
        label[:, :, :40] = 2
        np.save(tmp_path / "cases" / f"c{n}_image.npy", image)
        np.save(tmp_path / "cases" / f"c{n}_label.npy", label)
        voxels = np.bincount(label.ravel(), minlength=3).tolist()
        cases.append(Case(id=f"c{n}", patient=f"p{n}", source="phantom", split="train", voxels=voxels))
    recipe = tiny_recipe(
        spatial_dims=3,
        patch_size=[16] * 3,
        inference={"roi_size": [16] * 3},
        augment={"flip": {}, "noise": 0.0},
        network={"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2]}},
        optimization={"samples_per_epoch": 80, "cache_mb": 1000},
    )
    write_index(tmp_path, recipe, tmp_path, [*cases, replace(cases[0], split="val")])
    write_recipe(recipe, tmp_path / "recipe.yaml")
    # In a program of its own: loaders that are forked late in a test run copy pages of all that ran before.
    code = f"from Testing.training.test_training_loop import loaders_grow; print(loaders_grow({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    grown = json.loads(done.stdout.splitlines()[-1])
    assert len(grown) == 2
    assert max(grown) < 25, grown


def loaders_grow(folder: str) -> list[float]:
    """MB that each loader process takes for itself while it reads the prepared data of `folder`."""
    recipe = load_recipe(Path(folder) / "recipe.yaml")
    batches = iter(CaseData(recipe, Path(folder)).train_dataloader())
    next(batches)
    workers = [worker.pid for worker in batches._workers]  # type: ignore[attr-defined]
    before = [private_mb(pid) for pid in workers]
    for _ in range(38):
        next(batches)
    return [private_mb(pid) - mb for pid, mb in zip(workers, before, strict=True)]


def private_mb(pid: int) -> float:
    """Memory that this process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def plain(**optimization: Any) -> Recipe:
    """Without dropout, whose masks differ between batches of one and of two."""
    arguments = {"channels": [4, 8], "strides": [2], "num_res_units": 1, "norm": "instance"}
    changes = {"max_epochs": 2, "samples_per_epoch": 8, "optimizer": "sgd", "momentum": 0.9, **optimization}
    return tiny_recipe(optimization=changes, network={"name": "UNet", "arguments": arguments})


def assert_close(one: Path, other: Path) -> None:
    for a, b in zip(history(one), history(other), strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert float(a[key]) == pytest.approx(float(b[key]), abs=1e-4), key
    first, second = checkpoint(one)["state_dict"], checkpoint(other)["state_dict"]
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], atol=1e-4), name


def test_accumulated_batches_equal_the_big_batch(prepared: Path, tmp_path: Path) -> None:
    run(plain(batch_size=2, accumulate=2), prepared, tmp_path / "small")
    run(plain(batch_size=4), prepared, tmp_path / "big")
    assert_close(tmp_path / "small", tmp_path / "big")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed training")
def test_two_processes_train_as_one_with_twice_the_batch(prepared: Path, tmp_path: Path) -> None:
    recipe = write_recipe(plain(batch_size=2), tmp_path / "recipe.yaml")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "--", "Training",
        "train", str(recipe), f"--data={prepared}", f"--run={tmp_path / 'two'}", "--workers=0", "--accelerator=cpu",
        "--devices=2", "--strategy=ddp",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Best checkpoint") == 1
    run(plain(batch_size=4), prepared, tmp_path / "one")
    assert_close(tmp_path / "one", tmp_path / "two")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed training")
@pytest.mark.parametrize("images", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_processes_validate_however_few_images_there_are(images: int, tmp_path: Path) -> None:
    """Batch norm: its buffers are sent at every step, so that both have to take the same number of steps."""
    folder = write_prepared(tmp_path / "prepared")
    divide_again(folder, validating=images)
    arguments = {"channels": [4, 8], "strides": [2], "num_res_units": 1, "norm": "batch"}
    recipe = tiny_recipe(network={"name": "UNet", "arguments": arguments})
    path = write_recipe(recipe, tmp_path / "recipe.yaml")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "--", "Training",
        "train", str(path), f"--data={folder}", f"--run={tmp_path / 'two'}", "--accelerator=cpu", "--devices=2",
        "--strategy=ddp",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Best checkpoint") == 1
    (row,) = history(tmp_path / "two")
    # The best checkpoint, validated by one process alone, has the same scores.
    module = SegmentationModule(recipe)
    load_initial(module, tmp_path / "two" / "checkpoints" / "best.ckpt")
    alone = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (found,) = alone.validate(module, CaseData(recipe, folder, 0), verbose=False)
    for key, value in found.items():
        assert float(row[key]) == pytest.approx(value, abs=1e-4), key


def divide_again(folder: Path, validating: int) -> None:
    """Let the first cases of a prepared folder validate and all others train."""
    index = json.loads((folder / "index.json").read_text())
    for number, case in enumerate(index["cases"]):
        case["split"] = "val" if number < validating else "train"
    (folder / "index.json").write_text(json.dumps(index))


def test_the_training_dice_is_that_of_the_patches_the_network_saw(prepared: Path, tmp_path: Path) -> None:
    arguments = {"channels": [4, 8], "strides": [2], "num_res_units": 1, "norm": "instance"}
    still = tiny_recipe(
        network={"name": "UNet", "arguments": arguments},
        optimization={"learning_rate": 1e-12, "weight_decay": 0, "samples_per_epoch": 8, "ema_decay": 0},
    )
    run(still, prepared, tmp_path, workers=2)
    module = SegmentationModule(still)
    load_initial(module, tmp_path / "checkpoints" / "last.ckpt")
    sums = np.zeros((2, 2))
    for batch in CaseData(still, prepared, 0).train_dataloader():
        found, true = module(batch["image"]).argmax(1).numpy(), batch["label"][:, 0].numpy()
        for label, (mine, other) in enumerate([(found > 0, true > 0), (found == 2, true == 2)]):  # a tumor is liver
            sums[label] += 2 * (mine & other).sum(), mine.sum() + other.sum()
    (row,) = history(tmp_path)
    dice = sums[:, 0] / sums[:, 1]
    assert [float(row[f"train_dice_{name}"]) for name in ("liver", "tumor")] == pytest.approx(list(dice), abs=2e-3)
    assert float(row["train_dice"]) == pytest.approx(dice.mean(), abs=2e-3)
    assert 0 < float(row["train_dice_liver"]) < 1
    each = np.zeros((2, 2))
    for batch in CaseData(still, prepared, 0).train_dataloader():
        found, true = module(batch["image"]).argmax(1).numpy(), batch["label"][:, 0].numpy()
        for label in (1, 2):  # here a tumor is no liver
            each[label - 1] += (
                2 * ((found == label) & (true == label)).sum(),
                (found == label).sum() + (true == label).sum(),
            )
    assert float(row["train_f_score"]) == pytest.approx((each[:, 0] / each[:, 1]).mean(), abs=2e-3)


def test_tensorboard_has_training_and_validation_dice(whole_run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = (whole_run / "logs" / "tensorboard").glob("*/events.*")
    logged = EventAccumulator(str(events))
    logged.Reload()
    scores = ("dice", "dice_liver", "dice_tumor", "f_score")
    wanted = {f"{part}_{score}" for part in ("train", "val") for score in scores}
    assert wanted <= set(logged.Tags()["scalars"])
    assert len(logged.Scalars("train_dice")) == 40


@pytest.mark.parametrize(("every", "validated"), [(24, [1]), (2, [1])])
def test_the_last_epoch_is_always_validated(every: int, validated: list[int], prepared: Path, tmp_path: Path) -> None:
    best = run(tiny_recipe(optimization={"max_epochs": 2, "validate_every": every}), prepared, tmp_path)
    assert best.is_file()
    assert [int(row["epoch"]) for row in history(tmp_path) if row["val_dice"]] == validated


def test_a_run_interrupted_in_its_last_epoch_validates_it(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(optimization={"max_epochs": 2, "samples_per_epoch": 8, "validate_every": 24})
    step = SegmentationModule.training_step

    def step_and_signal(self: SegmentationModule, *args: Any) -> torch.Tensor:
        if self.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(SegmentationModule, "training_step", step_and_signal)
        with pytest.raises(StoppedError):
            run(recipe, prepared, tmp_path)
    assert run(recipe, prepared, tmp_path, resume=True).is_file()


def test_validation_scores_the_label_map_that_users_get() -> None:
    """Crumbs beside the liver go, its holes are filled, and a tumor counts as liver."""
    truth = np.zeros((1, 1, 24, 24, 24), np.uint8)
    truth[..., 4:16, 4:16, 4:16] = 1
    truth[..., 6:9, 6:9, 6:9] = 2
    logits = torch.from_numpy(np.stack([truth[0, 0] == k for k in range(3)])[None]).float()
    for place, value in (((20, 20, 20), 1), ((22, 4, 4), 2), ((10, 10, 10), 0)):
        logits[(0, slice(None), *place)] = 0
        logits[(0, value, *place)] = 1
    arguments = {"channels": [4, 8], "strides": [2]}
    recipe = tiny_recipe(
        spatial_dims=3,
        labels={1: "Liver", 2: "cancer"},
        patch_size=[24] * 3,
        inference={"roi_size": [24] * 3},
        network={"name": "UNet", "arguments": arguments},
    )
    module = SegmentationModule(recipe)
    module.network = _Fixed(logits)
    module.validation_step({"image": torch.zeros(1, 1, 24, 24, 24), "label": torch.from_numpy(truth)}, 0)
    (sums,) = module._images
    assert list(module.values) == ["liver", "tumor"]
    assert (sums[:, 0] / sums[:, 1]).tolist() == [1, 1, 1]


class _Fixed(torch.nn.Module):
    """A network that always gives the same."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.logits


@pytest.mark.parametrize(
    "changes",
    [
        *({"loss": {"kind": kind}} for kind in ("dice", "cross_entropy", "bce_dice", "focal", "dice_focal", "tversky")),
        *({"optimization": {"optimizer": name}} for name in ("adam", "sgd")),
        *(
            {"optimization": {"schedule": name, "max_epochs": 2, "warmup_epochs": 1}}
            for name in ("cosine", "poly", "exponential", "constant")
        ),
        {"optimization": {"ema_decay": 0}},
        {"optimization": {"gradient_clip": None}},
        {"optimization": {"precision": "bf16-mixed"}},
        {"optimization": {"samples_per_epoch": None}},
        {"loss": {"batch": True, "class_weights": [0.2, 1, 3], "include_background": True, "squared": True}},
        {
            "network": {
                "name": "DynUNet",
                "arguments": {
                    "kernel_size": [3, 3, 3],
                    "strides": [1, 2, 2],
                    "upsample_kernel_size": [2, 2],
                    "filters": [4, 8, 8],
                    "deep_supervision": True,
                    "deep_supr_num": 1,
                },
            }
        },
        {"augment": {"affine": 1, "elastic": 1, "crop": 1, "gamma": 1, "brightness": 1, "blur": 1, "any_rotation": 1}},
    ],
    ids=str,
)
def test_every_key_trains(changes: dict[str, Any], prepared: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(**changes)
    run(recipe, prepared, tmp_path)
    rows = history(tmp_path)
    assert len(rows) == recipe.optimization.max_epochs
    assert all(0 < float(row["train_loss"]) < 100 for row in rows)
    assert all(0 <= float(row[key]) <= 1 for row in rows for key in row if "dice" in key or "accuracy" in key)


def test_training_ends_when_validation_gets_no_better(prepared: Path, tmp_path: Path) -> None:
    still = tiny_recipe(optimization={"max_epochs": 20, "learning_rate": 1e-12, "early_stop": 3})
    run(still, prepared, tmp_path)
    assert len(history(tmp_path)) == 4
    before = (tmp_path / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    run(still, prepared, tmp_path, resume=True)  # there is nothing left to do
    assert (tmp_path / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


def test_early_stopping_counts_epochs_where_validation_is_rare(prepared: Path, tmp_path: Path) -> None:
    changes = {"max_epochs": 20, "learning_rate": 1e-12, "early_stop": 4, "validate_every": 2}
    run(tiny_recipe(optimization=changes), prepared, tmp_path)
    rows = history(tmp_path)
    assert len(rows) == 6
    assert [bool(row["val_dice"]) for row in rows] == [False, True] * 3


def test_checkpoints_are_kept_every_few_epochs_with_their_optimizer(prepared: Path, tmp_path: Path) -> None:
    run(tiny_recipe(optimization={"max_epochs": 5, "checkpoint_every": 2}), prepared, tmp_path)
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt", "epoch_1.ckpt", "epoch_3.ckpt"}
    kept = checkpoint(tmp_path, "epoch_1.ckpt")
    assert kept["epoch"] == 1
    assert kept["optimizer_states"][0]["state"]


def test_a_finished_run_may_be_resumed_without_harm(prepared: Path, tmp_path: Path) -> None:
    run(tiny_recipe(optimization={"max_epochs": 2}), prepared, tmp_path)
    before = history(tmp_path)
    best = run(tiny_recipe(optimization={"max_epochs": 2}), prepared, tmp_path, resume=True)
    assert best.is_file()
    assert history(tmp_path) == before


def test_a_run_leaves_what_people_look_at(whole_run: Path) -> None:
    assert (whole_run / "history.png").stat().st_size > 1000
    assert (whole_run / "first_batch.png").stat().st_size > 1000
    assert "UNet" in (whole_run / "model.txt").read_text()
    assert json.loads((whole_run / "system.json").read_text())
    rows = history(whole_run)
    assert list(rows[0]) == [
        "epoch",
        "train_loss",
        "train_dice",
        "train_dice_liver",
        "train_dice_tumor",
        "train_f_score",
        "val_loss",
        "val_dice",
        "val_dice_liver",
        "val_dice_tumor",
        "val_f_score",
        "val_accuracy",
        "learning_rate",
    ]
    assert [int(row["epoch"]) for row in rows] == list(range(40))
    assert float(rows[-1]["val_dice_liver"]) > 0.8  # it learns


def test_the_preview_has_the_proportions_of_the_grid(prepared: Path, tmp_path: Path) -> None:
    """The same patches on a grid of 1 x 3 mm are drawn three times as high."""
    heights = []
    for name, pixdim in (("cubes", [3, 3, -1]), ("flat", [1, 3, -1])):
        recipe = tiny_recipe()
        grid = recipe.preprocess.model_copy(update={"pixdim": tuple(pixdim)})
        Extras(RunFolder(tmp_path), recipe.model_copy(update={"preprocess": grid})).preview(
            next(iter(CaseData(recipe, prepared, 0).train_dataloader()))
        )
        with Image.open(tmp_path / "first_batch.png") as picture:
            heights.append(picture.height / picture.width)
        (tmp_path / "first_batch.png").rename(tmp_path / f"{name}.png")
    assert heights[1] > 1.5 * heights[0]


def test_the_layer_summary_shows_every_layer_of_a_nested_network() -> None:
    recipe = load_recipe("unet2d_attention")
    text = layer_summary(SegmentationModule(recipe), recipe)
    rows = [line for line in text.splitlines() if "Conv2d" in line]
    assert len(rows) > 20
    counts = [line.split("|")[4].strip() for line in rows]
    assert not any(count.endswith("M") and float(count.split()[0]) > 3 for count in counts)


def test_a_folder_with_a_run_is_not_overwritten(prepared: Path, tmp_path: Path) -> None:
    run(tiny_recipe(), prepared, tmp_path)
    before = history(tmp_path)
    with pytest.raises(RunError, match="already holds a run"):
        run(tiny_recipe(), prepared, tmp_path)
    assert history(tmp_path) == before


def test_a_loss_that_is_not_a_number_ends_the_run_by_name(prepared: Path, tmp_path: Path) -> None:
    changes = {
        "max_epochs": 30,
        "learning_rate": 1e30,
        "optimizer": "sgd",
        "gradient_clip": None,
        "schedule": "constant",
    }
    with pytest.raises(RunError, match=r"epoch \d+; lower optimization.learning_rate"):
        run(tiny_recipe(optimization=changes), prepared, tmp_path)


def test_a_run_that_failed_before_its_first_checkpoint_may_start_again(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no checkpoint"):
        run(tiny_recipe(), prepared, tmp_path, init=tmp_path / "none.ckpt")
    (tmp_path / "recipe.yaml").write_text("half a reci")
    (tmp_path / "history.csv").write_text("epoch,train_loss,seconds\n0,1.5,3\n1,1.")
    run(tiny_recipe(), prepared, tmp_path)
    assert [row["epoch"] for row in history(tmp_path)] == ["0"]


def test_a_new_run_starts_from_a_checkpoint_safetensors_or_a_package(whole_run: Path, tmp_path: Path) -> None:
    from LiverSegLib.models.safetensors_file import write_safetensors
    from Training.packages.export import export

    weights = checkpoint(whole_run, "best.ckpt")["state_dict"]
    plain_names = {name.removeprefix("network."): tensor for name, tensor in weights.items()}
    write_safetensors(tmp_path / "w.safetensors", plain_names, {})
    export(whole_run, tmp_path / "package")
    for source in (whole_run / "checkpoints" / "best.ckpt", tmp_path / "w.safetensors", tmp_path / "package"):
        module = SegmentationModule(tiny_recipe())
        load_initial(module, source)
        for name, tensor in module.network.state_dict().items():
            assert torch.allclose(tensor, plain_names[name], rtol=2e-3, atol=1e-6), (source, name)  # packages: half


@pytest.mark.parametrize("name", ["w.ckpt", "w.safetensors", "none.ckpt", "none.safetensors", "folder"])
def test_weights_that_cannot_be_read_are_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for file in ("w.ckpt", "w.safetensors"):
        (tmp_path / file).write_bytes(b"rubbish")
    with pytest.raises(LiverSegError, match=name) as caught:
        load_initial(SegmentationModule(tiny_recipe()), tmp_path / name)
    assert "\n" not in str(caught.value)


ODD_CHECKPOINTS: dict[str, Any] = {
    "list": [1, 2],
    "tensor": torch.zeros(3),
    "no_state": {"epoch": 3},
    "state_is_a_list": {"state_dict": [1, 2]},
    "no_tensors": {"state_dict": {"network.a": "text", 7: None}},
    "another_program": {"state_dict": {"encoder.weight": torch.zeros(3)}},
}


@pytest.mark.parametrize("kind", [*ODD_CHECKPOINTS, "nan", "nan_safetensors"])
def test_an_odd_checkpoint_is_one_sentence(kind: str, tmp_path: Path) -> None:
    from LiverSegLib.models.safetensors_file import write_safetensors
    from Training.packages.export import export

    module = SegmentationModule(tiny_recipe())
    spoiled = {name: value.clone() for name, value in module.state_dict().items()}
    next(value for value in spoiled.values() if value.ndim > 1).view(-1)[0] = torch.nan
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "best.ckpt"
    if kind == "nan_safetensors":
        path = tmp_path / "w.safetensors"
        write_safetensors(path, {k.removeprefix("network."): v for k, v in spoiled.items()}, {})
    else:
        torch.save(ODD_CHECKPOINTS.get(kind, {"state_dict": spoiled}), path)
    before = module.state_dict()
    with pytest.raises(LiverSegError, match=path.name.replace(".", r"\.")) as caught:
        load_initial(module, path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    if path.suffix == ".ckpt":
        write_recipe(tiny_recipe(), tmp_path / "recipe.yaml")
        with pytest.raises(LiverSegError, match=r"best\.ckpt"):
            export(tmp_path, tmp_path / "package")
        assert not (tmp_path / "package").exists()


@pytest.mark.parametrize("content", ["name: !!set {a", "a: &b [*b]", "seed: 2001-99-99\nx: [", "[1, 2]", "\x07"])
def test_a_damaged_recipe_in_a_run_is_one_sentence(content: str, tmp_path: Path) -> None:
    from Training.packages.export import export

    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(RunError, match=r"recipe\.yaml") as caught:
        export(tmp_path, tmp_path / "package")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("hardware", "words"),
    [
        ({"accelerator": "cpuu"}, "cpuu"),
        ({"accelerator": "cpu", "strategy": "deepspeed"}, "--strategy"),
        ({"accelerator": "cpu", "strategy": "nonsense"}, "nonsense"),
        ({"accelerator": "cpu", "devices": "many"}, "many"),
        ({"accelerator": "cpu", "devices": "0"}, "0"),
        pytest.param(
            {"accelerator": "gpu"},
            "GPU|gpu|cuda",
            marks=pytest.mark.skipif(
                torch.cuda.is_available() or torch.backends.mps.is_available(), reason="this machine has a GPU"
            ),
        ),
    ],
    ids=str,
)
def test_devices_that_are_not_there_are_one_sentence(
    hardware: dict[str, str], words: str, prepared: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=words) as caught:
        run(tiny_recipe(), prepared, tmp_path / "run", hardware=hardware)
    assert "This machine cannot train with" in str(caught.value)
    assert "\n" not in str(caught.value)
    run(tiny_recipe(), prepared, tmp_path / "run")  # nothing is in the way of the next try


@pytest.mark.parametrize("workers", [0, 1])
def test_a_prepared_file_that_has_gone_is_one_sentence(workers: int, tmp_path: Path) -> None:
    folder = write_prepared(tmp_path / "prepared")
    (folder / "cases" / "phantom_000_label.npy").unlink()
    (folder / "cases" / "phantom_001_image.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"phantom_00[01] is missing or damaged; run prepare again") as caught:
        run(tiny_recipe(optimization={"samples_per_epoch": 20}), folder, tmp_path / "run", workers=workers)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "batch_size"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."), "--workers"),
    ],
)
def test_a_machine_that_gives_up_is_one_sentence(
    error: Exception, words: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(SegmentationModule, "training_step", fail)
    with pytest.raises(RunError, match=words) as caught:
        run(tiny_recipe(), prepared, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_folder_that_cannot_be_written_is_one_sentence(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot be written"):
        run(tiny_recipe(), prepared, tmp_path / "file" / "run")


def test_nothing_to_validate_on_is_said_before_training(tmp_path: Path) -> None:
    folder = write_prepared(tmp_path / "prepared")
    index = json.loads((folder / "index.json").read_text())
    for case in index["cases"]:
        case["split"] = "train"
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="no case to validate on"):
        run(tiny_recipe(), folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_resumed_process_deals_out_the_same_samples(prepared: Path) -> None:
    """Without a trainer the loader starts at epoch 0, so two loaders agree to the last voxel."""
    recipe = tiny_recipe(augment={"affine": 1.0})
    first, second = (next(iter(CaseData(recipe, prepared, 0).train_dataloader())) for _ in range(2))
    assert first["patient"] == second["patient"]
    assert torch.equal(first["image"], second["image"])
