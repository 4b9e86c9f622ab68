"""A 3D U-Net that starts where a 2D one ended: its kernels inflated along z.

Each 2D kernel becomes the middle plane of a 3D one that is zero above and below, and no level strides along z. At
first the 3D network therefore gives, slice by slice, exactly what the 2D one gives; training then fills the zeros
with what the neighboring slices tell. (After Carreira & Zisserman, Quo vadis, action recognition?, CVPR 2017, who
repeat kernels along time instead, and Liu et al., 3D anisotropic hybrid network, MICCAI 2018.)
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from LiverSegLib.errors import OutputError
from LiverSegLib.labels import LESION, MAIN_ORGAN
from LiverSegLib.models import ModelPackage, find_package, read_package
from LiverSegLib.models.safetensors_file import write_safetensors
from LiverSegLib.models.weights import loaded_network
from LiverSegLib.networks import build_network, reduction
from Training.fit.run_folder import RunFolder
from Training.packages.export import export
from Training.recipe import Recipe, RecipeError
from Training.recipe.options import CT_ONLY, Preprocess
from Training.recipe.yaml_text import write_recipe

_PATCH, _SLICES, _THICKNESS_MM = 128, 16, 3.0


def inflate(source: str | Path, weights: Path, recipe: Path) -> Recipe:
    """Write the weights and the recipe of a 3D U-Net that gives what a 2D one gives.

    Args:
        source: package of a 2D UNet with batch normalization (path or built-in name), or the folder of such a run.
        weights: the .safetensors file to write, for `train --init`.
        recipe: the YAML file to write; its source of data is a placeholder of phantoms.

    Returns:
        The recipe.

    Raises:
        RecipeError: the network is another one.
        OutputError: a file cannot be written.
        ModelError: there is no such package.
    """
    with tempfile.TemporaryDirectory() as temporary:
        if RunFolder(Path(source)).recipe_file.is_file():
            exported = Path(temporary) / Path(source).resolve().name
            export(Path(source), exported)
            package = read_package(exported)
        else:
            package = read_package(find_package(source))
        arguments = inflated_arguments(package)
        network = loaded_network(package)
    state = inflated_state(network.state_dict(), build_network("UNet", arguments).state_dict())
    title = f"{package.title} in 3D, to fine-tune from its inflated weights: train --init {weights.name}"
    comments = {"sources": "Put your own volumes here (docs/training.md); phantoms only show that it runs."}
    written = write_recipe(recipe, _recipe_data(package, arguments), title, comments)
    try:
        weights.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(weights, state, {"inflated_from": package.title})
    except OSError as error:
        raise OutputError(f"{weights} cannot be written: {error.strerror}.") from error
    return written


def inflated_arguments(package: ModelPackage) -> dict[str, Any]:
    """Keyword arguments of the 3D UNet.

    Raises:
        RecipeError: the package's network is no 2D UNet with batch normalization.
    """
    arguments = package.arguments
    norm = arguments.get("norm", "instance")
    kind = str(norm[0] if isinstance(norm, list | tuple) else norm).lower()
    if package.network != "UNet" or package.spatial_dims != 2:
        raise RecipeError(f"{package.name} is a {package.spatial_dims}D {package.network}; only a 2D UNet is inflated.")
    if kind != "batch":
        raise RecipeError(
            f"{package.name} has {kind} normalization, which looks at whole volumes in 3D; only batch can be inflated."
        )
    inflated = dict(arguments, spatial_dims=3)
    pairs = (stride if isinstance(stride, list | tuple) else [stride, stride] for stride in arguments["strides"])
    inflated["strides"] = [[*pair, 1] for pair in pairs]
    for key in ("kernel_size", "up_kernel_size"):
        if isinstance(arguments.get(key), list | tuple):
            inflated[key] = [*arguments[key], 3]
    return inflated


def inflated_state(flat: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the 3D network.

    Args:
        flat: the 2D network's, kernels [out, in, x, y].
        target: any of the 3D network's, for the shapes; kernels [out, in, x, y, z] with z odd.

    Raises:
        RecipeError: a kernel has no middle plane.
    """
    found = {}
    for name, value in flat.items():
        shape = target[name].shape
        if value.ndim == len(shape):
            found[name] = value.clone()
            continue
        if shape[-1] % 2 == 0:
            raise RecipeError(f"The kernel {name} of size {shape[-1]} has no middle plane; only odd ones are inflated.")
        found[name] = torch.zeros(shape, dtype=value.dtype)
        found[name][..., shape[-1] // 2] = value
    return found


def _recipe_data(package: ModelPackage, arguments: dict[str, Any]) -> dict[str, Any]:
    """A recipe to fine-tune with: the package's own preprocessing, thin slabs, a low learning rate."""
    step = reduction("UNet", arguments)
    patch = [max(_PATCH // n, 1) * n for n in step[:2]] + [_SLICES]
    values = {label.name: label.value for label in package.labels}
    liver = values.get(MAIN_ORGAN, 1)
    preprocess = _preprocess(package)
    is_ct_window = package.modality == "CT" and preprocess["normalize"] == "window"
    fixed = {"spatial_dims", "in_channels", "out_channels"}
    return {
        "name": f"{package.path.name}_3d",
        "spatial_dims": 3,
        "modality": package.modality,
        "labels": {label.value: label.name for label in package.labels},
        "sources": [{"kind": "phantom", "count": 12, "labels": {1: liver, 2: values.get(LESION, liver)}}],
        "preprocess": preprocess,
        "network": {"name": "UNet", "arguments": {k: v for k, v in arguments.items() if k not in fixed}},
        "patch_size": patch,
        "augment": {} if is_ct_window else dict.fromkeys(CT_ONLY, 0),
        "optimization": {"max_epochs": 30, "samples_per_epoch": 256, "batch_size": 2, "learning_rate": 0.0003},
        # Whole slices as in 2D; -1 along z too would take the memory of a whole volume.
        "inference": {"roi_size": [-1, -1, _SLICES], "batch_size": 1},
        "card": {
            "title": f"{package.name}, inflated to 3D",
            "version": "0.1.0",
            "license": package.license,
            "data_source": f"Weights inflated from {package.title} ({package.data_source})",
            "intended_use": package.intended_use,
            "limits": "Those of the 2D model; not evaluated yet.",
        },
    }


def _preprocess(package: ModelPackage) -> dict[str, Any]:
    x, y, z = package.pixdim
    found: dict[str, Any] = {"axcodes": package.axcodes, "pixdim": [x, y, z if z > 0 else _THICKNESS_MM]}
    if max(package.size) > 0:
        found["size"] = [*package.size[:2], -1]
    normalize = Preprocess.normalize_options(package.intensity)
    if normalize is None:
        raise RecipeError(
            f"{package.name} normalizes intensities in a way that recipes do not have; it is not inflated."
        )
    return found | normalize
