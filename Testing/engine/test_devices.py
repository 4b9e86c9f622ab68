"""Which arithmetic a processor with half precision computes in: the same one in every run."""

from __future__ import annotations

import pytest
import torch

from LiverSegLib.engine import devices


class Timed(torch.nn.Module):
    """A network whose runs take the seconds that a test says, one after the other, for each arithmetic."""

    def __init__(self, plain: list[float], half: list[float]) -> None:
        super().__init__()
        self.now = 0.0
        self.left = {False: iter(plain), True: iter(half)}
        self.order: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        is_half = torch.is_autocast_enabled("cpu")
        self.order.append(is_half)
        self.now += next(self.left[is_half])
        return x


@pytest.mark.parametrize(
    ("plain", "half", "chosen"),
    [
        ([9, 1, 1, 1], [9, 0.5, 0.5, 0.5], "bfloat16"),
        ([9, 1.0, 0.9, 1.2], [9, 1.1, 1.0, 1.0], "bfloat16"),  # as fast, but for the noise of a busy machine
        ([9, 0.9, 5, 5], [9, 5, 5, 1.0], "bfloat16"),
        ([9, 5, 5, 1], [9, 2, 2, 2], "float32"),
        ([9, 1, 1, 1], [9, 1.3, 1.3, 1.3], "float32"),
    ],
)
def test_float32_has_to_be_clearly_faster(
    plain: list[float], half: list[float], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Timed(plain, half)
    monkeypatch.setattr(devices, "has_bf16_matrix_unit", lambda: True)
    monkeypatch.setattr("time.process_time", lambda: network.now)
    found = devices.with_precision(torch.device("cpu"), network, torch.zeros(1, 1, 8, 8, 8))
    assert found.text == f"cpu ({chosen})"
    assert network.order == [False, True] * 4


def test_without_the_hardware_there_is_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_bf16_matrix_unit", lambda: False)
    network = Timed([], [])
    assert devices.with_precision(torch.device("cpu"), network, torch.zeros(1)).text == "cpu (float32)"
    assert not network.order
