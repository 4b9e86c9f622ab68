"""One network on a device: from a volume to its logits on the model's grid, and from there to labels."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from LiverSegLib.engine import geometry, plan
from LiverSegLib.engine.devices import Device, choose_device, with_precision
from LiverSegLib.engine.inputs import implausible, usable_array, warnings_for
from LiverSegLib.engine.memory import is_out_of_memory, memory_guard
from LiverSegLib.engine.postprocess import postprocess
from LiverSegLib.engine.posture import STRAIGHT, Turn
from LiverSegLib.engine.progress import Monitor, Stages
from LiverSegLib.engine.restore import labels_of, restore
from LiverSegLib.engine.second_look import certainty
from LiverSegLib.engine.sliding_window import Network, infer_slices, infer_windows, pad_to
from LiverSegLib.errors import DeviceError, LiverSegError
from LiverSegLib.labels import MAIN_ORGAN, subject_of, values_of
from LiverSegLib.measure import Measurements, SegmentMeasurement, measure
from LiverSegLib.models import ModelPackage
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.models.weights import loaded_network
from LiverSegLib.networks import final_logits
from LiverSegLib.quality import Quality
from LiverSegLib.request import Settings
from LiverSegLib.volume import Result, Volume

log = logging.getLogger(__name__)
NO_MEMORY = "There is not enough memory for this volume, even with small windows; close other programs or crop it."


class OneModel:
    """A network on a device, by itself: a chain of models is a `Segmenter`'s concern.

    Args:
        package: the model.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        ModelError: the package cannot be used.
        DeviceError: the device is not there.
    """

    def __init__(self, package: ModelPackage, device: str = "auto") -> None:
        self.package = package
        self._wanted = choose_device(device)
        with memory_guard(f"There is not enough memory for the model {package.name}; close other programs."):
            self._network = loaded_network(package).eval().requires_grad_(False)
            layout = torch.channels_last if package.spatial_dims == 2 else torch.channels_last_3d
            self._network.to(memory_format=layout)  # type: ignore[call-overload]
        self._device: Device | None = None  # of the last input

    def segment(
        self,
        volume: Volume,
        settings: Settings,
        monitor: Monitor,
        revise: Callable[[npt.NDArray[np.uint8]], None] | None = None,
        turn: Turn = STRAIGHT,
    ) -> Result:
        """The result of this model alone.

        Args:
            volume: the image; not changed.
            settings: postprocessing switches.
            monitor: of progress and stop.
            revise: changes the labels [i, j, k] in place before anything else is done with them.
            turn: how the patient lies against what the affine says; only the network is shown the image so.

        Raises:
            InputError, DeviceError, SegmentationCancelled: as `Segmenter.segment`.
        """
        package, stages = self.package, Stages(monitor)
        array, grid, logits, notes = self.logits(volume, settings.overlap, stages, turn)
        sure = None if package.softmax else certainty(logits, monitor)
        labelmap = restore(logits, grid, volume.array.shape, package.nearest, monitor)
        del logits  # what follows needs room
        if revise is not None:
            revise(labelmap)
        stages.lap("restore")
        with stages.run("postprocess"):
            postprocess(labelmap, package.labels, settings, monitor.check)
        with stages.run("measure"):
            unit = "HU" if (volume.modality or package.modality) == "CT" else ""
            measurements = measure(labelmap, volume.affine, package.labels, array, unit)
        quality = _first_look(package, measurements, sure)
        if quality is not None:
            notes += implausible(_whole(measurements, quality.organ).volume_ml, quality.organ, volume, package)
        if not labelmap.any():
            notes.append(_nothing_found(volume, package))
        assert self._device is not None
        return Result(
            labelmap=labelmap,
            affine=volume.affine,
            labels=package.labels,
            measurements=measurements,
            timings=stages.seconds,
            warnings=tuple(notes),
            device=self._device.text,
            model=package.title,
            quality=quality,
        )

    def draw(self, volume: Volume, monitor: Monitor, turn: Turn = STRAIGHT) -> npt.NDArray[np.uint8]:
        """The labels uint8 [i, j, k] on the volume's grid, neither cleaned nor measured.

        Raises:
            InputError, DeviceError, SegmentationCancelled: as `Segmenter.segment`.
        """
        _, grid, logits, _ = self.logits(volume, None, Stages(monitor), turn)
        return restore(logits, grid, volume.array.shape, self.package.nearest, monitor)

    def find(self, volume: Volume, monitor: Monitor, turn: Turn = STRAIGHT) -> geometry.GridLabels:
        """The labels on the model's own grid, for another model to go by: neither restored nor cleaned.

        Raises:
            InputError, DeviceError, SegmentationCancelled: as `Segmenter.segment`.
        """
        _, grid, logits, _ = self.logits(volume, None, Stages(monitor), turn)
        sure = None if self.package.softmax else certainty(logits, monitor)
        return geometry.GridLabels(labels_of(logits), grid, sure)

    def logits(
        self, volume: Volume, overlap: float | None, stages: Stages, turn: Turn
    ) -> tuple[npt.NDArray[Any], geometry.ModelGrid, torch.Tensor, list[str]]:
        """The usable voxels [i, j, k], the model's grid, logits (or a margin) [D, X, Y, Z] on it, and what to tell."""
        package = self.package
        with stages.run("prepare"):
            notes = warnings_for(volume, package)
            array, repaired = usable_array(volume)
            own = package.inferer
            inferer = own if overlap is None else replace(own, overlap=overlap)
            shown = replace(volume, affine=turn.matrix @ volume.affine)
            grid = geometry.model_grid(shown, package.axcodes, package.pixdim, package.size)
            plan.check_grid(volume, grid, package, inferer.overlap)
        logits, fallback = self._infer(array, grid, inferer, stages)
        return array, grid, logits, [*notes, *repaired, *fallback]

    def _infer(
        self, array: npt.NDArray[Any], grid: geometry.ModelGrid, inferer: Inferer, stages: Stages
    ) -> tuple[torch.Tensor, list[str]]:
        """Logits (or a margin) [D, X, Y, Z] on the model grid, with less memory at each failure for want of it."""
        notes: list[str] = []
        for device, shrink in _attempts(self._wanted):
            try:
                with torch.inference_mode(), _flushed_denormals():
                    x = geometry.to_model_grid(array, grid, device)
                    for step in self.package.intensity:
                        stages.monitor.check()
                        x = step(x)
                    stages.lap("resample")
                    logits = self._run(x, inferer, device, shrink, stages.monitor)
                    stages.lap("network")
                if shrink > 1 or device != self._wanted:
                    how = "on the CPU" if device != self._wanted else f"with windows {shrink} times smaller"
                    notes.append(f"{self._wanted} had too little memory; the segmentation was done {how}.")
                return logits, notes
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                log.warning("Out of memory on %s, windows / %d", device, shrink, exc_info=error)
                gc.collect()
                torch.cuda.empty_cache()  # does nothing where CUDA was never used
        raise DeviceError(NO_MEMORY)

    def _run(
        self, x: torch.Tensor, inferer: Inferer, device: torch.device, shrink: int, monitor: Monitor
    ) -> torch.Tensor:
        package = self.package
        divisible = [-(-n // k) * k for n, k in zip(x.shape, package.divisible, strict=True)]
        image, inner = pad_to(x[None, None], divisible, "constant")  # as MONAI's DivisiblePad
        padded = image[0, 0]
        dims = package.spatial_dims
        size = padded.shape[:dims]
        window = tuple(n if w == -1 else w for w, n in zip(inferer.roi_size[:dims], size, strict=True))
        window = tuple(max(w // shrink // 32 * 32, min(w, 32)) for w in window) if shrink > 1 else window
        batch = 1 if shrink > 1 or (device.type == "cpu" and dims == 3) else inferer.batch_size
        if device.type == "cpu":
            plan.check_window_memory(package, self._network, (min(batch, padded.shape[2]), 1, *window))
        infer = infer_slices if dims == 2 else infer_windows
        inferer = replace(inferer, roi_size=window, batch_size=batch)
        with self._stoppable(monitor):
            logits = infer(padded, self._on(device), inferer, monitor, softmax=package.softmax)
        return logits[(slice(None), *inner)]

    def _on(self, device: torch.device) -> Network:
        """The network on `device`, in the arithmetic that this device is best at."""
        self._network = self._network.to(device)
        self._device = with_precision(device)
        chosen, network = self._device, self._network

        def run(x: torch.Tensor) -> torch.Tensor:
            x = x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)
            with chosen.autocast(), self._blamed(x.shape):
                logits: torch.Tensor = final_logits(network(x), x.ndim)
            plan.check_output(self.package, tuple(x.shape), logits)
            return logits

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


def _first_look(package: ModelPackage, measured: Measurements, sure: float | None) -> Quality | None:
    """What one model alone shows of its quality; None where it is about several organs."""
    organ = subject_of(package.labels)
    if organ is None:
        return None
    evidence = {} if sure is None else {"certainty": sure}
    whole = _whole(measured, organ)
    if measured.intensity_unit == "HU" and whole.mean_intensity is not None and whole.std_intensity is not None:
        evidence |= {"gray": whole.mean_intensity, "spread": whole.std_intensity}
    return Quality(organ=organ, evidence=evidence)


def _whole(measured: Measurements, organ: str) -> SegmentMeasurement:
    return next(part for part in (*measured.segments, *measured.organs) if part.name == organ)


def _nothing_found(volume: Volume, package: ModelPackage) -> str:
    is_main = bool(values_of(MAIN_ORGAN, package.labels))
    where = "the abdomen" if is_main else "what the model segments"
    names = [label.name for label in package.labels if not (is_main and label.is_piece)] or [MAIN_ORGAN]
    return f"{' and '.join(names)} not found in {volume.name}; check that it shows {where}."


def _attempts(wanted: torch.device) -> list[tuple[torch.device, int]]:
    """Device and divisor of the window size, in the order in which they are tried."""
    tries = [(wanted, 1), (wanted, 2)]
    return tries if wanted.type == "cpu" else [*tries, (torch.device("cpu"), 1), (torch.device("cpu"), 2)]


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Denormal floats, common behind ReLUs, cost many CPUs a hundred cycles each."""
    torch.set_flush_denormal(True)  # does nothing on a processor that cannot
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
