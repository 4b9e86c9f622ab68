"""The benchmark runs as it is documented, on tiny volumes: its figures mean nothing here."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nibabel import Nifti1Image, save
from scipy import ndimage

from LiverSegLib.engine.one_model import OneModel
from LiverSegLib.engine.progress import Monitor
from LiverSegLib.models import find_package, read_package
from LiverSegLib.phantom import make_phantom
from Testing.benchmarks import table, windows_near
from Testing.benchmarks.__main__ import main
from Testing.benchmarks.compare import Comparison, Measured, baseline
from Testing.benchmarks.models import random_package
from Testing.models.nnunet_folders import toy

ROOT = Path(__file__).resolve().parents[2]


def test_the_benchmark_compares_both_sides(tmp_path: Path) -> None:
    models = [part for name in ("UNet", "liver_ct_starter", "nnU-Net") for part in ("--model", name)]
    command = [sys.executable, "-m", "Testing.benchmarks", "--tiny", *models, "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "benchmark.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"].rpartition(" ")[2], row["side"]) for row in rows] == [
        ("UNet", "ours"),
        ("UNet", "monai"),
        ("liver_ct_starter", "ours"),
        ("liver_ct_starter", "monai"),
        ("nnU-Net", "ours"),
    ]
    assert "runs without nnU-Net's predictor beside it: --nnunet PYTHON would name one." in done.stdout
    for row in rows:
        assert float(row["cold s"]) > 0
        assert float(row["warm s"]) > 0
        assert 0.05 < float(row["peak GB"]) < 4
        assert "network" in row["stages"]
        if row["side"] == "monai":
            assert float(row["ratio warm"]) > 0
            assert float(row["equal"]) > 0.99  # bfloat16 where the processor is best at it
    page = (tmp_path / "benchmark.md").read_text()
    assert page.count("\n|") == len(rows) + 2


@pytest.mark.timing
def test_a_warm_run_is_shorter_than_a_cold_one(tmp_path: Path) -> None:
    main(["--tiny", "--model", "liver_ct_starter", "--out", str(tmp_path)])
    with (tmp_path / "benchmark.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert float(row["cold s"]) > float(row["warm s"])


@pytest.mark.slow
def test_nnunet_s_own_predictor_is_a_side(tmp_path: Path) -> None:
    python = os.environ.get("NNUNET_PYTHON")
    if not python:
        pytest.skip("NNUNET_PYTHON names no Python that has nnunetv2")
    command = [sys.executable, "-m", "Testing.benchmarks", "--tiny", "--model", "nnU-Net", "--nnunet", python]
    done = subprocess.run([*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "benchmark.csv").open(newline="") as file:
        ours, theirs = csv.DictReader(file)
    assert (ours["side"], theirs["side"]) == ("ours", "nnunet")
    assert float(theirs["Dice"]) > 0.98  # ours computes in bfloat16 where the processor is best at it
    assert float(theirs["equal"]) > 0.99
    assert float(theirs["peak GB"]) > 0.2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--shape", "512by512"], "--shape 512by512 is not understood; give three numbers such as 512x512x300."),
        (["--shape", "512x1x3"], "--shape 512x1x3 is no volume; give three numbers above 1 such as 512x512x300."),
        (["--nnunet", "no/such/python"], "--nnunet no/such/python cannot be run (No such file or directory); name a "),
        (["--nnunet", sys.executable], f"--nnunet {sys.executable} has no nnunetv2; run {sys.executable} -m pip "),
    ],
)
def test_what_cannot_be_measured_is_told_first(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--out", str(tmp_path)])
    assert str(caught.value).startswith(sentence)


def rows(case: str, warm: float) -> list[table.Row]:
    measured = {
        side: Measured(side=side, cold=9.0, warm=warm * times, peak=10**9, stages={"network": 1.5})
        for side, times in (("ours", 1), ("nnunet", 4))
    }
    return table.rows_of(Comparison(case=case, measured=measured, dice=0.9991, equal=0.9999))


def test_a_later_run_adds_to_the_table(tmp_path: Path) -> None:
    for case, warm in (("a", 2.0), ("b", 3.0), ("a", 5.0)):
        table.add(tmp_path, rows(case, warm))
    with (tmp_path / "benchmark.csv").open(newline="") as file:
        found = [(row["case"], row["side"], row["warm s"], row["ratio warm"]) for row in csv.DictReader(file)]
    assert found == [
        ("b", "ours", "3.00", ""),
        ("b", "nnunet", "12.00", "4.0"),
        ("a", "ours", "5.00", ""),
        ("a", "nnunet", "20.00", "4.0"),
    ]
    page = (tmp_path / "benchmark.md").read_text()
    assert page.count("\n| b |") == 2
    assert page.count("| case | side |") == 1


def test_seconds_of_two_machines_stand_in_two_tables(tmp_path: Path) -> None:
    table.add(tmp_path, rows("a", 2.0))
    table.add(tmp_path, [row | {"measured": "2020-01-01, another"} for row in rows("b", 3.0)])
    page = (tmp_path / "benchmark.md").read_text()
    assert page.count("| case | side |") == 2
    assert "2020-01-01, another.\n\n| case" in page


def test_a_table_of_another_form_is_not_added_to(tmp_path: Path) -> None:
    (tmp_path / "benchmark.csv").write_text("case,side\n")
    with pytest.raises(SystemExit, match="has other columns than this benchmark writes; move it away or name another"):
        table.add(tmp_path, rows("a", 2.0))


def test_the_fitted_network_draws_bodies_and_not_noise(tmp_path: Path) -> None:
    """On another phantom than it learned from: most of what it finds is in few parts, and the liver is among it."""
    found = make_phantom(5, spacing=(6.0, 6.0, 6.0), phase="portal", lesions=0)
    shares = []
    for fitted in (False, True):
        package = random_package(tmp_path / str(fitted), "SegResNet", 32, 6.0, fitted=fitted)
        labels = OneModel(read_package(package), "cpu").draw(found.volume, Monitor(None, None)) > 0
        sizes = np.bincount(ndimage.label(labels)[0].ravel())[1:]
        shares.append((sizes.max(initial=0) / max(1, sizes.sum()), (labels & (found.labelmap > 0)).sum()))
    assert shares[1][0] > 0.8
    assert shares[1][1] > 0.5 * (found.labelmap > 0).sum()


def test_each_package_is_compared_with_who_can_run_it(tmp_path: Path) -> None:
    assert baseline(read_package(find_package("liver_ct_starter"))) == "monai"
    assert baseline(read_package(find_package("liver_tumor3d_ct"))) is None
    assert baseline(read_package(toy(tmp_path / "toy"))) == "nnunet"


def test_memory_is_told_stage_by_stage() -> None:
    command = [sys.executable, "-m", "Testing.benchmarks.memory", "--shape", "48x40x24", "--model", "liver_ct_starter"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    head, _predicted, *stages = done.stdout.splitlines()
    assert head.startswith("phantom.nii: input 0 MB, peak ")
    peak = int(head.partition("peak ")[2].split()[0])
    found = {line.rsplit(maxsplit=2)[0].strip(): int(line.split()[-2]) for line in stages}
    if sys.platform == "linux":
        assert {"read", "network", "measure", "write"} <= found.keys()
        assert 100 < found["read"] <= peak < 2000


@pytest.mark.slow
def test_the_first_segment_is_measured_with_and_without_a_warm_up() -> None:
    command = [sys.executable, "-m", "Testing.benchmarks.first_segment", "--model", "liver_ct_starter"]
    done = subprocess.run([*command, "--repeat", "1"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, first, second, _share = done.stdout.splitlines()
    assert first.split()[:2] == ["the", "first"]
    assert float(second.split()[3]) > 0


def test_reading_and_writing_gzip_is_measured() -> None:
    command = [sys.executable, "-m", "Testing.benchmarks.compressed", "--shape", "40x36x20", "--repeat", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.startswith("phantom.nii 40x36x20: 0 MB")
    assert len(lines) >= 3
    assert all(line.endswith(" times faster") for line in lines)


@pytest.mark.slow
def test_finding_first_is_measured_on_phantoms() -> None:
    command = [sys.executable, "-m", "Testing.benchmarks.find_first", "--model", "liver_ct_starter", "--spacing", "6"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 7
    assert all("s of the processor; " in line for line in lines)


def test_windows_near_a_label_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """600 mm feet to head are 400 voxels of 1.5 mm: six windows of 96 a quarter over each other, or of 128 a half."""
    image = np.zeros((24, 24, 100), np.int16)
    label = np.zeros(image.shape, np.uint8)
    label[4:20, 4:20, 60:70] = 1  # 360 to 420 mm, and 25 mm around: voxels 223 to 296 of the model's
    for name, array in (("ct", image), ("label", label)):
        save(Nifti1Image(array, np.diag([6.0, 6.0, 6.0, 1.0])), tmp_path / f"a_{name}.nii.gz")
    windows_near.main([str(tmp_path / "*_ct.nii.gz")])
    assert capsys.readouterr().out.splitlines() == [
        "a_ct.nii.gz, 144 x 144 x 600 mm: UNet, SegResNet 6 and 3, nnU-Net 6 and 4",
        "all: UNet, SegResNet 6 and 3, nnU-Net 6 and 4",
    ]
    with pytest.raises(SystemExit, match="There are no files"):
        windows_near.main([str(tmp_path / "nothing")])
