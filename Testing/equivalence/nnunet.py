"""Are our labels nnU-Net's? Small models are trained by nnU-Net itself and run by both programs on the same images.

    python3 -m venv nnunet-env
    nnunet-env/bin/pip install -c constraints.txt torch
    nnunet-env/bin/pip install -c constraints.txt nnunetv2==2.8.1
    python -m Testing.equivalence.nnunet --reference nnunet-env/bin/python --work nnunet-work --out equivalence.md

The images are phantoms. Each case trains for a minute or two on one core, and is not trained again while its folder in
the work folder is there. The table tells voxels that are equal, Dice of the foreground, and what both programs took;
the exit status is 1 where a case falls short. Ours computes in float32, as nnU-Net does on a CPU. nnU-Net sums up its
windows in half precision and ours does not: the second column tells what is equal where nnU-Net is made to sum as ours.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from LiverSegLib.phantom import make_phantom
from Testing.peak_memory import peak_bytes

HERE = Path(__file__).resolve().parents[2]
LEAST_EQUAL, LEAST_DICE = 0.999, 0.995
_TRAINING, _TESTS = 4, 2
_LABELS = {"background": 0, "liver": 1, "tumor": 2}
_REGIONS = {"background": 0, "liver": [1, 2], "tumor": [2]}
_TORCH = {"resampling_fn_data": "resample_torch_fornnunet", "resampling_fn_probabilities": "resample_torch_fornnunet"}
_TORCH_ARGUMENTS = {"is_seg": False, "force_separate_z": None, "memefficient_seg_resampling": False}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model that is trained, and the images that it is tried on.

    Args:
        name: of its folder.
        configuration, planner: nnU-Net's.
        spacing: of the training images, mm from right to left, back to front, feet to head.
        orientation: of all images.
        other: spacings of the test images.
        folds: whose mean is taken.
        regions: channels are regions that overlap.
        mr: what is outside the body is 0, and intensities are normalized within it.
        mirror: mirrored images, too, as the checkpoint allows.
        plan: what is changed in the configuration's plan.
    """

    name: str
    configuration: str = "3d_fullres"
    planner: str = "ExperimentPlanner"
    spacing: tuple[float, float, float] = (4.0, 4.0, 4.0)
    orientation: str = "LPS"
    other: tuple[tuple[float, float, float], ...] = ((3.1, 3.3, 4.5), (4.0, 4.0, 4.0))
    folds: tuple[int, ...] = (0,)
    regions: bool = False
    mr: bool = False
    mirror: bool = False
    plan: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case(name="plain", folds=(0, 1)),
    Case(name="residual", planner="nnUNetPlannerResEncM", mirror=True),
    Case(name="slices", configuration="2d", spacing=(3.0, 3.0, 6.0), other=((2.5, 2.7, 5.0), (4.1, 3.2, 3.0))),
    Case(name="regions", regions=True, orientation="RAI"),
    Case(name="thick", spacing=(3.0, 3.0, 12.0), other=((2.5, 2.7, 10.0), (3.3, 3.1, 4.0))),
    Case(name="sagittal", spacing=(10.0, 3.5, 3.5), orientation="LPS", other=((8.0, 3.0, 3.7), (10.0, 3.5, 3.5))),
    Case(
        name="mr",
        mr=True,
        orientation="PSR",
        plan=_TORCH
        | {"resampling_fn_data_kwargs": _TORCH_ARGUMENTS, "resampling_fn_probabilities_kwargs": _TORCH_ARGUMENTS}
        | {"use_mask_for_norm": [True]},
    ),
)


def prepare(case: Case, number: int, work: Path) -> Path:
    """The images of a case in nnU-Net's raw format, and the file that tells its side what to do."""
    dataset = f"Dataset{number:03d}_{case.name}"
    home = work / case.name
    raw = home / "raw" / dataset
    folders = {"images": raw / "imagesTr", "truth": raw / "labelsTr", "tests": home / "tests"}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    for seed in range(_TRAINING + _TESTS):
        test = seed - _TRAINING
        spacing = case.spacing if test < 0 else case.other[test]
        image, truth, affine = _draw(case, number * 100 + seed, spacing)
        _save(image, affine, folders["images" if test < 0 else "tests"] / f"case{seed}_0000.nii.gz")
        if test < 0:
            _save(truth, affine, folders["truth"] / f"case{seed}.nii.gz")
    description = {
        "channel_names": {"0": "MRI" if case.mr else "CT"},
        "labels": _REGIONS if case.regions else _LABELS,
        "numTraining": _TRAINING,
        "file_ending": ".nii.gz",
    } | ({"regions_class_order": [1, 2]} if case.regions else {})
    (raw / "dataset.json").write_text(json.dumps(description))
    task = {"number": number, "dataset": dataset, "planner": case.planner, "configuration": case.configuration}
    task |= {"folds": case.folds, "mirror": case.mirror, "plan": case.plan, "epochs": 1, "steps": 12}
    task |= {"images": str(folders["images"]), "tests": str(folders["tests"])}
    path = home / "task.json"
    path.write_text(json.dumps(task))
    return path


def _draw(case: Case, seed: int, spacing: tuple[float, float, float]) -> tuple[Any, Any, Any]:
    found = make_phantom(seed, spacing=spacing, orientation=case.orientation, lesions=3, lesion_mm=(25.0, 60.0))
    image, truth = found.volume.array, found.labelmap
    if case.mr:
        image = np.where(image > -200, image + 300, 0).astype(np.int16)
    return image, truth, found.volume.affine


def _save(array: Any, affine: Any, path: Path) -> None:
    nibabel.nifti1.Nifti1Image(array, affine).to_filename(path)


