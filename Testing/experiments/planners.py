"""Our `plan` beside nnU-Net's planner, for three data sets that are known by their fingerprint alone.

    python -m Testing.experiments.planners --reference nnunet-env/bin/python --out planners.md

`nnunet-env` is an environment with nnU-Net; `Testing.equivalence.nnunet` tells how to make it. Both plan for a GPU of
8 GB and the same network family, nnU-Net's PlainConvUNet and our DynUNet.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import nibabel
import numpy as np
import typer

from Training.markdown import table
from Training.planning.fingerprint import Fingerprint
from Training.planning.plan import Plan, plan_from
from Training.recipe import load_recipe

MEMORY_GB = 8.0
# Smallest and largest share of the median size and thickness that a scan has, evenly in between.
_SPREAD = 0.8, 1.2


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Scans of one kind: their median voxel in mm and size in voxels from right to left, front to back, up."""

    name: str
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    scans: int

    def fingerprint(self) -> Fingerprint:
        """Sizes and slice distances differ from scan to scan, in opposite directions."""
        spread = np.linspace(*_SPREAD, self.scans)
        thick, long = np.ones((self.scans, 3)), np.ones((self.scans, 3))
        thick[:, 2], long[:, 2] = spread, spread[::-1]
        shapes = np.round(np.array(self.shape) * long).astype(np.int64)
        return Fingerprint(spacings=np.array(self.spacing) * thick, shapes=shapes, low=-20.0, high=190.0)


DATA_SETS = (
    DataSet(name="thin CT", spacing=(0.77, 0.77, 1.0), shape=(512, 512, 432), scans=131),
    DataSet(name="thick CT", spacing=(0.78, 0.78, 5.0), shape=(512, 512, 56), scans=100),
    DataSet(name="MR", spacing=(1.44, 1.44, 5.5), shape=(288, 288, 36), scans=40),
)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What a planner decided of one model; axes from right to left, front to back, up."""

    spacing: Sequence[float]
    patch: Sequence[int]
    batch: int
    divisor: Sequence[int]

    @property
    def cells(self) -> list[str]:
        """Voxel, patch, batch, and voxels of a patch at the lowest level."""
        left = [n // d for n, d in zip(self.patch, self.divisor, strict=True)]
        return [_by(f"{mm:.2f}" for mm in self.spacing), _by(self.patch), str(self.batch), _by(left)]


def _by(values: Any) -> str:
    return " x ".join(str(value) for value in values)


def ours(data: DataSet) -> list[Planned]:
    """Our plan, and that of the coarse model where there is one."""
    recipe = load_recipe("liver_tumor3d_best", ["network={name: DynUNet}"])
    fine = plan_from(recipe, data.fingerprint(), MEMORY_GB, "16-mixed", lowres=True)
    return [_planned(plan) for plan in (fine, fine.coarse) if plan is not None]


def _planned(plan: Plan) -> Planned:
    data = plan.recipe
    strides = np.array([np.broadcast_to(stride, 3) for stride in data["network"]["arguments"]["strides"]])
    return Planned(
        spacing=data["preprocess"]["pixdim"],
        patch=data["patch_size"],
        batch=data["optimization"]["batch_size"],
        divisor=strides.prod(axis=0).tolist(),
    )


def theirs(data: DataSet, python: Path) -> list[Planned]:
    """nnU-Net's plans, made in a process of its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _write_fingerprint(data, home)
        names = {f"nnUNet_{name}": str(home / name) for name in ("raw", "preprocessed", "results")}
        script = Path(__file__).with_name("planners_reference.py")
        environment = os.environ | names | {"PYTHONPATH": ""}
        done = subprocess.run([str(python), str(script)], env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"nnU-Net could not plan {data.name}: {done.stderr[-2000:]}")
        plans = json.loads((home / "plans.json").read_text())
    found = []
    for name in ("3d_fullres", "3d_lowres"):
        if name in plans:
            one = plans[name]
            divisor = np.prod(one["architecture"]["arch_kwargs"]["strides"], axis=0)
            found.append(
                Planned(
                    spacing=one["spacing"][::-1],
                    patch=one["patch_size"][::-1],
                    batch=one["batch_size"],
                    divisor=divisor[::-1].tolist(),
                )
            )
    return found


def _write_fingerprint(data: DataSet, home: Path) -> None:
    """The two files that nnU-Net's planner reads, and an image that tells it the format; its axes are z, y, x."""
    found = data.fingerprint()
    name = "Dataset901_Known"
    for folder in (home / "raw" / name / "imagesTr", home / "raw" / name / "labelsTr", home / "preprocessed" / name):
        folder.mkdir(parents=True)
    numbers: dict[str, float] = {"max": 400, "mean": 90, "median": 100, "min": -200, "std": 40}
    numbers |= {"percentile_00_5": found.low, "percentile_99_5": found.high}
    told = {
        "spacings": found.spacings[:, ::-1].tolist(),
        "shapes_after_crop": found.shapes[:, ::-1].tolist(),
        "foreground_intensity_properties_per_channel": {"0": numbers},
        "median_relative_size_after_cropping": 1.0,
    }
    (home / "preprocessed" / name / "dataset_fingerprint.json").write_text(json.dumps(told))
    dataset = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "tumor": 2}}
    (home / "raw" / name / "dataset.json").write_text(
        json.dumps(dataset | {"numTraining": data.scans, "file_ending": ".nii.gz"})
    )
    tiny = nibabel.nifti1.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    tiny.to_filename(home / "raw" / name / "imagesTr" / "case_0000.nii.gz")
    tiny.to_filename(home / "raw" / name / "labelsTr" / "case.nii.gz")


def main(
    reference: Annotated[Path, typer.Option(help="The Python of an environment with nnU-Net.")],
    out: Annotated[Path, typer.Option(help="Markdown file for the table.")] = Path("planners.md"),
) -> None:
    """Plan each data set with both, side by side."""
    rows = []
    for data in DATA_SETS:
        for who, found in (("nnU-Net", theirs(data, reference.absolute())), ("ours", ours(data))):
            rows += [[data.name, who, stage, *plan.cells] for stage, plan in zip(("full", "low"), found, strict=False)]
    head = ("data", "planner", "resolution", "voxel, mm", "patch", "batch", "voxels at the lowest level")
    text = table(head, rows, text_columns=len(head))
    out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    typer.run(main)
