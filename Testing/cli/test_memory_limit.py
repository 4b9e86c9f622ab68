"""`--memory-limit`, as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from LiverSegLib.batch import crew
from LiverSegLib.batch.fingerprint import work_key
from LiverSegLib.cli.batch_run import Batch, _crew
from LiverSegLib.cli.commands import app
from LiverSegLib.cli.request_options import parse_bytes
from LiverSegLib.errors import DeviceError, InputError
from LiverSegLib.request import SegmentationRequest
from Testing.conftest import MakePackage

GIB = 1 << 30


def liverseg(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("1.5 GiB", 3 * GIB // 2), ("800mb", 8 * 10**8), ("2g", 2 * 10**9), (" 1TB ", 10**12)],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "4", "GB", "-1GB", "0GB", "1e3GB", "4XB", "nan GB", "٣GB", "4GBB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is not understood; give for example 4GB, 1\.5GiB or 800MB\."):
        parse_bytes(text)


def test_a_limit_is_kept_or_refused_in_a_sentence(threshold_package: MakePackage, tmp_path: Path) -> None:
    array = np.full((40, 30, 20), -100, np.int16)
    array[5:35, 5:25, 5:15] = 150
    nib.save(nib.Nifti1Image(array, np.diag([-2.0, -2.0, 2.0, 1.0])), tmp_path / "ct.nii.gz")
    typed = ("segment", tmp_path / "ct.nii.gz", "-o", tmp_path / "out", "--model", threshold_package(), "--no-overlay")
    refused = liverseg(*typed, "--device", "cpu", "--memory-limit", "90MB")
    assert isinstance(refused.exception, DeviceError)
    words = ["Toy model needs", "ct.nii.gz", "the memory limit of 0.09 GB", "raise the limit to"]
    assert [word for word in words if word not in str(refused.exception)] == []
    assert not list((tmp_path / "out").glob("*labels*"))
    done = liverseg(*typed, "--device", "cpu", "--memory-limit", "64GB")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "ct_labels.nii.gz").exists()


def test_the_processes_of_a_batch_share_a_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(crew, "allowed_cpus", lambda: 32)
    monkeypatch.setattr(crew, "available_bytes", lambda: 64 * GIB)
    assert [crew.default_workers("cpu", limit) for limit in (None, 1, 13 * GIB, 999 * GIB)] == [8, 1, 2, 8]
    monkeypatch.setattr(crew, "visible_gpus", lambda: ["0", "1", "2", "3"])
    assert [crew.default_workers("auto", limit) for limit in (None, 12 * GIB)] == [4, 2]
    request = SegmentationRequest(device="cpu", memory_limit=12 * GIB)
    shared = _crew(Batch(source=tmp_path, out=tmp_path, request=request, workers=3), left=10)
    assert len(shared.environments) == 3
    assert shared.setup.request.memory_limit == 4 * GIB


def test_a_batch_goes_on_with_another_limit() -> None:
    keys = {work_key(SegmentationRequest(memory_limit=limit), [], []) for limit in (None, GIB)}
    assert len(keys) == 1
    assert keys != {work_key(SegmentationRequest(targets=("liver",)), [], [])}
