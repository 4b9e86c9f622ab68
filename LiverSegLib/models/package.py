"""Model packages: folders that hold a model's description, its weights and their checksums, read and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from LiverSegLib.errors import ModelError
from LiverSegLib.io.atomic import atomic_file
from LiverSegLib.models.archive import extracted, has_member, is_folder, read_member
from LiverSegLib.models.auto3dseg import read_auto3dseg
from LiverSegLib.models.checksums import write_checksums
from LiverSegLib.models.config import BundleConfig, parse_json, parse_yaml
from LiverSegLib.models.family import AUTO3DSEG, BUNDLE, FAMILIES, NNUNET, family_of, model_folder
from LiverSegLib.models.folder import (
    CARD,
    INFERENCE,
    INFERENCE_YAML,
    LICENSE,
    MAX_TEXT,
    METADATA,
    WEIGHTS,
    PackageFolder,
)
from LiverSegLib.models.inference import read_inference, write_inference
from LiverSegLib.models.metadata import calibration_entry, read_metadata, write_metadata
from LiverSegLib.models.nnunet import read_nnunet, read_nnunet_description
from LiverSegLib.models.safetensors_file import write_safetensors
from LiverSegLib.models.sidecar import read_sidecar, with_sidecar
from LiverSegLib.models.spec import NOT_STATED, ModelDescription, ModelPackage, ModelSpec
from LiverSegLib.models.text import one_line

if TYPE_CHECKING:
    import torch

    from LiverSegLib.quality import Calibration

_LONGEST_NAME = 100


def read_package(path: Path | str) -> ModelPackage:
    """Read the model in a folder or `.zip`; nothing of it is executed and its weights are not loaded yet.

    Raises:
        ModelError: the package is incomplete or unsafe, or needs something that is not supported.
    """
    folder = model_folder(extracted(Path(path)))
    return with_sidecar(_READERS[_family(folder)](folder), read_sidecar(PackageFolder(folder)))


def read_description(path: Path | str) -> ModelDescription:
    """What a model in a folder or `.zip` says of itself; a bundle's zip is not unpacked, and no weights are read.

    Raises:
        ModelError: it is no package, or what describes it is damaged.
    """
    path = Path(path)
    if not is_folder(path) and not any(has_member(path, name) for name in _MARKS):
        content = read_member(path, METADATA, MAX_TEXT)
        return read_metadata(parse_json(content, path / METADATA), one_line(path.stem, _LONGEST_NAME))
    folder = model_folder(extracted(path))
    return with_sidecar(_DESCRIBERS[_family(folder)](folder), read_sidecar(PackageFolder(folder)))


def _family(folder: Path) -> str:
    """The name of the family; what is no package is told by the reader of bundles."""
    return (family_of(folder) or BUNDLE).name


def _read_bundle(folder: Path) -> ModelPackage:
    files = PackageFolder(folder)
    files.check_listed(weights=False)
    description = _read_bundle_description(folder)
    name = one_line(folder.name, _LONGEST_NAME)
    inference = read_inference(BundleConfig(_configuration(files), f"The package {name}"))
    license_line = _license_line(files)
    if inference["arguments"].get("in_channels") == 1:  # whatever names it has
        description = replace(description, inputs=description.inputs[:1])
    if read_sidecar(files).mirror:
        inference["inferer"] = replace(inference["inferer"], mirror=inference["mirror_axes"])
    found = ModelPackage(path=folder, **vars(description), **inference)
    _check_dimensions(found, name)
    return found if found.license != NOT_STATED else replace(found, license=license_line)


def _read_bundle_description(folder: Path) -> ModelDescription:
    return read_metadata(PackageFolder(folder).read_json(METADATA), one_line(folder.name, _LONGEST_NAME))


def _configuration(files: PackageFolder) -> dict[str, Any]:
    """What the bundle's configuration of inference says: that in JSON, or else in YAML."""
    name = next((name for name in INFERENCE_YAML if files.has(name)), None)
    if name is None or files.has(INFERENCE):
        return files.read_json(INFERENCE)
    return parse_yaml(files.read(name), files.path / name)


