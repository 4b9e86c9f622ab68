"""The errors that a person is meant to read.

Every one carries a single sentence that names the input and the way out. The command line and the Slicer
module show that sentence and keep the traceback for the log; any other exception is a defect of ours.
"""

from __future__ import annotations


class LiverSegError(Exception):
    """Base of all errors with a sentence for the user."""


class InputError(LiverSegError):
    """The image cannot be read or cannot be segmented as it is."""


class OutputError(LiverSegError):
    """A result could not be written; whatever stood there before is unchanged."""


class ModelError(LiverSegError):
    """A model package is damaged, unsafe, or asks for something that we do not support."""


class DeviceError(LiverSegError):
    """The requested device is not there or has too little memory."""


class SegmentationCancelled(LiverSegError):  # noqa: N818  (an event, not a fault)
    """The caller asked to stop; nothing was written."""


class InstallCancelled(LiverSegError):  # noqa: N818  (an event, not a fault)
    """The caller asked to stop the installation of a model; what was installed before is unchanged."""


class LicenseNotAcceptedError(ModelError):
    """A model's license is to be shown to the user and accepted before the model is installed.

    Args:
        sentence: for the user.
        name: id of the model.
    """

    def __init__(self, sentence: str, name: str = "") -> None:
        super().__init__(sentence)
        self.name = name

    @classmethod
    def of(cls, name: str, title: str, license_name: str) -> LicenseNotAcceptedError:
        """The error for a model with this id and title, whose license is called so."""
        return cls(
            f"{title} is under the license {license_name}, which has to be accepted before it is installed; read it "
            f"(liverseg models show {name}) and give --accept-license.",
            name,
        )


class WorkerError(LiverSegError):
    """The worker process could not start, stopped, or failed through a defect."""


class ProtocolError(LiverSegError):
    """The worker and its client do not understand each other: a message or an array file is not what it should be."""
