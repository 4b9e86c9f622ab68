"""All jobs of the module, and the one worker that does them one after the other."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import qt
import slicer
from slicer.i18n import tr as _

from LiverSegLib import slicer_bridge
from LiverSegLib.errors import InputError, LiverSegError
from LiverSegLib.request import VoxelBox, model_name
from LiverSegLib.system import DeviceInfo, priority_hint
from LiverSegLib.volume import Volume
from LiverSegLib.worker.messages import Cancelled, Devices, Hello, Report
from LiverSegLib.worker.session import Event, Failed, Finished, Logged
from LiverSegUI.job import SegmentationJob
from LiverSegUI.transport import WorkerTransport

log = logging.getLogger(__name__)
_LOG_LINES = 2000


class JobRunner:
    """Hands one job at a time to the worker, and the worker's answers to it. The others wait here and nowhere else.

    Args:
        onChange: called when a job starts, moves on or ends, and when the log grows.
        environment: variables for the worker process.
    """

    def __init__(self, onChange: Callable[[], None], environment: dict[str, str] | None = None) -> None:
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self.logCount = 0
        self.lastJob: SegmentationJob | None = None
        self.transport = WorkerTransport(self._onEvent, environment)
        self._onChange = onChange
        self._running: SegmentationJob | None = None
        self._waiting: deque[SegmentationJob] = deque()
        self._warming: tuple[int, str | None, str] | None = None  # the request's id, its model and device
        self._onDevices: Callable[[tuple[DeviceInfo, ...]], None] | None = None

    @property
    def jobs(self) -> list[SegmentationJob]:
        """The jobs that are not over, in the order in which they are done."""
        return [*self._waiting] if self._running is None else [self._running, *self._waiting]

    def start(self, job: SegmentationJob, volume: Volume) -> None:
        """Hand a job over, or queue it behind the one that runs: one volume at a time lies on the disk.

        Args:
            job: the job.
            volume: what its volume nodes hold now; a job that waits reads it again when its turn comes.

        Raises:
            InputError: the region cannot be segmented.
            OutputError: the disk is full.
        """
        job.runner = self
        if self.jobs:
            _region(job)  # refuse early what can never be segmented
            self._waiting.append(job)
        else:
            self._handOver(job, volume)
        self._onChange()

    def cancel(self, job: SegmentationJob) -> None:
        """Stop a job; one that runs is over when the worker says so."""
        if job in self._waiting:
            self._waiting.remove(job)
            self._over(job, job.stopped)
            self._onChange()
        elif job is self._running:
            self.transport.pump(self.transport.session.cancel(job.requestID))

    def cancelAll(self, sentence: str = "") -> None:
        """Stop all jobs at once, each with a sentence; what the worker still answers to them is passed over."""
        jobs = self.jobs
        for job in jobs:
            self._withdraw(job)
        for job in jobs:
            self._over(job, job.stopped, sentence)
        self._onChange()

    def drop(self, job: SegmentationJob, sentence: str) -> None:
        """A job has become pointless: it fails with a sentence at once, and the next one begins."""
        self._withdraw(job)
        qt.QTimer.singleShot(0, self._next)
        self._over(job, job.fail, sentence)
        self._onChange()

    def askDevices(self, callback: Callable[[tuple[DeviceInfo, ...]], None]) -> None:
        """Have `callback` called with the machine's devices, some seconds later."""
        self._onDevices = callback
        self.transport.session.list_devices()
        self.transport.pump()

    def warmUp(self, model: str, device: str) -> None:
        """Have the worker make a model ready while nothing else is to be done; nobody is told how that ends.

        Args:
            model: name or path of a model package.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        """
        wanted = model_name(model)
        if self.jobs or (self._warming is not None and self._warming[1:] == (wanted, device)):
            return
        self._stopWarming()
        self._warming = (self.transport.session.warm_up(wanted, device), wanted, device)
        self.transport.pump()

    def _stopWarming(self) -> None:
        if self._warming is not None:
            self.transport.pump(self.transport.session.cancel(self._warming[0]))

    def restart(self) -> None:
        """End the worker process; the next request starts one that finds what was installed meanwhile."""
        self.transport.pump(self.transport.session.stop())

    def close(self) -> None:
        """End the worker; jobs that run are given up, which the application's log tells."""
        for job in self.jobs:
            log.warning("LiverSeg was closed or reloaded, so the segmentation of %s was stopped.", job.volumeName)
        self.cancelAll(_("LiverSeg was closed or reloaded, so the segmentation was stopped."))
        self.transport.close()

    def _handOver(self, job: SegmentationJob, volume: Volume) -> None:
        job.begin(volume.notes)
        request = replace(job.options.request, region=_region(job))
        if self._warming is not None and self._warming[1:] != (request.model, request.device):
            self._stopWarming()
        job.requestID = self.transport.session.segment(volume, request)
        self._running = job
        self.transport.pump()

    def _next(self) -> None:
        """Hand over the next job that can be."""
        while self._waiting and self._running is None:
            job = self._waiting.popleft()
            try:
                self._handOver(job, _read(job))
            except LiverSegError as error:
                self._over(job, job.fail, str(error))
        self._onChange()

    def _withdraw(self, job: SegmentationJob) -> None:
        """Take a job out of the queue or away from the worker, without waiting for the worker's word."""
        if job is self._running:
            self._running = None
            self.transport.pump(self.transport.session.cancel(job.requestID))
        elif job in self._waiting:
            self._waiting.remove(job)

    def _onEvent(self, event: Event) -> None:
        if isinstance(event, Logged):
            self._note(event.text)
        elif isinstance(event, Hello) and priority_hint():
            self._note(priority_hint())
        elif isinstance(event, Report) and self._running is not None and self._running.requestID == event.id:
            self._running.report(event.progress)
        elif self._warming is not None and getattr(event, "id", None) == self._warming[0]:
            self._warming = None
        elif isinstance(event, Devices) and self._onDevices is not None:
            self._onDevices(event.devices)
        elif isinstance(event, Finished | Failed | Cancelled):
            self._onEnd(event)
        self._onChange()

    def _onEnd(self, event: Finished | Failed | Cancelled) -> None:
        qt.QTimer.singleShot(0, self._next)  # before a caller's callback, which may wait for jobs of its own
        if isinstance(event, Failed):
            log.error("%s %s", event.error, event.details)
            for line in event.details.splitlines():
                self._note(line)
        job = self._running
        if job is not None and job.requestID == event.id:
            self._running = None
            if isinstance(event, Finished):
                self._over(job, job.succeed, event.result, event.warm)
            elif isinstance(event, Failed):
                self._over(job, job.fail, str(event.error), event.details)
            else:
                self._over(job, job.stopped)

    def _over(self, job: SegmentationJob, end: Callable[..., None], *about: object) -> None:
        """End a job by one of its own ways to end, and note how."""
        self.lastJob = job
        end(*about)
        finished = [job.details] if job.state == "finished" else []  # those of a failure are there already
        for sentence in [job.message, *job.warnings, *finished]:
            self._note(sentence)

    def _note(self, text: str) -> None:
        self.log.append(text)
        self.logCount += 1


