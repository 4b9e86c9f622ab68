"""Models of nnU-Net v2 as they come: a folder of results with plans.json, dataset.json and its folds.

The folder is `<trainer>__<plans>__<configuration>` as nnU-Net writes it, whatever it is called. All is read as data;
see https://github.com/MIC-DKFZ/nnUNet for what it means.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from LiverSegLib.errors import ModelError
from LiverSegLib.models.crop import ForegroundCrop
from LiverSegLib.models.folder import PackageFolder
from LiverSegLib.models.nnunet_checkpoint import find_folds, read_checkpoint
from LiverSegLib.models.nnunet_labels import read_inputs, read_labels, read_modality
from LiverSegLib.models.nnunet_plans import read_configuration
from LiverSegLib.models.sidecar import read_sidecar
from LiverSegLib.models.spec import NOT_STATED, ModelDescription, ModelPackage
from LiverSegLib.models.text import is_name, one_line, shown
from LiverSegLib.networks import check_arguments

PLANS, DATASET = "plans.json", "dataset.json"
_WRONG = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
_LONGEST_NAME = 100


def read_nnunet(folder: Path) -> ModelPackage:
    """The model in a folder of results of nnU-Net v2; its weights are not read yet.

    Raises:
        ModelError: it is incomplete or unsafe, or needs something that is not supported.
    """
    files = PackageFolder(folder)
    files.check_listed(weights=False)
    described = read_nnunet_description(folder)
    regions = _dataset(files)[1]
    weights = find_folds(files)
    told = read_checkpoint(files, weights[0])
    sidecar = read_sidecar(files)
    plans = files.read_json(PLANS)
    try:
        parts = read_configuration(plans, told.configuration, sidecar.axcodes, len(described.inputs))
    except _WRONG as error:
        raise ModelError(f"{folder / PLANS} cannot be used: {_said(error)}.") from error
    inferer = parts["inferer"]
    if any(axis >= len(inferer.roi_size) for axis in told.mirror):
        raise ModelError(f"{folder / weights[0]} has the mirroring axes {shown(told.mirror)} of another network.")
    parts["inferer"] = replace(inferer, mirror=told.mirror if sidecar.mirror else ())
    channels = len(regions) or described.channels
    parts["mirror_axes"] = told.mirror
    parts["arguments"] |= {"in_channels": len(described.inputs), "out_channels": channels}
    check_arguments(parts["network"], parts["arguments"])
    return ModelPackage(
        path=folder, weights=weights, **vars(described), **parts, regions=regions, crop=ForegroundCrop(nonzero=True)
    )


def read_nnunet_description(folder: Path) -> ModelDescription:
    """What the folder tells people of its model: labels and names, of its own files and of liverseg.json.

    Raises:
        ModelError: as `read_nnunet`.
    """
    files = PackageFolder(folder)
    sidecar, (dataset, _) = read_sidecar(files), _dataset(files)
    own = files.read_json(PLANS).get("dataset_name")
    names = (str(text) for text in (sidecar.title, own, folder.name))
    name = next((text for text in names if is_name(text, _LONGEST_NAME)), "nnU-Net v2")
    return ModelDescription(
        name=name,
        version=sidecar.version,
        modality=sidecar.modality or dataset["modality"],
        inputs=dataset["inputs"],
        labels=dataset["labels"],
        license=sidecar.license or NOT_STATED,
        data_source=sidecar.data_source or NOT_STATED,
        intended_use=sidecar.intended_use or NOT_STATED,
        guide=sidecar.guide,
    )


def _dataset(files: PackageFolder) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Labels and modality by these names, and the regions."""
    data, names = files.read_json(DATASET), read_sidecar(files).names
    try:
        labels, regions = read_labels(data, names)
        return {"labels": labels, "modality": read_modality(data), "inputs": read_inputs(data)}, regions
    except _WRONG as error:
        raise ModelError(f"{files.path / DATASET} cannot be used: {_said(error)}.") from error


def _said(error: Exception) -> str:
    """What is wrong, in words; a missing key is an exception that has none."""
    return f"it lacks {one_line(error, 100)}" if isinstance(error, KeyError) else one_line(error, 300)
