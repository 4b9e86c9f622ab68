"""What a user of the worker can ask for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from LiverSegLib.request import model_name
from LiverSegLib.volume import Volume
from LiverSegLib.worker import messages
from LiverSegLib.worker.convert import matrix_of
from LiverSegLib.worker.pending import Asked, PendingRequests
from LiverSegLib.worker.protocol import encode
from LiverSegLib.worker.values import Roi, SegmentSettings


class Requester(ABC):
    """Makes requests and keeps them until they are over; how they are sent is for the session to say.

    Args:
        folder_parent: where the private folder is made; None for the system's temporary folder.
    """

    def __init__(self, folder_parent: Path | None = None) -> None:
        self._pending = PendingRequests(folder_parent)

    def segment(
        self,
        volume: Volume,
        *,
        model: str | Path | None = None,
        device: str = "auto",
        settings: SegmentSettings | None = None,
        roi: Roi | None = None,
        targets: Sequence[str] | None = None,
    ) -> int:
        """Hand a volume over and give the request's id; ends in `Finished`, `Failed` or `Stopped`.

        The voxels are written to the private folder at once, from the view that they are.

        Args:
            volume: the image, array [i, j, k].
            model: name or path of a package, None for the default.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
            settings: postprocessing switches.
            roi: half-open voxel ranges ((i0, i1), (j0, j1), (k0, k1)); only this box is segmented.
            targets: names of the labels to keep, for example ["liver"]; None for all.

        Raises:
            OutputError: the private folder cannot be written.
        """
        file = self._pending.put(volume)
        try:
            message = messages.Segment(
                self._pending.next_id(),
                file,
                matrix_of(volume.affine),
                volume.name,
                volume.modality,
                model_name(model),
                device,
                settings or SegmentSettings(),
                roi,
                None if targets is None else tuple(targets),
            )
            return self._ask(message, f"segmenting {volume.name}")
        except BaseException:
            self._pending.discard(file)
            raise

    def load(self, model: str | Path | None = None, device: str = "auto") -> int:
        """Have a model made ready and give the request's id; ends in `ModelReady` or as `segment` does."""
        message = messages.Load(self._pending.next_id(), model_name(model), device)
        return self._ask(message, "loading the model")

    def list_devices(self) -> int:
        """Ask for the devices and give the request's id; ends in `DevicesFound` or as `segment` does."""
        return self._ask(messages.ListDevices(self._pending.next_id()), "looking for devices")

    def close(self) -> None:
        """Forget all requests and remove the private folder; stop the process first."""
        self._pending.close()

    @abstractmethod
    def _send(self, message: messages.Message) -> None:
        """Send a message, or do nothing where that happens later."""

    def _ask(self, message: Asked, what: str) -> int:
        encode(message)  # raises here, not when a process happens to be ready
        self._pending.add(message, what)
        self._send(message)
        return message.id
