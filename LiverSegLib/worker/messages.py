"""The messages between a client and its worker.

Each is a frozen dataclass of plain data; `LiverSegLib.worker.protocol` turns them into lines and back. A
request carries an `id` that its answers repeat. Voxels never travel in a message: `volume` and `labelmap` are
the bare names of `.npy` files in the private folder that the client named in `Open`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from LiverSegLib.engine.progress import Progress
from LiverSegLib.measure import Measurements
from LiverSegLib.system import DeviceInfo
from LiverSegLib.volume import Label
from LiverSegLib.worker.values import Matrix, Roi, SegmentSettings, check_file, check_id

PROTOCOL = 1
"""Version of the protocol; both ends must have the same."""


@dataclass(frozen=True)
class Request:
    """What a client asks for; answers repeat the `id`."""

    id: int

    def __post_init__(self) -> None:
        check_id(self.id)


@dataclass(frozen=True)
class Open:
    """First message of the client: its protocol version and the folder of the array files."""

    protocol: int
    folder: str


@dataclass(frozen=True)
class Hello:
    """First message of the worker, sent before anything large is imported.

    Args:
        protocol: version of the protocol.
        liverseg, python: versions.
        torch, monai: installed versions, None where the package is missing.
        executable: the Python that runs the worker.
        pid: process id of the worker itself; a launcher in between has another.
    """

    protocol: int
    liverseg: str
    python: str
    torch: str | None
    monai: str | None
    executable: str
    pid: int


@dataclass(frozen=True)
class ListDevices(Request):
    """Ask for the devices; answered by `Devices` once torch is imported."""


@dataclass(frozen=True)
class Devices(Request):
    """The devices of the machine, the one that "auto" means first."""

    devices: tuple[DeviceInfo, ...]


@dataclass(frozen=True)
class Load(Request):
    """Make a model ready, so that the next `Segment` with it starts at once; answered by `Loaded`."""

    model: str | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Loaded(Request):
    """The model is ready.

    Args:
        model: name and version.
        device: torch's name of the device.
        warm: it already was ready.
        seconds: how long imports and loading took.
    """

    model: str
    device: str
    warm: bool
    seconds: float


@dataclass(frozen=True)
class Segment(Request):
    """Segment a volume; answered by `Report`s and one of `Done`, `Failure`, `Cancelled`.

    Args:
        volume: file name; the array is [i, j, k] in C or Fortran order.
        affine: 4x4, voxel index -> RAS mm.
        name, modality: as in `Volume`.
        model: name or path of a package, None for the default.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        roi: only this box is segmented; the rest stays background.
        targets: names of the labels to keep; None for all.
    """

    volume: str
    affine: Matrix
    name: str = "the image"
    modality: str | None = None
    model: str | None = None
    device: str = "auto"
    settings: SegmentSettings = field(default_factory=SegmentSettings)
    roi: Roi | None = None
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_file(self.volume)


@dataclass(frozen=True)
class Report(Request):
    """Where the segmentation `id` stands; at most about ten a second, every stage at least once."""

    progress: Progress


@dataclass(frozen=True)
class Done(Request):
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
    warm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_file(self.labelmap)


@dataclass(frozen=True)
class Cancel(Request):
    """Stop the request `id`; one that is over or unknown is ignored."""


@dataclass(frozen=True)
class Cancelled(Request):
    """The request `id` is given up: nothing more comes of it, and the model stays ready."""


@dataclass(frozen=True)
class Failure:
    """The request `id` failed, or with None a line could not be understood.

    Args:
        kind: name of the exception class, see `LiverSegLib.worker.errors.KINDS`.
        sentence: for the user.
        details: traceback for the log, "" where the sentence says all.
    """

    id: int | None
    kind: str
    sentence: str
    details: str = ""


@dataclass(frozen=True)
class Released:
    """The model was idle for `seconds` and its memory is free again; the next request loads it anew."""

    seconds: float


@dataclass(frozen=True)
class Bye:
    """End: the worker exits."""


Message = (
    Open
    | Hello
    | ListDevices
    | Devices
    | Load
    | Loaded
    | Segment
    | Report
    | Done
    | Cancel
    | Cancelled
    | Failure
    | Released
    | Bye
)
