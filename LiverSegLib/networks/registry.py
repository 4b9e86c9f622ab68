"""Networks by name, built from data: MONAI's own, and ours where MONAI has none."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from LiverSegLib.errors import ModelError
from LiverSegLib.networks.arguments import ARGUMENTS
from LiverSegLib.networks.monai_import import without_unused

if TYPE_CHECKING:
    import torch


_SHAPE = "spatial_dims in_channels out_channels"
_COMMON = f"{_SHAPE} act norm dropout"
_NNUNET = f"{_SHAPE} features_per_stage kernel_sizes strides n_conv_per_stage_decoder conv_bias norm act"
_ARGUMENTS = {
    "UNet": f"{_COMMON} channels strides kernel_size up_kernel_size num_res_units bias adn_ordering",
    "AttentionUnet": f"{_SHAPE} dropout channels strides kernel_size up_kernel_size",
    "SegResNet": f"{_SHAPE} act norm init_filters dropout_prob num_groups use_conv_final blocks_down blocks_up "
    "upsample_mode",
    "SegResNetDS": f"{_SHAPE} act norm init_filters blocks_down blocks_up dsdepth upsample_mode resolution",
    "DynUNet": f"{_SHAPE} dropout kernel_size strides upsample_kernel_size filters norm_name act_name "
    "deep_supervision deep_supr_num res_block trans_bias",
    "BasicUNet": f"{_COMMON} features bias upsample",
    "SwinUNETR": f"{_SHAPE} patch_size depths num_heads window_size qkv_bias mlp_ratio feature_size norm_name "
    "drop_rate attn_drop_rate dropout_path_rate normalize use_checkpoint downsample use_v2",
    "DoubleConvUNet": f"{_COMMON} channels upsample align_corners gate",
    "VGG16UNet": f"{_SHAPE} decoder_channels batch_norm",
    "PyramidUNet": f"{_COMMON} channels scales",
    "PlainConvUNet": f"{_NNUNET} n_conv_per_stage nonlin_first",
    "ResidualEncoderUNet": f"{_NNUNET} n_blocks_per_stage stem_channels",
}
NETWORKS = {name: frozenset(arguments.split()) for name, arguments in _ARGUMENTS.items()}
"""By the name of the class, the keyword arguments that data may set."""
OURS = {
    "DoubleConvUNet": "double_conv_unet",
    "VGG16UNet": "vgg_unet",
    "PyramidUNet": "pyramid_unet",
    "PlainConvUNet": "nnunet_unets",
    "ResidualEncoderUNet": "nnunet_unets",
}
"""The networks of this package and their modules, which are imported with the first use because they need torch."""
_NEEDED = {"SwinUNETR": "einops"}
"""What MONAI imports for a network only when it runs, and not every place that LiverSeg runs in has."""
MAX_PARAMETERS = 500_000_000
"""Numbers in one network; the largest in use for medical images have a fifth of that."""


def canonical_name(name: str) -> str:
    """The registry's spelling of a network name.

    A full path is accepted too: `monai.networks.nets.UNet` for MONAI's, `LiverSegLib.networks.VGG16UNet` for ours.

    Raises:
        ModelError: the network is not on the list.
    """
    module, _, short = name.rpartition(".")
    found = next((known for known in NETWORKS if known.lower() == short.lower()), "")
    of_theirs = found not in OURS and f"{module}.".startswith("monai.networks.nets.")
    trusted = not module or of_theirs or (found in OURS and module == "LiverSegLib.networks")
    if not found or not trusted:
        raise ModelError(f"The network {name!r} is not supported; use one of {', '.join(sorted(NETWORKS))}.")
    return found


def target_path(name: str) -> str:
    """What a package writes as the network's `_target_`: MONAI finds its own by name, ours by their path."""
    name = canonical_name(name)
    return f"LiverSegLib.networks.{name}" if name in OURS else name


def check_arguments(name: str, arguments: dict[str, Any]) -> None:
    """Refuse arguments that the network does not take, or that are not plain data.

    Raises:
        ModelError: names the argument.
    """
    for key, value in arguments.items():
        if key not in NETWORKS[name]:
            raise ModelError(f"The network {name} does not take {key[:60]!r}; remove it from the package.")
        if not ARGUMENTS[key](value):
            raise ModelError(f"The network {name} cannot be built with {key} = {str(value)[:60]}; repair the package.")


