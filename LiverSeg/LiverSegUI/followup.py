"""Two scans of one patient compared: which lesions are new, gone, grown or shrunk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from LiverSegLib import slicer_bridge
from LiverSegLib.errors import InputError, LiverSegError
from LiverSegLib.followup.files import NUMBERS, PAGE
from LiverSegLib.worker.arrays import ArrayFolder
from LiverSegLib.worker.errand import Ended
from LiverSegLib.worker.tasks import CompareTask, Task, put_scan
from LiverSegUI.alignment import alignmentOf
from LiverSegUI.choices import currentData, storedSetting, storeSetting
from LiverSegUI.desk import STOPPED, Desk, removeEmpty
from LiverSegUI.followup_form import FollowupForm
from LiverSegUI.pages import openPage

_FOLDER = "handover"
_RIGID, _DEFORMABLE, _AS_THEY_LIE = "rigid", "deformable", "scene"


class FollowupDialog:
    """Offers the segmentations of the scene, has two of them compared, and shows what came of it.

    Args:
        parent: the widget that the dialog belongs to.
        say: shows a sentence in the panel, as an error if its second argument says so.
        desk: has the work done.
        segmentation: gives the segmentation that is chosen in the panel, or None.
    """

    def __init__(self, parent: Any, say: Callable[..., None], desk: Desk, segmentation: Callable[[], Any]) -> None:
        self._parent, self._say, self._desk, self._segmentation = parent, say, desk, segmentation
        self._page: Path | None = None
        self.form: Any = None

    def show(self) -> None:
        """Open the dialog with what the scene has now."""
        nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if _isDrawnOn(node)]
        if len(nodes) < 2:
            self._say(
                _("A comparison needs two segmented scans in the scene; load and segment the other one, too."), True
            )
            return
        if self.form is None:
            self._build()
        form, chosen = self.form, self._segmentation()
        later = next((node for node in nodes if node is chosen), nodes[-1])
        earlier = next(node for node in nodes if node is not later)
        entries = [(f"{node.GetName()} ({slicer_bridge.source_of(node).GetName()})", node.GetID()) for node in nodes]
        form.offer(form.baseline, entries, earlier.GetID())
        form.offer(form.followup, entries, later.GetID())
        form.offer(form.alignment, _alignments(), currentData(form.alignment))
        form.dialog.show()
        form.dialog.activateWindow()

    def close(self) -> None:
        """The panel goes away."""
        if self.form is not None:
            self.form.dialog.close()

    def _build(self) -> None:
        self.form = FollowupForm(self._parent)
        self.form.compare.clicked.connect(self._onCompare)
        self.form.page.clicked.connect(self._onPage)
        self.form.close.clicked.connect(lambda _checked=False: self.form.dialog.hide())

    def _onPage(self, _checked: bool = False) -> None:
        if self._page is not None:
            openPage(self._page)

    def _onCompare(self, _checked: bool = False) -> None:
        """Ask for a folder and compare."""
        try:
            baseline, followup = (_chosenNode(box) for box in (self.form.baseline, self.form.followup))
            if baseline is followup:
                raise InputError(_("Both scans are the same segmentation; choose another one as the earlier scan."))
            parent = self._askForFolder()
            if parent is not None:
                name = slicer_bridge.source_of(followup).GetName()
                self._start(baseline, followup, slicer_bridge.new_folder(parent, f"{name} follow-up"))
        except LiverSegError as error:
            self.form.say(str(error), True)

    def _askForFolder(self) -> Path | None:
        title = _("Write the comparison into a new folder in")
        start = storedSetting(_FOLDER) or str(Path.home())
        chosen = str(qt.QFileDialog.getExistingDirectory(self.form.compare, title, start) or "")
        if chosen:
            storeSetting(_FOLDER, chosen)
        return Path(chosen) if chosen else None

    def _start(self, baseline: Any, followup: Any, out: Path) -> None:
        how = currentData(self.form.alignment)

        def make(folder: ArrayFolder) -> Task:
            return _task(baseline, followup, how, out, folder)

        try:
            self._desk.start(_("Follow-up"), make, lambda ended: self._onEnd(ended, out))
        except LiverSegError:
            removeEmpty(out)
            raise
        self.form.fill([])
        self.form.page.setEnabled(False)
        self.form.say(_("Comparing…"))

    def _onEnd(self, ended: Ended, out: Path) -> None:
        if ended.error:
            removeEmpty(out)
            self.form.say(ended.sentence, ended.error != STOPPED)
            return
        numbers = json.loads((out / NUMBERS).read_text(encoding="utf-8"))
        self._page = out / PAGE
        self.form.fill(changeRows(numbers))
        self.form.page.setEnabled(True)
        text = _("{counts}. The table and the page are in {folder}.").format(counts=countText(numbers), folder=out)
        self.form.say("\n".join([text, *numbers["warnings"]]))
        openPage(self._page)


def countText(numbers: dict[str, Any]) -> str:
    """How many lesions there are of each kind, for example "1 grown, 2 new"."""
    found = [str(row["status"]) for row in numbers["lesions"]]
    counts = [f"{found.count(status)} {status}" for status in dict.fromkeys(found)]
    return ", ".join(counts) or _("No lesions")


def changeRows(numbers: dict[str, Any]) -> list[tuple[str, ...]]:
    """The rows of the table, from the numbers that were written: the lesions, their sum, and the liver."""
    rows = []
    for row in numbers["lesions"]:
        sides = [_("no. {numbers}").format(numbers=row[side]) if row[side] else "" for side in ("baseline", "followup")]
        diameter = _pair(row["baseline_mm"], row["followup_mm"], 1), _percent(row["diameter_percent"])
        volume = _pair(row["baseline_ml"], row["followup_ml"], 2), _percent(row["volume_percent"])
        rows.append((f"{row['status']} {row['note']}".strip(), *sides, *diameter, *volume))
    (before, after), (earlier, later) = numbers["sum_of_diameters_mm"], numbers["liver_ml"]
    sums, livers = (
        (_pair(before, after, 1), _change(before, after)),
        (_pair(earlier, later, 0), _change(earlier, later)),
    )
    rows.append((_("Sum of the longest diameters"), "", "", *sums, "", ""))
    rows.append((_("Liver with its lesions"), "", "", "", "", *livers))
    return rows


def _pair(before: float, after: float, digits: int) -> str:
    return " → ".join(f"{size:.{digits}f}" if size else "-" for size in (before, after))


def _change(before: float, after: float) -> str:
    return _percent(100 * (after - before) / before if before else "")


def _percent(value: float | str) -> str:
    return "" if value == "" else f"{round(float(value)):+d} %"


def _alignments() -> list[tuple[str, str]]:
    """The ways in which the scans may be brought together, and their data: a word, or the ID of a transform node."""
    ways = [
        (_("Register the livers (rigid)"), _RIGID),
        (_("Register the livers and bend them (deformable)"), _DEFORMABLE),
        (_("As the two lie in the scene"), _AS_THEY_LIE),
    ]
    nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLTransformNode") if not node.GetHideFromEditors()]
    text = _("{name} (takes the later scan onto the earlier one)")
    return ways + [(text.format(name=node.GetName()), node.GetID()) for node in nodes]


def _isDrawnOn(node: Any) -> bool:
    return slicer_bridge.source_of(node) is not None and node.GetSegmentation().GetNumberOfSegments() > 0


def _chosenNode(box: Any) -> Any:
    """The segmentation that is chosen in a box."""
    node = slicer.mrmlScene.GetNodeByID(currentData(box))
    if node is None or not _isDrawnOn(node):
        raise InputError(
            _("The chosen segmentation is not in the scene any more; close this dialog and open it again.")
        )
    return node


def _task(baseline: Any, followup: Any, how: str, out: Path, folder: ArrayFolder) -> Task:
    """What the other process is to do; the voxels are written into the folder."""
    volume, labelmap, labels = slicer_bridge.labels_on_volume(baseline)
    first = put_scan(folder, volume, labelmap, labels)
    second = put_scan(folder, *slicer_bridge.labels_on_volume(followup))
    alignment = None
    if how not in (_RIGID, _DEFORMABLE):
        earlier, later = slicer_bridge.source_of(baseline), slicer_bridge.source_of(followup)
        transform = later.GetParentTransformNode() if how == _AS_THEY_LIE else slicer.mrmlScene.GetNodeByID(how)
        if transform is None and how != _AS_THEY_LIE:
            raise InputError(_("The chosen transform is not in the scene any more; choose another alignment."))
        alignment = alignmentOf(earlier, transform, labelmap, volume.affine, folder)
    return CompareTask(
        baseline=first, followup=second, out=str(out), deformable=how == _DEFORMABLE, alignment=alignment
    )
