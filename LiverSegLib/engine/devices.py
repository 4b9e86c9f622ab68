"""Which device and which arithmetic."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from LiverSegLib.errors import DeviceError


@dataclass(frozen=True)
class Device:
    """A torch device, the type that the network computes in (None: float32), and another program that runs it there."""

    device: torch.device
    half: torch.dtype | None = None
    runner: str = ""

    @property
    def text(self) -> str:
        """For people: "cpu (float32)", "cuda:0 (float16)", "cpu (float32, OpenVINO)"."""
        how = str(self.half or torch.float32).removeprefix("torch.")
        return f"{self.device} ({', '.join(part for part in (how, self.runner) if part)})"

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


def with_precision(device: torch.device) -> Device:
    """Half precision where the device has units for it, else float32.

    The labels of the two differ in some voxels, so the choice is the device's alone: a trial of both, which takes what
    is faster at that moment, gave the same scan other labels on a busy machine.
    """
    if device.type == "cuda":
        return Device(device, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)
    return Device(device, torch.bfloat16 if device.type == "cpu" and has_bf16_matrix_unit() else None)
