"""nnU-Net v2's plans.json: one configuration of it as the parts of a `ModelSpec`, older forms included.

What nnU-Net imports by name (networks, layers, functions, readers) is compared with a list of names here; nothing is
imported, and what is not on the list is refused by its name. See nnU-Net's `plans_handler.py` for both forms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from LiverSegLib.models.arguments import Arguments, number, whole
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.models.intensity import Intensity, Normalize, ScalePercentiles, ScaleRange
from LiverSegLib.models.resampling import Resampling
from LiverSegLib.models.text import shown

_DEEPEST = 16
_THICK = 3.0
"""nnU-Net's ANISO_THRESHOLD."""
_MAX_WINDOW, _MAX_WINDOW_VOXELS = 1024, 1 << 26
_SLICES_AT_ONCE = 4
_OVERLAP = 0.5
_READERS = {"SimpleITKIO": "", "NibabelIO": "", "SimpleITKIOWithReorient": "RAS", "NibabelIOWithReorient": "RAS"}
"""By the name of the class that reads images, the axes that it turns them to; "": as in the file."""
_SPLINES, _LINEAR = "resample_data_or_seg_to_shape", "resample_torch_fornnunet"
_NETWORKS = {"PlainConvUNet": "n_conv_per_stage", "ResidualEncoderUNet": "n_blocks_per_stage"}
_HOMES = (
    "",
    "dynamic_network_architectures.architectures.unet",
    "dynamic_network_architectures.architectures.residual_unet",
)
_CONVS = {"torch.nn.modules.conv.Conv2d": 2, "torch.nn.modules.conv.Conv3d": 3}
_NORMS = {
    f"torch.nn.modules.{module}.{kind}{dims}d": name
    for module, kind, name in (("instancenorm", "InstanceNorm", "instance"), ("batchnorm", "BatchNorm", "batch"))
    for dims in (2, 3)
}
_ACTS = {"torch.nn.LeakyReLU": "leakyrelu", "torch.nn.ReLU": "relu"}
_ACTS |= {name.replace("torch.nn", "torch.nn.modules.activation"): act for name, act in _ACTS.items()}
_SHARED = ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage_decoder")
_WITHOUT_EFFECT = {"dropout_op", "dropout_op_kwargs", "deep_supervision"}


def configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with what it inherits.

    Raises:
        ValueError: there is none of that name, or it inherits from itself.
    """
    found: dict[str, Any] = {}
    wanted: Any = name
    for _ in range(_DEEPEST):
        if not isinstance(plans["configurations"].get(wanted), dict):
            raise ValueError(f"it has no configuration {shown(wanted)}, only {shown(list(plans['configurations']))}")
        found = plans["configurations"][wanted] | found
        wanted = plans["configurations"][wanted].get("inherits_from")
        if wanted is None:
            return found
    raise ValueError(f"its configuration {shown(name)} inherits from itself")


def read_configuration(plans: Mapping[str, Any], name: str, axcodes: str, channels: int = 1) -> dict[str, Any]:
    """What the configuration `name` says, by the names of `ModelSpec`'s fields, but for the channels of the network.

    Args:
        plans: the content of plans.json.
        name: of the configuration.
        channels: images of a case.
        axcodes: axes of the array that the model wants, x, y, z; "" for those of the class that read its images.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, OverflowError: something is missing, wrong or not supported.
    """
    plan = configuration(plans, name)
    if plan.get("previous_stage") is not None:
        raise ValueError(f"{shown(name)} is the second stage of a cascade; only models of one stage are supported")
    for key, known in (("preprocessor_name", "DefaultPreprocessor"), ("label_manager", "LabelManager")):
        if plan.get(key, plans.get(key, known)) != known:
            raise ValueError(f"{key} {shown(plan.get(key, plans.get(key)))} is not supported, only {known} is")
    patch = tuple(whole(n, "patch_size", 1, _MAX_WINDOW) for n in _list(plan["patch_size"], "patch_size", (2, 3)))
    if math.prod(patch) > _MAX_WINDOW_VOXELS:
        raise ValueError(f"patch_size {shown(plan['patch_size'])} has too many voxels")
    return {
        **_grid(plans, plan, axcodes, len(patch)),
        **_intensities(plans, plan, channels),
        "resampling": _resampling(plan),
        "inferer": Inferer(
            roi_size=patch, overlap=_OVERLAP, batch_size=_SLICES_AT_ONCE if len(patch) == 2 else 1, evenly=True
        ),
        **_network(plan, len(patch)),
    }


def _list(value: Any, key: str, lengths: tuple[int, ...]) -> list[Any]:
    if not isinstance(value, list) or len(value) not in lengths:
        raise ValueError(f"{key} {shown(value)} is not a list of {' or '.join(map(str, lengths))}")
    return value


def _grid(plans: Mapping[str, Any], plan: Arguments, axcodes: str, dims: int) -> dict[str, Any]:
    """Axes and voxel sizes. nnU-Net's arrays are [z, y, x], then transposed; a 2D network sees the last two axes."""
    order = _list(plans.get("transpose_forward", [0, 1, 2]), "transpose_forward", (3,))
    if sorted(order) != [0, 1, 2]:
        raise ValueError(f"transpose_forward {shown(order)} is no order of three axes")
    reader = plans.get("image_reader_writer", "SimpleITKIO")
    if reader not in _READERS:
        raise ValueError(f"image_reader_writer {shown(reader)} is not supported, only {', '.join(_READERS)} are")
    zyx = (axcodes or _READERS[reader] or "ijk")[::-1]
    codes = [zyx[axis] for axis in order]
    spacing = [number(mm, "spacing", 0.01, 100) for mm in _list(plan["spacing"], "spacing", (dims,))]
    if dims == 2:  # the engine slices along the last axis
        codes, spacing = [*codes[1:], codes[0]], [*spacing, -1.0]
    return {"axcodes": "".join(codes), "pixdim": tuple(spacing)}


