"""Has a task done in a process of its own, with a dialog that tells how far it is and has a Cancel button."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from LiverSegLib.errors import InputError
from LiverSegLib.io.leftovers import remove_leftovers
from LiverSegLib.worker.arrays import ArrayFolder
from LiverSegLib.worker.clerk import Step
from LiverSegLib.worker.errand import TASK, Ended, Errand
from LiverSegLib.worker.tasks import Task, put_task
from LiverSegUI.errand import ErrandProcess

log = logging.getLogger(__name__)

_STEPS = {
    "read": _("Reading the case"),
    "measure": _("Measuring"),
    "compare": _("Bringing the livers onto each other"),
    "draw": _("Drawing the pictures"),
    "write": _("Writing the files"),
}
STOPPED = "Stopped"
"""What `Ended.error` holds where the user canceled."""


class Desk:
    """Takes one task at a time.

    Args:
        parent: the widget that the dialog belongs to.
        environment: variables for the process.
    """

    def __init__(self, parent: Any, environment: Callable[[], dict[str, str]]) -> None:
        self._parent, self._environment = parent, environment
        self._title = ""
        self._isStopped = False
        self._process: ErrandProcess | None = None
        self._folder: ArrayFolder | None = None
        self._onEnd: Callable[[Ended], None] = _forget
        self.dialog: Any = None

    @property
    def isBusy(self) -> bool:
        """Whether a task is being done."""
        return self._process is not None

    def start(self, title: str, make: Callable[[ArrayFolder], Task], onEnd: Callable[[Ended], None]) -> None:
        """Begin a task and return at once.

        Args:
            title: what is done, for the dialog.
            make: writes the voxels of the task into a folder, and gives the task.
            onEnd: called once with how it ended.

        Raises:
            InputError: another task is being done.
            OutputError: the disk is full.
        """
        if self.isBusy:
            raise InputError(_("Another page or file is being written; wait for it, or cancel it."))
        folder = ArrayFolder()
        try:
            errand = Errand(kind=TASK, target=str(put_task(folder, make(folder))))
        except BaseException:
            folder.close()
            raise
        self._title, self._folder, self._onEnd, self._isStopped = title, folder, onEnd, False
        self._showDialog()
        self._process = ErrandProcess(errand, self._environment(), self._onProgress, self._onEnded)

    def close(self) -> None:
        """The panel goes away; what is not written yet is not written."""
        if self._process is not None:
            self._process.close()
            self._clear()

    def _showDialog(self) -> None:
        dialog = qt.QProgressDialog(self._parent)
        dialog.setWindowTitle(self._title)
        dialog.setLabelText(_("Starting…"))
        dialog.setCancelButtonText(_("Cancel"))
        dialog.setMinimumDuration(0)
        dialog.setAutoClose(False)
        dialog.setAutoReset(False)
        dialog.setRange(0, 0)
        dialog.setValue(0)
        dialog.canceled.connect(self._onCanceled)
        dialog.show()
        self.dialog = dialog

    def _onCanceled(self) -> None:
        if self._process is not None and not self._isStopped:
            self._isStopped = True
            self._process.cancel()

    def _onProgress(self, said: Step) -> None:
        if self.dialog is not None and not self._isStopped:
            self.dialog.setRange(0, said.total)
            self.dialog.setValue(said.done)
            self.dialog.setLabelText(_STEPS.get(said.step, said.step) + "…")

    def _onEnded(self, ended: Ended) -> None:
        isStopped, onEnd, title = self._isStopped, self._onEnd, self._title
        self._clear()
        if ended.details and not isStopped:
            log.error("%s: %s\n%s", title, ended.sentence, ended.details)
        # One that was done before it heard of the wish has written its files.
        onEnd(Ended(error=STOPPED, sentence=_("Stopped; nothing was written.")) if isStopped and ended.error else ended)

    def _clear(self) -> None:
        """Ready for the next task."""
        process, self._process = self._process, None
        dialog, self.dialog = self.dialog, None
        folder, self._folder = self._folder, None
        self._onEnd = _forget
        if dialog is not None:
            dialog.hide()
            dialog.deleteLater()
        if folder is not None:
            folder.close()
        # It is still emitting the signal that told us: let it live for one turn of the event loop.
        qt.QTimer.singleShot(0, lambda _kept=process: None)  # type: ignore[misc]


def removeEmpty(folder: Path) -> None:
    """Leave no folder behind in which nothing was written, also where the process had to be killed while it wrote."""
    remove_leftovers(folder)
    with suppress(OSError):
        folder.rmdir()


def _forget(_ended: Ended) -> None:
    """Nobody waits."""
