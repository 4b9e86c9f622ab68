"""gzip written in blocks: an ordinary file for every reader, with the same bytes whoever writes it."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from LiverSegLib.io import inflate
from LiverSegLib.io.deflate import BLOCK, GzipWriter
from LiverSegLib.io.inflate import inflated
from LiverSegLib.io.nifti import read_nifti, write_labelmap
from LiverSegLib.io.plain_nifti import write_plain_nifti
from LiverSegLib.io.seg_nrrd import write_seg_nrrd
from LiverSegLib.labels import labels_for
from LiverSegLib.measure import Measurements
from LiverSegLib.volume import Result

AFFINE = np.diag([-0.75, -0.75, 1.5, 1.0])
SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 77]


def data_of(size: int) -> bytes:
    """Noise, a long run of zeros, and noise again."""
    data = np.random.default_rng(size).integers(0, 6, size, dtype=np.uint8)
    data[size // 4 : size - size // 8] = 0
    return data.tobytes()


def packed(data: bytes, piece: int, threads: int | None) -> bytes:
    out = io.BytesIO()
    with GzipWriter(out, 3, threads) as stream:
        for start in range(0, len(data), piece):
            stream.write(data[start : start + piece])
        assert stream.tell() == len(data)
    return out.getvalue()


@pytest.mark.parametrize("size", SIZES)
def test_it_is_one_member_and_the_same_however_it_was_written(size: int) -> None:
    data = data_of(size)
    found = packed(data, 4096 * 61, 1)
    assert gzip.decompress(found) == data
    whole = zlib.decompressobj(31)
    assert whole.decompress(found) == data
    assert whole.eof
    assert whole.unused_data == b""
    assert packed(data, max(1, size), 3) == packed(data, 70_001, None) == found


def test_there_is_no_way_back_and_a_failure_leaves_no_end() -> None:
    out = io.BytesIO()
    with GzipWriter(out, 1) as stream:
        stream.write(b"abc")
        stream.seek(10)
        with pytest.raises(io.UnsupportedOperation):
            stream.seek(2)
    assert gzip.decompress(out.getvalue()) == b"abc" + bytes(7)

    cut = io.BytesIO()

    def fail() -> None:
        with GzipWriter(cut, 1) as stream:
            stream.write(data_of(3 * BLOCK))
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    with pytest.raises(EOFError):
        gzip.decompress(cut.getvalue())


@pytest.fixture
def result() -> Result:
    labelmap = np.zeros((200, 180, 100), np.uint8, order="F")
    labelmap[40:150, 30:120, 33:77] = np.random.default_rng(1).integers(0, 3, (110, 90, 44))
    return Result(
        labelmap=labelmap,
        affine=AFFINE,
        labels=labels_for({1: "liver", 2: "tumor"}),
        measurements=Measurements(segments=(), lesions=()),
    )


def test_every_reader_has_the_same_voxels(result: Result, tmp_path: Path) -> None:
    labels, raw, image = tmp_path / "a.nii.gz", tmp_path / "a.nii", tmp_path / "ct.nii.gz"
    segmentation = tmp_path / "a.seg.nrrd"
    write_labelmap(labels, result)
    write_labelmap(raw, result)
    write_seg_nrrd(segmentation, result)
    write_plain_nifti(image, result.labelmap.astype(np.int16) * 700, AFFINE)
    assert gzip.decompress(labels.read_bytes()) == raw.read_bytes()
    for path, factor in ((labels, 1), (segmentation, 1), (image, 700)):
        by_itk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)).transpose(2, 1, 0)
        assert np.array_equal(by_itk, result.labelmap.astype(np.int16) * factor), path
    for path, factor in ((labels, 1), (image, 700)):
        assert np.array_equal(np.asarray(nib.load(path).dataobj), result.labelmap.astype(np.int16) * factor)
        assert np.array_equal(read_nifti(path).array, result.labelmap.astype(np.int16) * factor)


def test_slicer_reads_the_segmentation(result: Result, tmp_path: Path) -> None:
    slicer = pytest.importorskip("slicer", exc_type=ImportError)
    path = tmp_path / "a.seg.nrrd"
    write_seg_nrrd(path, result)
    node, storage = slicer.vtkMRMLSegmentationNode(), slicer.vtkMRMLSegmentationStorageNode()
    scene = slicer.vtkMRMLScene()
    for one in (node, storage):
        scene.AddNode(one)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 2
    image = segmentation.GetSegment(segmentation.GetNthSegmentID(0)).GetRepresentation("Binary labelmap")
    scalars = image.GetPointData().GetScalars()
    found = np.array([scalars.GetValue(n) for n in range(0, scalars.GetNumberOfValues(), 997)])
    i, j, k = image.GetDimensions()
    low = [image.GetExtent()[axis] for axis in (0, 2, 4)]
    part = result.labelmap[low[0] : low[0] + i, low[1] : low[1] + j, low[2] : low[2] + k]
    assert np.array_equal(found, part.ravel(order="F")[::997])


def test_zlib_and_isal_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of what is damaged, cut off, followed by something, padded, or of several members."""
    isal = pytest.importorskip("isal.isal_zlib")
    data = data_of(2 * BLOCK + 5)
    sound = packed(data, BLOCK, 1)
    flipped = bytearray(sound)
    flipped[len(sound) // 9] ^= 255
    cases = [sound, sound + sound, sound + bytes(600), sound + b"x", sound[:-3], sound[:4000], b"", bytes(flipped)]
    cases += [bytes([*sound[:3], flags]) + sound[4:] for flags in (0x20, 0x40, 0x80)]
    cases += [sound[:-8] + bytes(4) + sound[-4:], sound[:-4] + bytes(4)]
    answers = []
    for engine in (zlib, isal):
        monkeypatch.setattr(inflate, "fast", engine)
        told: list[object] = []
        for case in cases:
            try:
                told.append(inflated(io.BytesIO(case), "gzip").read())
            except (EOFError, ValueError, zlib.error) as error:
                told.append(type(error))
        answers.append(told)
    assert answers[0] == answers[1]
    assert answers[0][:3] == [data, data + data, data]
    assert answers[0][3:] == [ValueError, EOFError, EOFError, EOFError, *[zlib.error] * 6]
