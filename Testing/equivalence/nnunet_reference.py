"""nnU-Net's side of the comparison: it plans, trains and predicts with its own code, in its own Python environment.

Run by `Testing.equivalence.nnunet` as a script; it knows nothing of LiverSeg. The folders of nnU-Net come from its
environment variables, what is to be done from a JSON file.
"""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.dummy
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import (
    extract_fingerprint_dataset,
    plan_experiment_dataset,
    preprocess_dataset,
)
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

PROCESSES = "nnUNet_n_proc_DA"
CPU = torch.device("cpu")
_FEATURES, _MOST_FEATURES, _STAGES = 8, 32, 4


def train(task: dict[str, Any]) -> Path:
    """Plan as nnU-Net does, make the network small, and train each fold for some steps."""
    number = task["number"]
    os.environ[PROCESSES] = "1"
    extract_fingerprint_dataset(number, num_processes=1)
    _, plans = plan_experiment_dataset(number, _planner(task["planner"]))
    folder = Path(str(nnUNet_preprocessed)) / task["dataset"]
    _change(folder / f"{plans}.json", task)
    preprocess_dataset(number, plans, (task["configuration"],), num_processes=[1])
    cases = sorted(path.name.removesuffix("_0000.nii.gz") for path in Path(task["images"]).glob("*.nii.gz"))
    splits = [{"train": [c for c in cases if c != one], "val": [one]} for one in cases]
    (folder / "splits_final.json").write_text(json.dumps(splits))
    os.environ[PROCESSES] = "0"  # no processes beside this one
    for fold in task["folds"]:
        torch.manual_seed(fold)
        trainer = get_trainer_from_args(
            task["dataset"], task["configuration"], fold, "nnUNetTrainer", plans, device=CPU
        )
        trainer.num_epochs, trainer.save_every = task["epochs"], 1000
        trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = task["steps"], 1
        trainer.run_training()
    return Path(trainer.output_folder_base)


def _planner(name: str) -> type:
    """nnU-Net's planner of this name, with a network that a CPU can train."""
    import nnunetv2

    home = str(Path(nnunetv2.__path__[0]) / "experiment_planning")
    base = recursive_find_python_class(home, name, current_module="nnunetv2.experiment_planning")

    class Small(base):  # type: ignore[misc,valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.UNet_base_num_features = _FEATURES
            self.UNet_max_features_2d = self.UNet_max_features_3d = _MOST_FEATURES

    return Small


def _change(path: Path, task: dict[str, Any]) -> None:
    """Fewer levels and smaller patches, and what the case asks for, in the configuration's plan."""
    plans = json.loads(path.read_text())
    plan = plans["configurations"][task["configuration"]]
    arguments = plan["architecture"]["arch_kwargs"]
    stages = min(arguments["n_stages"], _STAGES)
    for key, value in arguments.items():
        if isinstance(value, list):
            arguments[key] = value[: stages - 1 if key == "n_conv_per_stage_decoder" else stages]
    arguments["n_stages"] = stages
    most = 96 if len(plan["patch_size"]) == 2 else 40
    plan["patch_size"] = [min(n, most) // 8 * 8 for n in plan["patch_size"]]
    plan["batch_size"] = 2
    plan |= task["plan"]
    path.write_text(json.dumps(plans, indent=2))


def predict(task: dict[str, Any], model: Path, out: Path) -> None:
    """Labels of the test images by nnU-Net's predictor."""
    predictor = nnUNetPredictor(use_mirroring=task["mirror"], perform_everything_on_device=False, device=CPU)
    predictor.initialize_from_trained_model_folder(str(model), tuple(task["folds"]))
    images = sorted(Path(task["tests"]).glob("*.nii.gz"))
    outputs = [str(out / path.name.removesuffix("_0000.nii.gz")) for path in images]
    out.mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files_sequential([[str(path)] for path in images], outputs)


def main() -> None:
    """Do what the JSON file says and write into it what came of that."""
    path = Path(sys.argv[1])
    task = json.loads(path.read_text())
    torch.set_num_threads(1)
    multiprocessing.get_context = lambda *_: multiprocessing.dummy  # type: ignore[assignment]  # threads start at once
    if not task.get("model"):
        task["model"] = str(train(task))
        path.write_text(json.dumps(task, indent=2))
    elif not task.get("done"):
        started = time.process_time()
        predict(task, Path(task["model"]), path.parent / "theirs")
        seconds = time.process_time() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        torch.half = torch.float32  # the type of the predictor's sums
        predict(task, Path(task["model"]), path.parent / "theirs32")
        path.write_text(json.dumps(task | {"done": {"seconds": seconds, "megabytes": peak}}, indent=2))


if __name__ == "__main__":
    main()
