"""MetaImage and NRRD: our readers give what ITK gives for everything that ITK, Slicer, teem and pynrrd write."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813

from LiverSegLib.errors import InputError
from LiverSegLib.io import read_volume

TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
VOXELS = np.random.default_rng(3).integers(-100, 100, (5, 4, 3)).astype(np.int16)
OBLIQUE = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]


def as_itk_reads(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Array [i, j, k] and RAS affine."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), np.diag([-1.0, -1, 1, 1]) @ affine


def check_against_itk(path: Path) -> None:
    array, affine = as_itk_reads(path)
    volume = read_volume(path)
    assert volume.array.dtype == array.dtype
    assert volume.array.dtype.isnative
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, rtol=0, atol=1e-9)


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("packed", [False, True], ids=["raw", "packed"])
@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_what_simpleitk_writes(tmp_path: Path, suffix: str, packed: bool, direction: npt.NDArray[Any]) -> None:
    for dtype in TYPES:
        voxels = (VOXELS + (100 if dtype.startswith("u") else 0)).astype(dtype)
        image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
        image.SetSpacing((0.7, 0.8123456789, 2.5))
        image.SetOrigin((-12.3456789, 4, 1e-5))
        image.SetDirection(direction.ravel().tolist())
        path = tmp_path / f"{dtype}{suffix}"
        sitk.WriteImage(image, str(path), packed)

        check_against_itk(path)
        np.testing.assert_array_equal(read_volume(path).array, voxels)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_notes_that_itk_copies_from_nifti_and_dicom(tmp_path: Path, suffix: str) -> None:
    image = sitk.GetImageFromArray(VOXELS.transpose(2, 1, 0))
    for key in ("dim[0]", "pixdim[1]", "vox_offset", "0008|0060", "NRRD_kinds[0]", "ITK_original_spacing"):
        image.SetMetaData(key, "1 2 = 3: 4")
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    check_against_itk(tmp_path / f"a{suffix}")


def metaimage(folder: Path, *lines: str, voxels: bytes | None = None, name: str = "a.mha") -> Path:
    """A .mha of VOXELS; a key given here replaces the usual one."""
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "DimSize": "5 4 3",
        "ElementType": "MET_SHORT",
        "ElementDataFile": "LOCAL",
    }
    header |= dict(line.split(" = ", 1) for line in lines)
    last = header.pop("ElementDataFile")
    content = "".join(f"{key} = {value}\n" for key, value in header.items())
    body = VOXELS.astype("<i2").tobytes(order="F") if voxels is None else voxels
    (folder / name).write_bytes(f"{content}ElementDataFile = {last}\n".encode() + body)
    return folder / name


RAW = VOXELS.astype("<i2").tobytes(order="F")
BIG = VOXELS.astype(">i2").tobytes(order="F")
TEXT = " ".join(str(n) for n in VOXELS.ravel(order="F")).encode()


@pytest.mark.parametrize(
    ("lines", "voxels"),
    [
        ((), RAW),
        (("BinaryDataByteOrderMSB = True",), BIG),
        (("ElementByteOrderMSB = True",), BIG),
        (("ElementByteOrderMSB = False", "BinaryData = True"), RAW),
        (("CompressedData = True", f"CompressedDataSize = {len(zlib.compress(RAW))}"), zlib.compress(RAW)),
        (("ElementSpacing = 0.5 0.75 2.5", "Offset = 1 2 3"), RAW),
        (("ElementSize = 0.5 0.75 2.5", "Position = 1 2 3"), RAW),
        (("ElementSpacing = .5 1e0 2.50", "Origin = -1 +2 3e-2", "ElementSize = 1 1 1"), RAW),
        (("TransformMatrix = 0 1 0 0 0 1 1 0 0",), RAW),
        (("Rotation = 0 1 0 0 0 1 1 0 0", "CenterOfRotation = 0 0 0"), RAW),
        (("Orientation = 0 1 0 0 0 1 1 0 0", "AnatomicalOrientation = RAI"), RAW),
        (("Comment = made by hand: yes = no", "Modality = MET_MOD_CT", "ElementNumberOfChannels = 1"), RAW),
        (("ID = 1", "ParentID = -1", "Name = x", "Color = 1 1 1 1", "TransformType = Rigid"), RAW),
        (("ElementType = MET_LONG", "DimSize = 5 2 3"), RAW),
        (("HeaderSize = -1",), RAW),
    ],
)
def test_other_spellings_of_metaimage(tmp_path: Path, lines: tuple[str, ...], voxels: bytes) -> None:
    check_against_itk(metaimage(tmp_path, *lines, voxels=voxels))


@pytest.mark.parametrize(
    ("line", "voxels"), [("BinaryData = False", TEXT), ("CompressedData = True", zlib.compress(RAW))]
)
def test_metaimage_that_itk_itself_reads_wrongly(tmp_path: Path, line: str, voxels: bytes) -> None:
    np.testing.assert_array_equal(read_volume(metaimage(tmp_path, line, voxels=voxels)).array, VOXELS)


@pytest.mark.parametrize("skip", [7, -1])
def test_metaimage_skips_the_header_of_another_format(tmp_path: Path, skip: int) -> None:
    (tmp_path / "a.raw").write_bytes(b"1234567" + RAW)
    path = metaimage(tmp_path, f"HeaderSize = {skip}", "ElementDataFile = a.raw", voxels=b"", name="a.mhd")
    check_against_itk(path)
    np.testing.assert_array_equal(read_volume(path).array, VOXELS)


def nrrd(folder: Path, *lines: str, voxels: bytes = RAW, name: str = "a.nrrd") -> Path:
    """A .nrrd of VOXELS; a field given here replaces the usual one."""
    fields = {"type": "short", "dimension": "3", "sizes": "5 4 3", "endian": "little", "encoding": "raw"}
    fields |= dict(line.split(": ", 1) for line in lines if not line.startswith("#") and ":=" not in line)
    text = "".join(f"{key}: {value}\n" for key, value in fields.items() if value != "-")
    notes = "".join(f"{line}\n" for line in lines if line.startswith("#") or ":=" in line)
    (folder / name).write_bytes(f"NRRD0005\n{text}{notes}\n".encode() + voxels)
    return folder / name


DIRECTIONS = "space directions: (0.5,0,0.1) (0,-0.75,0) (0.2,0,2.5)"


@pytest.mark.parametrize(
    ("lines", "voxels"),
    [
        ((), RAW),
        (("spacings: 0.5 0.75 2.5",), RAW),
        (("spacings: 0.5 0.75 2.5", "axis mins: 1 2 3"), RAW),
        (("spacings: 0.5 0.75 2.5", "axis mins: 1 2 3", "centers: node node node"), RAW),
        (("spacings: 0.5 0.75 2.5", "axismins: 1 2 3", "centerings: cell cell cell"), RAW),
        (("space: left-posterior-superior", DIRECTIONS, "space origin: (1, -2, 3.5)"), RAW),
        (("space: LPS", DIRECTIONS), RAW),
        (("space: right-anterior-superior", DIRECTIONS, "space origin: (1,2,3)"), RAW),
        (("space: RAS", DIRECTIONS, "kinds: domain domain domain"), RAW),
        (("space: LPS", "space directions: ( 1 , 0 , 0 )  (0,1,0) (0,0,2)", 'space units: "mm" "mm" "mm"'), RAW),
        (("endian: big",), BIG),
        (("encoding: gz", "type: int16"), gzip.compress(RAW)),
        (("encoding: gzip", "type: signed short int"), gzip.compress(RAW[:50]) + gzip.compress(RAW[50:])),
        (("encoding: ascii", "endian: -"), TEXT),
        (("encoding: txt",), TEXT.replace(b" ", b"\n")),
        (("byte skip: -1",), RAW),
        (("content: a: b", "thicknesses: 1 1 nan", 'labels: "x" "y" "z"', "min: -5", "old max: 9"), RAW),
        (("#  comment: x", "Segment0_ID:=Segment_1: 5", "Segment0_Tags:=a:=b|", "DICOM_0008_0060:=CT"), RAW),
        (("space: LPS", DIRECTIONS, "measurement frame: (1,0,0) (0,1,0) (0,0,1)"), RAW),
        (
            (
                "dimension: 4",
                "sizes: 1 5 4 3",
                "space: LPS",
                "space directions: none (1,0,0) (0,1,0) (0,0,2)",
                "kinds: list domain domain domain",
            ),
            RAW,
        ),
    ],
)
def test_other_spellings_of_nrrd(tmp_path: Path, lines: tuple[str, ...], voxels: bytes) -> None:
    path = nrrd(tmp_path, *lines, voxels=voxels)
    if "encoding: gzip" in lines:  # ITK reads only the first of two members
        np.testing.assert_array_equal(read_volume(path).array, VOXELS)
    else:
        check_against_itk(path)


def test_every_space_of_nrrd_means_what_its_name_says(tmp_path: Path) -> None:
    flips = {"right-anterior-superior": (1, 1), "left-anterior-superior": (-1, 1), "LPS": (-1, -1)}
    for space, (x, y) in flips.items():
        path = nrrd(
            tmp_path, f"space: {space}", "space directions: (1,0,0) (0,1,0) (0,0,2)", "space origin: (10,20,30)"
        )
        expected = np.diag([x, y, 1, 1]) @ np.array([[1, 0, 0, 10], [0, 1, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]])
        np.testing.assert_array_equal(read_volume(path).affine, expected)


def test_windows_line_ends(tmp_path: Path) -> None:
    for path in (nrrd(tmp_path), metaimage(tmp_path)):
        content = path.read_bytes()
        header = content[: -len(RAW)].replace(b"\n", b"\r\n")
        path.write_bytes(header + RAW)
        np.testing.assert_array_equal(read_volume(path).array, VOXELS)


def test_detached_compressed_files_in_a_subfolder(tmp_path: Path) -> None:
    (tmp_path / "sub dir").mkdir()
    (tmp_path / "sub dir/a.zraw").write_bytes(zlib.compress(RAW))
    (tmp_path / "a.raw.gz").write_bytes(gzip.compress(RAW))
    mhd = metaimage(tmp_path, "CompressedData = True", "ElementDataFile = sub dir/a.zraw", voxels=b"", name="a.mhd")
    nhdr = nrrd(tmp_path, "encoding: gzip", "data file: ./a.raw.gz", voxels=b"", name="a.nhdr")
    for path in (mhd, nhdr):
        np.testing.assert_array_equal(read_volume(path).array, VOXELS)


def test_real_slicer_segmentations(shared_data: Path) -> None:
    for path in sorted((shared_data / "dicom-seg").glob("*.nrrd")):
        check_against_itk(path)


MHA_REFUSALS = {
    "ElementDataFile = LIST": "in several files",
    "ElementDataFile = a%03d.raw 1 3 1": "in several files",
    "ElementType = MET_OTHER": "ElementType",
    "ElementType = MET_SHORT_ARRAY": "ElementType",
    "ElementNumberOfChannels = 3": "color or vector",
    "NDims = 2": "DimSize",
    "NDims = 3.0": "NDims",
    "NDims = -1": "NDims",
    "NDims = 3.4e38": "NDims",
    "DimSize = 5 4 -3": "DimSize",
    "DimSize = 5 4": "DimSize",
    "DimSize = 5 4 0": "is empty",
    "DimSize = 5 4 4": "declares 160 bytes",
    "DimSize = 5 4 2": "more are there",
    "DimSize = 9999999999 9999999999 9999999999": "declares 1999",
    "ElementSpacing = 1 1": "ElementSpacing",
    "ElementSpacing = 1 1 nan": "ElementSpacing",
    "ElementSpacing = 1 1 0": "zero or less",
    "ElementSpacing = 1 1 -1": "zero or less",
    "ElementSpacing = 1 1 1e30": r"1 x 1 x 1e\+30 mm",
    "Offset = 1e30 0 0": "from the origin",
    "Offset = 1e999 0 0": "Offset",
    "TransformMatrix = 1 0 0 0 1 0 0 1e308 1": "TransformMatrix",
    "TransformMatrix = 1 0 0 1 0 0 0 0 1": "singular",
    "BinaryDataByteOrderMSB = maybe": "neither True nor False",
    "CompressedData = True": "cannot be unpacked",
    "ElementToIntensityFunctionSlope = 2": "IntensityFunctionSlope",
    "HeaderSize = 4": "HeaderSize",
    "HeaderSizePerSlice = 4": "HeaderSizePerSlice",
    "DistanceUnits = um": "DistanceUnits",
    "ObjectType = Tube": "ObjectType",
    "elementtype = MET_CHAR": "elementtype",
    "ElementFoo = 1": "ElementFoo",
    "Element_Spacing = 1 1 1": "Element_Spacing",
    "BinaryData = False": "not plain numbers",
}


@pytest.mark.parametrize("line", MHA_REFUSALS)
def test_what_metaimage_does_not_mean_or_we_do_not_know(tmp_path: Path, line: str) -> None:
    path = metaimage(tmp_path, line)
    with pytest.raises(InputError, match=MHA_REFUSALS[line]) as caught:
        read_volume(path)
    assert "a.mha" in str(caught.value)
    assert str(caught.value).isprintable()


NRRD_REFUSALS = {
    "data file: LIST": "in several files",
    "data file: a%03d.raw 1 3 1": "in several files",
    "type: block": "type",
    "type: complex": "type",
    "encoding: bzip2": "encoding",
    "encoding: hex": "encoding",
    "endian: -": "lacks the field endian",
    "endian: middle": "endian",
    "dimension: 17": "dimension",
    "dimension: -1": "dimension",
    "sizes: 5 4": "sizes",
    "sizes: 5 4 4": "declares 160 bytes",
    "sizes: 5 4 2": "more are there",
    "kinds: RGB-color domain domain": "color or vector",
    "kinds: domain domain time": "series over time",
    "space: scanner-xyz": "no space directions",
    "space directions: (1,0,0) (0,1,0) (0,0,1)": "left from right",
    "spacings: 1 1": "spacings",
    "spacings: 1 1 nan": "spacings",
    "spacings: 1 1 0": "zero or less",
    "spacings: 1 1 1e30": r"1 x 1 x 1e\+30 mm",
    'space units: "cm" "cm" "cm"': "not mm",
    "line skip: 1": "skips",
    "byte skip: 3": "declares 120 bytes",
    "foo: 1": "the field foo",
    "Sizes: 5 4 3": "twice",
    "block size: 2": "block size",
}


@pytest.mark.parametrize("line", NRRD_REFUSALS)
def test_what_nrrd_does_not_mean_or_we_do_not_know(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match=NRRD_REFUSALS[line]) as caught:
        read_volume(nrrd(tmp_path, line))
    assert "a.nrrd" in str(caught.value)
    assert str(caught.value).isprintable()
