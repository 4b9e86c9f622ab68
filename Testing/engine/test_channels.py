"""Images of several channels: read from several files or from a picture in color, and run as MONAI and nnU-Net do."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from LiverSegLib.cli.commands import app
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.engine.sliding_window import mirrored
from LiverSegLib.errors import InputError, ModelError
from LiverSegLib.io.channels import read_channels
from LiverSegLib.models import read_package
from LiverSegLib.models.checksums import write_checksums
from LiverSegLib.models.intensity import Normalize, ScalePercentiles, ScaleRange
from LiverSegLib.models.package import write_package
from LiverSegLib.networks import build_network, final_logits
from LiverSegLib.request import SegmentationRequest, Settings
from LiverSegLib.volume import Volume
from Testing.conftest import toy_spec
from Testing.models import nnunet_folders as nnunet

RAW = Settings(largest_component=False, fill_holes=False, lesions_inside=False)
AFFINE = np.diag([-1.4, -1.6, 5.0, 1.0])[:, [1, 0, 2, 3]]
MakePackage = Callable[..., Path]


def sequences(shape: tuple[int, int, int] = (37, 33, 15)) -> list[npt.NDArray[np.int16]]:
    """Two images of one place that look different and have different scales."""
    rng = np.random.default_rng(8)
    rough = rng.normal(60, 120, (8, 7, 4)).repeat(5, 0).repeat(5, 1).repeat(4, 2)[: shape[0], : shape[1], : shape[2]]
    first = (rough + rng.normal(0, 20, shape)).astype(np.int16)
    return [first, (700 - 3 * rough + rng.normal(0, 60, shape)).astype(np.int16)]


@pytest.fixture
def case(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "data" / "case"
    folder.mkdir(parents=True)
    paths = [folder / "1_t1.nii.gz", folder / "2_t2.nii.gz"]
    for path, array in zip(paths, sequences(), strict=True):
        nib.save(nib.Nifti1Image(array, AFFINE), path)
    return paths


def package(folder: Path, dims: int = 3, inputs: tuple[str, ...] = ("T1", "T2"), **changes: Any) -> Path:
    """A small network of random weights over several channels."""
    arguments = {
        "spatial_dims": dims,
        "in_channels": len(inputs),
        "out_channels": 3,
        "channels": [4, 8],
        "strides": [2],
        "num_res_units": 1,
    }
    torch.manual_seed(5)
    state = build_network("UNet", arguments).state_dict()
    options: dict[str, Any] = {"modality": "MR", "intensity": (Normalize(nonzero=True),), "roi_size": (16,) * 3}
    if dims == 2:
        options |= {"roi_size": (-1, -1), "divisible": (8, 8, 1)}
    spec = replace(toy_spec("UNet", arguments, dims, 2, **(options | changes)), inputs=inputs)
    write_package(folder, spec, state, card="# Toy\n", license_text="CC0\n")
    return folder


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize(
    ("dims", "intensity"),
    [(2, Normalize(nonzero=True)), (3, ScalePercentiles(1, 99)), (3, ScaleRange(-100, 900))],
    ids=["z-score", "percentiles", "window"],
)
def test_labels_are_those_of_monai(dims: int, intensity: Any, case: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("ignite", reason="pytorch-ignite, which MONAI's evaluator needs, is not installed")
    from monai.bundle import run

    folder = package(tmp_path / "package", dims, intensity=(intensity,))
    places = {"bundle_root": folder, "dataset_dir": case[0].parents[1], "output_dir": tmp_path / "output"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(config_file=str(folder / "configs/inference.json"), **{key: str(path) for key, path in places.items()})
    (written,) = (tmp_path / "output").rglob("*.nii.gz")
    theirs = np.asarray(nib.load(written).dataobj).astype(np.uint8)
    ours = Segmenter(folder, "cpu", RAW).segment(read_channels(case)).labelmap
    assert len(np.unique(theirs)) > 1
    assert (ours == theirs).mean() > 0.999


def test_the_order_of_channels_counts(case: list[Path], tmp_path: Path) -> None:
    segmenter = Segmenter(package(tmp_path / "package"), "cpu", RAW)
    first, second = (segmenter.segment(read_channels(paths)).labelmap for paths in (case, case[::-1]))
    assert (first != second).any()


@pytest.mark.usefixtures("float32")
def test_a_region_is_cut_out_of_every_channel(case: list[Path], tmp_path: Path) -> None:
    volume = read_channels(case)
    box = ((4, 36), (0, 32), (0, 15))
    segmenter = Segmenter(package(tmp_path / "package"), "cpu", RAW)
    whole = segmenter.segment(volume, request=SegmentationRequest(region=box, settings=RAW)).labelmap
    part = volume.mapped(lambda channel: channel[4:36, 0:32], affine=volume.affine @ _shift(4))
    assert np.array_equal(whole[4:36, 0:32], segmenter.segment(part).labelmap)


def _shift(voxels: int) -> npt.NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[0, 3] = voxels
    return matrix


def test_the_wrong_number_of_images_is_one_sentence(
    case: list[Path], tmp_path: Path, random_package: MakePackage
) -> None:
    segmenter = Segmenter(package(tmp_path / "package"), "cpu")
    with pytest.raises(InputError, match=r"takes 2 images of a case \(T1, T2\), but 1_t1.nii.gz has 1 channel"):
        segmenter.segment(read_channels(case[:1]))
    with pytest.raises(InputError, match=r"takes one image of a case, but 1_t1.nii.gz has 2 channels"):
        Segmenter(random_package(), "cpu").segment(read_channels(case))


def test_channels_need_one_grid_in_any_order_of_axes(case: list[Path]) -> None:
    second = nib.load(case[1])
    nib.save(nib.as_closest_canonical(second), case[1])
    turned = read_channels(case)
    assert np.array_equal(turned.further[0], sequences()[1])
    affine = AFFINE.copy()
    affine[0, 3] = 9
    nib.save(nib.Nifti1Image(sequences()[1], affine), case[1])
    with pytest.raises(InputError, match=r"2_t2.nii.gz does not lie on the grid of 1_t1.nii.gz"):
        read_channels(case)
    with pytest.raises(InputError, match="channel 2 of a has 2x2x2 voxels, the first 3x3x3"):
        Volume(np.zeros((3, 3, 3)), np.eye(4), "a", further=(np.zeros((2, 2, 2)),))


def test_a_constant_channel_is_named(case: list[Path], tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((37, 33, 15), np.int16), AFFINE), case[1])
    with pytest.raises(InputError, match=r"T2 of 1_t1.nii.gz has the value 0 everywhere"):
        Segmenter(package(tmp_path / "package"), "cpu").segment(read_channels(case))


def test_the_command_takes_channels(case: list[Path], tmp_path: Path) -> None:
    folder = package(tmp_path / "package")
    words = ["segment", str(case[0]), "--channel", str(case[1]), "--model", str(folder), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*words, "--no-overlay", "--no-postprocess", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    (written,) = (tmp_path / "out").glob("*.nii.gz")
    expected = Segmenter(folder, "cpu", RAW).segment(read_channels(case)).labelmap
    assert np.array_equal(np.asarray(nib.load(written).dataobj), expected)
    several = CliRunner().invoke(app, ["segment", str(case[0]), str(case[1]), "--channel", str(case[1])])
    assert several.exit_code == 2
    assert "--channel belongs to one input" in " ".join(several.output.split())


@pytest.fixture
def whole(case: list[Path]) -> Path:
    """Both images of the case as the volumes of one 4D file, as the Medical Segmentation Decathlon has them."""
    path = case[0].with_name("whole.nii.gz")
    nib.save(nib.Nifti1Image(np.stack(sequences(), axis=-1), AFFINE), path)
    return path


def test_the_volumes_of_a_4d_file_are_the_channels(whole: Path, case: list[Path]) -> None:
    volume = read_channels([whole], 2)
    apart = read_channels(case)
    assert np.array_equal(volume.affine, apart.affine)
    for one, other in zip(volume.channels, apart.channels, strict=True):
        assert one.dtype == np.int16
        assert np.array_equal(one, other)
    # No copy is made of any of them.
    assert volume.array.base is not None
    assert volume.array.base is volume.further[0].base
    vectors = whole.with_name("vectors.nii")  # as ITK writes the components of a voxel
    nib.save(nib.Nifti1Image(np.stack(sequences(), axis=-1)[:, :, :, None], AFFINE), vectors)
    assert np.array_equal(read_channels([vectors], 2).further[0], sequences()[1])
    scaled = nib.Nifti1Image(np.stack(sequences(), axis=-1), AFFINE)
    scaled.header.set_slope_inter(0.5, 3)
    nib.save(scaled, whole)
    further = read_channels([whole], 2).further[0]
    assert further.dtype == np.float32
    assert np.array_equal(further, np.asarray(nib.load(whole).dataobj)[..., 1].astype(np.float32))


def test_a_4d_file_of_another_number_is_one_sentence(whole: Path) -> None:
    with pytest.raises(InputError, match=r"^whole.nii.gz holds 2 volumes \(37x33x15x2\), but 3 images of a"):
        read_channels([whole], 3)
    with pytest.raises(InputError, match=r"is a 4D series \(37x33x15x2\); extract one 3D volume of it first, or use a"):
        read_channels([whole], 1)
    with pytest.raises(InputError, match="4D series"):
        read_channels([whole, whole], 2)


def test_a_truncated_4d_file_is_refused(whole: Path) -> None:
    path = whole.with_suffix("")
    nib.save(nib.load(whole), path)
    path.write_bytes(path.read_bytes()[: -37 * 33 * 15 * 2])
    with pytest.raises(InputError, match=r"bytes of voxels but can hold at most"):
        read_channels([path], 2)


def test_the_command_takes_a_4d_file(whole: Path, case: list[Path], tmp_path: Path) -> None:
    folder = package(tmp_path / "package")
    words = ["segment", str(whole), "--model", str(folder), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*words, "--no-overlay", "--no-postprocess", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    (written,) = (tmp_path / "out").glob("*.nii.gz")
    expected = Segmenter(folder, "cpu", RAW).segment(read_channels(case)).labelmap
    assert np.array_equal(np.asarray(nib.load(written).dataobj), expected)


def test_a_picture_in_color_is_three_channels_to_a_model_of_three(tmp_path: Path) -> None:
    folder = package(tmp_path / "package", 2, ("red", "green", "blue"), intensity=(ScaleRange(0, 255),), modality="")
    assert read_package(folder).inputs == ("red", "green", "blue")
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    volume = read_channels([tmp_path / "a.png"], 3)
    assert [np.array_equal(one[..., 0].T, pixels[..., n]) for n, one in enumerate(volume.channels)] == [True] * 3
    words = ["segment", str(tmp_path / "a.png"), "--model", str(folder), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*words, "--no-overlay", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "luminance" not in result.output
    Image.fromarray(pixels[..., 0]).save(tmp_path / "gray.png")
    gray = read_channels([tmp_path / "gray.png"], 3)
    assert all(np.array_equal(one[..., 0].T, pixels[..., 0]) for one in gray.channels)
    assert gray.notes == ("gray.png is gray; it was taken as three equal colors.",)
    Image.fromarray(pixels).convert("P").save(tmp_path / "palette.png")
    with pytest.raises(InputError, match="palette"):
        read_channels([tmp_path / "palette.png"], 3)


def test_a_network_of_more_channels_than_metadata_names_is_refused(tmp_path: Path) -> None:
    folder = package(tmp_path / "package")
    text = (folder / "configs/metadata.json").read_text()
    (folder / "configs/metadata.json").write_text(text.replace('"1": "T2"', '"2": "T2"'))
    write_checksums(folder)
    with pytest.raises(ModelError, match=r"takes 2 input channels, but metadata.json names only one"):
        read_package(folder)


@pytest.mark.usefixtures("float32")
def test_a_model_of_nnunet_of_two_channels_is_run(tmp_path: Path) -> None:
    """Each channel is normalized as plans.json says of it."""
    properties = {"0": nnunet.CT, "1": {**nnunet.CT, "mean": 300.0, "std": 200.0, "percentile_99_5": 900.0}}
    schemes: dict[str, Any] = {
        "normalization_schemes": ["ZScoreNormalization", "CTNormalization"],
        "use_mask_for_norm": [False] * 2,
    }
    plans = nnunet.plans({"3d_fullres": nnunet.plan(**schemes)}, foreground_intensity_properties_per_channel=properties)
    arguments = nnunet.toy_arguments() | {"in_channels": 2}
    found = {"fold_0": nnunet.checkpoint(arguments)}
    folder = nnunet.write(tmp_path / "model", plans, nnunet.dataset(channel_names={"0": "T1", "1": "T2"}), found)
    model = read_package(folder)
    assert (model.inputs, model.modality) == (("T1", "T2"), "MR")
    assert model.steps(0) == (Normalize(),)
    assert isinstance(model.steps(1)[0], ScaleRange)
    channels = [np.where(one == 0, 1, one) for one in sequences((16, 16, 16))]  # what is 0 everywhere is cut away
    volume = Volume(channels[0], np.diag([2.0, 2.0, 3.0, 1.0]), further=(channels[1],))
    segmenter = Segmenter(folder, "cpu", RAW)
    x = torch.stack([torch.from_numpy(one.astype(np.float32)) for one in channels])
    for number in range(2):
        for step in model.steps(number):
            x[number] = step(x[number])
    network = mirrored(lambda x: final_logits(segmenter._model._network(x), 5), model.inferer.mirror)
    with torch.inference_mode():
        expected = network(x.permute(0, 3, 2, 1)[None])[0].argmax(0).permute(2, 1, 0).numpy()
    assert len(np.unique(expected)) == 3
    assert np.array_equal(segmenter.segment(volume).labelmap, expected)
