"""ITK's DICOM decoder runs in a process of its own: it gives the pixels, and its death is one sentence."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import numpy as np
import pydicom
import pytest

from LiverSegLib.errors import InputError
from LiverSegLib.io import read_volume
from LiverSegLib.io.dicom.frames import frames_of
from LiverSegLib.io.dicom.gdcm import GdcmDecoder
from LiverSegLib.io.dicom.headers import read_header
from LiverSegLib.io.dicom.pixels import read_pixels
from Testing.io import test_io_dicom as dicom

PIXELS = np.arange(48, dtype=np.uint16).reshape(6, 8) * 9


def packed(folder: Path) -> Path:
    dataset = dicom.image(0, pixels=PIXELS, RescaleSlope=2, RescaleIntercept=-1000)
    path = dicom.save(folder, dataset, "a.dcm")
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    dataset.save_as(path)
    return path


def test_slices_come_rescaled_and_a_dead_decoder_is_replaced(tmp_path: Path) -> None:
    path = packed(tmp_path)
    with closing(GdcmDecoder()) as decoder:
        for _ in range(2):
            np.testing.assert_array_equal(decoder.decode(path, (6, 8)), PIXELS.astype(int) * 2 - 1000)
        child = decoder._child
        assert child is not None
        os.kill(child.pid, signal.SIGSEGV)
        with pytest.raises(ValueError, match=r"."):
            decoder.decode(path, (6, 8))
        with pytest.raises(ValueError, match="of the size in the header"):
            decoder.decode(path, (6, 9))
        np.testing.assert_array_equal(decoder.decode(path, (6, 8)), PIXELS.astype(int) * 2 - 1000)
        last = decoder._child
        assert last is not None
    assert last.poll() is not None


def test_a_file_that_kills_the_decoder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path)
    # RLE that pydicom refuses sends the slice to ITK's decoder, which is made to crash as a damaged file might.
    path.write_bytes(path.read_bytes()[:-20])
    monkeypatch.setattr("LiverSegLib.io.dicom.gdcm._BOOTSTRAP", "import ctypes; {root}; ctypes.string_at(0)")
    file = read_header(path)
    assert file is not None
    with pytest.raises(InputError, match="cannot be decompressed here") as caught:
        read_pixels(frames_of(file))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be decompressed here"):
        read_volume(tmp_path)
