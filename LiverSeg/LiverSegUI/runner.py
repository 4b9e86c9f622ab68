"""All jobs of the module, and the one worker that does them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from LiverSegLib import slicer_bridge
from LiverSegLib.errors import InputError, LiverSegError
from LiverSegLib.system import DeviceInfo, priority_hint
from LiverSegLib.volume import Volume
from LiverSegLib.worker import events
from LiverSegUI.job import SegmentationJob
from LiverSegUI.transport import WorkerTransport

log = logging.getLogger(__name__)
_LOG_LINES = 2000


class JobRunner:
    """Hands jobs to the worker and its answers to the jobs.

    Args:
        onChange: called when a job starts, moves on or ends, and when the log grows.
        environment: variables for the worker process.
    """

    def __init__(self, onChange: Callable[[], None], environment: dict[str, str] | None = None) -> None:
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self.logCount = 0
        self._onChange = onChange
        self._transport = WorkerTransport(self._onEvent, environment)
        self._jobs: dict[int, SegmentationJob] = {}
        self._waiting: list[SegmentationJob] = []
        self.lastJob: SegmentationJob | None = None
        self._deviceCallbacks: dict[int, Callable[[tuple[DeviceInfo, ...]], None]] = {}

    @property
    def jobs(self) -> list[SegmentationJob]:
        """The jobs that are not over, in the order in which they are done."""
        return [*self._jobs.values(), *self._waiting]

    @property
    def transport(self) -> WorkerTransport:
        """The worker's process and session."""
        return self._transport

    def start(self, job: SegmentationJob) -> None:
        """Hand a job over, or queue it behind the one that runs: one volume at a time lies on the disk.

        Raises:
            InputError: the volume or the region cannot be segmented.
            OutputError: the disk is full.
        """
        job.runner = self
        _read(job)  # refuse early what can never be segmented
        if self._jobs or self._waiting:
            self._waiting.append(job)
        else:
            self._handOver(job)
        self._onChange()

    def cancel(self, job: SegmentationJob) -> None:
        """Stop a job."""
        if job in self._waiting:
            self._waiting.remove(job)
            self._over(job, job.stopped)
            self._onChange()
        elif job.requestID in self._jobs:
            self._transport.pump(self._transport.session.cancel(job.requestID))

    def cancelAll(self, sentence: str = "") -> None:
        """Stop all jobs at once, each with a sentence; what the worker still answers to them is passed over."""
        jobs, self._jobs = self._jobs, {}
        waiting, self._waiting = self._waiting, []
        for requestID in jobs:
            self._transport.pump(self._transport.session.cancel(requestID))
        for job in [*jobs.values(), *waiting]:
            self._over(job, lambda job=job: job.stopped(sentence))
        self._onChange()

    def drop(self, job: SegmentationJob, sentence: str) -> None:
        """A job has become pointless: it fails with a sentence at once, and the next one begins."""
        if job in self._waiting:
            self._waiting.remove(job)
        elif self._jobs.pop(job.requestID, None) is not None:
            self._transport.pump(self._transport.session.cancel(job.requestID))
        self._over(job, lambda: job.fail(sentence))
        qt.QTimer.singleShot(0, self._next)
        self._onChange()

    def askDevices(self, callback: Callable[[tuple[DeviceInfo, ...]], None]) -> None:
        """Have `callback` called with the machine's devices, some seconds later."""
        self._deviceCallbacks[self._transport.session.list_devices()] = callback
        self._transport.pump()

    def setEnvironment(self, environment: dict[str, str]) -> None:
        """Variables for worker processes that are started from now on."""
        self._transport.environment = environment

    def restart(self) -> None:
        """End the worker process; the next request starts one that finds what was installed meanwhile."""
        self._transport.pump(self._transport.session.stop())

    def close(self) -> None:
        """End the worker; jobs that run are given up, which the application's log tells."""
        for job in self.jobs:
            log.warning("LiverSeg was closed or reloaded, so the segmentation of %s was stopped.", job.volumeName)
        self.cancelAll(_("LiverSeg was closed or reloaded, so the segmentation was stopped."))
        self._transport.close()

    def _handOver(self, job: SegmentationJob) -> None:
        job.begin()
        volume, box = _read(job)
        options = job.options
        job.requestID = self._transport.session.segment(
            volume,
            model=options.model,
            device=options.device,
            roi=None if box is None else tuple((side.start, side.stop) for side in box),
            targets=options.targets,
        )
        job.noteImage()
        job.state = "running"
        self._jobs[job.requestID] = job
        self._transport.pump()

    def _next(self) -> None:
        """Hand over the next job that can be."""
        while self._waiting and not self._jobs:
            job = self._waiting.pop(0)
            try:
                self._handOver(job)
            except LiverSegError as error:
                self._over(job, lambda job=job, error=error: job.fail(str(error)))
        self._onChange()

    def _onEvent(self, event: events.Event) -> None:
        if isinstance(event, events.Logged):
            self._note(event.text)
        elif isinstance(event, events.Ready):
            if priority_hint():
                self._note(priority_hint())
        elif isinstance(event, events.Progressed):
            job = self._jobs.get(event.id)
            if job is not None:
                job.report(event.progress)
        elif isinstance(event, events.DevicesFound):
            self._deviceCallbacks.pop(event.id, lambda _devices: None)(event.devices)
        elif isinstance(event, events.Finished | events.Failed | events.Stopped):
            self._onEnd(event)
        self._onChange()

    def _onEnd(self, event: events.Finished | events.Failed | events.Stopped) -> None:
        self._deviceCallbacks.pop(event.id, None)
        job = self._jobs.pop(event.id, None)
        if isinstance(event, events.Failed):
            log.error("%s %s", event.error, event.details)
            for line in event.details.splitlines():
                self._note(line)
        if job is not None and isinstance(event, events.Finished):
            self._over(job, lambda: job.succeed(event.result, event.warm))
        elif job is not None and isinstance(event, events.Failed):
            self._over(job, lambda: job.fail(str(event.error), event.details))
        elif job is not None:
            self._over(job, job.stopped)
        qt.QTimer.singleShot(0, self._next)

    def _over(self, job: SegmentationJob, how: Callable[[], None]) -> None:
        self.lastJob = job
        how()
        finished = [job.details] if job.state == "finished" else []  # those of a failure are there already
        for sentence in [job.message, *job.warnings, *finished]:
            self._note(sentence)

    def _note(self, text: str) -> None:
        self.log.append(text)
        self.logCount += 1


def _read(job: SegmentationJob) -> tuple[Volume, slicer_bridge.Box | None]:
    """The job's volume and, where there is a region of interest, its box.

    Raises:
        InputError: a node was removed, or cannot be segmented.
    """
    volumeNode = slicer.mrmlScene.GetNodeByID(job.volumeID)
    if volumeNode is None:
        raise InputError(_("{name} was removed before its turn came.").format(name=job.volumeName))
    volume = slicer_bridge.read_volume_node(volumeNode)
    if job.options.roiID is None:
        return volume, None
    roiNode = slicer.mrmlScene.GetNodeByID(job.options.roiID)
    if roiNode is None:
        raise InputError(_("The region of interest of {name} was removed.").format(name=job.volumeName))
    return volume, slicer_bridge.roi_box(roiNode, volumeNode)
