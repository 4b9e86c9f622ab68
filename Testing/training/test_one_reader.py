"""What `prepare` reads, `liverseg segment` reads: the same numbers in the same place, of every format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813
import yaml
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian
from typer.testing import CliRunner

from LiverSegLib.cli.commands import app as liverseg
from LiverSegLib.errors import InputError
from LiverSegLib.io import read_label_map, read_volume
from LiverSegLib.volume import Volume
from Testing.conftest import MakePackage
from Testing.io import test_io_dicom as dicom
from Training.__main__ import app as training
from Training.data.readers import RawCase, list_cases
from Training.recipe import Recipe, load_recipe
from Training.recipe.sources import FilesSource

GRAY = (np.arange(12)[:, None] * 9 + np.arange(16)[None] * 5).astype(np.uint8)
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)
STORED = np.arange(20, dtype=np.uint16).reshape(4, 5) * 7
CT = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) * 9 - 300
TILTED = np.array([[-0.5, 0, 0, 10], [0, 0.75, 0.2, -20], [0, 0, 2, 30], [0, 0, 0, 1.0]])


def picture(array: npt.NDArray[Any], name: str, mode: str | None = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        image = Image.fromarray(array)
        image.convert(mode or image.mode).save(folder / name)
        return folder / name

    return make


def itk(array: npt.NDArray[Any], name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        image = sitk.GetImageFromArray(array)
        if array.ndim == 3:
            image.SetSpacing((0.5, 0.75, 2.0))
            image.SetOrigin((5.0, -7.0, 11.0))
        sitk.WriteImage(image, str(folder / name))
        return folder / name

    return make


def numpy_file(folder: Path) -> Path:
    np.save(folder / "a.npy", GRAY.astype(">f4") / 7)
    return folder / "a.npy"


def nifti(folder: Path) -> Path:
    image = nib.Nifti1Image(CT, TILTED)
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, folder / "a.nii.gz")
    return folder / "a.nii.gz"


def dicom_slice(**changes: Any) -> Callable[[Path], Path]:
    return lambda folder: dicom.save(folder, dicom.image(0, **{"pixels": STORED, **changes}), "a.dcm")


def dicom_series(folder: Path) -> Path:
    return dicom.series(folder / "a.series")


FORMATS = {
    "PNG": picture(GRAY, "a.png"),
    "PNG of 16 bits": itk(GRAY.astype(np.uint16) * 250, "a.png"),
    "PNG of 1 bit": picture(GRAY, "a.png", "1"),
    "PNG with a gray palette": picture(GRAY, "a.png", "P"),
    "PNG with alpha": picture(GRAY, "a.png", "LA"),
    "PNG of equal colors": picture(GRAY, "a.png", "RGB"),
    "PNG in color": picture(COLOR, "a.png"),
    "PNG in color with alpha": picture(COLOR, "a.png", "RGBA"),
    "JPEG": picture(GRAY, "a.jpg"),
    "JPEG in color": picture(COLOR, "a.jpeg"),
    "BMP": picture(GRAY, "a.bmp"),
    "BMP in color": picture(COLOR, "a.bmp"),
    "TIFF": picture(GRAY, "a.tif"),
    "TIFF of 16 bits with sign": itk(GRAY.astype(np.int16) - 100, "a.tiff"),
    "TIFF of floats": itk(GRAY.astype(np.float32) / 7, "a.tif"),
    "TIFF in color": picture(COLOR, "a.tif"),
    "npy": numpy_file,
    "NIfTI with a slope": nifti,
    "NRRD": itk(CT, "a.nrrd"),
    "MHA": itk(CT, "a.mha"),
    "DICOM series": dicom_series,
    "DICOM slice": dicom_slice(),
    "DICOM slice with a slope": dicom_slice(RescaleSlope=0.5, RescaleIntercept=-3),
    "DICOM slice, MONOCHROME1": dicom_slice(PhotometricInterpretation="MONOCHROME1"),
    "DICOM slice of MR": dicom_slice(Modality="MR", ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
    "X-ray": dicom_slice(Modality="DX", PixelSpacing=None, ImagerPixelSpacing=[0.2, 0.1]),
    "X-ray, MONOCHROME1": dicom_slice(Modality="CR", PhotometricInterpretation="MONOCHROME1"),
}


def prepared(path: Path, mask: Path, **keys: Any) -> RawCase:
    """The case as `prepare` reads it."""
    template = path.name.replace("a.", "{name}.", 1)
    masks = [{"path": mask.relative_to(path.parent).as_posix(), "values": {1: 1, 2: 2}}]
    source = FilesSource.model_validate({"kind": "files", "name": "source", "image": template, "masks": masks, **keys})
    (entry,) = list_cases(source, path.parent)
    return entry.load()


def a_mask(folder: Path, volume: Volume) -> Path:
    """A label map on the volume's grid, or of a picture's size."""
    (folder / "masks").mkdir()
    labels = (np.arange(volume.array.size).reshape(volume.array.shape) % 3).astype(np.uint8)
    if volume.array.shape[2] == 1:
        np.save(folder / "masks/m.npy", labels[..., 0].T)
        return folder / "masks/m.npy"
    nib.save(nib.Nifti1Image(labels, volume.affine), folder / "masks/m.nii.gz")
    return folder / "masks/m.nii.gz"


@pytest.mark.parametrize("name", FORMATS)
def test_what_prepare_reads_segment_reads(tmp_path: Path, name: str) -> None:
    path = FORMATS[name](tmp_path)
    segmented = read_volume(path)
    mask = a_mask(tmp_path, segmented)
    case = prepared(path, mask)
    np.testing.assert_array_equal(case.volume.array, segmented.array)
    assert case.volume.array.dtype == segmented.array.dtype
    np.testing.assert_allclose(case.volume.affine, segmented.affine, rtol=0, atol=1e-12)
    assert (case.volume.modality, case.volume.notes) == (segmented.modality, segmented.notes)
    np.testing.assert_array_equal(case.label, read_label_map(mask, segmented))
    assert bool(segmented.notes) == (" in color" in name)


def palette_mask(folder: Path, labels: npt.NDArray[np.uint8]) -> Path:
    image = Image.fromarray(labels)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(folder / "m.png")
    return folder / "m.png"


def stored_mask(folder: Path, labels: npt.NDArray[np.uint8]) -> Path:
    return dicom.save(folder, dicom.image(0, pixels=labels.astype(np.uint16)), "m.dcm")


@pytest.mark.parametrize("write", [palette_mask, stored_mask])
def test_a_mask_of_one_slice_is_the_same_to_both(
    tmp_path: Path, write: Callable[[Path, npt.NDArray[np.uint8]], Path]
) -> None:
    path = dicom_slice()(tmp_path)
    (tmp_path / "masks").mkdir()
    labels = (STORED % 3).astype(np.uint8)
    mask = write(tmp_path / "masks", labels)
    np.testing.assert_array_equal(prepared(path, mask).label[..., 0].T, labels)
    np.testing.assert_array_equal(read_label_map(mask, read_volume(path))[..., 0].T, labels)


def test_a_dicom_seg_is_the_same_to_both(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    from Testing.training import test_prepare

    test_prepare.dicom_series(tmp_path / "a.series", 4)
    (tmp_path / "masks").mkdir()
    masks = np.zeros((4, 6, 8), np.uint8)
    masks[1, 1:3, 4:7], masks[2, 5, 0] = 1, 2
    path = tmp_path / "masks/m.dcm"
    test_prepare.write_seg(path, tmp_path / "a.series", masks, ["liver", "tumor"])
    np.testing.assert_array_equal(prepared(tmp_path / "a.series", path).label, masks.transpose(2, 1, 0))
    labels = read_label_map(path, read_volume(tmp_path / "a.series"))
    np.testing.assert_array_equal(labels, masks.transpose(2, 1, 0))


def test_a_mask_that_is_packed_as_a_whole_is_not_unpacked(tmp_path: Path) -> None:
    image = dicom.image(0, pixels=STORED)
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = dicom.save(tmp_path, image, "m.dcm")
    volume = Volume(CT, TILTED)
    with pytest.raises(InputError, match=r"m\.dcm is a deflated DICOM file"):
        read_label_map(path, volume)
    path.write_bytes(b"no DICOM")
    with pytest.raises(InputError, match=r"m\.dcm is damaged or no DICOM file"):
        read_label_map(path, volume)
    with pytest.raises(InputError, match=r"gone\.dcm does not exist"):
        read_label_map(tmp_path / "gone.dcm", volume)


def recipe_of_pictures() -> Recipe:
    source = {
        "kind": "files",
        "name": "pictures",
        "image": "{name}.png",
        "masks": [{"path": "masks/{name}.png", "values": {1: 1, 2: 2}}],
    }
    return load_recipe(
        "liver3d_phantom",
        [
            f"sources={yaml.safe_dump([source], default_flow_style=True, width=10**6)}",
            "spatial_dims=2",
            "patch_size=[8, 8]",
            "inference.roi_size=[-1, -1]",
            "modality=DX",
            "preprocess={pixdim: [-1, -1, -1], normalize: window, window: [0, 255], axcodes: LPS}",
            "augment={contrast: 0, organ_contrast: 0, lesion: 0, mass: 0, fluid: 0, arms: 0, crop_field: 0}",
            "split={validation_fraction: 0.3}",
        ],
    )


@pytest.mark.usefixtures("float32")
def test_both_commands_see_the_same_color_picture(threshold_package: MakePackage, tmp_path: Path) -> None:
    """The model calls what is above 100 liver: of the luminance, which is also what `prepare` stores."""
    data = tmp_path / "data"
    (data / "masks").mkdir(parents=True)
    for number, name in enumerate("abc"):
        pixels = np.full((40, 48, 3), 50 + number, np.uint8)
        pixels[8:24, 8:40] = (255, 140, 20 + number)  # a luminance of 161
        Image.fromarray(pixels).save(data / f"{name}.png")
        labels = np.zeros((40, 48), np.uint8)
        labels[8:16, 8:40], labels[16:24, 8:40] = 1, 2
        Image.fromarray(labels).save(data / f"masks/{name}.png")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(recipe_of_pictures().model_dump(mode="json")))
    command = ["prepare", str(recipe), "--data", str(data), "-o", str(tmp_path / "prepared")]
    done = CliRunner().invoke(training, command)
    assert done.exit_code == 0, done.output
    (stored,) = sorted((tmp_path / "prepared/cases").glob("pictures_a_image.npy"))

    package = threshold_package(2, pixdim=(-1.0, -1.0, -1.0), axcodes="LPS")
    out = tmp_path / "out"
    command = ["segment", str(data / "a.png"), "-o", str(out), "--model", str(package), "--no-overlay"]
    done = CliRunner().invoke(liverseg, command)
    assert done.exit_code == 0, done.output
    assert "is in color; its luminance was taken" in done.output
    labels = np.asarray(nib.load(out / "a_labels.nii.gz").dataobj)
    luminance = np.load(stored).reshape(labels.shape)
    assert set(np.unique(luminance)) == {50, 161}
    assert (((luminance > 100) & (luminance < 200)) == (labels == 1)).mean() > 0.97