def reduction(name: str, arguments: dict[str, Any]) -> tuple[int, ...]:
    """What whole images must be multiples of, one number a spatial axis: how far the deepest level is reduced.

    Args:
        name: a key of `NETWORKS`.
        arguments: keyword arguments of the network; `spatial_dims` is 3 where they lack it.
    """
    name = canonical_name(name)
    dims = int(arguments.get("spatial_dims", 3))
    channels, stages = arguments.get("channels", ()), len(arguments.get("blocks_down", (1, 2, 2, 4)))
    strides: Sequence[Any]
    if name in ("DynUNet", "PlainConvUNet", "ResidualEncoderUNet"):
        strides = arguments["strides"]
    elif name in ("UNet", "AttentionUnet"):
        strides = arguments["strides"][: len(channels) - 1]
    elif name == "SegResNetDS" and arguments.get("resolution"):
        with without_unused():
            from monai.networks.nets.segresnet_ds import scales_for_resolution

        # It leaves out the thick axis at its first levels.
        strides = list(scales_for_resolution(arguments["resolution"], n_stages=stages))[:-1]
    elif name in ("SegResNet", "SegResNetDS"):
        strides = [2] * (stages - 1)
    elif name == "SwinUNETR":
        strides = [arguments.get("patch_size", 2)] * 5
    else:  # without channels: as many levels as the classes have then
        strides = [2] * (len(channels) - 1 if channels else 3 if name == "DoubleConvUNet" else 4)
    each = [stride if isinstance(stride, list | tuple) else [stride] * dims for stride in strides]
    return tuple(math.prod(map(int, axis)) for axis in zip([1] * dims, *each, strict=True))


def build_network(name: str, arguments: dict[str, Any]) -> torch.nn.Module:
    """Build a network with random weights.

    Args:
        name: a key of `NETWORKS`, upper or lower case.
        arguments: keyword arguments of that class, plain data.

    Raises:
        ModelError: unknown network or argument, values that the network cannot be built from, too large ones, or it
            needs a package that is not installed.
    """
    network_outline(name, arguments)
    needed = _NEEDED.get(canonical_name(name))
    if needed is not None and importlib.util.find_spec(needed) is None:
        raise ModelError(
            f"The network {name} needs the Python package {needed}, which is not there; install it (pip install "
            f"{needed}; in Slicer's Python console: slicer.util.pip_install('{needed}'))."
        )
    return _built(canonical_name(name), arguments)


def final_logits(outputs: Any, ndim: int) -> Any:
    """The full-size logits of what a network gives: of several heads (a list, or DynUNet's stack) the first.

    Args:
        outputs: logits [N, C, ...], a list of them, or a stack [N, heads, C, ...].
        ndim: how many axes the logits have.
    """
    first = outputs[0] if isinstance(outputs, list | tuple) else outputs
    return first[:, 0] if getattr(first, "ndim", ndim) == ndim + 1 else first


def network_outline(name: str, arguments: dict[str, Any]) -> torch.nn.Module:
    """The network without its numbers: names and shapes only, on torch's meta device, which needs no memory.

    Raises:
        ModelError: as `build_network`.
    """
    import torch

    name = canonical_name(name)
    check_arguments(name, arguments)
    with torch.random.fork_rng(devices=[]), torch.device("meta"), _number_lists_on_cpu():
        network = _built(name, arguments)
    count = sum(tensor.numel() for tensor in network.state_dict().values())
    if count > MAX_PARAMETERS:
        raise ModelError(
            f"The network {name} of the package has {count / 1e9:.1f} billion numbers, and {MAX_PARAMETERS / 1e9:.1f} "
            f"are allowed; it cannot be built from {_short(arguments)}."
        )
    return network


def _built(name: str, arguments: dict[str, Any]) -> torch.nn.Module:
    # MONAI is imported only where a network is built: it takes seconds.
    with without_unused():
        home = importlib.import_module(f"LiverSegLib.networks.{OURS[name]}" if name in OURS else "monai.networks.nets")
        kind = getattr(home, name)  # imports its module, where MONAI is imported short
    try:
        network: torch.nn.Module = kind(**arguments)
    except Exception as error:  # networks check little of what they are given
        raise ModelError(f"The network {name} cannot be built from {_short(arguments)}: {_short(error)}.") from error
    return network


def _number_lists_on_cpu() -> AbstractContextManager[Any]:
    """While it lasts, `torch.linspace` gives real numbers: SwinUNETR makes a list of them while it is built."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if func is torch.linspace:
                kwargs["device"] = "cpu"
            return func(*args, **kwargs)

    return Mode()


def _short(value: Any) -> str:
    """One line of bounded length without a full stop."""
    text = " ".join(str(value).split()).rstrip(".")
    return text if len(text) <= 300 else text[:297] + "..."