def _volumeNode(job: SegmentationJob) -> slicer.vtkMRMLScalarVolumeNode:
    """The job's volume node.

    Raises:
        InputError: it was removed.
    """
    volumeNode = slicer.mrmlScene.GetNodeByID(job.volumeID)
    if volumeNode is None:
        raise InputError(_("{name} was removed before its turn came.").format(name=job.volumeName))
    return volumeNode


def _read(job: SegmentationJob) -> Volume:
    """What the job's volume nodes hold now.

    Raises:
        InputError: one was removed, or they cannot be segmented.
    """
    volumeNode = _volumeNode(job)
    further = [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in job.options.furtherIDs]
    if None in further:
        raise InputError(_("A further image of {name} was removed before its turn came.").format(name=job.volumeName))
    return slicer_bridge.read_images(volumeNode, further)


def _region(job: SegmentationJob) -> VoxelBox | None:
    """The job's region of interest in voxels, where there is one.

    Raises:
        InputError: a node was removed, or the region cannot be segmented.
    """
    if job.options.roiID is None:
        return None
    roiNode = slicer.mrmlScene.GetNodeByID(job.options.roiID)
    if roiNode is None:
        raise InputError(_("The region of interest of {name} was removed.").format(name=job.volumeName))
    return slicer_bridge.roi_box(roiNode, _volumeNode(job))
