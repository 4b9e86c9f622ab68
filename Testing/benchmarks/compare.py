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
from typing import Any

import numpy as np

# MONAI warns of its own defaults at each use.
_SIDE = [sys.executable, "-W", "ignore::FutureWarning", "-m", "Testing.benchmarks.sides"]


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


def compare(case: str, image: Path, package: Path, sides: list[str], repeat: int, folder: Path) -> Comparison:
    """Run the sides in turn, each in its own process.

    Args:
        case: what it is called.
        image: a volume.
        package: a model's folder or zip.
        sides: names of `sides.SIDES`.
        repeat: warm runs.
        folder: for the label maps.

    Raises:
        SystemExit: a side failed; what it said is in the message.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    answers: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with ExitStack() as stack:
        processes = {
            side: stack.enter_context(
                subprocess.Popen(
                    [*_SIDE, side, image, package, folder / f"{side}.npy"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
            for side in sides
        }
        for _ in range(repeat + 1):
            for side, process in processes.items():
                answers[side].append(_one_run(side, process))
        for process in processes.values():
            process.stdin.close()  # type: ignore[union-attr]
    found = {side: _measured(side, runs) for side, runs in answers.items()}
    if len(sides) < 2:
        return Comparison(case=case, measured=found)
    a, b = (np.load(folder / f"{side}.npy") for side in sides[:2])
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
