"""Networks by name: MONAI's own, built from data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from LiverSegLib.errors import ModelError

if TYPE_CHECKING:
    import torch

# name (MONAI's class) -> the keyword arguments that data may set.
_COMMON = {"spatial_dims", "in_channels", "out_channels", "act", "norm", "dropout"}
NETWORKS: dict[str, frozenset[str]] = {
    "UNet": frozenset(
        _COMMON
        | {"channels", "strides", "kernel_size", "up_kernel_size", "num_res_units", "bias", "adn_ordering"}
    ),
    "AttentionUnet": frozenset(
        (_COMMON - {"act", "norm"}) | {"channels", "strides", "kernel_size", "up_kernel_size"}
    ),
    "SegResNet": frozenset(
        (_COMMON - {"dropout"})
        | {
            "init_filters", "dropout_prob", "num_groups", "use_conv_final",
            "blocks_down", "blocks_up", "upsample_mode",
        }
    ),
    "DynUNet": frozenset(
        (_COMMON - {"act", "norm"})
        | {
            "kernel_size", "strides", "upsample_kernel_size", "filters", "norm_name", "act_name",
            "deep_supervision", "deep_supr_num", "res_block", "trans_bias",
        }
    ),
    "BasicUNet": frozenset(_COMMON | {"features", "bias", "upsample"}),
    "SwinUNETR": frozenset(
        {
            "spatial_dims", "in_channels", "out_channels", "patch_size", "depths", "num_heads", "window_size",
            "qkv_bias", "mlp_ratio", "feature_size", "norm_name", "drop_rate", "attn_drop_rate",
            "dropout_path_rate", "normalize", "use_checkpoint", "downsample", "use_v2",
        }
    ),
}  # fmt: skip
_LARGEST = 4096
_BY_LOWER_NAME = {name.lower(): name for name in NETWORKS}


def canonical_name(name: str) -> str:
    """MONAI's spelling of a network name; a full path such as `monai.networks.nets.UNet` is accepted.

    Raises:
        ModelError: the network is not on the list.
    """
    module, _, short = name.rpartition(".")
    trusted = not module or module == "monai.networks.nets" or module.startswith("monai.networks.nets.")
    found = _BY_LOWER_NAME.get(short.lower()) if trusted else None
    if found is None:
        raise ModelError(f"The network {name!r} is not supported; use one of {', '.join(sorted(NETWORKS))}.")
    return found


def check_arguments(name: str, arguments: dict[str, Any]) -> None:
    """Refuse arguments that the network does not take, or that are not plain data.

    Raises:
        ModelError: names the argument.
    """
    for key, value in arguments.items():
        if key not in NETWORKS[name]:
            raise ModelError(f"The network {name} does not take {key!r}; remove it from the package.")
        if not _is_plain(value):
            raise ModelError(f"The network {name} cannot be built with {key} = {str(value)[:60]}; repair the package.")


def _is_plain(value: Any) -> bool:
    """Whether a value is data of a sensible size; a network of a million layers would fill the memory."""
    if isinstance(value, str):
        return len(value) <= 100
    if isinstance(value, int | float):
        return abs(value) <= _LARGEST
    if isinstance(value, list | tuple):
        return len(value) <= 32 and all(_is_plain(v) for v in value)
    if isinstance(value, dict):
        return len(value) <= 32 and all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    return value is None


def build_network(name: str, arguments: dict[str, Any]) -> torch.nn.Module:
    """Build a network with random weights.

    Args:
        name: a key of `NETWORKS`, upper or lower case.
        arguments: keyword arguments of that class, plain data.

    Raises:
        ModelError: unknown network or argument, or values that the network cannot be built from.
    """
    from monai.networks import nets  # pulls all of MONAI, so only where a network is built

    name = canonical_name(name)
    check_arguments(name, arguments)
    try:
        network: torch.nn.Module = getattr(nets, name)(**arguments)
    except Exception as error:  # MONAI's networks check little of what they are given
        raise ModelError(f"The network {name} cannot be built from {arguments}: {error}") from error
    return network
