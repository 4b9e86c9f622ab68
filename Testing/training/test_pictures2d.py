"""Single pictures (PNG, JPEG, X-ray DICOM, ...) and models that divide the field of view into so many voxels."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientation, Resize, ScaleIntensityRangePercentiles, Spacing
from PIL import Image

from LiverSegLib.cli.outputs import case_name
from LiverSegLib.engine import geometry
from LiverSegLib.engine.inputs import warnings_for
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import InputError, ModelError
from LiverSegLib.io import read_volume
from LiverSegLib.labels import labels_for
from LiverSegLib.models import read_package
from LiverSegLib.models.intensity import Normalize, ScalePercentiles
from LiverSegLib.networks import build_network
from LiverSegLib.request import Settings
from LiverSegLib.volume import Volume
from Testing.conftest import toy_spec, write_toy

MakePackage = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
RAW = Settings(largest_component=False, fill_holes=False, lesions_inside=False)
# Rows and columns differ, and no part looks like its mirror image.
PIXELS = (np.arange(48)[:, None] * 3 + np.arange(64)[None] + (np.arange(64)[None] > 40) * 30).astype(np.uint8)


def save(path: Path, pixels: npt.NDArray[Any], vector: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(pixels), isVector=vector), str(path))
    return path


def tiff(pixels: npt.NDArray[Any], byteorder: Literal["<", ">"], photometric: int) -> bytes:
    """An uncompressed TIFF file of one strip."""
    rows, columns = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder(byteorder)).tobytes()
    kind = 2 if pixels.dtype.kind == "i" else 1
    tags = {
        256: columns,
        257: rows,
        258: pixels.itemsize * 8,
        259: 1,
        262: photometric,
        273: 8,
        277: 1,
        278: rows,
        279: len(data),
        339: kind,
    }
    content = (b"II" if byteorder == "<" else b"MM") + struct.pack(byteorder + "HI", 42, 8 + len(data)) + data
    content += struct.pack(byteorder + "H", len(tags))
    for tag, value in tags.items():
        content += struct.pack(byteorder + "HHIHH", tag, 3, 1, value, 0)
    return content + bytes(4)


class TestReading:
    @pytest.mark.parametrize("ending", ["png", "bmp", "tif", "tiff", "PNG"])
    def test_lossless_pictures_keep_every_value(self, tmp_path: Path, ending: str) -> None:
        volume = read_volume(
            save(tmp_path / "a.png", PIXELS).rename(tmp_path / f"b.{ending}")
            if ending == "PNG"
            else save(tmp_path / f"b.{ending}", PIXELS)
        )
        assert (volume.array.shape, volume.modality) == ((64, 48, 1), None)
        assert volume.array.dtype == np.uint8
        np.testing.assert_array_equal(volume.array[:, :, 0].T, PIXELS)
        np.testing.assert_array_equal(volume.affine, np.diag([-1, -1, 1, 1]))

    def test_sixteen_bits_and_arrays_too(self, tmp_path: Path) -> None:
        deep = PIXELS.astype(np.uint16) * 200
        np.testing.assert_array_equal(read_volume(save(tmp_path / "a.png", deep)).array[:, :, 0].T, deep)
        np.save(tmp_path / "b.npy", deep.astype(">f4") / 7)
        volume = read_volume(tmp_path / "b.npy")
        assert volume.array.dtype.isnative
        np.testing.assert_array_equal(volume.array[:, :, 0].T, (deep / 7).astype(np.float32))

    @pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4"])
    def test_tiff_keeps_its_type(self, tmp_path: Path, dtype: str) -> None:
        pixels = (PIXELS.astype(float) - (0 if dtype.startswith("u") else 60)).clip(-100, 100).astype(dtype)
        pixels *= np.array(20_000_000 if dtype in ("u4", "i4") else 1, dtype)
        array = read_volume(save(tmp_path / "a.tif", pixels)).array
        assert array.dtype == pixels.dtype
        np.testing.assert_array_equal(array[:, :, 0].T, pixels)

    @pytest.mark.parametrize("byteorder", ["<", ">"])
    @pytest.mark.parametrize(("dtype", "white"), [("u1", 0), ("u2", 1), ("i2", 1)])
    def test_tiff_by_hand(self, tmp_path: Path, byteorder: Literal["<", ">"], dtype: str, white: int) -> None:
        pixels = np.arange(48, dtype=dtype).reshape(6, 8) * 5
        content = tiff(pixels, byteorder, photometric=white)
        (tmp_path / "a.tif").write_bytes(content)
        # Black as the highest value is turned around, so that bone is bright.
        expected = pixels if white else 255 - pixels
        array = read_volume(tmp_path / "a.tif").array
        assert array.dtype == pixels.dtype
        np.testing.assert_array_equal(array[:, :, 0].T, expected)
        (tmp_path / "b.tif").write_bytes(tiff(pixels.astype("u2"), byteorder, photometric=0))
        with pytest.raises(InputError, match=r"b\.tif (stores black as its highest value|is damaged or no)"):
            read_volume(tmp_path / "b.tif")

    @pytest.mark.parametrize("ending", ["png", "tif"])
    def test_deep_colors_are_refused_instead_of_cut(self, tmp_path: Path, ending: str) -> None:
        pixels = np.repeat(PIXELS[..., None].astype(np.uint16) * 200, 3, axis=-1)
        with pytest.raises(InputError, match="color picture of more than 8 bits"):
            read_volume(save(tmp_path / f"a.{ending}", pixels, vector=True))

    def test_palettes_and_few_bits_count_as_what_they_show(self, tmp_path: Path) -> None:
        gray = Image.fromarray(PIXELS)
        for name, image in (("a.png", gray.convert("1")), ("b.png", gray.quantize(8)), ("c.bmp", gray.convert("P"))):
            image.save(tmp_path / name)
            shown = np.asarray(image.convert("L"))
            np.testing.assert_array_equal(read_volume(tmp_path / name).array[:, :, 0].T, shown)

    @pytest.mark.parametrize("ending", ["jpg", "JPEG"])
    def test_jpeg_comes_close(self, tmp_path: Path, ending: str) -> None:
        volume = read_volume(save(tmp_path / "a.jpg", PIXELS).rename(tmp_path / f"b.{ending}"))
        assert float(np.abs(volume.array[:, :, 0].T.astype(float) - PIXELS).mean()) < 3

    @pytest.mark.parametrize("channels", [3, 4])
    def test_gray_in_color_channels_is_gray(self, tmp_path: Path, channels: int) -> None:
        pixels = np.repeat(PIXELS[..., None], channels, axis=-1)
        if channels == 4:
            pixels[..., 3] = 255
        volume = read_volume(save(tmp_path / "a.png", pixels, vector=True))
        np.testing.assert_array_equal(volume.array[:, :, 0].T, PIXELS)

    @pytest.mark.parametrize("channels", [3, 4])
    def test_real_color_is_its_luminance_and_the_volume_says_so(self, tmp_path: Path, channels: int) -> None:
        pixels = np.repeat(PIXELS[..., None], channels, axis=-1)
        pixels[5, 5] = (255, 0, 0, 7)[:channels]
        volume = read_volume(save(tmp_path / "a.png", pixels, vector=True))
        expected = PIXELS.copy()
        expected[5, 5] = 76  # 0.299 * 255
        np.testing.assert_array_equal(volume.array[:, :, 0].T, expected)
        assert volume.array.dtype == np.uint8
        assert volume.notes[0].startswith("a.png is in color; its luminance was taken")

    def test_colors_without_a_luminance_are_refused(self, tmp_path: Path) -> None:
        picture = Image.fromarray(np.repeat(PIXELS[..., None], 3, axis=-1))
        picture.convert("CMYK").save(tmp_path / "a.jpg")
        with pytest.raises(InputError, match=r"a\.jpg is a color picture of CMYK; export it in gray"):
            read_volume(tmp_path / "a.jpg")
        labels = Image.fromarray(PIXELS % 3)
        labels.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        labels.save(tmp_path / "b.png")
        with pytest.raises(InputError, match=r"b\.png is a color picture of a palette"):
            read_volume(tmp_path / "b.png")
        np.save(tmp_path / "c.npy", np.arange(60).reshape(4, 5, 3))
        with pytest.raises(InputError, match=r"c\.npy holds 4x5x3 values instead of one gray picture"):
            read_volume(tmp_path / "c.npy")

    @pytest.mark.parametrize("shape", [(3, 20, 20), (20, 20, 2, 2), (20,)])
    def test_arrays_of_another_shape_are_refused(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        np.save(tmp_path / "a.npy", np.random.default_rng(0).random(shape))
        with pytest.raises(InputError, match="instead of one gray picture"):
            read_volume(tmp_path / "a.npy")

    def test_several_pages_are_refused(self, tmp_path: Path) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(np.stack([PIXELS] * 3)), str(tmp_path / "a.tif"))
        with pytest.raises(InputError, match=r"a\.tif holds 3 pictures"):
            read_volume(tmp_path / "a.tif")

    @pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif", "npy"])
    @pytest.mark.parametrize("left", [3, 60, 0.7])
    def test_a_truncated_file_is_one_sentence(self, tmp_path: Path, ending: str, left: float) -> None:
        path = tmp_path / f"a.{ending}"
        noise = np.random.default_rng(1).integers(0, 255, (48, 64)).astype(np.uint8)
        if ending == "npy":
            np.save(path, noise)
        else:
            save(path, noise)
        data = path.read_bytes()
        path.write_bytes(data[: int(left if left > 1 else left * len(data))])
        with pytest.raises(InputError, match=rf"a\.{ending} is (damaged|truncated)"):
            read_volume(path)

    def test_a_header_of_absurd_size_is_refused_before_memory_is_asked_for(self, tmp_path: Path) -> None:
        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 0, 0, 0, 0)
        parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
        with pytest.raises(InputError, match="declares 40000000000 bytes of voxels"):
            read_volume(tmp_path / "a.png")
        head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (900000, 900000), }"
        (tmp_path / "a.npy").write_bytes(
            b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head + b"\n" + b"0" * 99
        )
        with pytest.raises(InputError, match="is damaged or no plain"):
            read_volume(tmp_path / "a.npy")

    def test_an_array_of_objects_is_never_unpickled(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object), allow_pickle=True)
        with pytest.raises(InputError, match="is damaged or no plain"):
            read_volume(tmp_path / "a.npy")

    def test_the_sentence_on_formats_names_pictures(self, tmp_path: Path) -> None:
        (tmp_path / "a.xyz").write_text("?")
        with pytest.raises(InputError, match=r"a single gray picture \(\.png, "):
            read_volume(tmp_path / "a.xyz")

    def test_case_names_of_pictures(self) -> None:
        assert [case_name(Path(n)) for n in ("x.png", "y.JPG", "z.npy")] == ["x", "y", "z"]


class TestXray:
    @pytest.fixture
    def xray(self, tmp_path: Path) -> Callable[..., Path]:
        from Testing.io import test_io_dicom as dicom

        def make(name: str = "a.dcm", **changes: Any) -> Path:
            fields: dict[str, Any] = {
                "Modality": "DX",
                "ImagePositionPatient": None,
                "ImageOrientationPatient": None,
                "PixelSpacing": None,
                "ImagerPixelSpacing": [0.2, 0.1],
                "RescaleIntercept": 0,
                "pixels": PIXELS.astype(np.uint16) * 10,
            }
            return dicom.save(tmp_path / "x", dicom.image(0, **{**fields, **changes}), name)

        return make

    @pytest.mark.parametrize("modality", ["DX", "CR"])
    def test_it_is_one_slice_with_its_pixel_size(self, xray: Callable[..., Path], modality: str) -> None:
        volume = read_volume(xray(Modality=modality))
        assert (volume.modality, volume.array.shape) == ("DX", (64, 48, 1))
        np.testing.assert_array_equal(volume.array[:, :, 0].T, PIXELS.astype(int) * 10)
        assert volume.spacing[:2] == pytest.approx((0.1, 0.2))
        assert np.allclose(np.sign(np.diag(volume.affine)), [-1, -1, 1, 1])

    def test_bone_is_bright_also_where_it_is_stored_dark(self, xray: Callable[..., Path]) -> None:
        volume = read_volume(xray(PhotometricInterpretation="MONOCHROME1"))
        stored = PIXELS.astype(int) * 10
        np.testing.assert_array_equal(volume.array[:, :, 0].T, stored.max() + stored.min() - stored)

    def test_of_two_views_one_file_is_taken(self, xray: Callable[..., Path]) -> None:
        frontal, lateral = xray("a.dcm"), xray("b.dcm", pixels=PIXELS[::-1].astype(np.uint16))
        np.testing.assert_array_equal(read_volume(lateral).array[:, :, 0].T, PIXELS[::-1])
        with pytest.raises(InputError, match="holds 2 X-ray pictures; pass one of the files"):
            read_volume(frontal.parent)

    def test_a_ct_slice_without_a_place_is_still_refused(self, xray: Callable[..., Path]) -> None:
        with pytest.raises(InputError, match="does not tell where its slice lies"):
            read_volume(xray(Modality="CT"))


def monai_grid(volume: Volume, axcodes: str, pixdim: tuple[float, ...], size: tuple[int, ...]) -> torch.Tensor:
    values = np.ascontiguousarray(volume.array).astype(np.float32)
    image = MetaTensor(torch.from_numpy(values)[None], affine=torch.from_numpy(volume.affine))
    steps = [Orientation(axcodes), Spacing(pixdim, mode="bilinear"), Resize(size, mode="bilinear")]
    return torch.Tensor(Compose(steps)(image)[0])


@pytest.mark.parametrize("axcodes", ["LPS", "RAS", "SPL"])
@pytest.mark.parametrize(
    ("shape", "pixdim", "size"),
    [
        ((30, 41, 1), (-1, -1, -1), (16, 64, -1)),
        ((30, 41, 9), (-1, -1, -1), (24, 24, 24)),
        ((30, 41, 9), (-1, 1.3, -1), (40, -1, -1)),
        ((12, 13, 14), (-1, -1, -1), (12, 13, 14)),
    ],
)
def test_the_field_of_view_is_divided_as_monai_does(
    axcodes: str, shape: tuple[int, ...], pixdim: tuple[float, ...], size: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(2)
    volume = Volume(rng.normal(0, 100, shape).astype(np.float32), np.diag([-0.7, 0.9, 2.0, 1.0]))
    grid = geometry.model_grid(volume, axcodes, pixdim, size)  # type: ignore[arg-type]
    ours = geometry.to_model_grid(volume.array, grid, CPU)
    theirs = monai_grid(volume, axcodes, pixdim, size)
    assert tuple(ours.shape) == grid.shape == tuple(theirs.shape)
    torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0)
    field = [grid.shape[a] * grid.spacing[a] for a in range(3) if size[a] > 0]
    assert field == pytest.approx(
        [shape[grid.axes.order[a]] * volume.spacing[grid.axes.order[a]] for a in range(3) if size[a] > 0]
    )


def test_there_and_back_positions_are_inverse() -> None:
    volume = Volume(np.zeros((30, 41, 9)), np.diag([-0.7, 0.9, 2.0, 1.0]))
    grid = geometry.model_grid(volume, "LPS", (-1, -1, -1), (20, 100, -1))
    for axis, n in enumerate((30, 41, 9)):
        at = grid.model_positions(axis) * grid.step[axis] + grid.offset[axis]
        inner = slice(2, -2)
        np.testing.assert_allclose(at[inner], np.arange(n)[inner])


@pytest.mark.parametrize(("lower", "upper"), [(0.5, 99.5), (0, 100), (33.3, 60)])
def test_percentiles_are_those_of_monai(lower: float, upper: float) -> None:
    x = torch.randn(1, 17, 13, 5, generator=torch.Generator().manual_seed(0)) * 100
    theirs = ScaleIntensityRangePercentiles(lower, upper, 0, 1, clip=True)(x.clone())
    torch.testing.assert_close(ScalePercentiles(lower, upper)(x[0].clone()), torch.Tensor(theirs)[0], atol=1e-5, rtol=0)


def made_package(folder: Path, network: str, arguments: dict[str, Any], dims: int, **changes: Any) -> Path:
    torch.manual_seed(9)
    arguments = {"spatial_dims": dims, "in_channels": 1, "out_channels": 2, **arguments}
    base: dict[str, Any] = {
        "axcodes": "LPS",
        "pixdim": (-1.0, -1.0, -1.0),
        "window": (0.0, 255.0),
        "roi_size": (-1,) * dims,
    }
    base |= {"batch_size": 2, "divisible": (16, 16, 1), "modality": "DX"}
    spec = replace(toy_spec(network, arguments, dims, 1, **(base | changes)), labels=labels_for({1: "lung"}))
    built = build_network(network, arguments).eval()
    state = built.state_dict()
    with torch.inference_mode():  # both labels as often, else random weights mostly choose one everywhere
        logits = built(torch.rand(2, 1, *[32] * dims))
    bias = [key for key in state if key.endswith("last.conv.bias")][-1]
    state[bias][1] -= (logits[:, 1] - logits[:, 0]).median()
    return write_toy(folder, spec, state)


PYRAMID = ("PyramidUNet", {"channels": [4, 8, 8]}, 2)


class TestPackages:
    def test_size_and_normalization_are_read_back(self, tmp_path: Path) -> None:
        folder = made_package(
            tmp_path, *PYRAMID, size=(96, 64, -1), intensity=(ScalePercentiles(1.0, 98.0),), pixdim=(-1, -1, 4.0)
        )
        package = read_package(folder)
        assert (package.size, package.pixdim, package.modality) == ((96, 64, -1), (-1, -1, 4), "DX")
        assert package.intensity == (ScalePercentiles(1, 98, 0, 1, clip=True),)
        assert package.network == "PyramidUNet"
        steps = json.loads((folder / "configs/inference.json").read_text())
        assert steps["network_def"]["_target_"] == "LiverSegLib.networks.PyramidUNet"
        names = [step["_target_"] for step in steps["preprocessing"]["transforms"]]
        assert names[2:5] == ["Orientationd", "Spacingd", "Resized"]
        about = json.loads((folder / "configs/metadata.json").read_text())
        assert about["image_classes"] == "DX, percentiles 1 to 98 mapped to 0 to 1"

    def test_mean_and_deviation_too(self, tmp_path: Path) -> None:
        package = read_package(made_package(tmp_path, *PYRAMID, intensity=(Normalize(nonzero=True),)))
        assert package.intensity == (Normalize(nonzero=True),)
        assert package.size == (-1, -1, -1)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"mode": "area"}, "only the mode bilinear"),
            ({"mode": None}, "only the mode bilinear"),
            ({"align_corners": True}, "only the mode bilinear without align_corners"),
            ({"anti_aliasing": True}, "anti_aliasing and size_mode longest are not supported"),
            ({"size_mode": "longest"}, "anti_aliasing and size_mode longest are not supported"),
            ({"spatial_size": [9000, 64, 1]}, "is not three sizes of at most 2048 voxels"),
            ({"spatial_size": [64, 64]}, "is not three sizes"),
            ({"spatial_size": "$9 ** 9"}, "expressions are not executed"),
            ({"spatial_size": [-1, -1, 7]}, "both a spacing and a size of one axis"),
        ],
    )
    def test_other_ways_to_resize_are_refused(self, tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
        folder = made_package(tmp_path, *PYRAMID, size=(96, 64, -1), pixdim=(-1, -1, 4.0))
        path = folder / "configs/inference.json"
        data = json.loads(path.read_text())
        (step,) = [s for s in data["preprocessing"]["transforms"] if s["_target_"] == "Resized"]
        step.update(change)
        if step["mode"] is None:
            del step["mode"]  # MONAI's default is another
        path.write_text(json.dumps(data))
        (folder / "checksums.sha256").unlink()
        with pytest.raises(ModelError, match=sentence):
            read_package(folder)


class TestWarnings:
    @pytest.mark.parametrize("modality", ["DX", ""])
    def test_a_picture_for_a_picture_model_is_no_surprise(self, tmp_path: Path, modality: str) -> None:
        package = read_package(made_package(tmp_path, *PYRAMID, modality=modality))
        picture = Volume(PIXELS.T[:, :, None], np.diag([-1.0, -1.0, 1.0, 1.0]), "x.png")
        assert warnings_for(picture, package) == ["x.png is a single picture; its sizes in mL and mm mean nothing."]

    def test_colors_are_told_of(self, tmp_path: Path) -> None:
        package = read_package(made_package(tmp_path, *PYRAMID))
        colored = Volume(PIXELS.T[:, :, None], np.eye(4), "x.png", notes=("x.png is in color.",))
        assert warnings_for(colored, package)[0] == "x.png is in color."

    def test_a_picture_for_a_ct_model_is(self, tmp_path: Path) -> None:
        package = read_package(made_package(tmp_path, *PYRAMID, modality="CT"))
        notes = " ".join(warnings_for(Volume(PIXELS.T[:, :, None], np.eye(4), "x.png"), package))
        assert "does not look like a CT" in notes
        assert "only 1 slice;" in notes

    def test_a_ct_for_an_xray_model_is(self, tmp_path: Path) -> None:
        package = read_package(made_package(tmp_path, *PYRAMID))
        ct = Volume(np.arange(1000.0).reshape(10, 10, 10), np.eye(4), "x", "CT")
        assert "is CT but Toy model was trained on DX" in warnings_for(ct, package)[0]


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize(
    ("shape", "network", "dims", "changes"),
    [
        ((75, 60, 1), PYRAMID[:2], 2, {"size": (64, 48, -1), "intensity": (ScalePercentiles(0.5, 99.5),)}),
        (
            (40, 33, 15),
            ("DoubleConvUNet", {"channels": [4, 8]}),
            3,
            {
                "size": (36, -1, -1),
                "pixdim": (-1.0, 1.9, -1.0),
                "intensity": (Normalize(nonzero=True),),
                "roi_size": (16, 16, 8),
            },
        ),
    ],
    ids=["picture", "volume"],
)
def test_labels_are_those_of_monai(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, ...],
    network: tuple[str, dict[str, Any]],
    dims: int,
    changes: dict[str, Any],
) -> None:
    from Testing.models.test_bundle_run import run_by_monai

    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # our networks need LiverSegLib, installed or not

    rng = np.random.default_rng(4)
    values = rng.normal(60, 100, tuple(-(-n // 5) for n in shape)).repeat(5, 0).repeat(5, 1).repeat(5, 2)
    values = (values[tuple(slice(n) for n in shape)] + rng.normal(0, 10, shape)).astype(np.int16)
    (tmp_path / "data").mkdir()
    case = tmp_path / "data" / "case.nii.gz"
    nib.save(nib.Nifti1Image(values, np.diag([-1.1, 1.3, 2.0, 1.0])), case)
    package = made_package(tmp_path / "package", *network, dims, **changes)

    ours = Segmenter(package, "cpu", RAW).segment(read_volume(case)).labelmap
    # MONAI writes one slice as 2D.
    theirs = run_by_monai(package, case, tmp_path / "output", here=dims == 2).reshape(shape)

    assert ours.shape == shape
    assert 0.02 < (theirs > 0).mean() < 0.98
    assert (ours == theirs).mean() >= 0.999


def test_the_command_line_segments_a_picture_and_leaves_it_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 255, (12, 16)).repeat(6, 0).repeat(6, 1).astype(np.uint8)
    image = save(tmp_path / "xray.png", noise)
    before = image.read_bytes()
    package = made_package(tmp_path / "package", *PYRAMID, size=(64, 64, -1))
    command = [
        sys.executable,
        "-m",
        "LiverSegLib.cli",
        "segment",
        str(image),
        "-o",
        str(tmp_path),
        "--model",
        str(package),
    ]
    environment = {**os.environ, "LIVERSEG_CACHE": str(tmp_path / "cache"), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert image.read_bytes() == before
    made = {p.name for p in tmp_path.glob("xray*")} - {"xray.png"}
    assert made == {
        "xray.seg.nrrd",
        "xray_labels.nii.gz",
        "xray_measurements.csv",
        "xray_measurements.json",
        "xray_overlay.png",
    }
    assert nib.load(tmp_path / "xray_labels.nii.gz").shape == (96, 72, 1)
    assert "single picture" in done.stdout
    assert "HU" not in done.stdout


def test_real_xrays_go_through(shared_data: Path, tmp_path: Path) -> None:
    package = made_package(tmp_path, *PYRAMID, size=(128, 128, -1))
    volume = read_volume(shared_data / "xray" / "1.jpg")
    mask = read_volume(shared_data / "xray" / "1-mask.png")
    assert volume.array.shape == mask.array.shape == (512, 512, 1)
    # Lungs are darker than what surrounds them: image and mask lie on each other.
    assert volume.array[mask.array > 127].mean() < volume.array[mask.array <= 127].mean() + 20
    assert Segmenter(package, "cpu").segment(volume).labelmap.shape == (512, 512, 1)
