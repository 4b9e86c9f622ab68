"""A network run without numbers: what its layers take of memory, and whether it fits its package."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from LiverSegLib.engine.memory import is_out_of_memory
from LiverSegLib.engine.plan import sized
from LiverSegLib.errors import ModelError
from LiverSegLib.models.spec import ModelPackage
from LiverSegLib.models.text import one_line
from LiverSegLib.networks import final_logits, network_outline


class _Live(TorchDispatchMode):
    """Adds up the memory of all tensors that are alive, as layers make and drop them.

    Attributes:
        most: the largest sum so far, in bytes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        self.most = max(self.most, self._now)
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self._now += size
            weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size


def live_bytes(package: ModelPackage, shape: tuple[int, ...]) -> int | None:
    """Bytes of the tensors that a network has in memory at once while it segments windows [N, C, ...].

    Returns:
        None where torch cannot tell.

    Raises:
        ModelError: the network cannot take windows of this shape, or does not give logits of their size.
    """
    outline = network_outline(package.network, package.arguments).eval()
    try:
        with torch.no_grad(), _Live() as live:
            out = outline(torch.empty(shape, device="meta"))
    except NotImplementedError:  # a layer that torch can only run with numbers
        return None
    except Exception as error:
        if "meta" in str(error):
            return None
        raise ModelError(_misfit(package, shape, one_line(error, 200).rstrip("."))) from error
    check_output(package, shape, final_logits(out, len(shape)))
    return live.most


def explain_failure(package: ModelPackage, shape: tuple[int, ...], error: Exception) -> None:
    """Find out whether a network that failed cannot take windows of `shape` [N, 1, ...] at all.

    Raises:
        ModelError: so it is, and the package is to blame. Otherwise nothing is raised: the failure is a defect.
    """
    if not is_out_of_memory(error):
        live_bytes(package, shape)


def check_output(package: ModelPackage, shape: tuple[int, ...], out: Any) -> None:
    """Refuse what a network gave for windows of `shape` [N, 1, ...] unless it is a number a class and voxel.

    Raises:
        ModelError: it is something else.
    """
    wanted = (shape[0], package.channels, *shape[2:])
    found = tuple(out.shape) if isinstance(out, torch.Tensor) else None
    if found != wanted:
        raise ModelError(_misfit(package, shape, f"it gives {sized((found or ())[1:]) or 'nothing'} values"))


def _misfit(package: ModelPackage, shape: tuple[int, ...], why: str) -> str:
    return (
        f"The network {package.network} of {package.name} cannot be run on windows of {sized(shape[2:])} voxels "
        f"(roi_size {sized(package.inferer.roi_size)}): {why}; repair the package."
    )
