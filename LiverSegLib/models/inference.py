"""configs/inference.json or .yaml, read and written: grid, intensities, window and what comes after.

The transforms that a package may ask for are interpreted; anything else is refused by name. What is written runs in
our engine and under `python -m monai.bundle run`; its `$` expressions are for MONAI and are never needed here.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from LiverSegLib.errors import ModelError
from LiverSegLib.models.arguments import Arguments, number, three, whole
from LiverSegLib.models.config import BundleConfig
from LiverSegLib.models.crop import CROP_ARGUMENTS, ForegroundCrop
from LiverSegLib.models.folder import WEIGHTS, is_weights
from LiverSegLib.models.inferer import INFERER_ARGUMENTS, INFERERS, Inferer
from LiverSegLib.models.intensity import INTENSITY, Intensity
from LiverSegLib.models.resampling import MONAI, OWN_AXES, Resampling
from LiverSegLib.models.text import one_line, shown
from LiverSegLib.networks import canonical_name, check_arguments, target_path

if TYPE_CHECKING:
    from LiverSegLib.models.spec import ModelSpec

# These load, reshape, type or save; our engine does so anyway. Their arguments stay unread.
_PLUMBING = {
    "preprocessing": {"LoadImaged", "EnsureChannelFirstd", "EnsureTyped", "CastToTyped", "ToTensord", "ToDeviced"},
    "postprocessing": {"EnsureTyped", "SaveImaged", "ToTensord", "CastToTyped", "KeepLargestConnectedComponentd"},
}
# Arguments that would change the numbers; without them the transforms are those that we have.
_UNSUPPORTED = ("as_closest_canonical", "diagonal", "scale_extent", "min_pixdim", "max_pixdim", "relative", "factor")
# Arguments that do not matter here, and may therefore be expressions.
_INTERPOLATION = {"mode", "align_corners"}
_IGNORED = {"_target_", "keys", "allow_missing_keys", "device", "dtype", "track_meta", "method", *_INTERPOLATION}
_CROP = "CropForegroundd"
# Its numbers do not come from the image.
_SAME_FOR_ALL = "ScaleIntensityRanged"
_KINDS = {"Spacingd": "resample", "Resized": "resample", _CROP: "crop", "DivisiblePadd": "pad"}
_MEMBERS, _MIRROR_AXES = "members", "mirror_axes"
"""Keys of ours: files of the networks of an ensemble, and what MONAI has no word for."""
_MEMBER = r"models/[A-Za-z0-9_-]{1,100}\.safetensors"
_MOST_MEMBERS = 32
_WRONG = (KeyError, TypeError, ValueError, OverflowError)
_MAX_STEPS = 64
_LARGEST_SIZE = 2048


def read_inference(config: BundleConfig) -> dict[str, Any]:
    """What the file says, by the names of `ModelSpec`'s fields.

    Raises:
        ModelError: names the network, transform, inferer or argument that is not supported.
    """
    window = {"inferer": _read_inferer(config)}
    network = _read_network(config)
    if network["arguments"].get("in_channels", 1) != 1:
        _check_channels_apart(config)
    parts = network | _read_preprocessing(config) | window | _read_postprocessing(config)
    return parts | _read_members(config) | {"mirror_axes": _read_mirror_axes(config, window["inferer"])}


def _check_channels_apart(config: BundleConfig) -> None:
    """Refuse intensities that are taken over all channels together: ours are those of each channel."""
    for name, arguments in _steps(config, "preprocessing"):
        own = name not in INTENSITY or name == _SAME_FOR_ALL or arguments.get("channel_wise")
        if not own:
            raise ModelError(
                f"{config.source} normalizes all channels together by {name}; only channel_wise: true is supported."
            )


def _read_network(config: BundleConfig) -> dict[str, Any]:
    key = "network_def" if "network_def" in config.data else "network"
    definition = config.get(key)
    if not isinstance(definition, dict) or not isinstance(definition.get("_target_"), str):
        raise ModelError(f"{config.source}: {key} does not name a network by _target_; repair the package.")
    arguments = {k: v for k, v in definition.items() if not k.startswith("_")}
    name = canonical_name(definition["_target_"])
    if name == "SwinUNETR":
        arguments.pop("img_size", None)  # older MONAI wanted it, newer refuses it
    check_arguments(name, arguments)
    return {"network": name, "arguments": arguments}


def _read_members(config: BundleConfig) -> dict[str, Any]:
    """The files of weights: those of the networks whose mean is taken, or where one is filled from."""
    names = config.data.get(_MEMBERS)
    if names is None:
        return {"weights": _read_weights(config)}
    fits = isinstance(names, list) and 2 <= len(names) <= _MOST_MEMBERS and len({*map(str, names)}) == len(names)
    if not fits or not all(isinstance(name, str) and re.fullmatch(_MEMBER, name) for name in names):
        raise ModelError(
            f"{config.source}: {_MEMBERS} {shown(names)} are not the names of 2 to {_MOST_MEMBERS} safetensors files "
            "in its models folder; repair the package."
        )
    return {"weights": tuple(names), "softmax_mean": True}


def _read_mirror_axes(config: BundleConfig, inferer: Inferer) -> tuple[int, ...]:
    """Axes of the window along which its training saw images mirrored."""
    axes = config.data.get(_MIRROR_AXES, [])
    dims = range(len(inferer.roi_size))
    if not isinstance(axes, list) or not all(type(axis) is int and axis in dims for axis in axes):
        raise ModelError(
            f"{config.source}: {_MIRROR_AXES} {shown(axes)} are not axes of a window of {len(dims)} dimensions; repair "
            "the package."
        )
    return tuple(sorted(set(axes)))


def _read_weights(config: BundleConfig) -> tuple[str, ...]:
    """The file from which the network is filled, where that is another than usual: a path in the bundle's folder."""
    handlers = config.follow(config.data.get("handlers", []), "handlers")
    parts = [*config.data.values(), *(handlers if isinstance(handlers, list) else [])]
    loaders = [part for part in parts if isinstance(part, dict) and part.get("_target_") == "CheckpointLoader"]
    for loader in loaders:
        path = config.resolve(loader.get("load_path"), "the load_path of CheckpointLoader")
        root = config.resolve(config.data.get("bundle_root", "."), "bundle_root")
        if not isinstance(path, str) or not isinstance(root, str):
            raise ModelError(f"{config.source}: the load_path of CheckpointLoader is no path; repair the package.")
        name = posixpath.relpath(path, root or ".")
        if not name.startswith("models/") or not is_weights(name):
            raise ModelError(
                f"{config.source} loads {shown(path)}, which is no file of weights in its models folder; it cannot be "
                "run."
            )
        if name not in WEIGHTS:
            return (name,)
    return ()


