"""A segmentation, as it stands, for others: a page to read and to print, DICOM files for an archive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from LiverSegLib import slicer_bridge
from LiverSegLib.errors import LiverSegError
from LiverSegLib.io.leftovers import remove_leftovers
from LiverSegLib.models.store import DEFAULT
from LiverSegLib.worker.arrays import ArrayFolder
from LiverSegLib.worker.errand import Ended
from LiverSegLib.worker.tasks import DicomTask, Making, ReportTask, Scan, Task, put_scan
from LiverSegUI.choices import storedSetting, storeSetting
from LiverSegUI.desk import STOPPED, Desk, removeEmpty
from LiverSegUI.dicom_files import imagesOf
from LiverSegUI.install import ensurePackage
from LiverSegUI.job import SegmentationJob
from LiverSegUI.pages import openPage

_FOLDER = "handover"


class HandoverActions:
    """What the entries for others in the menu of the Export button do.

    Args:
        ui: the panel's widgets.
        say: shows a sentence in the panel, as an error if its second argument says so.
        desk: has the work done.
        segmentation: gives the chosen segmentation or None.
        jobOf: gives the job that wrote a segmentation, None where it is not known.
    """

    def __init__(
        self,
        ui: Any,
        say: Callable[..., None],
        desk: Desk,
        segmentation: Callable[[], Any],
        jobOf: Callable[[Any], SegmentationJob | None],
    ) -> None:
        self._ui, self._say, self._desk = ui, say, desk
        self._segmentation, self._jobOf = segmentation, jobOf

    def report(self) -> None:
        """Ask for a file, write the page of the case into it and open it."""
        node = self._segmentation()
        if node is None:
            return
        try:
            if not ensurePackage("matplotlib", _("The pictures of a report")):
                self._say(_("Nothing was installed, so no report was written."))
                return
            out = self._askForPage(node)
            if out is not None:
                title = _("Report of {name}").format(name=node.GetName())
                self._desk.start(title, lambda folder: self._reportTask(node, out, folder), self._told(out))
        except LiverSegError as error:
            self._say(str(error), True)

    def dicom(self) -> None:
        """Ask for a folder, and write a DICOM segmentation and a DICOM report into a new one in it."""
        node = self._segmentation()
        if node is None:
            return
        try:
            images = imagesOf(slicer_bridge.source_of(node), node.GetName())
            if not ensurePackage("highdicom", _("Files of DICOM")):
                self._say(_("Nothing was installed, so no DICOM was written."))
                return
            parent = self._askForFolder(node)
            if parent is not None:
                self._startDicom(node, images, slicer_bridge.new_folder(parent, f"{node.GetName()} DICOM"))
        except LiverSegError as error:
            self._say(str(error), True)

    def _startDicom(self, node: Any, images: list[Path], out: Path) -> None:
        name = slicer_bridge.safe_name(slicer_bridge.source_of(node).GetName())
        files = {"seg": str(out / f"{name}_seg.dcm"), "report": str(out / f"{name}_sr.dcm")}

        def make(folder: ArrayFolder) -> Task:
            scan, making = self._caseOf(node, folder)
            return DicomTask(scan=scan, making=making, images=tuple(map(str, images)), **files)

        def onEnd(ended: Ended) -> None:
            if ended.error:
                removeEmpty(out)
                self._say(ended.sentence, ended.error != STOPPED)
                return
            text = _("A DICOM segmentation and a DICOM report were written to {folder}.").format(folder=out)
            self._say(f"{text} {ended.sentence}".strip())

        try:
            self._desk.start(_("DICOM of {name}").format(name=node.GetName()), make, onEnd)
        except LiverSegError:
            removeEmpty(out)
            raise

    def _askForFolder(self, node: Any) -> Path | None:
        title = _("Write DICOM of {name} into a new folder in").format(name=node.GetName())
        start = storedSetting(_FOLDER) or str(Path.home())
        chosen = str(qt.QFileDialog.getExistingDirectory(self._ui.exportButton, title, start) or "")
        if chosen:
            storeSetting(_FOLDER, chosen)
        return Path(chosen) if chosen else None

    def _askForPage(self, node: Any) -> Path | None:
        start = Path(storedSetting(_FOLDER) or Path.home()) / f"{slicer_bridge.safe_name(node.GetName())}.html"
        title = _("Write the report of {name} to").format(name=node.GetName())
        chosen = qt.QFileDialog.getSaveFileName(self._ui.exportButton, title, str(start), "HTML (*.html)")
        text = str((chosen[0] if isinstance(chosen, tuple) else chosen) or "")
        if not text:
            return None
        path = Path(text)
        storeSetting(_FOLDER, str(path.parent))
        return path if path.suffix.lower() in (".html", ".htm") else path.with_name(path.name + ".html")

    def _reportTask(self, node: Any, out: Path, folder: ArrayFolder) -> Task:
        scan, making = self._caseOf(node, folder)
        return ReportTask(scan=scan, making=making, out=str(out))

    def _caseOf(self, node: Any, folder: ArrayFolder) -> tuple[Scan, Making]:
        """The segmentation as it stands, with all that was looked for: that nothing was found is told, too."""
        job = self._jobOf(node)
        looked = () if job is None else tuple(label.name for label in job.labels)
        return put_scan(folder, *slicer_bridge.labels_on_volume(node, looked)), makingOf(node, job)

    def _told(self, out: Path) -> Callable[[Ended], None]:
        def onEnd(ended: Ended) -> None:
            if ended.error:
                remove_leftovers(out.parent)
                self._say(ended.sentence, ended.error != STOPPED)
                return
            self._say(_("The report was written to {path}.").format(path=out))
            openPage(out)

        return onEnd


def makingOf(node: Any, job: SegmentationJob | None) -> Making:
    """What is known of how a segmentation was made; what was believed of it does not hold once it was changed."""
    byHand = slicer_bridge.drawn_by_others(node)
    if job is None:
        return Making(by_hand=byHand)
    quality = job.quality
    ofQuality = (
        [] if quality is None else [f"{quality.text}.", *(one.sentence(quality.organ) for one in quality.doubts)]
    )
    further = [_("Segmented with {names}.").format(names=", ".join(job.furtherNames))] if job.furtherNames else []
    return Making(
        model=job.model,
        package=job.options.request.model or DEFAULT,
        device=job.device,
        timings=job.timings,
        warnings=(*further, *(warning for warning in job.warnings if warning not in ofQuality)),
        quality=None if byHand else quality,
        by_hand=byHand,
    )
