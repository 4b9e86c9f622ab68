"""nnU-Net's planner on a fingerprint; run in its own Python environment by `Testing.experiments.planners`."""

from __future__ import annotations

import json
from pathlib import Path

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.paths import nnUNet_preprocessed

if __name__ == "__main__":
    planner = ExperimentPlanner("Dataset901_Known", gpu_memory_target_in_gb=8)
    planner.plan_experiment()
    home = Path(str(nnUNet_preprocessed))
    plans = json.loads((home / "Dataset901_Known" / f"{planner.plans_identifier}.json").read_text())
    (home.parent / "plans.json").write_text(json.dumps(plans["configurations"]))
