"""One network on a device: from a volume to its logits on the model's grid, and from there to labels."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from LiverSegLib.engine import budget, geometry, outline, plan
from LiverSegLib.engine.devices import Device, choose_device, with_precision
from LiverSegLib.engine.foreground import input_window
from LiverSegLib.engine.inputs import implausible, usable_channels, warnings_for
from LiverSegLib.engine.lattice import grid_near
from LiverSegLib.engine.memory import is_out_of_memory, memory_guard
from LiverSegLib.engine.openvino_network import OpenVinoNetwork
from LiverSegLib.engine.postprocess import postprocess
from LiverSegLib.engine.posture import STRAIGHT, Turn
from LiverSegLib.engine.preprocess import shown
from LiverSegLib.engine.progress import Monitor, Stages
from LiverSegLib.engine.region import of_same_organs
from LiverSegLib.engine.restore import labels_on_grid, restore_slabs
from LiverSegLib.engine.second_look import Certainty
from LiverSegLib.engine.slabs import Slab, inside
from LiverSegLib.engine.sliding_window import Network, infer_slices, infer_windows, mirrored, pad_to
from LiverSegLib.engine.trial import accelerated
from LiverSegLib.errors import DeviceError, LiverSegError
from LiverSegLib.freed_memory import give_back
from LiverSegLib.labels import MAIN_ORGAN, Label, subject_of, values_of
from LiverSegLib.measure import Measurements, SegmentMeasurement, measure
from LiverSegLib.models import ModelPackage
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.models.weights import loaded_network
from LiverSegLib.networks import final_logits
from LiverSegLib.networks.instance_norm import of_one_image
from LiverSegLib.quality import Quality
from LiverSegLib.request import Settings, VoxelBox
from LiverSegLib.volume import Result, Volume

log = logging.getLogger(__name__)
Used = TypeVar("Used")
Accelerate = Callable[[ModelPackage, Device], OpenVinoNetwork | None]
NO_MEMORY = "There is not enough memory for this volume, even with small windows; close other programs or crop it."


class OneModel:
    """A network on a device, by itself: a chain of models is a `Segmenter`'s concern.

    Args:
        package: the model.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        accelerate: what runs the network of a package instead of torch, if anything does: what was found better.

    Raises:
        ModelError: the package cannot be used.
        DeviceError: the device is not there.
    """

    def __init__(self, package: ModelPackage, device: str = "auto", accelerate: Accelerate = accelerated) -> None:
        self.package = package
        self._accelerate = accelerate
        self._fast: OpenVinoNetwork | None = None
        self._wanted = choose_device(device)
        with memory_guard(f"There is not enough memory for the model {package.name}; close other programs."):
            self._network = of_one_image(loaded_network(package).eval().requires_grad_(False))
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
        wanted: frozenset[str] = frozenset(),
        core: VoxelBox | None = None,
    ) -> Result:
        """The result of this model alone.

        Args:
            volume: the image; not changed.
            settings, monitor: postprocessing switches; progress and stop.
            revise: changes the labels [i, j, k] in place before anything else is done with them.
            turn: how the patient lies against what the affine says; only the network is shown the image so.
            wanted: names of the labels that are asked for; empty for all. Others are drawn only near these.
            core: the box whose labels matter; only windows that touch it are computed. None for the whole volume.

        Raises:
            InputError, DeviceError, SegmentationCancelled: as `Segmenter.segment`.
        """
        package, stages = self.package, Stages(monitor)
        labels = of_same_organs(wanted, package.labels) if wanted else package.labels
        array, labelmap, sure, notes = self._drawn(volume, settings.overlap, stages, turn, labels, core)
        if revise is not None:
            revise(labelmap)
        stages.lap("restore")
        with stages.run("postprocess"):
            postprocess(labelmap, labels, settings, monitor.check, volume.spacing)
        with stages.run("measure"):
            unit = "HU" if (volume.modality or package.modality) == "CT" else ""
            measurements = measure(labelmap, volume.affine, labels, array, unit)
        quality = _first_look(package, measurements, sure)
        if quality is not None:
            notes += implausible(_whole(measurements, quality.organ).volume_ml, quality.organ, volume, package)
        if not any(part.voxels for part in measurements.segments):
            notes.append(_nothing_found(volume, labels))
        return Result(
            labelmap=labelmap,
            affine=volume.affine,
            labels=package.labels,
            measurements=measurements,
            timings=stages.seconds,
            warnings=tuple(notes),
            device="" if self._device is None else self._device.text,
            model=package.title,
            quality=quality,
        )

    def _drawn(
        self,
        volume: Volume,
        overlap: float | None,
        stages: Stages,
        turn: Turn,
        labels: Sequence[Label],
        core: VoxelBox | None,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8], float | None, list[str]]:
        """The usable voxels [i, j, k], the label map as the network has it, how sure that is, and what to tell."""
        package, monitor, look = self.package, stages.monitor, Certainty(stages.monitor)
        values = [label.value for label in labels] if len(labels) < len(package.labels) else []

        def draw(slabs: Iterator[Slab], grid: geometry.ModelGrid) -> npt.NDArray[np.uint8]:
            shape, seen = volume.array.shape, look.watch(slabs)
            return restore_slabs(seen, grid, shape, package.nearest, monitor, package.regions, values)

        array, _, labelmap, notes = self._computed(volume, overlap, stages, turn, draw, core)
        give_back()  # room for what cleaning and measuring take
        return array, labelmap, self._certainty(look), notes

    def draw(self, volume: Volume, monitor: Monitor, turn: Turn = STRAIGHT) -> npt.NDArray[np.uint8]:
        """The labels uint8 [i, j, k] on the volume's grid, neither cleaned nor measured.

        Raises:
            InputError, DeviceError, SegmentationCancelled: as `Segmenter.segment`.
        """
        package = self.package

        def draw(slabs: Iterator[Slab], grid: geometry.ModelGrid) -> npt.NDArray[np.uint8]:
            return restore_slabs(slabs, grid, volume.array.shape, package.nearest, monitor, package.regions)

        return self._computed(volume, None, Stages(monitor), turn, draw)[2]

    def find(self, volume: Volume, monitor: Monitor, turn: Turn = STRAIGHT) -> geometry.GridLabels:
        """What this model looks for, on its own grid, for another model to go by: neither restored nor cleaned.

        Raises:
            InputError, DeviceError, SegmentationCancelled: as `Segmenter.segment`.
        """
        package, look = self.package, Certainty(monitor)

        def labels_of_slabs(slabs: Iterator[Slab], grid: geometry.ModelGrid) -> torch.Tensor:
            return labels_on_grid(look.watch(slabs), grid.shape, package.regions)

        _, grid, labels, _ = self._computed(volume, None, Stages(monitor), turn, labels_of_slabs)
        sought = of_same_organs(package.default_targets, package.labels)
        if len(sought) < len(package.labels):
            values = torch.tensor([label.value for label in sought], dtype=labels.dtype, device=labels.device)
            labels = labels * torch.isin(labels, values)
        return geometry.GridLabels(labels, grid, self._certainty(look))

    def _certainty(self, look: Certainty) -> float | None:
        """What the logits themselves tell of their quality; None where they are no classes' logits."""
        return None if self.package.softmax or self.package.regions else look.value

    def _computed(
        self,
        volume: Volume,
        overlap: float | None,
        stages: Stages,
        turn: Turn,
        use: Callable[[Iterator[Slab], geometry.ModelGrid], Used],
        core: VoxelBox | None = None,
    ) -> tuple[npt.NDArray[Any], geometry.ModelGrid, Used, list[str]]:
        """The usable voxels [i, j, k], the model's grid, what `use` makes of the logits on it, and what to tell."""
        package = self.package
        with stages.run("prepare"):
            notes = warnings_for(volume, package)
            channels, repaired = usable_channels(volume, package)
            own = package.inferer
            inferer = own if overlap is None else replace(own, overlap=overlap)
            grid = self._grid(volume, channels, turn)
            grid = grid if core is None else grid_near(grid, core, volume, inferer, package.nearest)
            plan.check_grid(volume, grid, package, inferer.overlap)
        used, part, fallback = self._infer(volume, channels, grid, inferer, stages, use)
        return channels[0], part, used, [*notes, *repaired, *fallback]

    def _infer(
        self,
        volume: Volume,
        channels: Sequence[npt.NDArray[Any]],
        grid: geometry.ModelGrid,
        inferer: Inferer,
        stages: Stages,
        use: Callable[[Iterator[Slab], geometry.ModelGrid], Used],
    ) -> tuple[Used, geometry.ModelGrid, list[str]]:
        """What `use` makes of the logits, and their grid, with less memory at each failure for want of it."""
        package, monitor, notes, short = self.package, stages.monitor, list[str](), None
        for device, shrink in _attempts(self._wanted):
            try:
                most = self._most_kept(volume, grid, inferer, shrink) if device.type == "cpu" else None
                with torch.inference_mode(), _flushed_denormals(), self._stoppable(monitor):
                    x, part = shown(volume, channels, grid, package, device, monitor)
                    stages.lap("resample")
                    used = use(_timed(self._run(x, inferer, device, shrink, most, monitor), stages), part)
                if shrink > 1 or device != self._wanted:
                    how = "on the CPU" if device != self._wanted else f"with windows {shrink} times smaller"
                    notes.append(f"{self._wanted} had too little memory; the segmentation was done {how}.")
                return used, part, notes
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                short = error if isinstance(error, budget.TooLittleError) else None
                told = error if short is None else None
                log.warning("Out of memory on %s, windows / %d", device, shrink, exc_info=told)
                gc.collect()
                torch.cuda.empty_cache()  # does nothing where CUDA was never used
        raise DeviceError(NO_MEMORY) if short is None else budget.refusal(package, volume, short)

    def _most_kept(self, volume: Volume, grid: geometry.ModelGrid, inferer: Inferer, shrink: int) -> int | None:
        """How many numbers of logits may be kept on the CPU, see `kept_slices`; worked out only where it counts.

        Raises:
            TooLittleError: all of it does not fit.
            ModelError: the network cannot take windows of this shape.
        """
        package, allowed = self.package, plan.left()
        cut = budget.tiles(package, inferer, grid.shape, "cpu", shrink)
        rough = budget.rough_layers(package, self._network, cut)
        if allowed is None or budget.need(package, cut, volume, rough).most <= allowed:
            return None
        layers = outline.live_bytes(package, cut.shape(package)) or 0  # what nobody knows is tried
        return budget.most_kept(package, cut, volume, layers, allowed)

    def need(self, volume: Volume) -> budget.Need:
        """The main memory that segmenting a volume on the CPU takes, beside the volume and what is loaded.

        Raises:
            InputError: the volume cannot be segmented.
        """
        package = self.package
        grid = self._grid(volume, usable_channels(volume, package)[0], STRAIGHT)
        cut = budget.tiles(package, package.inferer, grid.shape, "cpu")
        layers = outline.live_bytes(package, cut.shape(package)) or budget.rough_layers(package, self._network, cut)
        return budget.need(package, cut, volume, layers)

    def _grid(self, volume: Volume, channels: Sequence[npt.NDArray[Any]], turn: Turn) -> geometry.ModelGrid:
        """The model's grid over a volume with the patient turned."""
        package = self.package
        lying = replace(volume, affine=turn.matrix @ volume.affine)
        window = input_window(channels, volume, package)
        return geometry.model_grid(lying, package.axcodes, package.pixdim, package.size, window, package.resampling)

    def _run(
        self, x: torch.Tensor, inferer: Inferer, device: torch.device, shrink: int, most: int | None, monitor: Monitor
    ) -> Iterator[Slab]:
        """The logits (or a margin) [D, X, Y, n] of an image [C, X, Y, Z] on the model grid, slab by slab."""
        package = self.package
        cut = budget.tiles(package, inferer, x.shape[1:], device.type, shrink)
        image, inner = pad_to(x[None], cut.grid, "constant")  # as MONAI's DivisiblePad
        infer = infer_slices if package.spatial_dims == 2 else infer_windows
        inferer = replace(inferer, roi_size=cut.window, batch_size=cut.batch)
        network, how = mirrored(self._on(device, monitor), inferer.mirror), package.softmax
        slabs = infer(image[0], network, inferer, monitor, softmax=how, regions=bool(package.regions), most=most)
        return inside(slabs, inner)

    def _on(self, device: torch.device, monitor: Monitor) -> Network:
        """The network on `device`, in the arithmetic and by the program that this device is best at."""
        self._network = self._network.to(device)
        chosen, known = with_precision(device), self._device
        if known is None or replace(known, runner="") != chosen:
            self._fast = self._accelerate(self.package, chosen)
        self._device = replace(chosen, runner="OpenVINO" if self._fast is not None else "")

        def run(x: torch.Tensor) -> torch.Tensor:
            with self._blamed(x.shape):
                logits = self._by_other_program(x, monitor)
                if logits is None:
                    logits = self._by_torch(x, chosen)
            outline.check_output(self.package, tuple(x.shape), logits)
            return logits

        return run

    def _by_torch(self, x: torch.Tensor, chosen: Device) -> torch.Tensor:
        x = x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)
        with chosen.autocast():
            logits: torch.Tensor = final_logits(self._network(x), x.ndim)
        return logits

    def _by_other_program(self, x: torch.Tensor, monitor: Monitor) -> torch.Tensor | None:
        """The logits by what is faster than torch; None where nothing is, or where it failed."""
        if self._fast is None:
            return None
        try:
            return self._fast.run(x, monitor)
        except LiverSegError:
            raise
        # Of any kind; torch does the same work.
        except Exception:
            log.warning("OpenVINO failed on windows %s; torch is used.", tuple(x.shape), exc_info=True)
            self._fast = None
            self._device = replace(self._device, runner="") if self._device else None
            return None

    @contextmanager
    def _blamed(self, shape: tuple[int, ...]) -> Iterator[None]:
        """A failure of the network becomes a sentence if its package asks for the impossible."""
        try:
            yield
        except LiverSegError:
            raise
        except Exception as error:
            outline.explain_failure(self.package, tuple(shape), error)
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
    if organ is None or organ not in (part.name for part in (*measured.segments, *measured.organs)):
        return None
    evidence = {} if sure is None else {"certainty": sure}
    whole = _whole(measured, organ)
    if measured.intensity_unit == "HU" and whole.mean_intensity is not None and whole.std_intensity is not None:
        evidence |= {"gray": whole.mean_intensity, "spread": whole.std_intensity}
    return Quality(organ=organ, evidence=evidence)


def _whole(measured: Measurements, organ: str) -> SegmentMeasurement:
    return next(part for part in (*measured.segments, *measured.organs) if part.name == organ)


def _timed(slabs: Iterator[Slab], stages: Stages) -> Iterator[Slab]:
    """The slabs, whose making is "network" and whose use is "restore"."""
    for slab in slabs:
        stages.lap("network")
        yield slab
        stages.lap("restore")


def _nothing_found(volume: Volume, labels: Sequence[Label]) -> str:
    is_main = bool(values_of(MAIN_ORGAN, labels))
    where = "the abdomen" if is_main else "what the model segments"
    names = [label.name for label in labels if not (is_main and label.is_piece)] or [MAIN_ORGAN]
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