_READERS: dict[str, Callable[[Path], ModelPackage]] = {
    BUNDLE.name: _read_bundle,
    NNUNET.name: read_nnunet,
    AUTO3DSEG.name: read_auto3dseg,
}
_MARKS = tuple(family.marks[0][0] for family in FAMILIES.values() if family is not BUNDLE)
"""Files by which a zip is known to be no bundle."""
_DESCRIBERS: dict[str, Callable[[Path], ModelDescription]] = {
    BUNDLE.name: _read_bundle_description,
    NNUNET.name: read_nnunet_description,
    AUTO3DSEG.name: read_auto3dseg,
}


def _check_dimensions(package: ModelPackage, name: str) -> None:
    """The network, the window and the channels must be of one model."""
    dims = package.arguments.get("spatial_dims", 3)
    inputs, outputs = package.arguments.get("in_channels"), package.arguments.get("out_channels")
    sizes, channels = package.spatial_dims, package.channels
    if dims not in (2, 3):
        wrong = f"has spatial_dims {dims!r}; 2 or 3 is needed."
    elif inputs != len(package.inputs):
        told = "only one" if len(package.inputs) == 1 else f"{len(package.inputs)}"
        wrong = f"takes {inputs} input channels, but metadata.json names {told}; repair the package."
    elif sizes != dims:
        wrong = f"has a {dims}D network but a window of {sizes} sizes; repair the package."
    elif outputs != channels:
        wrong = f"names {channels} channels in metadata.json but its network has {outputs}; repair the package."
    else:
        return
    raise ModelError(f"The package {name} {wrong}")


def _license_line(files: PackageFolder) -> str:
    """The first line of the LICENSE file that says anything."""
    lines = files.read(LICENSE).decode("utf-8", "replace").splitlines() if files.has(LICENSE) else []
    return next((one_line(line) for line in lines if one_line(line)), NOT_STATED)


def write_package(
    folder: Path,
    spec: ModelSpec,
    state: dict[str, torch.Tensor],
    *,
    card: str,
    license_text: str,
    half: bool = False,
    torch_file: bool = True,
    others: Sequence[dict[str, torch.Tensor]] = (),
) -> None:
    """Write a package that our engine and `python -m monai.bundle run` execute.

    Args:
        folder: where to; created, and files in it are replaced.
        spec: what the package says.
        state: the network's weights.
        card: model card in Markdown.
        license_text: goes to LICENSE.
        half: store kernels as float16, half the size; they are loaded into float32 networks.
        torch_file: also write models/model.pt, for tools that read nothing else; our engine and MONAI's bundle
            runner take models/model.safetensors. Not for several networks.
        others: the weights of more networks of the same kind; the mean of all their probabilities is the result.
    """
    import torch

    states = [{k: _halved(v) for k, v in one.items()} if half else one for one in (state, *others)]
    names = [WEIGHTS[0], *(f"models/model_{number}.safetensors" for number in range(2, len(states) + 1))]
    texts = {
        METADATA: json.dumps(write_metadata(spec), indent=2) + "\n",
        INFERENCE: json.dumps(write_inference(spec, names if others else ()), indent=2) + "\n",
        CARD: card,
        LICENSE: license_text,
    }
    for name in (*texts, *WEIGHTS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, one in zip(names, states, strict=True):
        write_safetensors(folder / name, one, {"name": spec.name, "version": spec.version})
    if torch_file and not others:
        torch.save(states[0], folder / WEIGHTS[1])
    write_checksums(folder)


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Put a calibration into a package folder that is there; its weights stay.

    Raises:
        ModelError: it is no package, or damaged.
        OutputError: it cannot be written to.
    """
    description = PackageFolder(folder).read_json(METADATA)
    content = json.dumps(description | calibration_entry(calibration), indent=2) + "\n"
    with atomic_file(folder / METADATA) as file:
        file.write(content.encode())
    write_checksums(folder)


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    """Kernels in float16; vectors (biases, norms) are small and their variances can exceed its range."""
    if tensor.ndim < 2 or not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if bool(half.isfinite().all()) else tensor
