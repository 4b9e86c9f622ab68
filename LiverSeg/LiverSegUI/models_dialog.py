"""The dialog in which models are looked at, got, checked and removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from LiverSegLib.errors import InstallCancelled, LicenseNotAcceptedError, LiverSegError
from LiverSegLib.models.catalogue import Entry
from LiverSegLib.models.installed import DAMAGED, INSTALLED, NOT_INSTALLED, Listed, ModelStore
from LiverSegLib.models.transfer import Transfer
from LiverSegLib.worker.errand import ADD, INSTALL, REMOVE, VERIFY, Ended, Errand
from LiverSegUI.errand import ErrandProcess
from LiverSegUI.model_cards import cardHtml, licenseText, rowTexts, searchText
from LiverSegUI.models_form import ModelsForm

_FOLDER_OF = {"plans.json": 0, "dataset.json": 0, "labels.csv": 0, "metadata.json": 1}
"""How many folders above one of its files a package's folder lies, for packages that are no zip."""


class ModelsDialog:
    """Shows the models of the store; what takes time is done in a process of its own.

    Args:
        parent: the widget that it belongs to.
        store: gives the store as the settings have it now.
        environment: variables for the processes that work on it.
        use: called with the id of a model that was installed, or that the user wants to use.
        forget: called with the id of a model that is gone.
    """

    def __init__(
        self,
        parent: Any,
        store: Callable[[], ModelStore],
        environment: Callable[[], dict[str, str]],
        use: Callable[[str], None],
        forget: Callable[[str], None],
    ) -> None:
        self._store, self._environment, self._use, self._forget = store, environment, use, forget
        self._listed: list[Listed] = []
        self._errand: ErrandProcess | None = None
        self._accepts = False
        self._search = ""
        self.form = ModelsForm(parent)
        form = self.form
        form.search.textChanged.connect(self._onSearch)
        form.table.itemSelectionChanged.connect(self._onChosen)
        form.table.cellDoubleClicked.connect(lambda *_cell: self._onMain())
        form.accept.toggled.connect(self._onAccept)
        form.main.clicked.connect(self._onMain)
        form.file.clicked.connect(self._onFile)
        form.verify.clicked.connect(self._onVerify)
        form.remove.clicked.connect(self._onRemove)
        form.close.clicked.connect(lambda _checked=False: form.dialog.hide())

    def show(self) -> None:
        """Open the dialog, or bring it to the front."""
        self.refresh()
        self.form.dialog.show()
        self.form.dialog.activateWindow()
        self.form.search.setFocus()

    def close(self) -> None:
        """The panel goes away."""
        if self._errand is not None:
            self._errand.close()
            self._errand = None
        self.form.dialog.close()

    def refresh(self, chosen: str = "") -> None:
        """Read the store anew.

        Args:
            chosen: id of the model that is chosen then; "" for the one that is chosen now.
        """
        current = self._current
        wanted = chosen or (current.entry.id if current is not None else "")
        store = self._store()
        self._listed = store.entries()
        self.form.fill([rowTexts(one) for one in self._listed])
        ids = [one.entry.id for one in self._listed]
        self.form.choose(ids.index(wanted) if wanted in ids else 0)
        self._filter()
        problems = store.catalogue().problems
        if problems:
            self.form.say(problems[0], isError=True)
        self._onChosen()

    def choose(self, name: str) -> None:
        """Choose a model by its id."""
        self.form.choose([one.entry.id for one in self._listed].index(name))

    @property
    def _current(self) -> Listed | None:
        row = self.form.table.currentRow()
        return self._listed[row] if 0 <= row < len(self._listed) else None

    def _needed(self, listed: Listed) -> list[Entry]:
        """What is fetched with a model that is not here, the model itself last."""
        if listed.state not in (NOT_INSTALLED, DAMAGED):
            return []
        try:
            return self._store().needed(listed.entry)
        except LiverSegError as error:
            self.form.say(str(error), isError=True)
            return [listed.entry]

    def _onSearch(self, text: str = "") -> None:
        self._search = str(text).lower()
        self._filter()

    def _filter(self) -> None:
        words = self._search.split()
        self.form.showRows([all(word in searchText(one) for word in words) for one in self._listed])

    def _onChosen(self) -> None:
        self._accepts = False
        self.form.accept.setChecked(False)
        self._update()

    def _onAccept(self, on: bool = False) -> None:
        self._accepts = bool(on)
        self._update()

    def _update(self) -> None:
        """Bring all widgets up to date with the chosen model and the errand."""
        form, listed, isBusy = self.form, self._current, self._errand is not None
        for button in (form.main, form.verify, form.remove):
            button.setEnabled(False)
        form.file.setEnabled(not isBusy)
        form.main.setText(_("Cancel") if isBusy else _("Install"))
        form.main.setEnabled(isBusy)
        if listed is None:
            form.details.setHtml("")
            form.accept.setVisible(False)
            return
        needed = self._needed(listed)
        open_ = [entry for entry in needed if not self._store().accepted(entry)]
        form.details.setHtml(cardHtml(listed, [entry for entry in needed if entry.id != listed.entry.id]))
        form.accept.setVisible(bool(open_) and not isBusy)
        form.accept.setText(licenseText(open_))
        if isBusy:
            return
        isThere = listed.state not in (NOT_INSTALLED, DAMAGED)
        form.main.setText(_("Use it") if isThere else _("Repair") if listed.state == DAMAGED else _("Install"))
        form.main.setEnabled(isThere or (bool(listed.entry.url) and (self._accepts or not open_)))
        form.main.setToolTip("" if isThere or self._accepts or not open_ else _("Accept the license first."))
        for button in (form.verify, form.remove):
            button.setEnabled(listed.state in (INSTALLED, DAMAGED))

    def _onMain(self, _checked: bool = False) -> None:
        """Install, repair or use the chosen model, or stop what runs."""
        listed = self._current
        if self._errand is not None:
            self.form.say(_("Stopping…"))
            self._errand.cancel()
        elif listed is not None and listed.state not in (NOT_INSTALLED, DAMAGED):
            self._use(listed.entry.id)
            self.form.dialog.hide()
        elif listed is not None and (self._accepts or all(map(self._store().accepted, self._needed(listed)))):
            self._start(Errand(kind=INSTALL, target=listed.entry.id, accept_license=self._accepts))

    def _onFile(self, _checked: bool = False) -> None:
        title = _("Install a model: its zip, or a file in its folder")
        filters = _("Models") + " (*.zip " + " ".join(_FOLDER_OF) + ")"
        chosen = qt.QFileDialog.getOpenFileName(self.form.dialog, title, str(Path.home()), filters)
        text = chosen[0] if isinstance(chosen, tuple) else chosen
        if text:
            path = Path(str(text))
            folder = path.parents[_FOLDER_OF[path.name]] if path.name in _FOLDER_OF else path
            self._start(Errand(kind=ADD, target=str(folder)))

    def _onVerify(self, _checked: bool = False) -> None:
        listed = self._current
        if listed is not None:
            self._start(Errand(kind=VERIFY, target=listed.entry.id))

    def _onRemove(self, _checked: bool = False) -> None:
        listed, box = self._current, qt.QMessageBox
        if listed is None:
            return
        text = _("Remove {model} from this computer? It can be installed again.").format(model=listed.entry.title)
        title, buttons = _("Remove a model"), box.Yes | box.No
        if slicer.util.messageBox(text, windowTitle=title, icon=box.Question, standardButtons=buttons) == box.Yes:
            self._start(Errand(kind=REMOVE, target=listed.entry.id))

    def _start(self, errand: Errand) -> None:
        self.form.say("")
        self.form.showProgress(None)
        self._errand = ErrandProcess(errand, self._environment(), self._onProgress, self._onEnd)
        self._update()

    def _onProgress(self, transfer: Transfer) -> None:
        self.form.showProgress(transfer)

    def _onEnd(self, ended: Ended) -> None:
        process, self._errand = self._errand, None
        assert process is not None
        # It is still emitting the signal that told us: let it live for one turn of the event loop.
        qt.QTimer.singleShot(0, lambda _kept=process: None)  # type: ignore[misc]
        self.form.hideProgress()
        errand = process.errand
        if ended.error == LicenseNotAcceptedError.__name__ and self._isAccepted(ended.sentence):
            self._start(Errand(kind=errand.kind, target=errand.target, accept_license=True))
            return
        self.refresh(ended.model if errand.kind != REMOVE else "")
        if ended.error:
            self.form.say(ended.sentence, isError=ended.error != InstallCancelled.__name__)
            return
        title = next((one.entry.title for one in self._listed if one.entry.id == ended.model), ended.model)
        self.form.say(_SAID[errand.kind].format(model=title))
        if errand.kind in (INSTALL, ADD):
            self._use(ended.model)
        elif errand.kind == REMOVE:
            self._forget(ended.model)

    def _isAccepted(self, sentence: str) -> bool:
        """Ask for the license of a file that turned out to be a model of the catalogue."""
        box = qt.QMessageBox
        text = sentence.partition(",")[0] + ". " + _("Do you accept it?")
        title, buttons = _("License of the model"), box.Yes | box.No
        return bool(
            slicer.util.messageBox(text, windowTitle=title, icon=box.Question, standardButtons=buttons) == box.Yes
        )


_SAID = {
    INSTALL: _("{model} is installed and chosen."),
    ADD: _("{model} is installed and chosen."),
    VERIFY: _("Every file of {model} is as it should be."),
    REMOVE: _("{model} was removed."),
}
