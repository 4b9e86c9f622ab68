"""Images from strangers: no way out of the header's folder, no crash, no hang, no damaged voxels taken for an image."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.errors import InputError
from LiverSegLib.io import read_volume

ROOT = Path(__file__).resolve().parents[2]
VOXELS = (np.arange(8 * 8 * 8, dtype=np.uint8) % 7).reshape(8, 8, 8, order="F")
RAW = VOXELS.tobytes(order="F")
MHD = b"ObjectType = Image\nNDims = 3\nDimSize = 8 8 8\nElementType = MET_UCHAR\n"
NHDR = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 8 8 8\nencoding: raw\n"
PADDING = b"Comment = " + b"x" * 100 + b"\n"


def refused(path: Path, match: str | None = None) -> str:
    """The one plain sentence with which `path` is refused."""
    with pytest.raises(InputError, match=match) as caught:
        read_volume(path)
    sentence = str(caught.value)
    assert path.name in sentence
    assert sentence.endswith(".")
    assert sentence.isprintable()
    return sentence


# %s is the way to a raw file outside the folder; ITK read it in every one of these.
BYPASSES = {
    "colon.mhd": MHD + b"ElementDataFile : %s\n",
    "colon without spaces.mhd": MHD + b"ElementDataFile: %s\n",
    "space before.mhd": MHD + b" ElementDataFile = %s\n",
    "tab before.mhd": MHD + b"\tElementDataFile = %s\n",
    "vertical tab before.mhd": MHD + b"\x0bElementDataFile = %s\n",
    "after comments.mhd": MHD + PADDING * 11000 + b"ElementDataFile = %s\n",
    "after blanks.mhd": MHD + b"\n" * (1 << 20) + b"ElementDataFile = %s\n",
    "after comments.nhdr": NHDR + b"# " + b"x" * (1 << 20) + b"\ndata file: %s\n",
    "after notes.nhdr": NHDR + b"note:=x\n" * (1 << 17) + b"data file: %s\n",
    "nrrd's key as decoy.mhd": MHD + b"data file: decoy.raw\nElementDataFile = %s\n",
    "nrrd's key as local decoy.mhd": MHD + b"data file: LOCAL\nElementDataFile = %s\n",
    "metaimage's key as decoy.nhdr": NHDR + b"ElementDataFile=foo:=bar\ndata file: %s\n",
    "note as decoy.nhdr": NHDR + b"data file:=decoy.raw\ndata file: %s\n",
    "carriage returns.nhdr": (NHDR + b"data file: %s\n").replace(b"\n", b"\r"),
    "plain.mhd": MHD + b"ElementDataFile = %s\n",
    "plain.nhdr": NHDR + b"data file: %s\n",
    "twice.nhdr": NHDR + b"data file: decoy.raw\ndatafile: %s\n",
    "list.mhd": MHD + b"ElementDataFile = LIST\n%s\n",
    "list.nhdr": NHDR + b"data file: LIST\n%s\n",
    "pattern.nhdr": NHDR + b"data file: %s%%d 1 3 1\n",
}


@pytest.mark.parametrize("way", ["absolute", "relative"])
@pytest.mark.parametrize("name", BYPASSES)
def test_a_header_never_leads_out_of_its_folder(tmp_path: Path, name: str, way: str) -> None:
    (tmp_path / "secret.raw").write_bytes(RAW)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "decoy.raw").write_bytes(RAW)
    target = os.fsencode(tmp_path / "secret.raw") if way == "absolute" else b"../secret.raw"
    (inside / name).write_bytes(BYPASSES[name] % target)

    refused(inside / name)


@pytest.mark.parametrize("header", [MHD + b"ElementDataFile = %s\n", NHDR + b"data file: %s\n"], ids=["mhd", "nhdr"])
class TestFilesBesideTheHeader:
    @staticmethod
    def save(folder: Path, header: bytes, name: str = "data.raw") -> Path:
        path = folder / ("a.mhd" if header.startswith(b"Object") else "a.nhdr")
        path.write_bytes(header % name.encode())
        return path

    def test_a_regular_file_is_read(self, tmp_path: Path, header: bytes) -> None:
        (tmp_path / "data.raw").write_bytes(RAW)
        np.testing.assert_array_equal(read_volume(self.save(tmp_path, header)).array, VOXELS)

    def test_a_symbolic_link_is_not_followed(self, tmp_path: Path, header: bytes) -> None:
        (tmp_path / "secret").mkdir()
        (tmp_path / "secret/data.raw").write_bytes(RAW)
        inside = tmp_path / "inside"
        inside.mkdir()
        (inside / "data.raw").symlink_to("../secret/data.raw")
        (inside / "folder").symlink_to("../secret")
        refused(self.save(inside, header), "symbolic link")
        refused(self.save(inside, header, "folder/data.raw"), "symbolic link")

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path, header: bytes) -> None:
        os.mkfifo(tmp_path / "data.raw")
        refused(self.save(tmp_path, header), "no regular file")

    def test_a_folder_or_nothing_is_one_sentence(self, tmp_path: Path, header: bytes) -> None:
        (tmp_path / "data.raw").mkdir()
        refused(self.save(tmp_path, header), "no regular file")
        refused(self.save(tmp_path, header, "missing.raw"), "No such file")
        refused(self.save(tmp_path, header, "n" * 300), "cannot be read")
        refused(self.save(tmp_path, header, "x\x1b]0;title"), "control characters")

    @pytest.mark.parametrize("name", ["C:\\data.raw", "\\\\server\\share\\data.raw", "..\\data.raw", "a/../../b.raw"])
    def test_windows_ways_out_count_everywhere(self, tmp_path: Path, header: bytes, name: str) -> None:
        refused(self.save(tmp_path, header, name), "outside its folder")

    def test_a_file_of_another_size_is_not_the_one(self, tmp_path: Path, header: bytes) -> None:
        (tmp_path / "data.raw").write_bytes(RAW + b"x")
        refused(self.save(tmp_path, header), "more are there")
        (tmp_path / "data.raw").write_bytes(RAW[:-1])
        refused(self.save(tmp_path, header), "declares 512 bytes .* at most 511")


# Each of these ended the process or never came back.
KILLERS = {
    "ndims -1.mhd": MHD.replace(b"= 3", b"= -1") + b"ElementDataFile = data.raw\n",
    "ndims 3.4e38.mhd": MHD.replace(b"= 3", b"= 3.4e38") + b"ElementDataFile = data.raw\n",
    "ndims -1.mha": MHD.replace(b"= 3", b"= -1") + b"ElementDataFile = LOCAL\n" + RAW,
    "ndims 3.4e38.mha": MHD.replace(b"= 3", b"= 3.4e38") + b"ElementDataFile = LOCAL\n" + RAW,
    "matrix.mha": MHD + b"TransformMatrix = 1 0 0 0 1 0 0 1e308 1\nElementDataFile = LOCAL\n" + RAW,
    "long line.nrrd": NHDR + b"foo" + b"9" * 100_000 + b": x\n\n" + RAW,
    "long line.mha": MHD + b"foo" + b"9" * 100_000 + b" : x\nElementDataFile = LOCAL\n" + RAW,
    "endless line.nrrd": NHDR + b"x" * (5 << 20),
    "endless line.mha": MHD + b"x" * (5 << 20),
    "damaged.mha": MHD + b"CompressedData = True\nElementDataFile = LOCAL\n" + b"\xff" * 100,
    "many numbers.nrrd": NHDR.replace(b"8 8 8", b"8 " * 100_000) + b"\n" + RAW,
    "long number.nrrd": NHDR.replace(b"8 8 8", b"8 8 " + b"9" * 100_000) + b"\n" + RAW,
    "no end.mha": MHD,
    "no end.nrrd": NHDR,
}


@pytest.mark.parametrize("name", KILLERS)
def test_no_header_kills_or_stops_the_process(tmp_path: Path, name: str) -> None:
    (tmp_path / "data.raw").write_bytes(RAW)
    (tmp_path / name).write_bytes(KILLERS[name])
    assert len(refused(tmp_path / name)) < 600


@pytest.mark.parametrize("ending", ["nrrd", "mha", "png", "nii", "npy", "bmp"])
def test_a_name_that_is_not_utf_8(tmp_path: Path, ending: str) -> None:
    if sys.platform == "darwin":
        pytest.skip("macOS has no such names")
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff." + ending.encode()))
    path.write_bytes(b"nothing" * 20)
    with pytest.raises(InputError):
        read_volume(path)
    if ending == "nrrd":
        path.write_bytes(NHDR + b"\n" + RAW)
        np.testing.assert_array_equal(read_volume(path).array, VOXELS)


def test_a_name_with_a_zero_byte() -> None:
    with pytest.raises(InputError, match=r"a\?\.nii is no file name"):
        read_volume("a\0.nii")


@pytest.mark.parametrize("kind", ["mha", "nrrd", "nii.gz"])
def test_every_flipped_bit_in_compressed_voxels_is_found(tmp_path: Path, kind: str) -> None:
    import nibabel as nib

    path = tmp_path / f"a.{kind}"
    if kind == "mha":
        start, packed = MHD + b"CompressedData = True\nElementDataFile = LOCAL\n", zlib.compress(RAW)
    elif kind == "nrrd":
        start, packed = NHDR.replace(b"raw", b"gzip") + b"\n", gzip.compress(RAW, mtime=0)
    else:
        image = nib.Nifti1Image(VOXELS, np.eye(4))
        start, packed = b"", gzip.compress(image.to_bytes(), mtime=0)
    found = 0
    # Every bit of MetaImage and NRRD; a sample of NIfTI, whose header takes longer.
    bits = range(0, len(packed) * 8, 5 if kind == "nii.gz" else 1)
    for bit in bits:
        flipped = bytearray(packed)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(start + flipped)
        try:
            # Times and names in gzip's own header, and what fills up the last byte, say nothing about voxels.
            np.testing.assert_array_equal(read_volume(path).array, VOXELS)
        except InputError:
            found += 1
    assert found > 0.8 * len(bits)
    path.write_bytes(start + packed)
    np.testing.assert_array_equal(read_volume(path).array, VOXELS)


@pytest.mark.parametrize(
    ("start", "pack", "ending"),
    [
        (MHD + b"CompressedData = True\nElementDataFile = LOCAL\n", zlib.compress, "mha"),
        (NHDR.replace(b"raw", b"gzip") + b"\n", gzip.compress, "nrrd"),
    ],
    ids=["mha", "nrrd"],
)
def test_compressed_voxels_end_where_they_should(
    tmp_path: Path, start: bytes, pack: Callable[[bytes], bytes], ending: str
) -> None:
    path = tmp_path / f"a.{ending}"
    for cut in (1, 4, 5, 20):
        path.write_bytes(start + pack(RAW)[:-cut])
        refused(path, "do not match their checksum")
    path.write_bytes(start + pack(RAW) + b"more")
    refused(path, "something follows")
    path.write_bytes(start + pack(RAW + b"x"))
    refused(path, "more are there")
    path.write_bytes(start + pack(RAW[:-1]))
    refused(path, "declares 512 bytes")


def peak_growth(code: str, *arguments: object) -> int:
    """Bytes by which a fresh process grows above what it held once the readers were imported."""
    program = f"""
