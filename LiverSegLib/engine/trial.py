"""What is faster here for a model, torch or OpenVINO: tried once by `liverseg tune`, and remembered.

Not tried while somebody waits: a trial on a busy machine misleads, and a first segmentation should not pay for it.
What is remembered holds for this processor, these versions, this number of threads and these very weights.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from LiverSegLib.engine.devices import Device
from LiverSegLib.engine.openvino_network import OpenVinoNetwork, openvino_version
from LiverSegLib.io.atomic import atomic_file
from LiverSegLib.models import ModelPackage
from LiverSegLib.models.archive import cache_folder
from LiverSegLib.system import cpu_name

log = logging.getLogger(__name__)

LEAST_GAIN = 1.1
"""How much faster OpenVINO has to be: less is within what a machine's seconds vary by."""
LEAST_EQUAL = 0.999
"""Of the voxels have to have the same label, and of the Dice of the foreground."""
_GRAPH, _ANSWER = "network.xml", "trial.json"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a trial has found.

    Args:
        torch_seconds, openvino_seconds: of the network alone on the same image; the second is None where OpenVINO
            cannot run it.
        equal: share of voxels that both gave the same label; 0 where it cannot run it.
        dice: of both foregrounds; 1 where both are empty.
        problem: why OpenVINO cannot run it, "" where it can.
    """

    torch_seconds: float
    openvino_seconds: float | None = None
    equal: float = 0.0
    dice: float = 0.0
    problem: str = ""

    @property
    def is_better(self) -> bool:
        """Whether OpenVINO is to be used: clearly faster, with equal labels."""
        if self.openvino_seconds is None or min(self.equal, self.dice) < LEAST_EQUAL:
            return False
        return self.torch_seconds > LEAST_GAIN * self.openvino_seconds


def trial_folder(package: ModelPackage, device: Device) -> Path | None:
    """Where the trial of a model on this machine is remembered; None without a CPU or without OpenVINO."""
    version = openvino_version()
    if version is None or device.device.type != "cpu":
        return None
    files = [package.path / name for name in package.weights] or sorted((package.path / "models").glob("model.*"))
    about: list[object] = [cpu_name(), torch.get_num_threads(), torch.__version__, version, device.text]
    about += [package.title, package.network, json.dumps(package.arguments, sort_keys=True, default=str)]
    about += [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return cache_folder() / "openvino" / hashlib.sha256(repr(about).encode()).hexdigest()[:24]


def remember(folder: Path, trial: Trial) -> None:
    """Write down what a trial has found.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / _ANSWER) as file:
        file.write(json.dumps({"use": trial.is_better, **vars(trial)}).encode())


def graph_file(folder: Path) -> Path:
    """Where the network for OpenVINO lies in a trial's folder."""
    return folder / _GRAPH


def accelerated(package: ModelPackage, device: Device) -> OpenVinoNetwork | None:
    """The model's network by OpenVINO, where a trial on this machine has found that better; else None."""
    folder = trial_folder(package, device)
    if folder is None or not _is_better(folder):
        return None
    try:
        return OpenVinoNetwork(graph_file(folder), half=device.half is not None)
    # A damaged file can raise nearly anything, and torch does the same work.
    except Exception:
        log.warning("OpenVINO cannot be used for %s; torch is.", package.name, exc_info=True)
        return None


def _is_better(folder: Path) -> bool:
    try:
        answer = json.loads((folder / _ANSWER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(answer, dict) and answer.get("use") is True
