"""What the arguments of networks may be: kinds, lengths and ranges, so that nothing endless is ever built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Check = Callable[[Any], bool]
_MAX_LEVELS = 12
_LARGEST = 4096


def _whole(low: int, high: int) -> Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _real(low: float, high: float) -> Check:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _list(check: Check, longest: int) -> Check:
    return lambda value: isinstance(value, list | tuple) and len(value) <= longest and all(map(check, value))


def _or(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def _none(value: Any) -> bool:
    return value is None


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _word(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 40


_SETTING = _or(_flag, _none, _word, _real(-_LARGEST, _LARGEST), _list(_real(-_LARGEST, _LARGEST), 4))


def _settings(value: Any) -> bool:
    return isinstance(value, dict) and len(value) <= 8 and all(_word(k) and _SETTING(v) for k, v in value.items())


def _layer(value: Any) -> bool:
    """A layer by name, alone or with settings: "batch", ["group", {"num_groups": 8}], or none."""
    if isinstance(value, list | tuple):
        return len(value) == 2 and _word(value[0]) and _settings(value[1])
    return value is None or _word(value)


_CHANNELS = _list(_whole(1, _LARGEST), _MAX_LEVELS)
_FACTOR = _or(_whole(1, 16), _list(_whole(1, 16), 3))
_KERNEL = _or(_whole(1, 31), _list(_whole(1, 31), 3))
_BLOCKS = _list(_whole(0, 32), _MAX_LEVELS)
_RATE = _real(0, 1)
ARGUMENTS: dict[str, Check] = {
    "spatial_dims": _whole(1, _LARGEST),  # the package tells more of what is wrong with it
    "in_channels": _whole(1, _LARGEST),
    "out_channels": _whole(1, _LARGEST),
    "act": _layer,
    "norm": _layer,
    "norm_name": _layer,
    "act_name": _layer,
    "dropout": _or(_RATE, _none),
    "dropout_prob": _or(_RATE, _none),
    "drop_rate": _RATE,
    "attn_drop_rate": _RATE,
    "dropout_path_rate": _RATE,
    "channels": _CHANNELS,
    "features": _CHANNELS,
    "decoder_channels": _CHANNELS,
    "filters": _or(_CHANNELS, _none),
    "strides": _list(_FACTOR, _MAX_LEVELS),
    "upsample_kernel_size": _list(_FACTOR, _MAX_LEVELS),
    "kernel_size": _or(_whole(1, 31), _list(_KERNEL, _MAX_LEVELS)),
    "up_kernel_size": _KERNEL,
    "num_res_units": _whole(0, 16),
    "init_filters": _whole(1, 1024),
    "num_groups": _whole(1, 1024),
    "blocks_down": _BLOCKS,
    "blocks_up": _or(_BLOCKS, _none),
    "dsdepth": _whole(1, _MAX_LEVELS),
    "deep_supr_num": _whole(0, _MAX_LEVELS),
    "scales": _or(_whole(1, _MAX_LEVELS), _none),
    "resolution": _or(_list(_real(0.001, 1000), 3), _none),
    "patch_size": _FACTOR,
    "window_size": _or(_whole(1, 64), _list(_whole(1, 64), 3)),
    "depths": _list(_whole(1, 64), 8),
    "num_heads": _list(_whole(1, 256), 8),
    "feature_size": _whole(1, 1024),
    "mlp_ratio": _real(0.01, 64),
    "bias": _flag,
    "trans_bias": _flag,
    "res_block": _flag,
    "use_conv_final": _flag,
    "deep_supervision": _flag,
    "batch_norm": _flag,
    "qkv_bias": _flag,
    "normalize": _flag,
    "use_checkpoint": _flag,
    "use_v2": _flag,
    "adn_ordering": _word,
    "upsample": _word,
    "upsample_mode": _word,
    "downsample": _word,
}
"""Every argument that a network may take. Networks that share one share its meaning."""
