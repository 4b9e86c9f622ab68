"""Model packages: folders that hold a model's description, its weights and their checksums, read and written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from LiverSegLib.errors import ModelError
from LiverSegLib.io.atomic import atomic_file
from LiverSegLib.models.archive import extracted, is_folder, read_member
from LiverSegLib.models.checksums import write_checksums
from LiverSegLib.models.config import BundleConfig, parse_json
from LiverSegLib.models.folder import CARD, INFERENCE, LICENSE, MAX_TEXT, METADATA, WEIGHTS, PackageFolder
from LiverSegLib.models.inference import read_inference, write_inference
from LiverSegLib.models.metadata import calibration_entry, read_metadata, write_metadata
from LiverSegLib.models.safetensors_file import write_safetensors
from LiverSegLib.models.spec import NOT_STATED, ModelDescription, ModelPackage, ModelSpec
from LiverSegLib.models.text import one_line

if TYPE_CHECKING:
    import torch

    from LiverSegLib.quality import Calibration

_LONGEST_NAME = 100


def read_package(path: Path | str) -> ModelPackage:
    """Read a package folder or `.zip`; nothing of it is executed and its weights are not loaded yet.

    Raises:
        ModelError: the package is incomplete or unsafe, or needs something that is not supported.
    """
    folder = extracted(Path(path))
    files = PackageFolder(folder)
    files.check_listed(weights=False)
    metadata = files.read_json(METADATA)
    name = one_line(folder.name, _LONGEST_NAME)
    inference = read_inference(BundleConfig(files.read_json(INFERENCE), f"The package {name}"))
    description = read_metadata(metadata, name)
    license_line = _license_line(files)
    found = ModelPackage(path=folder, **vars(description), **inference)
    _check_dimensions(found, name)
    return found if found.license != NOT_STATED else replace(found, license=license_line)


def read_description(path: Path | str) -> ModelDescription:
    """What the metadata of a package folder or `.zip` say; a zip is not unpacked, and nothing else is looked at.

    Raises:
        ModelError: it is no package, or its metadata are damaged.
    """
    path = Path(path)
    if is_folder(path):
        content, name = PackageFolder(path).read(METADATA), path.name
    else:
        content, name = read_member(path, METADATA, MAX_TEXT), path.stem
    return read_metadata(parse_json(content, path / METADATA), one_line(name, _LONGEST_NAME))


def _check_dimensions(package: ModelPackage, name: str) -> None:
    """The network, the window and the channels must be of one model."""
    dims = package.arguments.get("spatial_dims", 3)
    inputs, outputs = package.arguments.get("in_channels"), package.arguments.get("out_channels")
    sizes, channels = package.spatial_dims, package.channels
    if dims not in (2, 3):
        wrong = f"has spatial_dims {dims!r}; 2 or 3 is needed."
    elif inputs != 1:
        wrong = f"takes {inputs} input channels; only one is supported."
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
            runner take models/model.safetensors.
    """
    import torch

    if half:
        state = {k: _halved(v) for k, v in state.items()}
    texts = {
        METADATA: json.dumps(write_metadata(spec), indent=2) + "\n",
        INFERENCE: json.dumps(write_inference(spec), indent=2) + "\n",
        CARD: card,
        LICENSE: license_text,
    }
    for name in (*texts, *WEIGHTS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    write_safetensors(folder / WEIGHTS[0], state, {"name": spec.name, "version": spec.version})
    if torch_file:
        torch.save(state, folder / WEIGHTS[1])
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
