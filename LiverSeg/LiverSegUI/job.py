"""One segmentation: from a volume node, through the worker, into a segmentation node."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from LiverSegLib import slicer_bridge
from LiverSegLib.engine.progress import Progress
from LiverSegLib.errors import InputError, LiverSegError
from LiverSegLib.io import display_name
from LiverSegLib.measure import Measurements
from LiverSegLib.volume import Result

if TYPE_CHECKING:
    from LiverSegUI.runner import JobRunner

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobOptions:
    """What to segment, and how; nodes are kept by ID, since they can vanish while the job runs.

    Args:
        model: name or path of a model package; None for the default.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        targets: names of the labels to segment, for example ("liver",); None for all of the model.
        segmentationID: node that receives the segments; None makes a new one.
        roiID: markups ROI that limits the work; None for the whole volume.
        tableID: table node that receives the measurements; None for no table.
        newTable: make a table node where `tableID` is None.
        show3D: make and show closed surfaces.
    """

    model: str | Path | None = None
    device: str = "auto"
    targets: tuple[str, ...] | None = None
    segmentationID: str | None = None
    roiID: str | None = None
    tableID: str | None = None
    newTable: bool = False
    show3D: bool = False


class SegmentationJob:
    """A segmentation that runs, waits or is over.

    Attributes:
        state: "waiting", "running", "finished", "failed" or "cancelled".
        progress: where it stands (`stage`, `done`, `total`, `unit`, `seconds_left`), None before the first report.
        message: the sentence for the user, once it is over.
        details: for the log.
        warnings: sentences that the user should read.
        measurements: volumes in mL and lesions, once finished.
        timings: seconds per stage, once finished.
        warm: whether the model was already loaded when it began.
    """

    def __init__(
        self,
        volumeNode: Any,
        options: JobOptions,
        progress: Callable[[SegmentationJob], None] | None = None,
        finished: Callable[[SegmentationJob], None] | None = None,
        failed: Callable[[SegmentationJob], None] | None = None,
    ) -> None:
        self.options = options
        self.volumeID: str = volumeNode.GetID()
        self.volumeName: str = volumeNode.GetName()
        self.state = "waiting"
        self.progress: Progress | None = None
        self.message = ""
        self.details = ""
        self.warnings: list[str] = slicer_bridge.transform_warnings(volumeNode)
        self.measurements: Measurements | None = None
        self.timings: dict[str, float] = {}
        self.device = ""
        self.model = ""
        self.labels: tuple[Any, ...] = ()
        self.warm = False
        self.requestID = 0
        self.runner: JobRunner | None = None
        self._segmentationID: str | None = None
        self._tableID: str | None = None
        self._callbacks = {"progress": progress, "finished": finished, "failed": failed}
        self._imageTime = 0
        self._size: tuple[int, ...] = ()

    @property
    def isOver(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ("finished", "failed", "cancelled")

    @property
    def segmentationNode(self) -> Any:
        """The node with the segments; None before the job is finished or when the node was removed."""
        return _node(self._segmentationID)

    @property
    def tableNode(self) -> Any:
        """The node with the measurements, or None."""
        return _node(self._tableID)

    def cancel(self) -> None:
        """Stop the job; the scene stays as it is. A job that is over is left alone."""
        if self.runner is not None and not self.isOver:
            self.runner.cancel(self)

    def noteImage(self) -> None:
        """The voxels were handed over: remember which they were."""
        image = slicer.mrmlScene.GetNodeByID(self.volumeID).GetImageData()
        self._imageTime, self._size = image.GetMTime(), image.GetDimensions()

    def report(self, progress: Progress) -> None:
        """The worker reached a step."""
        self.state, self.progress = "running", progress
        self._call("progress")

    def succeed(self, result: Result, warm: bool) -> None:
        """Take the result over into the scene, as far as the scene still wants it."""
        self.warm = warm
        try:
            self._write(result)
        except LiverSegError as error:
            self.fail(str(error))
            return
        except Exception:
            log.exception("The result of %s could not be taken over", self.volumeName)
            text = _("The result of {name} could not be put into the scene; look into the log.")
            self.fail(text.format(name=self.volumeName))
            return
        self.state = "finished"
        self._call("finished")

    def fail(self, sentence: str, details: str = "") -> None:
        """The job cannot be done."""
        self.state, self.message, self.details = "failed", sentence, details
        self._call("failed")

    def stopped(self, sentence: str = "") -> None:
        """The job was cancelled."""
        self.state = "cancelled"
        self.message = sentence or _("The segmentation was stopped; nothing was changed.")
        self._call("failed")

    def _write(self, result: Result) -> None:
        volume = _node(self.volumeID)
        if volume is None:
            text = _("{name} was removed while it was segmented, so its result was dropped.")
            raise InputError(text.format(name=self.volumeName))
        image = volume.GetImageData()
        if image is None or image.GetDimensions() != self._size:
            text = _("{name} got other voxels while it was segmented, so its result was dropped; segment it again.")
            raise InputError(text.format(name=self.volumeName))
        self.warnings += result.warnings
        if image.GetMTime() != self._imageTime:
            text = _("{name} was changed while it was segmented; the segments are those of its earlier voxels.")
            self.warnings.append(text.format(name=self.volumeName))
        output = _node(self.options.segmentationID)
        if output is None and self.options.segmentationID is not None:
            self.warnings.append(_("The chosen segmentation was removed meanwhile; a new one was made."))
        written = slicer_bridge.write_segments(result, volume, output, self.options.show3D)
        self._segmentationID = written.node.GetID()
        if result.labelmap.any():  # otherwise the engine's own warning says so
            for name in written.missing:
                text = _("{label} was not found in {name}.")
                self.warnings.append(text.format(label=display_name(name), name=self.volumeName))
        self._describe(result)

    def _describe(self, result: Result) -> None:
        self.measurements, self.timings = result.measurements, dict(result.timings)
        self.device, self.model, self.labels = result.device, result.model, result.labels
        table = _node(self.options.tableID)
        if table is not None or self.options.newTable or self.options.tableID is not None:
            name = _("{name} measurements").format(name=self.volumeName)
            self._tableID = slicer_bridge.write_table(result.measurements, table, name).GetID()
        text = _("{name} was segmented in {seconds} s on {device}.")
        seconds = f"{sum(self.timings.values()):.1f}"
        self.message = text.format(name=self.volumeName, seconds=seconds, device=self.device)

    def _call(self, which: str) -> None:
        """A caller's callback must not break the runner."""
        callback = self._callbacks[which]
        if callback is None:
            return
        try:
            callback(self)
        except Exception:
            log.exception("The %s callback of the segmentation of %s failed", which, self.volumeName)


def _node(nodeID: str | None) -> Any:
    return slicer.mrmlScene.GetNodeByID(nodeID) if nodeID else None
