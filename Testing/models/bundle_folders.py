"""Bundles as others share them, made here: the configuration in YAML, weights of a name of its own, random numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

YAML = """---
imports:
- "$import glob"
- "$import scripts.monai_utils"
input_channels: 1
output_channels: 4
bundle_root: "."
output_dir: "$@bundle_root + '/eval/dynunet_FT'"
datalist: "$monai.data.load_decathlon_datalist(@data_list_file_path, data_list_key='validation')"
device: "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
spatial_size: [32, 32, 32]
spatial_dims: "$len(@spatial_size)"
network_def:
  _target_: monai.networks.nets.DynUNet
  spatial_dims: "@spatial_dims"
  in_channels: "@input_channels"
  out_channels: "@output_channels"
  kernel_size: [3, 3, 3]
  strides:
  - 1
  - 2
  -
    - 2
    - 2
    - 1
  upsample_kernel_size:
  - 2
  -
    - 2
    - 2
    - 1
  filters: [4, 8, 8]
  norm_name: "instance"
  deep_supervision: false
  res_block: true
network: "$@network_def.to(@device)"
image_key: image
preprocessing:
  _target_: Compose
  transforms:
  - _target_: LoadImaged
    keys: "@image_key"
    reader: ITKReader
  - _target_: EnsureChannelFirstd
    keys: "@image_key"
  - _target_: Orientationd
    keys: image
    axcodes: RAS
  - _target_: Spacingd
    keys:
    - "@image_key"
    pixdim:
    - 2.5
    - 2.5
    - 3.0
    mode:
    - bilinear
  - _target_: ScaleIntensityRanged
    keys: "@image_key"
    a_min: 100
    a_max: 400
    b_min: 0
    b_max: 1
    clip: true
  - _target_: CropForegroundd
    keys:
    - "@image_key"
    source_key: "@image_key"
    mode:
    - "minimum"
  - _target_: EnsureTyped
    keys: image
  - _target_: CastToTyped
    keys: "@image_key"
    dtype: "$torch.float32"
inferer:
  _target_: SlidingWindowInferer
  roi_size: [32, 32, 32]
  sw_batch_size: 4
  overlap: 0.75
postprocessing:
  _target_: Compose
  transforms:
  - _target_: Activationsd
    keys: pred
    softmax: true
  - _target_: Invertd
    keys: pred
    transform: "@preprocessing"
    orig_keys: image
    meta_key_postfix: meta_dict
    nearest_interp: false
    to_tensor: true
  - _target_: AsDiscreted
    keys: pred
    argmax: true
  - _target_: SaveImaged
    keys: pred
    output_dir: "@output_dir"
    output_dtype: "$torch.int16"
handlers:
- _target_: CheckpointLoader
  load_path: "$@bundle_root + '/models/dynunet_FT.pt'"
  load_dict:
    model: "@network"
initialize:
- "$setattr(torch.backends.cudnn, 'benchmark', True)"
"""
METADATA: dict[str, Any] = {
    "version": "0.4.4",
    "name": "CT-Ped-Abdominal-Seg",
    "network_data_format": {
        "inputs": {"image": {"modality": "CT"}},
        "outputs": {"pred": {"label_def": {"0": "background", "1": "liver", "2": "spleen", "3": "pancreas"}}},
    },
}


def write_bundle(folder: Path, text: str = YAML, name: str = "inference.yaml") -> Path:
    from monai.networks.nets import DynUNet

    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / name).write_text(text, encoding="utf-8")
    (folder / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    torch.manual_seed(2)
    arguments: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": 4, "res_block": True}
    network = DynUNet(
        **arguments,
        kernel_size=[3, 3, 3],
        strides=[1, 2, [2, 2, 1]],
        upsample_kernel_size=[2, [2, 2, 1]],
        filters=[4, 8, 8],
        norm_name="instance",
    )
    torch.save({"model": network.state_dict()}, folder / "models" / "dynunet_FT.pt")
    return folder
