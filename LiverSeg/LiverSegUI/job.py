"""One segmentation: from a volume node, through the worker, into a segmentation node."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from LiverSegLib import slicer_bridge
from LiverSegLib.engine.progress import Progress
from LiverSegLib.errors import InputError, LiverSegError
from LiverSegLib.labels import display_name
from LiverSegLib.measure import Measurements
from LiverSegLib.quality import Quality
from LiverSegLib.request import SegmentationRequest
from LiverSegLib.volume import Result
from LiverSegUI import views
from LiverSegUI.texts import percent

if TYPE_CHECKING:
    from LiverSegUI.runner import JobRunner

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What to segment, and what becomes of it; nodes are kept by ID, since they can vanish while the job runs.

    Args:
        request: model, device and targets; its region follows from `roiID` when the job begins.
        furtherIDs: the further images of the case, in the order of the model's channels.
        roiID: markups ROI that limits the work; None for the whole volume.
        segmentationID: node that receives the segments; None makes a new one.
        tableID: table node that receives the measurements; None for no table.
        newTable: make a table node where `tableID` is None.
        show3D: make and show closed surfaces, and turn the 3D views to them.
        giveUp: what `slicer_bridge.edited_segments` told of the edits that may be replaced; others are kept, and
            the result goes into a new segmentation.
    """

    request: SegmentationRequest = field(default_factory=SegmentationRequest)
    furtherIDs: tuple[str, ...] = ()
    roiID: str | None = None
    segmentationID: str | None = None
    tableID: str | None = None
    newTable: bool = False
    show3D: bool = False
    giveUp: frozenset[str] = frozenset()


class SegmentationJob:
    """A segmentation that runs, waits or is over.

    Attributes:
        state: "waiting", "running", "finished", "failed" or "cancelled".
        progress: where it stands (`stage`, `done`, `total`, `unit`, `seconds_left`), None before the first report.
        furtherNames: what the further images of the case are called.
        percent: how far it is; it never falls, also where a stage is done once more.
        message: the sentence for the user, once it is over.
        details: for the log.
        warnings: sentences that the user should read.
        measurements: volumes in mL and lesions, once finished.
        quality: what is believed of the result, once finished; None where nothing is.
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
        self.furtherNames = [_node(nodeID).GetName() for nodeID in options.furtherIDs]
        self.state = "waiting"
        self.progress: Progress | None = None
        self.percent = 0
        self.message = ""
        self.details = ""
        self.warnings: list[str] = slicer_bridge.transform_warnings(volumeNode)
        self.measurements: Measurements | None = None
        self.quality: Quality | None = None
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
        self._history: Any = None
        self._begun = time.monotonic()
        self._imageTimes: dict[str, int] = {}
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

    @property
    def canUndo(self) -> bool:
        """Whether the job replaced segments that `undo` can bring back."""
        return self._history is not None and self.segmentationNode is not None

    def undo(self) -> bool:
        """Bring back the segments that the job replaced; False if it cannot be done."""
        history, self._history = self._history, None
        node = self.segmentationNode
        return history is not None and node is not None and slicer_bridge.restore_state(history, node)

    def begin(self, notes: Sequence[str] = ()) -> None:
        """Its turn has come: its voxels are handed over, and from now on the user waits for it.

        Args:
            notes: what became of its further images, which the user should read.
        """
        self._begun, self.state = time.monotonic(), "running"
        self.warnings += notes
        self._size = _node(self.volumeID).GetImageData().GetDimensions()
        self._imageTimes = {nodeID: _imageTime(_node(nodeID)) for nodeID in (self.volumeID, *self.options.furtherIDs)}

    def report(self, progress: Progress) -> None:
        """The worker reached a step."""
        self.progress, self.percent = progress, max(self.percent, percent(progress))
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
        self.quality = result.quality
        if self.quality is not None and self.quality.text:
            self.warnings.append(f"{self.quality.text}.")
        self.warnings += result.warnings
        for nodeID, imageTime in self._imageTimes.items():
            node = _node(nodeID)
            if node is not None and _imageTime(node) != imageTime:
                text = _("{name} was changed while it was segmented; the segments are those of its earlier voxels.")
                self.warnings.append(text.format(name=node.GetName()))
        output = _node(self.options.segmentationID)
        if output is None and self.options.segmentationID is not None:
            self.warnings.append(_("The chosen segmentation was removed meanwhile; a new one was made."))
        written = self._put(result, volume, output)
        self._segmentationID = written.node.GetID()
        if result.labelmap.any():  # otherwise the engine's own warning says so
            for name in written.missing:
                text = _("{label} was not found in {name}.")
                self.warnings.append(text.format(label=display_name(name), name=self.volumeName))
        self._describe(result)

    def _put(self, result: Result, volume: Any, output: Any) -> slicer_bridge.SegmentsWritten:
        """Write the segments, so that it can be undone."""
        if output is not None:
            self._history = slicer_bridge.save_state(output)
            _saveForEditor(output)
        show3D = self.options.show3D
        written = slicer_bridge.write_segments(result, volume, output, show3D, self.options.giveUp)
        if written.node is not output:
            self._history = None
        if show3D and slicer_bridge.has_surfaces(written.node):
            views.centerOnce(written.node)
        if written.kept:
            text = _("{segments} in {old} was edited and is kept as it is; the new segments are in {new}.")
            names = {"segments": ", ".join(written.kept), "old": output.GetName(), "new": written.node.GetName()}
            self.warnings.append(text.format(**names))
        return written

    def _describe(self, result: Result) -> None:
        self.measurements, self.timings = result.measurements, dict(result.timings)
        self.device, self.model, self.labels = result.device, result.model, result.labels
        table = _node(self.options.tableID)
        if table is not None or self.options.newTable or self.options.tableID is not None:
            name = _("{name} measurements").format(name=self.volumeName)
            volume = _node(self.volumeID)
            self._tableID = slicer_bridge.write_table(result.measurements, table, name, volume, result.labels).GetID()
        text = _("{name} was segmented in {seconds} s.")
        self.message = text.format(name=self.volumeName, seconds=f"{time.monotonic() - self._begun:.1f}")
        parts = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.timings.items())
        self.details = f"On {self.device}: {parts}."

    def _call(self, which: str) -> None:
        """A caller's callback must not break the runner."""
        callback = self._callbacks[which]
        if callback is None:
            return
        try:
            callback(self)
        except Exception:
            log.exception("The %s callback of the segmentation of %s failed", which, self.volumeName)


def _saveForEditor(segmentation: Any) -> None:
    """Where the Segment Editor has the segmentation, its own Undo can go back too."""
    widget = getattr(slicer.modules, "SegmentEditorWidget", None)  # there is none before its first use
    if widget is not None and widget.editor.segmentationNode() is segmentation:
        widget.editor.saveStateForUndo()


def _imageTime(volumeNode: Any) -> int:
    """When the voxels were last changed; 0 where there are none."""
    image = volumeNode.GetImageData()
    return 0 if image is None else int(image.GetMTime())


def _node(nodeID: str | None) -> Any:
    return slicer.mrmlScene.GetNodeByID(nodeID) if nodeID else None
