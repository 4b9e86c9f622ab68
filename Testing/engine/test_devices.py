"""Which arithmetic a device computes in: the same one in every run."""

from __future__ import annotations

import pytest
import torch

from LiverSegLib.engine import devices


@pytest.mark.parametrize(("has_unit", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_a_processor_computes_in_what_it_has_units_for(
    has_unit: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "has_bf16_matrix_unit", lambda: has_unit)
    assert devices.with_precision(torch.device("cpu")).text == f"cpu ({chosen})"


def test_other_devices_do_not_follow_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_bf16_matrix_unit", lambda: True)
    assert devices.with_precision(torch.device("mps")).text == "mps (float32)"