def _read_preprocessing(config: BundleConfig) -> dict[str, Any]:
    """The grid, the intensity steps and the padding."""
    grid: dict[str, Any] = {"axcodes": OWN_AXES, "pixdim": (-1.0,) * 3, "size": (-1,) * 3, "divisible": (1,) * 3}
    intensity: list[Intensity] = []
    steps = list(_steps(config, "preprocessing"))
    try:
        order = _order([name for name, _ in steps])
    except ValueError as error:
        raise _wrong(config, "the preprocessing", error) from error
    if order.pop("first"):
        grid["resampling"] = Resampling(normalize_first=True)
    for name, arguments in steps:
        unsupported = next((a for a in _UNSUPPORTED if arguments.get(a)), None)
        if unsupported:
            raise ModelError(f"{config.source} asks for {unsupported} of {name}, which is not supported.")
        try:
            if name in _GRID:
                field, read = _GRID[name]
                grid[field] = read(arguments)
            elif name in INTENSITY:
                intensity.append(INTENSITY[name](arguments))
            elif name == _CROP:
                grid["crop"] = ForegroundCrop.from_monai(arguments, **order)
            else:
                raise _unknown(config, "transform", name)
        except _WRONG as error:
            raise _wrong(config, name, error) from error
    if any(n > 0 and mm > 0 for n, mm in zip(grid["size"], grid["pixdim"], strict=True)):
        raise ModelError(f"{config.source} asks for both a spacing and a size of one axis, which is not supported.")
    return {**grid, "intensity": tuple(intensity)}


