"""A small run of the fuzzer of packages; `python -m Testing.fuzz packages --count 3000` is a large one."""

from __future__ import annotations

import os

import pytest

from Testing.fuzz import packages


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes and devices in folders")
def test_no_package_ends_in_anything_but_a_result_or_a_sentence() -> None:
    report = packages.run(seed=20, count=250)
    assert report.cases == 250
    assert not report.escapes, str(report)
    # A fuzzer whose cases all fail at the door finds nothing behind it.
    assert report.outcomes["segmented"] > 20
    assert report.outcomes["refused"] > 100