import re, sys
from pathlib import Path
import numpy, nibabel, PIL.Image
from LiverSegLib.errors import InputError
from LiverSegLib.io import read_volume
def peak(): return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
before = peak()
{code}
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


on_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told by Linux only")
REFUSE = """
try:
    read_volume(sys.argv[1])
except InputError as error:
    assert sys.argv[2] in str(error), error
else:
    raise SystemExit("read")
"""


def nifti_header(shape: tuple[int, int, int]) -> bytes:
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.uint8)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return bytes(header.binaryblock) + b"\0\0\0\0"


@on_linux
def test_a_gzip_bomb_behind_the_voxels_is_not_inflated(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.nii.gz", "wb", 9) as file:
        file.write(nifti_header((8, 8, 8)) + RAW)
        for _ in range(96):
            file.write(bytes(1 << 20))
    assert peak_growth(REFUSE, tmp_path / "a.nii.gz", "more are there") < 32 << 20


@on_linux
@pytest.mark.parametrize("offset", [1e9, 5e7])
def test_a_gzip_bomb_before_the_voxels_neither(tmp_path: Path, offset: float) -> None:
    start = bytearray(nifti_header((8, 8, 8)))
    start[108:112] = struct.pack("<f", offset)
    with gzip.open(tmp_path / "a.nii.gz", "wb", 9) as file:
        file.write(start)
        for _ in range(64):
            file.write(bytes(1 << 20))
    assert peak_growth(REFUSE, tmp_path / "a.nii.gz", "") < 32 << 20


@on_linux
def test_a_large_image_takes_its_own_size_once(tmp_path: Path) -> None:
    size = 96 << 20
    with gzip.open(tmp_path / "a.nii.gz", "wb", 1) as file:
        file.write(nifti_header((1024, 1024, 96)))
        for _ in range(96):
            file.write(bytes(1 << 20))
    header = NHDR.replace(b"raw", b"gzip").replace(b"8 8 8", b"1024 1024 96") + b"\n"
    with (tmp_path / "a.nrrd").open("wb") as file:
        file.write(header)
        with gzip.GzipFile("", "wb", 1, file) as packed:
            for _ in range(96):
                packed.write(bytes(1 << 20))
    for name in ("a.nii.gz", "a.nrrd"):
        grown = peak_growth("assert read_volume(sys.argv[1]).array.shape == (1024, 1024, 96)", tmp_path / name)
        assert size * 0.9 < grown < size * 1.2


def png(width: int, height: int, rows: bytes, depth: int = 8, color: int = 0) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    start = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@on_linux
def test_a_png_bomb_is_refused_undecoded(tmp_path: Path) -> None:
    packer, rows = zlib.compressobj(9), []
    for _ in range(9_000):
        rows.append(packer.compress(bytes(9_001)))
    (tmp_path / "a.png").write_bytes(png(9_000, 9_000, b"".join(rows) + packer.flush()))
    assert peak_growth(REFUSE, tmp_path / "a.png", "more than 67 million pixels") < 32 << 20


def test_every_flipped_bit_in_a_png_is_found(tmp_path: Path) -> None:
    content = png(6, 5, zlib.compress(b"".join(b"\0" + bytes(range(n, n + 6)) for n in range(5))))
    (tmp_path / "a.png").write_bytes(content)
    good = read_volume(tmp_path / "a.png").array
    for bit in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "a.png").write_bytes(flipped)
        refused(tmp_path / "a.png")
    assert good.shape == (6, 5, 1)