def _intensities(plans: Mapping[str, Any], plan: Arguments, count: int) -> dict[str, Any]:
    """The steps of each of `count` channels."""
    schemes = _list(plan["normalization_schemes"], "normalization_schemes", (count,))
    masked = _list(plan.get("use_mask_for_norm", [False] * count), "use_mask_for_norm", (count,))
    if count > 1 and any(masked):
        raise ValueError("use_mask_for_norm with several channels is not supported")
    steps = [_intensity(plans, scheme, bool(masked[n]), str(n)) for n, scheme in enumerate(schemes)]
    return {"intensity": steps[0], "intensities": tuple(steps) if count > 1 else ()}


def _intensity(plans: Mapping[str, Any], scheme: Any, masked: bool, channel: str) -> tuple[Intensity, ...]:
    if scheme == "CTNormalization":
        measured = plans.get("foreground_intensity_properties_per_channel")
        measured = measured or plans["foreground_intensity_properties_by_modality"]
        keys = ("percentile_00_5", "percentile_99_5", "mean", "std")
        low, high, mean, std = (number(measured[channel][key], key, -1e9, 1e9) for key in keys)
        if not low < high or std <= 0:
            raise ValueError(f"the intensities {shown(measured[channel], 200)} make no sense")
        return (ScaleRange(low, high, (low - mean) / std, (high - mean) / std),)
    schemes: dict[str, tuple[Intensity, ...]] = {
        "ZScoreNormalization": (Normalize(nonzero=masked, filled=masked),),
        "RescaleTo01Normalization": (ScalePercentiles(0, 100, 0, 1, clip=False),),
        "RGBTo01Normalization": (ScaleRange(0, 255, 0, 1, clip=False),),
        "NoNormalization": (),
    }
    if scheme not in schemes:
        raise ValueError(f"the normalization {shown(scheme)} is not supported")
    return schemes[scheme]


def _resampling(plan: Arguments) -> Resampling:
    """Images and logits must be treated alike but for the order of their splines."""
    cubic, separate = _function(plan, "resampling_fn_data", 3)
    back, separate_back = _function(plan, "resampling_fn_probabilities", 1)
    if back or separate != separate_back:
        raise ValueError("its resampling_fn_probabilities goes another way back than the image came; not supported")
    return Resampling(edges=True, cubic=cubic, separate_above=separate, normalize_first=True)


