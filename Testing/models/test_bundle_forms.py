"""Forms in which others write their bundles: YAML, weights of another name, expressions, foreground, scripts."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import ModelError
from LiverSegLib.io import read_volume
from LiverSegLib.models import read_description, read_package
from LiverSegLib.models.crop import ForegroundCrop
from LiverSegLib.request import ALL, SegmentationRequest, Settings
from LiverSegLib.volume import Volume
from Testing.equivalence.bundle_reference import bundle_labels
from Testing.models.bundle_folders import YAML, write_bundle

RAW = Settings(largest_component=False, fill_holes=False, lesions_inside=False)
DrawCase = Callable[..., Volume]


def test_a_bundle_in_yaml_is_read(tmp_path: Path) -> None:
    package = read_package(write_bundle(tmp_path / "pediatric"))
    assert (package.network, package.arguments["spatial_dims"]) == ("DynUNet", 3)
    assert [label.name for label in package.labels] == ["liver", "spleen", "pancreas"]
    assert package.crop == ForegroundCrop(resampled=True, normalized=True)
    assert package.weights == ("models/dynunet_FT.pt",)
    assert read_description(tmp_path / "pediatric").name == "CT-Ped-Abdominal-Seg"


@pytest.mark.usefixtures("float32")
def test_its_labels_are_those_of_monai(tmp_path: Path, draw_case: DrawCase) -> None:
    folder = write_bundle(tmp_path / "pediatric")
    affine = np.diag([-2.1, -1.9, 4.0, 1.0])
    affine[:3, 3] = 60, 50, -40  # the foreground ends well inside: see the test of the engine
    volume = draw_case(affine, (56, 52, 21), np.int16)
    nib.save(nib.Nifti1Image(np.asarray(volume.array), affine), tmp_path / "case.nii.gz")
    theirs = bundle_labels(folder, tmp_path / "case.nii.gz")
    ours = Segmenter(folder, "cpu", RAW).segment(read_volume(tmp_path / "case.nii.gz")).labelmap
    assert (ours == theirs).mean() >= 0.999
    assert len(np.unique(theirs)) > 2


def test_json_goes_before_yaml(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "pediatric")
    (folder / "configs" / "inference.json").write_text("{}")
    with pytest.raises(ModelError, match="has no inferer"):
        read_package(folder)


BAD_YAML: dict[str, tuple[str, str]] = {
    "bomb": ("a: &a [x, x]\n" + "\n".join(f"b{n}: &b{n} [*a, *a]" for n in range(9)), "aliases"),
    "itself": ("a: &a [*a]", "aliases"),
    "python": ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
    "name": ("a: !!python/name:os.system ''", "could not determine a constructor"),
    "bytes": ("a: !!binary aGFsbG8=", "cannot be read as YAML"),
    "set": ("a: !!set {x, y}", "cannot be read as YAML"),
    "deep": ("[" * 5000, "deep"),
    "large": ("a: " + "x" * 2_000_000, "more than 1 MB"),
    "list": ("[1, 2]", "does not hold a YAML object"),
    "two": ("a: 1\n---\nb: 2", "cannot be read as YAML"),
    "tabs": ("a:\n\t- b", "cannot be read as YAML"),
    "cut": ("a: [1, 2", "cannot be read as YAML"),
    "empty": ("", "does not hold a YAML object"),
    "escape": ('a: "\\e[31m"', "cannot be shown"),
    "number": ("a: " + "9" * 5000, "cannot be read as YAML"),
    "keys": ("? [a, b]\n: c", "cannot be read as YAML"),
    "latin": ("a: \udce4", "cannot be read as YAML"),
}


@pytest.mark.parametrize("what", BAD_YAML)
def test_spoilt_yaml_is_refused_in_one_sentence(tmp_path: Path, what: str) -> None:
    text, words = BAD_YAML[what]
    folder = write_bundle(tmp_path / "bad", "a: 1")
    (folder / "configs" / "inference.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError) as caught:
        read_package(folder)
    sentence = str(caught.value)
    assert words in sentence
    assert "inference.yaml" in sentence
    assert sentence.endswith(".")
    assert sentence.isprintable()


def test_without_pyyaml_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "LiverSegLib.plain_yaml", raising=False)
    monkeypatch.delattr("LiverSegLib.plain_yaml", raising=False)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ModelError, match=r"inference\.yaml is YAML, .* install pyyaml"):
        read_package(write_bundle(tmp_path / "pediatric"))


CHANGED: dict[str, tuple[str, str, str]] = {
    "outside": ("/models/dynunet_FT.pt", "/../other/x.pt", "no file of weights in its models folder"),
    "absolute": ("$@bundle_root + '/models/dynunet_FT.pt'", "/etc/passwd", "no file of weights"),
    "program": ("dynunet_FT.pt", "model.ts", "no file of weights"),
    "loaded": ("$@bundle_root + '/models/dynunet_FT.pt'", "$torch.load('x')", "calls torch.load"),
    "script": ("monai.networks.nets.DynUNet", "scripts.networks.Net", "network 'scripts.networks.Net'"),
    "transform": ("_target_: CropForegroundd", "_target_: scripts.Crop", "scripts.Crop"),
    "lambda": ('source_key: "@image_key"', 'select_fn: "$lambda x: evil(x)"', "select_fn '$lambda x: evil(x)'"),
    "margin": ('source_key: "@image_key"', "margin: 3", "allow_smaller"),
    "margins": ('source_key: "@image_key"', "margin: [1, 2, 3]\n    allow_smaller: true", "same for all axes"),
    "wide": ('source_key: "@image_key"', "margin: 99999\n    allow_smaller: true", "margin 99999"),
    "divisible": ('source_key: "@image_key"', "k_divisible: 16", "k_divisible 16"),
    "channel": ('source_key: "@image_key"', "channel_indices: 2", "channel_indices 2"),
    "weights": ("dynunet_FT.pt", "missing.pt", "missing"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_is_not_run_is_refused_by_its_name(tmp_path: Path, what: str) -> None:
    old, new, words = CHANGED[what]
    assert old in YAML
    folder = write_bundle(tmp_path / "bad", YAML.replace(old, new))
    with pytest.raises(ModelError) as caught:
        Segmenter(folder, "cpu")
    assert words in str(caught.value)


def test_intensities_on_both_sides_of_resampling_are_refused(tmp_path: Path) -> None:
    scale = YAML[YAML.index("  - _target_: ScaleIntensityRanged") : YAML.index("  - _target_: CropForegroundd")]
    text = YAML.replace("  - _target_: Spacingd", scale + "  - _target_: Spacingd")
    with pytest.raises(ModelError, match="Spacingd or Resized between intensity steps"):
        read_package(write_bundle(tmp_path / "bad", text))


def test_a_package_of_a_program_alone_says_so(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bad", YAML.replace("dynunet_FT.pt", "model.pt"))
    (folder / "models" / "dynunet_FT.pt").rename(folder / "models" / "model.ts")
    with pytest.raises(ModelError, match=r"TorchScript program, models/model\.ts, .* not run"):
        Segmenter(folder, "cpu")


def of_the_zoo(shared_data: Path, name: str, folder: Path) -> Path:
    """A bundle of the model zoo with weights that MONAI made here, in the file that the bundle asks for."""
    from monai.bundle import ConfigParser

    shutil.copytree(shared_data / "bundles" / name, folder)
    (folder / "models").mkdir()
    config = json.loads((folder / "configs" / "inference.json").read_text())
    definition = dict(config["network_def"])
    if name.startswith("swin"):
        definition.pop("img_size")
    torch.manual_seed(1)
    network = ConfigParser(definition).get_parsed_content()
    torch.save(network.state_dict(), folder / "models" / Path((read_package(folder).weights or ("model.pt",))[0]).name)
    return folder


def compare(
    folder: Path, tmp_path: Path, draw_case: DrawCase, size: tuple[int, int, int], least: float = 0.999
) -> None:
    volume = draw_case(np.diag([1.6, 1.7, 2.5, 1.0]), size, np.int16)
    nib.save(nib.Nifti1Image(np.asarray(volume.array), volume.affine), tmp_path / "case.nii.gz")
    theirs = bundle_labels(folder, tmp_path / "case.nii.gz")
    everything = SegmentationRequest(targets=ALL, settings=RAW)
    ours = Segmenter(folder, "cpu").segment(read_volume(tmp_path / "case.nii.gz"), request=everything).labelmap
    assert (ours == theirs).mean() >= least


@pytest.mark.usefixtures("float32")
def test_the_spleen_bundle_of_the_zoo_runs(shared_data: Path, tmp_path: Path, draw_case: DrawCase) -> None:
    folder = of_the_zoo(shared_data, "spleen_ct_segmentation", tmp_path / "bundle")
    compare(folder, tmp_path, draw_case, (50, 40, 30))


@pytest.mark.slow
@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("name", ["wholeBody_ct_segmentation", "swin_unetr_btcv_segmentation"])
def test_so_do_the_large_ones(shared_data: Path, tmp_path: Path, draw_case: DrawCase, name: str) -> None:
    if name.startswith("swin"):
        pytest.importorskip("einops", reason="MONAI's SwinUNETR needs einops")
    # Of 105 channels of random weights the two largest tie but for rounding in a voxel of a thousand, here and there.
    least = 0.998 if name.startswith("whole") else 0.999
    compare(of_the_zoo(shared_data, name, tmp_path / "bundle"), tmp_path, draw_case, (40, 30, 20), least)


def test_the_whole_body_bundle_has_weights_for_each_resolution(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(shared_data / "bundles" / "wholeBody_ct_segmentation", folder)
    assert read_package(folder).weights == ()
    config = json.loads((folder / "configs" / "inference.json").read_text())
    config["displayable_configs"]["highres"] = False
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    package = read_package(folder)
    assert (package.pixdim, package.weights) == ((3.0, 3.0, 3.0), ("models/model_lowres.pt",))


def test_a_swin_network_without_einops_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    from LiverSegLib.networks import build_network

    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "feature_size": 12, "depths": [1, 1, 1, 1]}
    with pytest.raises(ModelError, match=r"SwinUNETR needs the Python package einops, .* install it"):
        build_network("SwinUNETR", arguments)