def _order(names: Sequence[str]) -> dict[str, bool]:
    """What is done before what, by the names of the steps; a ValueError tells of an order that is not supported.

    Returns:
        `first`: intensities come before resampling; `resampled` and `normalized`: so they do before the foreground is
        cut out.
    """
    kinds = [_KINDS.get(name, "intensity" if name in INTENSITY else "") for name in names]
    before = {kind: set(kinds[: kinds.index(kind)]) if kind in kinds else set() for kind in ("resample", "crop")}
    after = {kind: set(kinds[kinds.index(kind) :]) if kind in kinds else set() for kind in ("resample", "crop")}
    for kind, what in (("resample", "Spacingd or Resized"), ("crop", _CROP)):
        if "intensity" in before[kind] and "intensity" in after[kind]:
            raise ValueError(f"{what} between intensity steps is not supported, only before or after all of them")
    if kinds.count("crop") > 1 or "pad" in before["crop"]:
        raise ValueError(f"{_CROP} is only supported once, and before any padding")
    return {
        "first": "intensity" in before["resample"],
        "resampled": "resample" not in after["crop"],
        "normalized": "intensity" in before["crop"],
    }


def _axcodes(arguments: Arguments) -> str:
    """Axis codes such as "LPS", upper case."""
    value = arguments["axcodes"]
    codes = value.upper() if isinstance(value, str) else ""
    if len(codes) != 3 or any(sum(c in pair for c in codes) != 1 for pair in ("LR", "AP", "IS")):
        raise ValueError(f"axcodes {shown(value)} do not name three different axes")
    return codes


def _pixdim(arguments: Arguments) -> tuple[float, ...]:
    """Voxel size in mm; a value <= 0 keeps the image's."""
    numbers = tuple(number(n, "pixdim", -1e9, 100) for n in three(arguments, "pixdim"))
    if any(0 < n < 0.1 for n in numbers):
        raise ValueError(f"pixdim {shown(arguments['pixdim'])} is below 0.1 mm")
    return numbers


def _size(arguments: Arguments) -> tuple[int, ...]:
    """Voxels; a value <= 0 keeps the image's. Only the interpolation that the engine has."""
    numbers = tuple(int(number(n, "spatial_size", -1e9, 1e9)) for n in three(arguments, "spatial_size"))
    if max(numbers) > _LARGEST_SIZE:
        raise ValueError(f"spatial_size {list(numbers)} is not three sizes of at most {_LARGEST_SIZE} voxels")
    if arguments.get("mode", "area") not in ("bilinear", "trilinear") or arguments.get("align_corners"):
        raise ValueError("only the mode bilinear without align_corners is supported")
    if arguments.get("anti_aliasing") or arguments.get("size_mode", "all") != "all":
        raise ValueError("anti_aliasing and size_mode longest are not supported")
    return numbers


def _divisible(arguments: Arguments) -> tuple[int, ...]:
    """What the grid is padded to multiples of."""
    return tuple(whole(n, "k", 1, 256) for n in three(arguments, "k"))


# The transforms of the grid: the field of `ModelSpec` that each sets, and how it is read.
_GRID = {
    "Orientationd": ("axcodes", _axcodes),
    "Spacingd": ("pixdim", _pixdim),
    "Resized": ("size", _size),
    "DivisiblePadd": ("divisible", _divisible),
}


def _read_postprocessing(config: BundleConfig) -> dict[str, Any]:
    """Whether probabilities, and whether labels (nearest neighbor), are what is brought back."""
    softmax = nearest = inverted = False
    for name, arguments in _steps(config, "postprocessing") if "postprocessing" in config.data else ():
        if name == "Activationsd":
            if arguments.get("sigmoid"):
                raise ModelError(f"{config.source} ends in sigmoid channels; only softmax classes are supported.")
            softmax = softmax or (bool(arguments.get("softmax")) and not inverted)
        elif name == "AsDiscreted":
            if not arguments.get("argmax"):
                raise ModelError(f"{config.source} ends in thresholds; only argmax classes are supported.")
            nearest = nearest or not inverted
        elif name == "Invertd":
            inverted = True
            interpolation = arguments.get("nearest_interp", True)  # MONAI's default
            if isinstance(interpolation, list) and interpolation:
                interpolation = interpolation[0]
            nearest = nearest or bool(interpolation)
        else:
            raise _unknown(config, "transform", name)
    return {"softmax": softmax, "nearest": nearest and inverted}


