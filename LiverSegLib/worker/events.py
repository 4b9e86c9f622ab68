"""What a `WorkerSession` tells the transport and its user."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from LiverSegLib.engine.progress import Progress
from LiverSegLib.errors import LiverSegError
from LiverSegLib.system import DeviceInfo
from LiverSegLib.volume import Result
from LiverSegLib.worker.messages import Hello


class State(Enum):
    """Where a session stands."""

    DEAD = "dead"
    """No process; the transport starts one as soon as there is something to do."""
    STARTING = "starting"
    """The process runs but has not said hello; requests wait."""
    IDLE = "idle"
    BUSY = "busy"
    CANCELLING = "cancelling"


@dataclass(frozen=True)
class Ready:
    """The worker answered; `hello` has its versions."""

    hello: Hello


@dataclass(frozen=True)
class Progressed:
    """Where the segmentation `id` stands."""

    id: int
    progress: Progress


@dataclass(frozen=True)
class Finished:
    """The segmentation `id` is done; `warm` tells whether the model was ready when it began."""

    id: int
    result: Result
    warm: bool


@dataclass(frozen=True)
class ModelReady:
    """The `load` request `id` is done, see `messages.Loaded`."""

    id: int
    model: str
    device: str
    warm: bool
    seconds: float


@dataclass(frozen=True)
class DevicesFound:
    """The devices of the machine, the one that "auto" means first."""

    id: int
    devices: tuple[DeviceInfo, ...]


@dataclass(frozen=True)
class Failed:
    """The request `id` failed: `error` is for the user, `details` (often empty) for the log."""

    id: int
    error: LiverSegError
    details: str


@dataclass(frozen=True)
class Stopped:
    """The request `id` was cancelled; nothing more comes of it."""

    id: int


@dataclass(frozen=True)
class ModelReleased:
    """The worker freed the model's memory after `seconds` without work."""

    seconds: float


@dataclass(frozen=True)
class Logged:
    """One line for the log."""

    text: str


@dataclass(frozen=True)
class Terminate:
    """For the transport: close the worker's stdin now, and kill it if it lives after `grace` seconds.

    Nothing of that process is to be passed to the session any more.
    """

    grace: float


Event = (
    Ready | Progressed | Finished | ModelReady | DevicesFound | Failed | Stopped | ModelReleased | Logged | Terminate
)
