"""What a case gets beside its usual files, for others to go on with: DICOM for an archive, a report to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from LiverSegLib.cli.outputs import More, is_single_file
from LiverSegLib.cli.screen import show_note
from LiverSegLib.errors import InputError, OutputError

if TYPE_CHECKING:
    from LiverSegLib.io.atomic import Opener
    from LiverSegLib.io.dicom.source import Source
    from LiverSegLib.models.spec import ModelDescription
    from LiverSegLib.volume import Result, Volume

_DICOM = ("_seg.dcm", "_sr.dcm")
_REPORT = ("_report.html",)


@dataclass(frozen=True, kw_only=True)
class Handover:
    """What a user asks for.

    Args:
        dicom: a DICOM segmentation and a DICOM report of measurements.
        report: a page to read and to print.
        series: which series of a DICOM folder is meant; None: its only one.
        model: what made the results, for both.
    """

    dicom: bool = False
    report: bool = False
    series: str | None = None
    model: ModelDescription | None = None

    @property
    def endings(self) -> tuple[str, ...]:
        """Of the files, in the order in which they are written."""
        return (*(_DICOM if self.dicom else ()), *(_REPORT if self.report else ()))

    def check(self, inputs: Sequence[Path], out: Path | None) -> None:
        """Refuse before minutes of work what cannot be had.

        Raises:
            InputError: an input has no DICOM to refer to.
            OutputError: there is no folder for the files, or a library is missing.
        """
        from LiverSegLib.io.dicom.write import check_highdicom
        from LiverSegLib.io.read import is_dicom_file

        if self.endings and out is not None and is_single_file(out):
            raise OutputError(f"{out} is one file, and --dicom and --report write more; name a folder with -o.")
        if not self.dicom:
            return
        check_highdicom()
        for path in inputs:
            if path.is_file() and not is_dicom_file(path):
                raise InputError(
                    f"{path} is no DICOM, and --dicom writes files that refer to DICOM images; pass the folder of the "
                    "DICOM series, or leave out --dicom."
                )

    def of(self, path: Path) -> More:
        """What is written of one input.

        Raises:
            InputError: nothing in DICOM can refer to it.
        """
        from LiverSegLib.io.dicom.source import read_source

        source = read_source(path, self.series) if self.dicom else None
        if source is not None and source.note:
            show_note(source.note)

        def write(files: Sequence[Path], volume: Volume, result: Result, opener: Opener) -> None:
            left = list(files)
            if source is not None:
                self._write_dicom(left.pop(0), left.pop(0), result, source, opener)
            if self.report:
                from LiverSegLib.report import write_case_report

                write_case_report(volume, result, left.pop(0), model=self.model, opener=opener)

        return More(self.endings, write)

    def _write_dicom(self, seg: Path, report: Path, result: Result, source: Source, opener: Opener) -> None:
        from LiverSegLib.io.dicom.write import write_dicom

        version = "" if self.model is None else self.model.version
        write_dicom(seg, report, result, source, version=version, opener=opener)