def _read_inferer(config: BundleConfig) -> Inferer:
    found = config.data.get("inferer")
    if not isinstance(found, dict):
        raise ModelError(f"{config.source} has no inferer; it is not a package that can be run.")
    arguments = config.resolve({k: v for k, v in found.items() if k in INFERER_ARGUMENTS}, "inferer")
    name = _short_name(str(arguments.get("_target_", "")), config)
    if name not in INFERERS:
        raise _unknown(config, "inferer", name or "nothing")
    try:
        return Inferer.from_monai(name, arguments)
    except _WRONG as error:
        raise _wrong(config, "the inferer", error) from error


def _unknown(config: BundleConfig, what: str, name: str) -> ModelError:
    return ModelError(f"{config.source} asks for the {what} {one_line(name, 60)}, which is not supported.")


def _wrong(config: BundleConfig, what: str, error: Exception) -> ModelError:
    return ModelError(f"{config.source}: {what} has a missing or wrong argument: {one_line(error, 300)}.")


def _short_name(target: str, config: BundleConfig) -> str:
    """The class name of a _target_, which must be MONAI's own."""
    module, _, name = target.rpartition(".")
    if module and module.partition(".")[0] != "monai":
        raise ModelError(f"{config.source} asks for {one_line(target, 60)}, which is not supported.")
    return name


