"""The messages between a client and its worker.

Each is a frozen dataclass of plain data; `LiverSegLib.worker.codec` turns them into lines and back. A request carries
an `id` that its answers repeat. Voxels never travel in a message: `volume`, `further` and `labelmap` are the bare
names of `.npy` files in the private folder that the client named in `Open`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from LiverSegLib import errors
from LiverSegLib.engine.progress import Progress
from LiverSegLib.errors import LiverSegError, ProtocolError, WorkerError
from LiverSegLib.labels import Label
from LiverSegLib.measure import Measurements
from LiverSegLib.quality import Quality
from LiverSegLib.request import SegmentationRequest
from LiverSegLib.system import DeviceInfo

PROTOCOL = 6
"""Version of the messages; both ends must have the same."""

Row = tuple[float, float, float, float]
Matrix = tuple[Row, Row, Row, Row]

_ERRORS: dict[str, type[LiverSegError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, LiverSegError)
}
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.npy")


def check_file(name: str) -> None:
    """Refuse a file name that could lead out of the private folder.

    Raises:
        ProtocolError: it is not a bare `.npy` name.
    """
    if not _FILE.fullmatch(name):
        raise ProtocolError(f"The file name {name[:100]!r} is not allowed; voxels are in .npy files of the folder.")


@dataclass(frozen=True)
class Open:
    """First message of the client: its protocol version and the folder of the array files."""

    protocol: int
    folder: str


@dataclass(frozen=True)
class Hello:
    """First message of the worker, sent before anything large is imported.

    Args:
        protocol: version of the messages.
        pid: process id of the worker itself; a launcher in between has another.
    """

    protocol: int
    pid: int


@dataclass(frozen=True)
class Numbered:
    """What belongs to the request `id`: the request itself, or an answer to it."""

    id: int

    def __post_init__(self) -> None:
        if not 1 <= self.id < 2**53:
            raise ProtocolError(f"The request id {self.id} is not allowed; ids count from 1.")


@dataclass(frozen=True)
class ListDevices(Numbered):
    """Ask for the devices; answered by `Devices` once torch is imported."""


@dataclass(frozen=True)
class Devices(Numbered):
    """The devices of the machine, the one that "auto" means first."""

    devices: tuple[DeviceInfo, ...]


@dataclass(frozen=True)
class WarmUp(Numbered):
    """Make a model ready before it is asked for, at the lowest priority; answered as `Segment` is, by `Warmed`.

    Args:
        model, device: as in `SegmentationRequest`.
    """

    model: str | None
    device: str


@dataclass(frozen=True)
class Warmed(Numbered):
    """The model of the request `id` is ready."""


@dataclass(frozen=True, kw_only=True)
class Segment(Numbered):
    """Segment a volume; answered by `Report`s and one of `Done`, `Failure`, `Cancelled`.

    Args:
        volume: file name; the array is [i, j, k] in C or Fortran order.
        affine: 4x4, voxel index -> RAS mm.
        name, modality: as in `Volume`.
        further: file names of the other channels, as `further` of `Volume` has them.
        request: what to do with it.
    """

    volume: str
    affine: Matrix
    name: str = "the image"
    modality: str | None = None
    further: tuple[str, ...] = ()
    request: SegmentationRequest = field(default_factory=SegmentationRequest)

    def __post_init__(self) -> None:
        super().__post_init__()
        for file in (self.volume, *self.further):
            check_file(file)


@dataclass(frozen=True)
class Report(Numbered):
    """Where the segmentation `id` stands; at most about ten a second, every stage at least once."""

    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Done(Numbered):
    """A finished segmentation: `Result` with its label map (uint8 [i, j, k]) in the file `labelmap`.

    `warm` tells whether the model was ready when the request came.
    """

    labelmap: str
    affine: Matrix
    labels: tuple[Label, ...]
    measurements: Measurements
    timings: dict[str, float]
    warnings: tuple[str, ...]
    device: str
    model: str
    quality: Quality | None
    warm: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        check_file(self.labelmap)


@dataclass(frozen=True)
class Cancel(Numbered):
    """Stop the request `id`; one that is over or unknown is ignored."""


@dataclass(frozen=True)
class Cancelled(Numbered):
    """The request `id` is given up: nothing more comes of it, and the model stays ready."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The request `id` failed, or with None a line could not be understood.

    Args:
        kind: name of the exception's class.
        sentence: for the user.
        details: traceback for the log, "" where the sentence says all.
    """

    id: int | None
    kind: str
    sentence: str
    details: str = ""

    @classmethod
    def of(cls, error: LiverSegError, request_id: int | None = None) -> Failure:
        """The failure that an exception means; a subclass of elsewhere goes by the name of its nearest base."""
        kind = next(base.__name__ for base in type(error).__mro__ if base.__name__ in _ERRORS)
        return cls(id=request_id, kind=kind, sentence=str(error))

    @property
    def error(self) -> LiverSegError:
        """The exception that it stands for; an unknown kind becomes a `WorkerError`."""
        return _ERRORS.get(self.kind, WorkerError)(self.sentence)


Request = ListDevices | WarmUp | Segment
Message = (
    Open | Hello | ListDevices | Devices | WarmUp | Warmed | Segment | Report | Done | Cancel | Cancelled | Failure
)
