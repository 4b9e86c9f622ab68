"""The errors that a person is meant to read.

Every one carries a single sentence that names the input and the way out. The command line and the Slicer
module show that sentence and keep the traceback for the log; any other exception is a defect of ours.
"""


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


class WorkerError(LiverSegError):
    """The worker process could not start, stopped, or failed through a defect."""


class ProtocolError(LiverSegError):
    """The worker and its client do not understand each other: a message or an array file is not what it should be."""
