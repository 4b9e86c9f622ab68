"""The one straight line from a volume to its segments."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as F

from LiverSegLib.engine import geometry, plan, window
from LiverSegLib.engine.devices import Device, choose_device, with_precision
from LiverSegLib.engine.inputs import usable_array, warnings_for
from LiverSegLib.engine.memory import is_out_of_memory, memory_guard
from LiverSegLib.engine.postprocess import postprocess
from LiverSegLib.engine.progress import Monitor, ProgressCallback, StopCallback
from LiverSegLib.engine.restore import restore
from LiverSegLib.errors import DeviceError, LiverSegError
from LiverSegLib.measure import measure
from LiverSegLib.models import ModelPackage, find_package, read_package
from LiverSegLib.models.weights import loaded_network
from LiverSegLib.volume import Result, Volume

log = logging.getLogger(__name__)
_NO_MEMORY = "There is not enough memory for this volume, even with small windows; close other programs or crop it."


@dataclass(frozen=True)
class Settings:
    """What a user may switch.

    Args:
        largest_component: keep only the largest connected part of the liver.
        fill_holes: fill what the liver encloses.
        lesions_inside: drop lesions that do not touch the liver.
        overlap: of sliding windows, 0 to 1; None takes the package's.
    """

    largest_component: bool = True
    fill_holes: bool = True
    lesions_inside: bool = True
    overlap: float | None = None


class Segmenter:
    """A model on a device, ready to segment any number of volumes.

    Args:
        model: package, path of one, name of a built-in one, or None for the default.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        settings: postprocessing switches.

    Raises:
        ModelError: the package cannot be used.
        DeviceError: the device is not there.

    Example:
        >>> from pathlib import Path
        >>> from LiverSegLib.io import read_volume
        >>> result = Segmenter().segment(read_volume(Path("ct.nii.gz")))  # doctest: +SKIP
        >>> result.measurements.volume_ml("liver")  # doctest: +SKIP
        1520.4
    """

    def __init__(
        self, model: ModelPackage | Path | str | None = None, device: str = "auto", settings: Settings | None = None
    ) -> None:
        self.package = model if isinstance(model, ModelPackage) else read_package(find_package(model))
        self.settings = settings or Settings()
        self._wanted = choose_device(device)
        with memory_guard(f"There is not enough memory for the model {self.package.name}; close other programs."):
            self._network = _prepared(self.package)
        self._device: Device | None = None  # arithmetic is chosen with the first input

    def segment(
        self, volume: Volume, progress: ProgressCallback | None = None, should_stop: StopCallback | None = None
    ) -> Result:
        """Segment one volume; the label map lies exactly on its grid.

        Args:
            volume: the image; not changed.
            progress: called with a `Progress` as work goes on, in this thread.
            should_stop: asked several times a second; True ends the work with `SegmentationCancelled`.

        Raises:
            InputError: the volume cannot be segmented.
            SegmentationCancelled: `should_stop` said so.
            DeviceError: even the smallest windows do not fit into memory.
        """
        monitor = Monitor(progress, should_stop)
        with memory_guard(_NO_MEMORY):
            return self._segment(volume, monitor)

    def _segment(self, volume: Volume, monitor: Monitor) -> Result:
        clock = _Clock()
        monitor.report("prepare", 0, 1)
        notes = warnings_for(volume, self.package)
        array, repaired = usable_array(volume)
        notes += repaired
        grid = geometry.model_grid(volume, self.package.axcodes, self.package.pixdim, self.package.size)
        plan.check_grid(volume, grid, self.package, self._overlap)
        monitor.report("prepare", 1, 1)
        clock.lap("prepare")
        decisions, fallback = self._decide(array, grid, monitor, clock)
        notes += fallback
        labelmap = restore(decisions, grid, volume.array.shape, self.package.nearest, monitor)
        del decisions  # what follows needs room
        clock.lap("restore")
        self._postprocess(labelmap, monitor)
        clock.lap("postprocess")
        monitor.report("measure", 0, 1)
        names = {label.value: label.name for label in self.package.labels}
        unit = "HU" if (volume.modality or self.package.modality) == "CT" else ""
        measurements = measure(labelmap, volume.affine, names, array, unit)
        monitor.report("measure", 1, 1)
        clock.lap("measure")
        if not labelmap.any():
            where = "the abdomen" if "liver" in names.values() else "what the model segments"
            notes.append(f"{' and '.join(names.values())} not found in {volume.name}; check that it shows {where}.")
        assert self._device is not None
        return Result(
            labelmap,
            volume.affine,
            self.package.labels,
            measurements,
            clock.laps,
            tuple(notes),
            self._device.text,
            self.package.title,
        )

    def _postprocess(self, labelmap: npt.NDArray[Any], monitor: Monitor) -> None:
        monitor.report("postprocess", 0, 1)
        values = {label.name: label.value for label in self.package.labels}
        postprocess(
            labelmap,
            values.get("liver"),
            values.get("tumor"),
            largest=self.settings.largest_component,
            holes=self.settings.fill_holes,
            inside=self.settings.lesions_inside,
            check=monitor.check,
        )
        monitor.report("postprocess", 1, 1)

    @property
    def _overlap(self) -> float:
        return self.package.inferer.overlap if self.settings.overlap is None else self.settings.overlap

    def _decide(
        self, array: npt.NDArray[Any], grid: geometry.ModelGrid, monitor: Monitor, clock: _Clock
    ) -> tuple[torch.Tensor, list[str]]:
        """Decisions [D, X, Y, Z] on the model grid, with less memory at each failure for want of it."""
        notes: list[str] = []
        for device, shrink in _attempts(self._wanted):
            try:
                with torch.inference_mode(), _flushed_denormals():
                    x = self._input(array, grid, device, monitor)
                    clock.lap("resample")
                    decisions = self._run(x, device, shrink, monitor)
                    clock.lap("network")
                if shrink > 1 or device != self._wanted:
                    how = "on the CPU" if device != self._wanted else f"with windows {shrink} times smaller"
                    notes.append(f"{self._wanted} had too little memory; the segmentation was done {how}.")
                return decisions, notes
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                log.warning("Out of memory on %s, windows / %d", device, shrink, exc_info=error)
                _free(device)
        raise DeviceError(_NO_MEMORY)

    def _input(
        self, array: npt.NDArray[Any], grid: geometry.ModelGrid, device: torch.device, monitor: Monitor
    ) -> torch.Tensor:
        x = geometry.to_model_grid(array, grid, device)
        for step in self.package.intensity:
            monitor.check()
            x = step(x)
        return x

    def _run(self, x: torch.Tensor, device: torch.device, shrink: int, monitor: Monitor) -> torch.Tensor:
        package, inferer = self.package, self.package.inferer
        padded, inner = _pad_divisible(x, package.divisible)
        dims = package.spatial_dims
        size = padded.shape[:dims]
        roi = tuple(n if r == -1 else r for r, n in zip(inferer.roi_size[:dims], size, strict=True))
        roi = tuple(max(r // shrink // 32 * 32, min(r, 32)) for r in roi) if shrink > 1 else roi
        batch = 1 if shrink > 1 or (device.type == "cpu" and dims == 3) else inferer.batch_size
        if device.type == "cpu":
            plan.check_window_memory(package, self._network, (min(batch, padded.shape[2]), 1, *roi))
        infer = window.infer_slices if dims == 2 else window.infer_windows
        with self._stoppable(monitor):
            network = self._on(device, roi)
            decisions = infer(
                padded, network, roi, self._overlap, inferer.gaussian, batch, inferer.padding, package.softmax, monitor
            )
        return decisions[(slice(None), *inner)]

    def _on(self, device: torch.device, roi: tuple[int, ...]) -> window.Network:
        """The network on `device`, its arithmetic chosen once by a trial of one window."""
        self._network = self._network.to(device)
        if self._device is None or self._device.device != device:
            # A small window is enough for the trial and keeps it short.
            sample = torch.zeros((1, 1, *(min(r, 96) if r % 32 == 0 else r for r in roi)), device=device)
            with self._blamed(sample.shape):
                self._device = with_precision(device, self._network, sample)
        chosen, network = self._device, self._network

        def run(x: torch.Tensor) -> torch.Tensor:
            x = x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)
            with chosen.autocast(), self._blamed(x.shape):
                out: Any = network(x)
            # Deep supervision may give several heads, the full-size one first.
            first = out[0] if isinstance(out, list | tuple) else out
            plan.check_output(self.package, tuple(x.shape), first)
            return first[:, 0] if first.ndim == x.ndim + 1 else first

        return run

    @contextmanager
    def _blamed(self, shape: tuple[int, ...]) -> Iterator[None]:
        """A failure of the network becomes a sentence if its package asks for the impossible."""
        try:
            yield
        except LiverSegError:
            raise
        except Exception as error:
            plan.explain_failure(self.package, tuple(shape), error)
            raise

    @contextmanager
    def _stoppable(self, monitor: Monitor) -> Iterator[None]:
        """Ask for a stop before every layer: one window of a large network takes seconds on a CPU."""
        hooks = [
            module.register_forward_pre_hook(lambda *_: monitor.check())
            for module in self._network.modules()
            if not any(module.children())
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _prepared(package: ModelPackage) -> torch.nn.Module:
    network = loaded_network(package)
    network.eval().requires_grad_(False)
    layout = torch.channels_last if package.spatial_dims == 2 else torch.channels_last_3d
    return network.to(memory_format=layout)  # type: ignore[call-overload]


def _attempts(wanted: torch.device) -> list[tuple[torch.device, int]]:
    """Device and divisor of the window size, in the order in which they are tried."""
    tries = [(wanted, 1), (wanted, 2)]
    return tries if wanted.type == "cpu" else [*tries, (torch.device("cpu"), 1), (torch.device("cpu"), 2)]


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _pad_divisible(x: torch.Tensor, multiples: tuple[int, int, int]) -> tuple[torch.Tensor, tuple[slice, slice, slice]]:
    """Zero-pad [X, Y, Z] to multiples, half on each side (MONAI's DivisiblePad), and how to cut it out again."""
    missing = [-n % k for n, k in zip(x.shape, multiples, strict=True)]
    inner = [slice(m // 2, m // 2 + n) for m, n in zip(missing, x.shape, strict=True)]
    if any(missing):
        x = F.pad(x, [w for m in reversed(missing) for w in (m // 2, m - m // 2)])
    return x, (inner[0], inner[1], inner[2])


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Denormal floats, common behind ReLUs, cost many CPUs a hundred cycles each."""
    changed = torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if changed:
            torch.set_flush_denormal(False)


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = self.laps.get(stage, 0.0) + now - self._last
        self._last = now
