"""Requests without their last answer, and the files that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from LiverSegLib.errors import LiverSegError
from LiverSegLib.volume import Volume
from LiverSegLib.worker import events, messages
from LiverSegLib.worker.convert import result_from
from LiverSegLib.worker.errors import ProtocolError, error_from
from LiverSegLib.worker.events import Event
from LiverSegLib.worker.folder import ArrayFolder

Asked = messages.Segment | messages.Load | messages.ListDevices


@dataclass
class Pending:
    """One request.

    Args:
        message: as it was, or will be, sent.
        what: what it does, for error sentences ("segmenting ct.nrrd").
        give_up: once it is cancelled, when to end the process if nothing comes.
    """

    message: Asked
    what: str
    give_up: float | None = None


class PendingRequests:
    """Numbers requests, matches answers to them, and deletes the files of those that are over.

    Args:
        folder_parent: where the private folder is made; None for the system's temporary folder.
    """

    def __init__(self, folder_parent: Path | None = None) -> None:
        self._parent = folder_parent
        self._folder: ArrayFolder | None = None
        self._items: dict[int, Pending] = {}
        self._last_id = 0

    def __bool__(self) -> bool:
        return bool(self._items)

    def __iter__(self) -> Iterator[Pending]:
        return iter(list(self._items.values()))

    @property
    def folder(self) -> Path:
        """The private folder, made when it is first needed."""
        return self._arrays().path

    def get(self, request_id: int) -> Pending | None:
        """The request, or None if it is over or never was."""
        return self._items.get(request_id)

    def next_id(self) -> int:
        """A number that no request had."""
        self._last_id += 1
        return self._last_id

    def put(self, volume: Volume) -> str:
        """Write the voxels [i, j, k] into the folder and give the file's name.

        Raises:
            OutputError: the disk is full.
        """
        return self._arrays().put(volume.array)

    def discard(self, file: str) -> None:
        """Delete a file of the folder."""
        self._arrays().discard(file)

    def add(self, message: Asked, what: str) -> None:
        """Remember a request until its last answer."""
        self._items[message.id] = Pending(message, what)

    def forget(self, request_id: int) -> None:
        """The request is over: drop it and its file."""
        pending = self._items.pop(request_id)
        if isinstance(pending.message, messages.Segment):
            self.discard(pending.message.volume)

    def answer(self, message: messages.Message) -> list[Event]:
        """What an answer means; the last one ends its request. A late answer means nothing."""
        request_id = getattr(message, "id", None)
        pending = None if request_id is None else self._items.get(request_id)
        if pending is None or request_id is None:
            return []
        cancelled = pending.give_up is not None or isinstance(message, messages.Cancelled)
        if isinstance(message, messages.Report):
            return [] if cancelled else [events.Progressed(request_id, message.progress)]
        try:
            return [events.Stopped(request_id) if cancelled else self._outcome(message, request_id)]
        finally:
            self.forget(request_id)
            if isinstance(message, messages.Done):
                self.discard(message.labelmap)

    def _outcome(self, message: messages.Message, request_id: int) -> Event:
        if isinstance(message, messages.Done):
            try:
                result = result_from(message, self.folder)
            except ProtocolError as error:
                return events.Failed(request_id, error, "")
            return events.Finished(request_id, result, message.warm)
        if isinstance(message, messages.Loaded):
            return events.ModelReady(request_id, message.model, message.device, message.warm, message.seconds)
        if isinstance(message, messages.Devices):
            return events.DevicesFound(request_id, message.devices)
        if isinstance(message, messages.Failure):
            return events.Failed(request_id, error_from(message.kind, message.sentence), message.details)
        strange = ProtocolError(f"The worker answered with {type(message).__name__}, which is no answer; run it again.")
        return events.Failed(request_id, strange, "")

    def fail_all(self, error: type[LiverSegError], sentence: str, details: str) -> list[Event]:
        """End every request; `{what}` in the sentence becomes what the request does."""
        found: list[Event] = []
        for pending in self:
            number = pending.message.id
            if pending.give_up is not None:
                found.append(events.Stopped(number))
            else:
                found.append(events.Failed(number, error(sentence.replace("{what}", pending.what)), details))
            self.forget(number)
        return found

    def stop(self, everything: bool) -> list[Event]:
        """End the requests that are cancelled, or all."""
        found: list[Event] = []
        for pending in self:
            if everything or pending.give_up is not None:
                found.append(events.Stopped(pending.message.id))
                self.forget(pending.message.id)
        return found

    def close(self) -> None:
        """Forget everything and remove the folder."""
        self._items.clear()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _arrays(self) -> ArrayFolder:
        if self._folder is None:
            self._folder = ArrayFolder(self._parent)
        return self._folder