NPY = b"\x93NUMPY\x01\x00"


@pytest.mark.parametrize(
    "head",
    [
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"9" * 4000 + b", 2), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"9" * 15 + b", 2), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (-2, 2), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }",
        b"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2, 2), }",
        b"(" * 5000,
        b"'''",
    ],
)
def test_npy_headers_are_not_evaluated(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(NPY + struct.pack("<H", len(head)) + head + bytes(64))
    refused(tmp_path / "a.npy", "is damaged or no plain .npy array")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<i2", ">f4", "|u1", "?"])
def test_npy_of_every_version_and_order(tmp_path: Path, dtype: str, version: tuple[int, int]) -> None:
    values = (np.arange(12).reshape(3, 4) % 2).astype(dtype)
    for array in (values, np.asfortranarray(values)):
        with (tmp_path / "a.npy").open("wb") as file:
            np.lib.format.write_array(file, array, version)
        read = read_volume(tmp_path / "a.npy").array
        assert read.dtype == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(read[:, :, 0].T, values)


def test_a_damaged_bmp_is_one_sentence(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(VOXELS[:, :, 0]).save(tmp_path / "good.bmp")
    content = (tmp_path / "good.bmp").read_bytes()
    for at in range(54):
        for value in (0, 0x7F, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[at] = value
            (tmp_path / "a.bmp").write_bytes(damaged)
            try:
                read_volume(tmp_path / "a.bmp")
            except InputError as error:
                assert str(error).isprintable()  # noqa: PT017 (some of them may be read)


@pytest.mark.parametrize("factor", [1e-4, 1e4, 1e30])
def test_a_spacing_that_no_image_has_is_refused(tmp_path: Path, factor: float) -> None:
    import nibabel as nib

    nib.save(nib.Nifti1Image(VOXELS, np.diag([1, 1, factor, 1])), tmp_path / "a.nii")
    refused(tmp_path / "a.nii", r"a voxel spacing of 1 x 1 x .* mm, far from")
