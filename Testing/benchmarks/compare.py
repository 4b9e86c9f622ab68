"""Two sides on one image, run in turn, so that whatever else the machine does meets both."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from LiverSegLib.models import ModelPackage

# MONAI warns of its own defaults at each use.
_SIDE = [sys.executable, "-W", "ignore::FutureWarning", "-m", "Testing.benchmarks.sides"]
NNUNET_SIDE = "nnunet"
_OF_NNUNET = Path(__file__).with_name("nnunet_side.py")
_ITS_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one side took.

    Args:
        side: its name.
        cold: seconds of the first run in a process, with imports, reading and building.
        warm: median seconds of the others, from voxels in memory to labels in memory.
        peak: bytes of memory at most.
        stages: seconds of the last run by stage.
    """

    side: str
    cold: float
    warm: float
    peak: int
    stages: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All sides on one case.

    Args:
        case: image and model, for people.
        measured: by side.
        dice: of the foregrounds of the first two sides; None where there is one.
        equal: share of voxels that have the same label in both.
    """

    case: str
    measured: dict[str, Measured]
    dice: float | None = None
    equal: float | None = None


@dataclass(frozen=True)
class Side:
    """One of those that are compared: its name, of `sides.SIDES` or `NNUNET_SIDE`, and the Python of that one."""

    name: str
    python: Path | None = None

    def command(self, image: Path, package: Path, out: Path) -> list[str]:
        """What starts it."""
        files = [str(image), str(package), str(out)]
        if self.python is None:
            return [*_SIDE, self.name, *files]
        return [str(self.python), "-W", "ignore", str(_OF_NNUNET), *files]

    def environment(self, folder: Path) -> dict[str, str]:
        """The variables that it is started with; nnU-Net warns where it knows no folders, and uses none of them."""
        if self.python is None:
            path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
            return {**os.environ, "PYTHONPATH": path}
        own = {key: str(folder) for key in _ITS_FOLDERS} | {"nnUNet_def_n_proc": str(os.cpu_count() or 1)}
        return {**os.environ, "PYTHONPATH": "", **own}


def baseline(package: ModelPackage) -> str | None:
    """The side that can run all of a package beside ours; None where there is none.

    MONAI's pipeline runs bundles, nnU-Net's predictor its own folders. A model with helpers is more than its network.
    """
    from LiverSegLib.models.family import family_of

    if package.guide is not None or package.divides:
        return None
    family = family_of(package.path)
    return {"bundle": "monai", "nnunet": NNUNET_SIDE}.get("" if family is None else family.name)


def compare(case: str, image: Path, package: Path, sides: list[Side], repeat: int, folder: Path) -> Comparison:
    """Run the sides in turn, each in its own process.

    Args:
        case: what it is called.
        image: a volume.
        package: a model's folder or zip.
        sides: those that are compared, ours first.
        repeat: warm runs.
        folder: for the label maps.

    Raises:
        SystemExit: a side failed; what it said is in the message.
    """
    names = [side.name for side in sides]
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with ExitStack() as stack:
        processes = {
            side.name: stack.enter_context(
                subprocess.Popen(
                    side.command(image, package, folder / f"{side.name}.npy"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=side.environment(folder),
                )
            )
            for side in sides
        }
        for _ in range(repeat + 1):
            for name, process in processes.items():
                answers[name].append(_one_run(name, process))
        for process in processes.values():
            process.stdin.close()  # type: ignore[union-attr]
    found = {name: _measured(name, runs) for name, runs in answers.items()}
    if len(names) < 2:
        return Comparison(case=case, measured=found)
    a, b = (np.load(folder / f"{name}.npy") for name in names[:2])
    both = int((a > 0).sum()) + int((b > 0).sum())
    dice = 2 * int(((a > 0) & (b > 0)).sum()) / both if both else 1.0
    return Comparison(case=case, measured=found, dice=dice, equal=float((a == b).mean()))


def _one_run(side: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("run\n")
        process.stdin.flush()
        # Libraries print, too; only lines of JSON are answers.
        while not (line := process.stdout.readline()).startswith("{"):
            if not line:
                raise BrokenPipeError
    except BrokenPipeError:
        sys.exit(f"The side {side} has failed; its message is above.")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _measured(side: str, runs: list[dict[str, Any]]) -> Measured:
    warm = [run["seconds"] for run in runs[1:]] or [runs[0]["seconds"]]
    return Measured(
        side=side,
        cold=runs[0]["seconds"],
        warm=statistics.median(warm),
        peak=max(run["peak"] for run in runs),
        stages=runs[-1]["stages"],
    )