def run_reference(task: Path, python: Path) -> None:
    """Train, and in a process of its own predict, with nnU-Net; what is done already is not done again.

    Raises:
        CalledProcessError: it failed; what it said is on the screen.
    """
    home = task.parent
    folders = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "results"}
    environment = os.environ | {name: str(home / folder) for name, folder in folders.items()}
    environment |= {"nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    script = Path(__file__).with_name("nnunet_reference.py")
    for _ in ("train", "predict"):
        subprocess.run([str(python), str(script), str(task)], env=environment, check=True, stdout=subprocess.DEVNULL)


def run_ours(task: Path) -> None:
    """Segment the test images with our engine in this process, in float32, and write labels and what it took."""
    from LiverSegLib.engine import devices
    from LiverSegLib.engine.one_model import OneModel
    from LiverSegLib.engine.progress import Monitor
    from LiverSegLib.io import read_volume
    from LiverSegLib.models import read_package
    from LiverSegLib.models.sidecar import Sidecar, write_sidecar

    devices.has_bf16_matrix_unit = lambda: False
    told = json.loads(task.read_text())
    model = Path(told["model"])
    write_sidecar(model, Sidecar(mirror=told["mirror"]))
    out = task.parent / "ours"
    out.mkdir(exist_ok=True)
    started = time.process_time()
    package = read_package(model)
    package = replace(package, weights=package.weights[: len(told["folds"])])
    network = OneModel(package, "cpu")
    for path in sorted(Path(told["tests"]).glob("*.nii.gz")):
        volume = read_volume(path)
        labels = network.draw(volume, Monitor(None, None))
        _save(labels, volume.affine, out / path.name.replace("_0000", ""))
    peak = peak_bytes() / 2**20
    (task.parent / "ours.json").write_text(json.dumps({"seconds": time.process_time() - started, "megabytes": peak}))


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one case ended: the worst of its images."""

    name: str
    equal: float
    equal32: float
    dice: float
    foreground: float
    theirs: dict[str, float]
    ours: dict[str, float]

    @property
    def good(self) -> bool:
        """Whether the labels are the same but for rounding, and there is anything that could differ."""
        return self.equal >= LEAST_EQUAL and self.dice >= LEAST_DICE and self.foreground > 0

    @property
    def text(self) -> str:
        """The row of the table."""
        took = " | ".join(f"{who['seconds']:.1f} | {who['megabytes']:.0f}" for who in (self.theirs, self.ours))
        same = f"{self.equal:.6f} | {self.equal32:.6f} | {self.dice:.6f} | {100 * self.foreground:.1f}"
        return f"| {self.name} | {same} | {took} |"


def compare(name: str, home: Path) -> Row:
    """The labels of both programs side by side, of the images in `home`."""
    found = []
    for path in sorted((home / "theirs").glob("*.nii.gz")):
        theirs, exact, ours = (_labels(home / folder / path.name) for folder in ("theirs", "theirs32", "ours"))
        hit, size = ((theirs == ours) & (theirs > 0)).sum(), (theirs > 0).sum() + (ours > 0).sum()
        found.append(((theirs == ours).mean(), (exact == ours).mean(), 2 * hit / max(size, 1), (theirs > 0).mean()))
    equal, equal32, dice, foreground = (float(min(values)) for values in zip(*found, strict=True))
    theirs_took, ours_took = (json.loads((home / name).read_text()) for name in ("task.json", "ours.json"))
    return Row(
        name=name,
        equal=equal,
        equal32=equal32,
        dice=dice,
        foreground=foreground,
        theirs=theirs_took["done"],
        ours=ours_took,
    )


def _labels(path: Path) -> Any:
    return np.asarray(nibabel.nifti1.Nifti1Image.from_filename(path).dataobj)


HEAD = """| case | equal voxels | in float32 | Dice | foreground, % | nnU-Net, CPU s | MB | LiverSeg, CPU s | MB |
|---|---|---|---|---|---|---|---|---|"""


def rows(work: Path, python: Path, names: Sequence[str]) -> Iterator[Row]:
    """Each case, run where it has not been before."""
    for number, case in enumerate(CASES, start=901):
        if names and case.name not in names:
            continue
        task = work / case.name / "task.json"
        if not task.exists():
            prepare(case, number, work)
        yield row(case.name, task, python)


def row(name: str, task: Path, python: Path) -> Row:
    """Run both sides of a task, nnU-Net's in the environment of `python`; a task that has a model trains none."""
    run_reference(task, python)
    command = [sys.executable, "-m", "Testing.equivalence.nnunet", "--ours", str(task)]
    subprocess.run(command, cwd=HERE, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    return compare(name, task.parent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; 1 where a case falls short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="CASE", help=f"of {', '.join(case.name for case in CASES)}; all")
    parser.add_argument("--reference", type=Path, metavar="PYTHON", help="of the environment with nnunetv2")
    parser.add_argument("--work", type=Path, default=Path("nnunet-work"), help="folder that is kept")
    parser.add_argument("--out", type=Path, help="Markdown file for the table")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.ours is not None:
        run_ours(chosen.ours)
        return 0
    if chosen.reference is None:
        parser.error("--reference is needed: the Python of an environment with nnunetv2")
    found = []
    for row in rows(chosen.work.absolute(), chosen.reference.absolute(), chosen.names):
        found.append(row)
        print(row.text, flush=True)
    if chosen.out is not None:
        chosen.out.write_text("\n".join([HEAD, *(row.text for row in found)]) + "\n")
    return 0 if all(row.good for row in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
