"""Reading NIfTI, NRRD and MetaImage: what arrives, and what a bad file is told."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from LiverSegLib.errors import InputError
from LiverSegLib.io import read_volume

# An oblique left-posterior-superior grid in numbers that float32 holds exactly.
AFFINE = np.array([[-0.75, 0, 0.25, 90.5], [0, -0.75, 0, 80], [0.125, 0, 1.5, -300.25], [0, 0, 0, 1.0]])
VOXELS = np.arange(5 * 4 * 3, dtype=np.int16).reshape(5, 4, 3) - 20


def save(path: Path, voxels: np.ndarray = VOXELS, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_keeps_type_values_and_affine_of_the_file(tmp_path: Path, name: str) -> None:
    volume = read_volume(save(tmp_path / name))

    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, VOXELS)
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert (volume.name, volume.modality) == (name, None)
    assert volume.array.flags.f_contiguous
    assert volume.array.flags.writeable


def test_scaled_integers_become_float32(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, AFFINE)
    image.header.set_slope_inter(0.5, -10)
    image.to_filename(tmp_path / "a.nii.gz")
    stored = np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj.get_unscaled())

    volume = read_volume(tmp_path / "a.nii.gz")

    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, stored * 0.5 - 10, atol=1e-5)


@pytest.mark.parametrize("dtype", ["u1", "i2", "<u4", ">i2", "f4", "f8"])
def test_scaling_is_that_of_nibabel_to_the_last_bit(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(1).integers(0, 120, (30, 20, 10)).astype(dtype)
    image = nib.Nifti1Image(values, AFFINE, nib.Nifti1Header(endianness=">" if dtype.startswith(">") else "<"))
    image.header.set_data_dtype(values.dtype)
    image.to_filename(tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    factors = np.array([0.1, -3.7], ">f4" if dtype.startswith(">") else "<f4")
    content[112:120] = factors.tobytes()
    (tmp_path / "a.nii").write_bytes(content)

    expected = np.asarray(nib.load(tmp_path / "a.nii").dataobj, dtype=np.float32)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").array, expected)
    assert expected.min() < 0


def test_big_endian_files_arrive_in_the_byte_order_of_the_machine(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.Nifti1Image(VOXELS, AFFINE, header).to_filename(tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == (348).to_bytes(4, "big")

    volume = read_volume(tmp_path / "a.nii")

    assert volume.array.dtype.isnative
    np.testing.assert_array_equal(volume.array, VOXELS)


def test_qform_counts_where_the_sform_is_not_set(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, None)
    image.set_sform(np.diag([9.0, 9, 9, 1]), code=0)
    image.set_qform(np.diag([-2.0, -2, 3, 1]), code=1)
    image.to_filename(tmp_path / "a.nii")

    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").affine, np.diag([-2.0, -2, 3, 1]))


def test_metres_are_turned_into_millimeters(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, np.diag([0.0005, 0.0005, 0.002, 1]))
    image.header.set_xyzt_units("meter")
    image.to_filename(tmp_path / "a.nii")

    assert read_volume(tmp_path / "a.nii").spacing == pytest.approx((0.5, 0.5, 2))


def test_nifti_version_2_and_a_trailing_axis_of_one(tmp_path: Path) -> None:
    nib.Nifti2Image(VOXELS[..., np.newaxis], AFFINE).to_filename(tmp_path / "a.nii.gz")

    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, VOXELS)


def test_one_slice_is_a_volume(tmp_path: Path) -> None:
    assert read_volume(save(tmp_path / "a.nii", VOXELS[:, :, :1])).array.shape == (5, 4, 1)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_itk_formats_give_the_same_grid_in_ras(tmp_path: Path, suffix: str) -> None:
    image = sitk.GetImageFromArray(VOXELS.transpose(2, 1, 0))
    image.SetSpacing((0.5, 0.75, 2))
    image.SetOrigin((10, 20, 30))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))

    volume = read_volume(tmp_path / f"a{suffix}")

    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.array.dtype == np.int16
    ras = np.array(image.TransformIndexToPhysicalPoint((4, 3, 2))) * (-1, -1, 1)
    np.testing.assert_allclose(volume.affine @ (4, 3, 2, 1), (*ras, 1))


def header_says(path: Path, offset: int, value: int, dtype: str) -> Path:
    content = bytearray(path.read_bytes())
    content[offset : offset + np.dtype(dtype).itemsize] = np.array(value, dtype).tobytes()
    path.write_bytes(content)
    return path


def truncated_gzip(folder: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 1000, (16, 16, 16)).astype(np.int16)
    path = save(folder / "a.nii.gz", noise)
    path.write_bytes(path.read_bytes()[:-1000])
    return path


def without_checksum(folder: Path) -> Path:
    path = save(folder / "a.nii.gz")
    path.write_bytes(path.read_bytes()[:-4])
    return path


def rgb(folder: Path) -> Path:
    return save(folder / "a.nii", np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]))


def color_nrrd(folder: Path) -> Path:
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 3), str(folder / "a.nrrd"))
    return folder / "a.nrrd"


def flat_nrrd(folder: Path) -> Path:
    sitk.WriteImage(sitk.Image([4, 4], sitk.sitkUInt8), str(folder / "a.nrrd"))
    return folder / "a.nrrd"


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


MHD = b"NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = %s\n"
NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: %s\nencoding: %s\nendian: little\n%s\n"
BAD_FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "a.nii", "does not exist"),
    "empty": (written("a.nii.gz", b""), r"empty \(0 bytes\)"),
    "text": (written("a.nii", b"not an image\n" * 100), "damaged or no NIfTI file"),
    "text as gzip": (written("a.nii.gz", gzip.compress(b"not an image\n" * 100)), "damaged or no NIfTI file"),
    "unknown suffix": (written("a.xyz", b"\xff\xd8"), "not of a format.*use NIfTI"),
    "dcm without its mark": (written("a.dcm", b"x" * 200), "not a DICOM file"),
    "truncated gzip": (truncated_gzip, "compressed voxels cannot be unpacked"),
    "gzip without its checksum": (without_checksum, "compressed voxels cannot be unpacked"),
    "truncated": (lambda f: written("b.nii", save(f / "a.nii").read_bytes()[:-9])(f), "truncated"),
    "2D": (lambda f: save(f / "a.nii", VOXELS[:, :, 0]), r"2D image \(5x4\)"),
    "4D": (lambda f: save(f / "a.nii", np.zeros((4, 4, 4, 2), np.int16)), r"4D series \(4x4x4x2\)"),
    "RGB": (rgb, "color image"),
    "complex": (lambda f: save(f / "a.nii", np.zeros((4, 4, 4), np.complex64)), "real numbers"),
    # srow_x is a float at byte 280.
    "no spacing": (lambda f: header_says(save(f / "a.nii", affine=np.eye(4)), 280, 0, "<f4"), "spacing of zero"),
    "flat axes": (lambda f: save(f / "a.nii", affine=AFFINE[:, [0, 0, 2, 3]]), "singular affine"),
    # dim[1] is a short at byte 42: 32,767 columns of 4 x 3 voxels that are not there.
    "huge": (lambda f: header_says(save(f / "a.nii"), 42, 32767, "<i2"), "declares 786408 bytes"),
    "negative": (lambda f: header_says(save(f / "a.nii"), 42, -5, "<i2"), "a.nii"),
    "text as nrrd": (written("a.nrrd", b"not an image\n"), "damaged or no .nrrd file"),
    "huge nrrd": (written("a.nrrd", NRRD % (b"99999 99999 99999", b"gzip", b"")), "declares 1999940000599998 bytes"),
    "truncated nrrd": (
        written("a.nrrd", NRRD % (b"9 9 9", b"raw", b"") + b"x" * 99),
        "declares 1458 bytes .* at most 99",
    ),
    "nrrd that points elsewhere": (
        written("a.nhdr", NRRD % (b"9 9 9", b"raw", b"data file: ../../etc/passwd\n")),
        "outside its folder",
    ),
    "mhd that points elsewhere": (written("a.mhd", MHD % b"/etc/passwd"), "outside its folder"),
    "color nrrd": (color_nrrd, "color or vector image"),
    "flat nrrd": (flat_nrrd, "2D image"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_is_told_in_one_sentence_that_names_it(tmp_path: Path, case: str) -> None:
    make, sentence = BAD_FILES[case]
    path = make(tmp_path)

    with pytest.raises(InputError, match=sentence) as caught:
        read_volume(path)

    message = str(caught.value)
    assert path.name in message
    assert message.endswith(".")
    assert "\n" not in message


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.nii")

    with pytest.raises(InputError, match="neither a file nor a folder"):
        read_volume(tmp_path / "a.nii")


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Root may read everything; act as an ordinary user for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_no_permission(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii")
    path.chmod(0)

    with as_somebody_else(), pytest.raises(InputError, match="no permission"):
        read_volume(path)
