"""The faster instance normalization gives what torch's own gives, and leaves all other layers alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from LiverSegLib.engine.one_model import OneModel
from LiverSegLib.models import read_package
from LiverSegLib.networks import build_network
from LiverSegLib.networks.instance_norm import OfOneImage, of_one_image
from Testing.models.nnunet_folders import toy, toy_arguments

ORDERS = {"one after the other": torch.contiguous_format, "channels last": torch.channels_last_3d}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("affine", [True, False])
def test_the_numbers_are_those_of_torch(order: str, affine: bool) -> None:
    torch.manual_seed(1)
    norm = torch.nn.InstanceNorm3d(6, eps=1e-3, affine=affine)
    if affine:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    x = (torch.randn(2, 6, 9, 8, 7) + 30).contiguous(memory_format=ORDERS[order])  # a mean far from zero
    fast, half, one = of_one_image(norm), x.bfloat16(), x[:1].bfloat16()
    assert isinstance(fast, OfOneImage)
    assert torch.equal(fast(x), norm(x))
    assert torch.equal(fast(half), norm(half))
    # Results of bfloat16 have eight binary digits.
    torch.testing.assert_close(fast(one).float(), norm(one.float()), rtol=2**-7, atol=2**-7)


def test_the_order_in_memory_stays_as_it_is() -> None:
    x = torch.randn(1, 4, 6, 6, 6).bfloat16().contiguous(memory_format=torch.channels_last_3d)
    norm = torch.nn.InstanceNorm3d(4, affine=True)
    assert not norm(x).is_contiguous(memory_format=torch.channels_last_3d)
    assert of_one_image(norm)(x).is_contiguous(memory_format=torch.channels_last_3d)


def test_a_network_gives_the_same_logits_and_keeps_its_weights() -> None:
    torch.manual_seed(2)
    network = build_network("PlainConvUNet", toy_arguments()).eval()
    x, names = torch.randn(1, 1, 16, 16, 16), list(network.state_dict())
    with torch.inference_mode():
        before = network(x)
        fast = of_one_image(network)
        assert torch.equal(fast(x), before)
        with torch.autocast("cpu", torch.bfloat16):
            after = fast(x).float()
    assert (after - before).abs().mean() < 0.02 * before.std()
    assert list(network.state_dict()) == names
    assert not any(isinstance(layer, torch.nn.InstanceNorm3d) for layer in network.modules())


def test_one_with_statistics_of_its_own_stays() -> None:
    norm = torch.nn.InstanceNorm2d(3, track_running_stats=True)
    batch = torch.nn.BatchNorm3d(3)
    network = torch.nn.Sequential(norm, batch)
    of_one_image(network)
    assert network[0] is norm
    assert network[1] is batch


def test_the_engine_runs_folders_of_nnunet_so(tmp_path: Path) -> None:
    model = OneModel(read_package(toy(tmp_path / "toy")), "cpu")
    assert any(isinstance(layer, OfOneImage) for layer in model._network.modules())
