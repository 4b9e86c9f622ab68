"""Which device and which arithmetic."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

import torch

from LiverSegLib.errors import DeviceError

_TRIALS = 4
"""Runs of each arithmetic; the first only warms up."""
_CLEARLY_FASTER = 1.2


@dataclass(frozen=True)
class Device:
    """A torch device and the type that the network computes in (None: float32)."""

    device: torch.device
    half: torch.dtype | None = None

    @property
    def text(self) -> str:
        """For people: "cpu (float32)", "cuda:0 (float16)"."""
        return f"{self.device} ({str(self.half or torch.float32).removeprefix('torch.')})"

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which the network computes in the chosen type."""
        if self.half is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.half)


def choose_device(name: str = "auto") -> torch.device:
    """The device called "auto", "cpu", "cuda", "cuda:1" or "mps".

    Raises:
        DeviceError: it is unknown or not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"There is no device {name!r}; use auto, cpu, cuda, cuda:N or mps.") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(f"The device {name} is not there ({count} CUDA devices found); use auto or cpu.")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("The device mps is not there; use auto or cpu.")
    if device.type not in ("cpu", "mps"):
        raise DeviceError(f"The device {name!r} is not supported; use auto, cpu, cuda, cuda:N or mps.")
    return device


def has_bf16_matrix_unit() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (AMX); without, bfloat16 is slower."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def with_precision(device: torch.device, network: torch.nn.Module, sample: torch.Tensor) -> Device:
    """Choose the arithmetic for `network`: half precision where the hardware has it, on a CPU after a trial.

    The labels of the two differ in some voxels, so the choice must not depend on what else the machine does: both are
    timed in turn, the best time of each counts, and float32 is chosen only where it is clearly faster.

    Args:
        device: where the network is.
        network: ready to run.
        sample: one input [1, 1, ...] on the device, for the trial on a CPU.
    """
    if device.type == "cuda":
        return Device(device, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)
    plain, half = Device(device), Device(device, torch.bfloat16)
    if device.type != "cpu" or not has_bf16_matrix_unit():
        return plain
    pairs = [(_seconds(plain, network, sample), _seconds(half, network, sample)) for _ in range(_TRIALS)]
    plain_seconds, half_seconds = map(min, zip(*pairs, strict=True))
    return plain if plain_seconds * _CLEARLY_FASTER < half_seconds else half


def _seconds(device: Device, network: torch.nn.Module, sample: torch.Tensor) -> float:
    """Processor time that one run takes of this program, not that of others."""
    with torch.inference_mode(), device.autocast():
        start = time.process_time()
        network(sample)
        return time.process_time() - start
