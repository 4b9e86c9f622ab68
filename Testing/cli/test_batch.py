"""Many inputs: what one of them does to a library does not stop the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from LiverSegLib import stopping
from LiverSegLib.cli.batch import run_batch
from LiverSegLib.cli.output_plan import Case
from LiverSegLib.errors import InputError, SegmentationCancelled
from LiverSegLib.labels import label_for
from LiverSegLib.measure import Measurements
from LiverSegLib.volume import Result

CASES = [Case(path=Path(f"{name}.nii"), name=name, out=Path("out")) for name in "abc"]


def result() -> Result:
    labels = (label_for(1, "liver"),)
    return Result(labelmap=np.zeros((2, 2, 2), np.uint8), affine=np.eye(4), labels=labels, measurements=Measurements())


def test_a_bad_input_is_told_and_the_others_are_segmented() -> None:
    def work(case: Case) -> tuple[Result, list[Path]]:
        if case.name == "a":
            raise InputError("a.nii is empty; copy it again.")
        if case.name == "b":
            raise ZeroDivisionError("by zero")
        return result(), [case.out / "c.seg.nrrd"]

    bad, defect, good = run_batch(CASES, work)
    assert (bad.error, bad.result) == ("a.nii is empty; copy it again.", None)
    assert defect.error == "b.nii could not be segmented (ZeroDivisionError: by zero)."
    assert isinstance(defect.cause, ZeroDivisionError)
    assert good.files == [Path("out/c.seg.nrrd")]
    assert good.error == ""


@pytest.mark.parametrize("error", [SegmentationCancelled("stopped"), KeyboardInterrupt()])
def test_who_stops_one_stops_all(error: BaseException) -> None:
    seen = []

    def work(case: Case) -> tuple[Result, list[Path]]:
        seen.append(case.name)
        raise error

    with pytest.raises(type(error)):
        list(run_batch(CASES, work))
    assert seen == ["a"]


def test_what_an_interrupted_library_says_is_no_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "requested", lambda: True)

    def work(case: Case) -> tuple[Result, list[Path]]:
        raise RuntimeError(f"half a compiler for {case.name}")

    with pytest.raises(RuntimeError, match="half a compiler for a"):
        list(run_batch(CASES, work))
