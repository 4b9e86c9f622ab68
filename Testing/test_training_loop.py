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
from pathlib import Path
from typing import Any

import pytest
import torch

from LiverSegLib.errors import LiverSegError
from Testing.tiny_run import tiny_recipe, write_prepared, write_recipe
from Training.callbacks import StoppedError
from Training.data import CaseData
from Training.initial import load_initial
from Training.module import SegmentationModule
from Training.prepare import DataError
from Training.recipe import Recipe, RecipeError
from Training.train import train

ROOT = Path(__file__).resolve().parents[1]
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("tiny") / "prepared")


def run(recipe: Recipe, prepared: Path, folder: Path, **options: Any) -> Path:
    return train(recipe, prepared, folder, **{"workers": 0, "accelerator": "cpu", **options})


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
    run(tiny_recipe(optimization=LONG), prepared, folder)
    return folder


def start(prepared: Path, folder: Path, *extra: str) -> subprocess.Popen[str]:
    recipe = write_recipe(tiny_recipe(optimization=LONG), folder.parent / "recipe.yaml")
    command = [sys.executable, "-m", "Training", "train", str(recipe), f"--data={prepared}", f"--run={folder}",
               "--workers=0", "--accelerator=cpu", *extra]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True)  # fmt: skip


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


@pytest.mark.parametrize("batch", [0, 3, 4, 7])
def test_a_run_stopped_within_an_epoch_goes_on_at_the_next_step(
    batch: int, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four batches an epoch, two a step."""
    recipe = tiny_recipe(optimization={"max_epochs": 3, "samples_per_epoch": 8, "accumulate": 2})
    run(recipe, prepared, tmp_path / "whole")
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
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


def test_sigint_means_what_it_meant_before_once_training_is_over(prepared: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    run(tiny_recipe(), prepared, tmp_path)
    assert signal.getsignal(signal.SIGINT) is before


def test_loader_processes_change_nothing(prepared: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(optimization={"max_epochs": 2}, augment={"affine": 1.0, "elastic": 0.5})
    run(recipe, prepared, tmp_path / "none", workers=0)
    run(recipe, prepared, tmp_path / "two", workers=2)
    assert_same_run(tmp_path / "none", tmp_path / "two")


def test_a_cache_without_memory_changes_nothing(prepared: Path, tmp_path: Path) -> None:
    for name, budget in (("none", 0), ("some", 0.01), ("all", 100)):
        recipe = tiny_recipe(optimization={"max_epochs": 2, "cache_mb": budget}, patch_size=[24, 24])
        run(recipe, prepared, tmp_path / name)
    assert_same_run(tmp_path / "none", tmp_path / "all")
    assert_same_run(tmp_path / "some", tmp_path / "all")


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


@pytest.mark.parametrize(
    "changes",
    [
        *({"loss": {"kind": kind}} for kind in ("dice", "cross_entropy", "bce_dice", "focal", "dice_focal", "tversky")),
        *({"optimization": {"optimizer": name}} for name in ("adam", "sgd")),
        *({"optimization": {"schedule": name, "max_epochs": 2, "warmup_epochs": 1}}
          for name in ("cosine", "poly", "exponential", "constant")),
        {"optimization": {"ema_decay": 0}},
        {"optimization": {"gradient_clip": None}},
        {"optimization": {"precision": "bf16-mixed"}},
        {"optimization": {"samples_per_epoch": None}},
        {"loss": {"batch": True, "class_weights": [0.2, 1, 3], "include_background": True, "squared": True}},
        {"network": {"name": "DynUNet", "arguments": {
            "kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 8],
            "deep_supervision": True, "deep_supr_num": 1}}},
        {"augment": {"affine": 1, "elastic": 1, "crop": 1, "gamma": 1, "brightness": 1, "blur": 1, "any_rotation": 1}},
    ],
    ids=str,
)  # fmt: skip
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


def test_checkpoints_are_kept_every_few_epochs_with_their_optimiser(prepared: Path, tmp_path: Path) -> None:
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
        "epoch", "train_loss", "val_loss", "val_dice", "val_dice_liver", "val_dice_tumor", "val_accuracy",
        "learning_rate",
    ]  # fmt: skip
    assert [int(row["epoch"]) for row in rows] == list(range(40))
    assert float(rows[-1]["val_dice_liver"]) > 0.8  # it learns


def test_a_folder_with_a_run_is_not_overwritten(prepared: Path, tmp_path: Path) -> None:
    run(tiny_recipe(), prepared, tmp_path)
    before = history(tmp_path)
    with pytest.raises(RecipeError, match="already holds a run"):
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
    with pytest.raises(RecipeError, match=r"epoch \d+; lower optimization.learning_rate"):
        run(tiny_recipe(optimization=changes), prepared, tmp_path)


def test_a_run_that_failed_before_its_first_checkpoint_may_start_again(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no checkpoint"):
        run(tiny_recipe(), prepared, tmp_path, init=tmp_path / "none.ckpt")
    (tmp_path / "recipe.yaml").write_text("half a reci")
    (tmp_path / "history.csv").write_text("epoch,train_loss,seconds\n0,1.5,3\n1,1.")
    run(tiny_recipe(), prepared, tmp_path)
    assert [row["epoch"] for row in history(tmp_path)] == ["0"]


def test_a_new_run_starts_from_a_checkpoint_safetensors_or_a_package(whole_run: Path, tmp_path: Path) -> None:
    from LiverSegLib.models.weights import write_safetensors
    from Training.export import export

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
    with pytest.raises(RecipeError, match=words) as caught:
        run(tiny_recipe(), prepared, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_folder_that_cannot_be_written_is_one_sentence(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecipeError, match="cannot be written"):
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