def _function(plan: Arguments, key: str, order: int) -> tuple[bool, float]:
    """Whether a resampling function takes cubic splines, and above which ratio of voxel sizes slices are separate."""
    name, given = plan.get(key, _SPLINES), plan.get(f"{key}_kwargs") or {}
    if name not in (_SPLINES, _LINEAR):
        raise ValueError(f"{key} {shown(name)} is not supported, only {_SPLINES} and {_LINEAR} are")
    order = given.get("order", order) if name == _SPLINES else 1
    right = order in (1, 3) and given.get("order_z", 0) == 0 and not given.get("is_seg")
    right &= (
        given.get("mode", "linear") == "linear" and given.get("aniso_axis_mode", "nearest-exact") == "nearest-exact"
    )
    force = given.get("force_separate_z")
    if not right or force not in (None, True, False):
        raise ValueError(f"{key}_kwargs {shown(given, 200)} are not supported")
    threshold = number(given.get("separate_z_anisotropy_threshold", _THICK), "separate_z_anisotropy_threshold", 1, 1e3)
    return order == 3, threshold if force is None else 0.0 if force else math.inf


def _network(plan: Arguments, dims: int) -> dict[str, Any]:
    """Name and arguments of the network; the channels are the data set's."""
    architecture = plan.get("architecture") or _old_architecture(plan, dims)
    home, _, name = str(architecture["network_class_name"]).rpartition(".")
    if name not in _NETWORKS or home not in _HOMES:
        what = shown(architecture["network_class_name"], 120)
        raise ValueError(f"the network {what} is not supported, only {', '.join(_NETWORKS)} are")
    given = dict(architecture["arch_kwargs"])
    if _known(_CONVS, given.pop("conv_op"), "conv_op") != dims:
        raise ValueError(f"conv_op does not fit a patch_size of {dims} sizes")
    stages, blocks = whole(given.pop("n_stages"), "n_stages", 2, 12), _NETWORKS[name]
    found: dict[str, Any] = {"spatial_dims": dims}
    for key in (*_SHARED, blocks):
        value, length = given.pop(key), stages - (key == "n_conv_per_stage_decoder")
        found[key] = _list(value if isinstance(value, list) else [value] * length, key, (length,))
    found["conv_bias"] = given.pop("conv_bias", False)
    found["norm"] = _layer(_NORMS, given.pop("norm_op", None), given.pop("norm_op_kwargs", None), "norm_op")
    found["act"] = _layer(_ACTS, given.pop("nonlin", None), given.pop("nonlin_kwargs", None), "nonlin")
    rest = {key: value for key, value in given.items() if key not in _WITHOUT_EFFECT}
    known = {"nonlin_first"} if name == "PlainConvUNet" else {"stem_channels"}
    wrong = next((key for key in rest if key not in known), None)
    if wrong is not None:
        raise ValueError(f"{wrong} {shown(rest[wrong])} of the network {name} is not supported")
    return {"network": name, "arguments": found | rest}


def _known(table: Mapping[str, Any], name: Any, key: str) -> Any:
    if name not in table:
        raise ValueError(f"{key} {shown(name)} is not supported")
    return table[name]


def _layer(table: Mapping[str, str], name: Any, settings: Any, key: str) -> Any:
    """A layer by MONAI's name with its settings; None for none."""
    return None if name is None else [_known(table, name, key), dict(settings or {})]


def _old_architecture(plan: Arguments, dims: int) -> dict[str, Any]:
    """The network of plans from before nnU-Net 2.3, in the newer form."""
    name, counts = plan["UNet_class_name"], plan["n_conv_per_stage_encoder"]
    base = whole(plan["UNet_base_num_features"], "UNet_base_num_features", 1, 4096)
    most = whole(plan["unet_max_num_features"], "unet_max_num_features", 1, 4096)
    stages = whole(len(counts), "n_conv_per_stage_encoder", 2, 12)
    arguments = {
        "n_stages": stages,
        "features_per_stage": [min(base * 2**n, most) for n in range(stages)],
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": plan["conv_kernel_sizes"],
        "strides": plan["pool_op_kernel_sizes"],
        _NETWORKS.get(name, "n_conv_per_stage"): counts,
        "n_conv_per_stage_decoder": plan["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {"network_class_name": name, "arch_kwargs": arguments}
