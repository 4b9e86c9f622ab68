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
_MEANINGS: list[tuple[Check, str]] = [
    (_whole(1, _LARGEST), "spatial_dims in_channels out_channels"),  # the package tells more of what is wrong with it
    (_layer, "act norm norm_name act_name"),
    (_or(_RATE, _none), "dropout dropout_prob"),
    (_RATE, "drop_rate attn_drop_rate dropout_path_rate"),
    (_CHANNELS, "channels features decoder_channels features_per_stage"),
    (_or(_CHANNELS, _none), "filters"),
    (_list(_KERNEL, _MAX_LEVELS), "kernel_sizes"),
    (_list(_whole(1, 32), _MAX_LEVELS), "n_conv_per_stage n_blocks_per_stage n_conv_per_stage_decoder"),
    (_or(_whole(1, _LARGEST), _none), "stem_channels"),
    (_list(_FACTOR, _MAX_LEVELS), "strides upsample_kernel_size"),
    (_or(_whole(1, 31), _list(_KERNEL, _MAX_LEVELS)), "kernel_size"),
    (_KERNEL, "up_kernel_size"),
    (_whole(0, 16), "num_res_units"),
    (_whole(1, 1024), "init_filters num_groups feature_size"),
    (_BLOCKS, "blocks_down"),
    (_or(_BLOCKS, _none), "blocks_up"),
    (_whole(1, _MAX_LEVELS), "dsdepth"),
    (_whole(0, _MAX_LEVELS), "deep_supr_num"),
    (_or(_whole(1, _MAX_LEVELS), _none), "scales"),
    (_or(_list(_real(0.001, 1000), 3), _none), "resolution"),
    (_FACTOR, "patch_size"),
    (_or(_whole(1, 64), _list(_whole(1, 64), 3)), "window_size"),
    (_list(_whole(1, 64), 8), "depths"),
    (_list(_whole(1, 256), 8), "num_heads"),
    (_real(0.01, 64), "mlp_ratio"),
    (_flag, "bias trans_bias res_block use_conv_final deep_supervision batch_norm qkv_bias normalize"),
    (_flag, "use_checkpoint use_v2 conv_bias nonlin_first align_corners gate"),
    (_word, "adn_ordering upsample upsample_mode downsample"),
]
ARGUMENTS = {name: check for check, names in _MEANINGS for name in names.split()}
"""Every argument that a network may take. Networks that share one share its meaning."""