def _steps(config: BundleConfig, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and needed arguments of each transform of `key` that matters and is not switched off."""
    found = config.data.get(key)
    if not isinstance(found, dict) or not isinstance(found.get("transforms"), list):
        raise ModelError(f"{config.source} has no list of transforms in {key}; it cannot be run.")
    if len(found["transforms"]) > _MAX_STEPS:
        raise ModelError(f"{config.source} has {len(found['transforms'])} transforms in {key}; {_MAX_STEPS} are run.")
    for step in found["transforms"]:
        if not isinstance(step, dict) or not isinstance(step.get("_target_"), str):
            raise ModelError(f"{config.source}: a step of {key} names no transform by _target_.")
        name = _short_name(step["_target_"], config)
        where = f"{key}.{name}"
        if name in _PLUMBING[key]:
            continue
        # MONAI takes the text "true" for true here.
        if str(config.resolve(step.get("_disabled_", False), f"{where}._disabled_")).strip().lower() == "true":
            continue
        needed = {"nearest_interp"} & step.keys() if name == "Invertd" else step.keys() - _IGNORED
        if name == _CROP:
            needed &= CROP_ARGUMENTS
        if name == "Resized":  # its default is another interpolation than ours
            needed |= _INTERPOLATION & step.keys()
        as_written = {"select_fn"} & needed  # what is foreground: an expression that is looked up
        resolved = {k: config.resolve(step[k], f"{where}.{k}") for k in sorted(needed - as_written)}
        yield name, resolved | {k: step[k] for k in as_written}


def write_inference(spec: ModelSpec, members: Sequence[str] = ()) -> dict[str, Any]:
    """The package's inference.json.

    Args:
        spec: what the package says.
        members: files of the weights of several networks, the mean of whose probabilities is taken; () for one network
            in the usual file.

    Raises:
        ModelError: the model works as MONAI's transforms and inferers do not.
    """
    own_way = replace(spec.resampling, normalize_first=False) != MONAI or spec.intensities != ()
    if own_way or spec.regions or spec.inferer.evenly or spec.inferer.mirror:
        raise ModelError(
            f"{spec.name} resamples or looks otherwise than MONAI's bundles can say; share its own folder."
        )
    parts = {"device": "@device", "val_data_loader": "@dataloader", "network": "@network", "inferer": "@inferer"}
    ours = {_MIRROR_AXES: list(spec.mirror_axes)} if spec.mirror_axes else {}
    return (
        ours
        | {
            "imports": ["$import glob", "$import numpy", "$import torch", "$from safetensors.torch import load_file"],
            "bundle_root": ".",
            "checkpoint": "$@bundle_root + '/models/model.safetensors'",
            "dataset_dir": "$@bundle_root + '/data'",
            "output_dir": "$@bundle_root + '/eval'",
            "datalist": _datalist(spec),
            "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
            "network_def": _component(target_path(spec.network), **spec.arguments),
            "network": "$@network_def.to(@device)",
            "preprocessing": _component("Compose", transforms=_preprocessing(spec)),
            "dataset": _component("Dataset", data="$[{'image': i} for i in @datalist]", transform="@preprocessing"),
            "dataloader": _component("DataLoader", dataset="@dataset", batch_size=1, shuffle=False, num_workers=0),
            "inferer": spec.inferer.to_monai(),
            "postprocessing": _component("Compose", transforms=_postprocessing(spec)),
            "evaluator": _component("SupervisedEvaluator", **parts, postprocessing="@postprocessing", amp=False),
            "initialize": ["$@network.load_state_dict(load_file(@checkpoint))"],
            "run": ["$@evaluator.run()"],
        }
        | (_ensemble(members) if members else {})
    )


def _ensemble(members: Sequence[str]) -> dict[str, Any]:
    """What differs where the mean of several networks is taken; MONAI's runner needs this library for it."""
    mean = "$from LiverSegLib.networks.mean import mean_of_softmax"
    return {
        "imports": ["$import glob", "$import numpy", "$import torch", mean],
        _MEMBERS: list(members),
        "network": f"$mean_of_softmax(@network_def, @bundle_root, @{_MEMBERS}).to(@device)",
        "initialize": ["$@network.eval()"],
    }


def _datalist(spec: ModelSpec) -> str:
    """Each file a case; of several channels each folder, whose files in the order of their names are the channels."""
    if len(spec.inputs) == 1:
        return "$sorted(glob.glob(@dataset_dir + '/*.nii*'))"
    return "$[sorted(glob.glob(case + '*.nii*')) for case in sorted(glob.glob(@dataset_dir + '/*/'))]"


def _preprocessing(spec: ModelSpec) -> list[dict[str, Any]]:
    """Resampling is by mm, by number of voxels, or some axes by each."""
    turn = [] if spec.axcodes == OWN_AXES else [_image("Orientationd", axcodes=spec.axcodes)]
    resample = []
    if max(spec.pixdim) > 0 or max(spec.size) <= 0:
        resample.append(_image("Spacingd", pixdim=list(spec.pixdim), mode="bilinear"))
    if max(spec.size) > 0:
        resample.append(_image("Resized", spatial_size=list(spec.size), mode="bilinear"))
    apart = {"channel_wise": True} if len(spec.inputs) > 1 else {}
    intensity = [step.to_monai() for step in spec.intensity]
    intensity = [step if step["_target_"] == _SAME_FOR_ALL else step | apart for step in intensity]
    groups = [intensity, resample] if spec.resampling.normalize_first else [resample, intensity]
    if spec.crop is not None:
        groups.insert(int(spec.crop.resampled) + int(spec.crop.normalized), [spec.crop.to_monai()])
    steps = [_image("LoadImaged"), _image("EnsureChannelFirstd"), *turn, *(step for group in groups for step in group)]
    return [*steps, _image("DivisiblePadd", k=list(spec.divisible)), _image("EnsureTyped")]


def _postprocessing(spec: ModelSpec) -> list[dict[str, Any]]:
    back = {"transform": "@preprocessing", "orig_keys": "image", "nearest_interp": spec.nearest, "to_tensor": True}
    save = {"output_dir": "@output_dir", "output_ext": ".nii.gz", "output_dtype": "$numpy.uint8"}
    return [
        *([_component("Activationsd", keys="pred", softmax=True)] if spec.softmax else []),
        _component("Invertd", keys="pred", **back),
        _component("AsDiscreted", keys="pred", argmax=True),
        _component("SaveImaged", keys="pred", **save, output_postfix="seg", separate_folder=False),
    ]


def _component(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": name, **arguments}


def _image(name: str, **arguments: Any) -> dict[str, Any]:
    return _component(name, keys="image", **arguments)
