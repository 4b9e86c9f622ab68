"""A small run of the fuzzer of other publishers' models; `python -m Testing.fuzz foreign --count 10000` is large."""

from __future__ import annotations

import os

import pytest

from Testing.fuzz import foreign


@pytest.mark.skipif(os.name == "nt", reason="Windows has no devices in folders")
def test_no_foreign_model_ends_in_anything_but_a_result_or_a_sentence() -> None:
    report = foreign.run(seed=21, count=150)
    assert report.cases == 150
    assert not report.escapes, str(report)
    # A fuzzer whose cases all fail at the door finds nothing behind it.
    assert report.outcomes["segmented"] > 20
    assert report.outcomes["refused"] > 60
