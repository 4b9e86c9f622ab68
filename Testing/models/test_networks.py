"""The networks of the registry: ours, MONAI's that recipes rely on, and what sizes they want."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from monai.networks.nets.attentionunet import AttentionBlock

from LiverSegLib.errors import ModelError
from LiverSegLib.networks import (
    NETWORKS,
    build_network,
    canonical_name,
    final_logits,
    monai_import,
    reduction,
    target_path,
)
from LiverSegLib.networks.vgg_unet import VGG16UNet

# Networks with more than one setting of what they reduce: name, dimensions, arguments, what is expected.
CASES: list[tuple[str, int, dict[str, Any], tuple[int, ...]]] = [
    ("UNet", 2, {"channels": [4, 8, 16], "strides": [2, 2]}, (4, 4)),
    ("UNet", 3, {"channels": [4, 8, 16], "strides": [[2, 2, 1], [2, 2, 2]], "num_res_units": 1}, (4, 4, 2)),
    ("AttentionUnet", 2, {"channels": [4, 8, 16], "strides": [2, 2]}, (4, 4)),
    ("SegResNet", 3, {"init_filters": 8}, (8, 8, 8)),
    ("SegResNet", 2, {"init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]}, (4, 4)),
    ("SegResNetDS", 3, {"init_filters": 4, "blocks_down": [1, 1, 1], "dsdepth": 2}, (4, 4, 4)),
    ("SegResNetDS", 3, {"init_filters": 4, "blocks_down": [1, 1, 1], "resolution": [1, 1, 4]}, (4, 4, 1)),
    ("DynUNet", 2, {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2],
                    "filters": [4, 8, 8]}, (4, 4)),
    ("BasicUNet", 3, {"features": [2] * 6}, (16, 16, 16)),
    ("SwinUNETR", 2, {"feature_size": 12, "depths": [1, 1, 1, 1]}, (32, 32)),
    ("DoubleConvUNet", 2, {}, (8, 8)),
    ("DoubleConvUNet", 3, {"channels": [4, 8, 16], "upsample": "deconv"}, (4, 4, 4)),
    ("VGG16UNet", 2, {"decoder_channels": [8, 8, 8, 8]}, (16, 16)),
    ("PyramidUNet", 2, {"channels": [4, 4, 4]}, (4, 4)),
    ("PyramidUNet", 2, {}, (16, 16)),
    ("PlainConvUNet", 2, {"features_per_stage": [4, 8, 8], "kernel_sizes": [3, 3, 3], "strides": [1, 2, 2],
                          "n_conv_per_stage": [1, 2, 1], "n_conv_per_stage_decoder": [2, 1]}, (4, 4)),
    ("ResidualEncoderUNet", 3, {"features_per_stage": [4, 4, 8], "kernel_sizes": [[1, 3, 3], 3, 3],
                                "strides": [1, [1, 2, 2], 2], "n_blocks_per_stage": [1, 2, 1],
                                "n_conv_per_stage_decoder": [1, 1]}, (2, 4, 4)),
]  # fmt: skip
# Networks that pad or crop inside, so that other sizes go through as well.
FORGIVING = {"BasicUNet", "DoubleConvUNet", "VGG16UNet", "PyramidUNet"}


def built(name: str, dims: int, arguments: dict[str, Any], classes: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(name, {**arguments, "spatial_dims": dims, "in_channels": 1, "out_channels": classes})


def shape_or_none(network: torch.nn.Module, size: list[int]) -> list[int] | None:
    """The size of the logits of an image of `size`, None where the network refuses it."""
    try:
        return list(network(torch.rand(1, 1, *size)).shape[2:])
    except (RuntimeError, ValueError):
        return None


@pytest.mark.parametrize(("name", "dims", "arguments", "expected"), CASES, ids=[f"{c[0]}{c[1]}d" for c in CASES])
def test_the_reduction_is_what_sizes_must_be_multiples_of(
    name: str, dims: int, arguments: dict[str, Any], expected: tuple[int, ...]
) -> None:
    assert reduction(name, {**arguments, "spatial_dims": dims}) == expected
    if name == "SwinUNETR":
        pytest.importorskip("einops", reason="MONAI's SwinUNETR needs einops")
    network = built(name, dims, arguments).eval()
    # Twice the factor where norms would have a single value otherwise; unequal, so that axes cannot be swapped.
    good = [n * (2 if axis else 3) for axis, n in enumerate(expected)]
    with torch.inference_mode():
        assert network(torch.rand(1, 1, *good)).shape == (1, 3, *good)
        for axis in range(dims):
            if expected[axis] == 1 or name in FORGIVING:
                continue
            bad = [n + expected[axis] // 2 * (other == axis) for other, n in enumerate(good)]
            assert shape_or_none(network, bad) != bad


def test_every_network_has_a_known_reduction() -> None:
    assert {case[0] for case in CASES} == set(NETWORKS)


def depends_on(network: torch.nn.Module, size: int, factor: int) -> bool:
    """Whether the logits of a picture change where it is shifted by `factor` within zeros."""
    x = torch.zeros(1, 1, size, size)
    x[..., size // 4 : size // 2, size // 4 : size // 2] = torch.rand(size // 4, size // 4)
    with torch.inference_mode():
        moved = network(x.roll((factor, factor), (2, 3))).roll((-factor, -factor), (2, 3))
        plain = network(x)
    inner = slice(size // 4, size // 2)
    return not torch.allclose(plain[..., inner, inner], moved[..., inner, inner], atol=1e-5)


def test_forgiving_networks_still_work_on_a_grid_of_their_reduction() -> None:
    """They take any size, but pool on this grid: a shift by it moves the answer along, a smaller one changes it."""
    network = built("DoubleConvUNet", 2, {"channels": [4, 4, 4]}).eval()
    assert not depends_on(network, 128, 4)
    assert depends_on(network, 128, 2)


@pytest.mark.parametrize("upsample", ["interpolate", "deconv"])
def test_double_convolutions_are_those_of_the_paper(upsample: str) -> None:
    network = built("DoubleConvUNet", 3, {"upsample": upsample})
    kernels = [m.weight.shape[:3] for m in network.modules() if isinstance(m, torch.nn.Conv3d)]
    first = [tuple(shape[:2]) for shape in kernels[:8]]
    assert first == [(32, 1), (32, 32), (64, 32), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256)]
    has_deconvolution = any(isinstance(m, torch.nn.ConvTranspose3d) for m in network.modules())
    assert has_deconvolution is (upsample == "deconv")


def test_odd_sizes_come_back_in_their_size() -> None:
    for name in ("DoubleConvUNet", "VGG16UNet"):
        with torch.inference_mode():
            out = built(name, 2, {}).eval()(torch.rand(1, 1, 37, 50))
        assert out.shape == (1, 3, 37, 50)


class TestPyramid:
    def test_both_stages_answer_in_training_and_the_second_afterwards(self) -> None:
        network = built("PyramidUNet", 2, {"channels": [4, 8, 8]})
        x = torch.rand(2, 1, 32, 32)
        both = network(x)
        assert [out.shape for out in both] == [(2, 3, 32, 32)] * 2
        network.eval()
        assert isinstance(network(x), torch.Tensor)
        assert network(x).shape == (2, 3, 32, 32)

    def test_the_final_logits_teach_the_first_stage_too(self) -> None:
        network = built("PyramidUNet", 2, {"channels": [4, 8, 8]})
        network(torch.rand(2, 1, 32, 32))[0].square().mean().backward()
        gradients = [p.grad for n, p in network.named_parameters() if n.startswith("first.") and p.grad is not None]
        assert max(float(g.abs().max()) for g in gradients) > 0

    @pytest.mark.parametrize("scales", [1, 2, 3])
    def test_levels_below_the_scales_see_no_image(self, scales: int) -> None:
        network = built("PyramidUNet", 2, {"channels": [4, 8, 8], "scales": scales})
        inputs = [level.conv_0.conv.in_channels for level in network.first.down]  # type: ignore[union-attr]
        assert inputs == [above + (level < scales) for level, above in enumerate([0, 4, 8])]
        assert network.eval()(torch.rand(1, 1, 16, 16)).shape == (1, 3, 16, 16)

    def test_impossible_scales_are_refused(self) -> None:
        with pytest.raises(ModelError, match="4 scales do not fit 3 levels"):
            built("PyramidUNet", 2, {"channels": [4, 8, 8], "scales": 4})


class TestVgg:
    def test_the_encoder_has_thirteen_convolutions_with_names_of_torchvision(self) -> None:
        keys = [k for k in VGG16UNet().state_dict() if k.startswith("features.") and k.endswith("weight")]
        assert [int(k.split(".")[1]) for k in keys] == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]

    def test_there_is_none_in_3d(self) -> None:
        with pytest.raises(ModelError, match="VGG16 has two dimensions"):
            built("VGG16UNet", 3, {})


def test_attention_unet_has_the_gate_of_the_paper() -> None:
    """1x1 on gate and skip, add, ReLU, 1x1 to one channel, sigmoid, times the skip (Oktay et al., 2018)."""
    network = built("AttentionUnet", 2, {"channels": [4, 8, 16], "strides": [2, 2]}).eval()
    (gate,) = [m for n, m in network.named_modules() if n.endswith("attention")][:1]
    skip, signal = torch.randn(1, 4, 6, 6), torch.randn(1, 4, 6, 6)
    one_by_one = [(m.conv.weight, m.conv.bias) for m in (gate.W_g[0], gate.W_x[0], gate.psi[0])]
    assert [tuple(w.shape) for w, _ in one_by_one] == [(2, 4, 1, 1), (2, 4, 1, 1), (1, 2, 1, 1)]

    def apply(x: torch.Tensor, number: int, norm: Any) -> torch.Tensor:
        return norm(torch.nn.functional.conv2d(x, *one_by_one[number]))

    with torch.inference_mode():
        joined = torch.relu(apply(signal, 0, gate.W_g[1]) + apply(skip, 1, gate.W_x[1]))
        weight = torch.sigmoid(apply(joined, 2, gate.psi[1]))
        torch.testing.assert_close(gate(g=signal, x=skip), skip * weight)
    assert weight.shape == (1, 1, 6, 6)
    assert weight.min() < weight.max()


@pytest.mark.parametrize("upsample", ["interpolate", "deconv"])
def test_the_gate_is_all_that_it_changes(upsample: str) -> None:
    """With a gate that is open everywhere, the gated network is the other one; every weight has the same name."""
    arguments = {"channels": [4, 8, 16], "upsample": upsample}
    plain = built("DoubleConvUNet", 2, arguments).eval()
    gated = built("DoubleConvUNet", 2, {**arguments, "gate": True}).eval()
    missing, unexpected = gated.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert missing
    assert all(".gate." in name for name in missing)
    gates = [m for m in gated.modules() if isinstance(m, AttentionBlock)]
    assert len(gates) == 2
    x = torch.rand(1, 1, 37, 50)
    with torch.inference_mode():
        assert not torch.allclose(gated(x), plain(x), atol=1e-3)
        for gate in gates:
            gate.psi[1].weight.zero_()  # type: ignore[operator]
            gate.psi[1].bias.fill_(100.0)  # type: ignore[operator]
        torch.testing.assert_close(gated(x), plain(x))


def test_corners_are_aligned_where_it_is_asked_for() -> None:
    plain = built("DoubleConvUNet", 2, {"channels": [4, 8]})
    aligned = built("DoubleConvUNet", 2, {"channels": [4, 8], "align_corners": True})
    aligned.load_state_dict(plain.state_dict())
    up, theirs = (next(m for m in n.modules() if isinstance(m, torch.nn.Upsample)) for n in (aligned, plain))
    x = torch.rand(1, 8, 5, 5)
    expected = torch.nn.functional.interpolate(x, (10, 10), mode="bilinear", align_corners=True)
    torch.testing.assert_close(up(x), expected)
    assert not torch.allclose(theirs(x), expected)


def test_segresnet_ds_answers_at_several_scales_in_training_only() -> None:
    network = built("SegResNetDS", 3, {"init_filters": 4, "blocks_down": [1, 1, 1], "dsdepth": 2})
    x = torch.rand(1, 1, 16, 16, 16)
    assert [out.shape[2] for out in network(x)] == [16, 8]
    assert network.eval()(x).shape == (1, 3, 16, 16, 16)


@pytest.mark.parametrize("name", ["DoubleConvUNet", "VGG16UNet", "PyramidUNet"])
def test_ours_are_named_by_their_path(name: str) -> None:
    from monai.bundle import ConfigParser

    assert target_path(name) == f"LiverSegLib.networks.{name}"
    assert canonical_name(target_path(name)) == canonical_name(name.lower()) == name
    made = ConfigParser({"n": {"_target_": target_path(name), "spatial_dims": 2}}).get_parsed_content(
        "n", instantiate=False
    )
    assert "LiverSegLib.networks" in str(made.config["_target_"])


def test_monais_are_named_as_monai_finds_them() -> None:
    assert target_path("unet") == "UNet"
    assert target_path("monai.networks.nets.SegResNetDS") == "SegResNetDS"


@pytest.mark.parametrize(
    "name",
    [
        "monai.networks.nets.DoubleConvUNet",
        "LiverSegLib.networks.UNet",
        "LiverSegLib.networks.importlib",
        "LiverSegLib.networks.double_conv_unet.DoubleConvUNet",
        "LiverSegLib.networks_evil.VGG16UNet",
        "LiverSegLib.VGG16UNet",
        "Training.networks.VGG16UNet",
        "LiverSegLib.networks.build_network",
    ],
)
def test_no_other_path_is_trusted(name: str) -> None:
    with pytest.raises(ModelError, match="is not supported"):
        canonical_name(name)


def test_of_several_heads_the_first_counts() -> None:
    full, half = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 4, 4)
    stack = torch.stack([full, torch.rand(2, 3, 8, 8)], 1)  # as DynUNet gives them
    for outputs in (full, [full, half], (full, half), stack):
        assert final_logits(outputs, 4).equal(full)


def test_a_program_imports_monai_without_what_it_never_uses() -> None:
    """A process of its own, as the command line and the worker are; what was hidden can be imported afterwards."""
    code = (
        "import sys; from LiverSegLib.networks import build_network, monai_import; monai_import.shorten(); "
        "network = build_network('UNet', {'spatial_dims': 2, 'in_channels': 1, 'out_channels': 2, 'channels': [4, 8], "
        "'strides': [2]}); print(type(network).__module__, *(n for n in monai_import.UNUSED if n in sys.modules)); "
        "import matplotlib; print(matplotlib.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["monai.networks.nets.unet", "matplotlib"], done.stderr


def test_a_program_builds_every_network_of_monai_from_a_tenth_of_its_modules() -> None:
    code = (
        "import sys; from LiverSegLib.networks import monai_import, registry; monai_import.shorten()\n"
        "shape = {'spatial_dims': 3, 'in_channels': 1, 'out_channels': 2}\n"
        "import importlib; nets = importlib.import_module('monai.networks.nets')\n"
        "classes = [getattr(nets, name) for name in registry.NETWORKS if name not in registry.OURS]\n"
        "print(len(classes), sum(name.startswith('monai.') for name in sys.modules) < 60)\n"
        "import monai; print(monai.networks.nets.UNet is nets.UNet, hasattr(monai.networks, 'no_such_name'))\n"
        "from monai.utils import set_determinism; print(set_determinism.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["7 True", "True False", "monai.utils.misc"], done.stderr


def test_what_a_package_makes_itself_is_there_when_it_is_asked_for() -> None:
    code = (
        "import importlib.metadata; from LiverSegLib.networks import monai_import; monai_import.shorten()\n"
        "import monai; print(monai.__version__ == importlib.metadata.version('monai'))\n"
        "from monai.data import Dataset; print(Dataset.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["True", "monai.data.dataset"], done.stderr


def test_elsewhere_monai_is_imported_whole() -> None:
    before = {name: sys.modules.get(name) for name in monai_import.UNUSED}
    with monai_import.without_unused():
        assert {name: sys.modules.get(name) for name in monai_import.UNUSED} == before
