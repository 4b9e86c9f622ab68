"""Errors of the worker, and how any of ours crosses the pipe."""

from __future__ import annotations

from LiverSegLib import errors
from LiverSegLib.errors import LiverSegError


class ProtocolError(LiverSegError):
    """A line on the pipe is not a message of this protocol."""


class WorkerError(LiverSegError):
    """The worker process could not start, stopped, or failed through a defect."""


KINDS: dict[str, type[LiverSegError]] = {
    kind.__name__: kind
    for kind in (
        LiverSegError,
        errors.InputError,
        errors.OutputError,
        errors.ModelError,
        errors.DeviceError,
        errors.SegmentationCancelled,
        ProtocolError,
        WorkerError,
    )
}
"""Class of an error message's `kind`; a subclass that is not listed travels as its nearest base."""


def kind_of(error: LiverSegError) -> str:
    """The `kind` that stands for an error's class on the pipe."""
    return next(base.__name__ for base in type(error).__mro__ if base.__name__ in KINDS)


def error_from(kind: str, sentence: str) -> LiverSegError:
    """The exception that an error message stands for; an unknown kind becomes a `WorkerError`."""
    return KINDS.get(kind, WorkerError)(sentence)
