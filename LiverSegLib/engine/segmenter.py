"""From a volume to its segments: one model, or a chain of models that help each other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from LiverSegLib.boxes import is_one_of
from LiverSegLib.engine.budget import Need, limited_to
from LiverSegLib.engine.divide import divide
from LiverSegLib.engine.find_first import check_package, segment_found
from LiverSegLib.engine.geometry import GridLabels
from LiverSegLib.engine.guide import segment_near
from LiverSegLib.engine.inputs import usable_array
from LiverSegLib.engine.memory import memory_guard
from LiverSegLib.engine.one_model import NO_MEMORY, OneModel
from LiverSegLib.engine.posture import STRAIGHT, Turn, find_turned
from LiverSegLib.engine.progress import Monitor, ProgressCallback, Stages, StopCallback
from LiverSegLib.engine.region import check_targets, segment_region, select_labels
from LiverSegLib.engine.second_look import compare, on_grid
from LiverSegLib.errors import ModelError
from LiverSegLib.labels import MAIN_ORGAN, subject_of, values_of
from LiverSegLib.measure import measure
from LiverSegLib.models import ModelPackage, find_package, find_partner, read_package
from LiverSegLib.models.store import LOCATOR
from LiverSegLib.quality import notes_on
from LiverSegLib.request import SegmentationRequest, Settings
from LiverSegLib.volume import Result, Volume

_THINNEST_MM = 15.0
"""Of a scan of which anything is expected: calibrated on whole scans, and single slices agree less at the same Dice."""


class Segmenter:
    """A model on a device, with the models that it names as its helpers, ready to segment any number of volumes.

    A model with a guide looks only near what the guide finds; where it has voters, too, its organ is what most of them
    say, the guide included. A model that divides an organ has its labels dealt out to the organ that the other model
    finds; it is that model's guide, too, where both name each other.

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
        self._device = device
        self._locator: OneModel | None = None
        self._model = OneModel(self.package, device)
        self._organ = self._partner(self.package.divides, device) if self.package.divides else None
        whose = self.package if self._organ is None else self._organ.package
        # A pair that name each other: the one that divides has looked everywhere already.
        guide = None if whose.guide is None else read_package(find_partner(whose.guide.model, whose))
        same = guide is not None and guide.path.resolve() == self.package.path.resolve()
        self._guide = None if guide is None else self._model if same else OneModel(guide, device)
        self._voters = [self._voter(name, whose, device) for name in whose.voters]

    @property
    def packages(self) -> list[ModelPackage]:
        """The packages of the chain, this model's first."""
        others = [self._organ, self._guide, *self._voters]
        return [self.package, *(one.package for one in others if one is not None and one is not self._model)]

    def need(self, volume: Volume) -> Need:
        """The main memory that this model by itself takes for a volume on the CPU, beside that and what is loaded.

        Raises:
            InputError: the volume cannot be segmented.
        """
        return self._model.need(volume)

    def _partner(self, name: str, device: str) -> OneModel:
        """The model whose organ is divided."""
        organ = read_package(find_partner(name, self.package))
        if organ.divides or self._divided not in (label.name for label in organ.labels):
            raise ModelError(
                f"The model {self.package.name} divides the {self._divided} that {organ.name} finds, but that model "
                "finds none by itself; repair the package."
            )
        return OneModel(organ, device)

    def _voter(self, name: str, whose: ModelPackage, device: str) -> OneModel:
        """A model that has a say in what another one's organ is."""
        voter = read_package(find_partner(name, whose))
        organ = subject_of(whose.labels)
        if organ is None or not values_of(organ, voter.labels):
            raise ModelError(
                f"The model {whose.name} asks {voter.name} about its {organ or 'organ'}, which that model does not "
                "segment; repair the package."
            )
        return OneModel(voter, device)

    @property
    def _divided(self) -> str:
        """The name of the organ that this model's labels are parts of."""
        return next((label.part_of for label in self.package.labels if label.part_of), MAIN_ORGAN)

    def segment(
        self,
        volume: Volume,
        progress: ProgressCallback | None = None,
        should_stop: StopCallback | None = None,
        *,
        request: SegmentationRequest | None = None,
    ) -> Result:
        """Segment one volume; the label map lies exactly on its grid.

        Args:
            volume: the image; not changed.
            progress: called with a `Progress` as work goes on, in this thread.
            should_stop: asked several times a second; True ends the work with `SegmentationCancelled`.
            request: region, targets and settings of this one volume, by a request for this model and device; None:
                the whole volume, the labels that the model segments unless others are asked for, and the settings of
                this segmenter.

        Raises:
            InputError: the volume, the region or the targets cannot be segmented, or not by finding the liver first.
            SegmentationCancelled: `should_stop` said so.
            DeviceError: even the smallest windows do not fit into memory, or into the request's limit of it.
        """
        request = request or SegmentationRequest(settings=self.settings)
        package = self.package
        wanted = check_targets(request.targets, package.labels, package.title, package.default_targets)
        if request.find_first and self._looks_everywhere:
            check_package(package, wanted)
        monitor, settings = Monitor(progress, should_stop), request.settings
        segment = partial(self._segment, settings=settings, monitor=monitor, wanted=wanted, first=request.find_first)
        with limited_to(request.memory_limit), memory_guard(NO_MEMORY):
            result = segment_region(volume, request.region, segment)
            return select_labels(result, wanted)

    @property
    def _looks_everywhere(self) -> bool:
        """Whether the model looks at whole images by itself."""
        return self._organ is None and self._guide is None

    def _located(self, volume: Volume, settings: Settings, monitor: Monitor, wanted: frozenset[str]) -> Result:
        """The result of the model where the liver was found first."""
        if self._locator is None:
            self._locator = OneModel(read_package(find_package(LOCATOR)), self._device)
        return segment_found(self._model, self._locator, volume, settings, monitor, wanted)

    def _segment(
        self, volume: Volume, settings: Settings, monitor: Monitor, wanted: frozenset[str], first: bool
    ) -> Result:
        if first and self._looks_everywhere:
            return _judged(self._located(volume, settings, monitor, wanted), self.package, volume)
        if self._organ is None:
            result, _, _ = self._guided(self._model, volume, settings, monitor, wanted)
            return _judged(result, self.package, volume)
        organ, found, turn = self._guided(self._organ, volume, settings, monitor)
        organ = _judged(organ, self._organ.package, volume)
        if self._guide is not self._model or found is None:
            found = self._model.find(volume, monitor.of_stage("divide"), turn)
        stages = Stages(monitor)
        labelmap = divide(organ.mask(self._divided), found, monitor)
        stages.lap("divide")
        with stages.run("measure"):
            array, _ = usable_array(volume)
            unit = organ.measurements.intensity_unit
            measurements = measure(labelmap, volume.affine, self.package.labels, array, unit)
        return replace(
            organ,
            labelmap=labelmap,
            labels=self.package.labels,
            measurements=measurements,
            timings=organ.timings | stages.seconds,
            model=f"{self.package.title} in {organ.model}",
        )

    def _guided(
        self,
        model: OneModel,
        volume: Volume,
        settings: Settings,
        monitor: Monitor,
        wanted: frozenset[str] = frozenset(),
    ) -> tuple[Result, GridLabels | None, Turn]:
        """The result of a model where its guide says, what the guide found, and how the patient lies."""
        if self._guide is None or model.package.guide is None:
            return model.segment(volume, settings, monitor, wanted=wanted), None, STRAIGHT
        stages = Stages(monitor)
        guide, locating = self._guide, monitor.of_stage("locate")
        found, turn = find_turned(lambda turn: guide.find(volume, locating, turn))
        stages.lap("locate")
        result = segment_near(model, self._voters, found, volume, settings, monitor, turn, wanted)
        if turn != STRAIGHT:
            result = replace(result, warnings=(*result.warnings, turn.sentence(volume.name)))
        if result.quality is not None:
            organ = is_one_of(on_grid(result.labelmap, found.grid), values_of(result.quality.organ, result.labels))
            evidence, doubts = compare(organ, found, volume.affine, turn)
            result = replace(
                result, quality=replace(result.quality, evidence=evidence | result.quality.evidence, doubts=doubts)
            )
        return replace(result, timings=stages.seconds | result.timings), found, turn


def _judged(result: Result, package: ModelPackage, volume: Volume) -> Result:
    """The result with what is expected of it, and what the user should read of that."""
    quality, calibration = result.quality, package.calibration
    if quality is None or not result.labelmap.any():
        return result
    is_scan = min(np.multiply(volume.array.shape, volume.spacing)) >= _THINNEST_MM
    if calibration is not None and is_scan and (expected := calibration.expected(quality.evidence)) is not None:
        dice, low, high = expected
        quality = replace(quality, expected_dice=dice, low=low, high=high)
    return replace(result, quality=quality, warnings=(*result.warnings, *notes_on(quality)))
