"""A real CT, clicked through the module, against the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

slicer = pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

from Testing.headless.case import is_idle  # noqa: E402

pytest_plugins = ("Testing.module_case",)
ROOT = Path(__file__).resolve().parents[2]
Mask = npt.NDArray[np.bool_]


def dice(a: Mask, b: Mask) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def liver_of(path: Path) -> Mask:
    return np.asarray(nib.load(path).dataobj) > 0


def thinned(path: Path, folder: Path) -> Path:
    """The image with every second voxel of its first two axes."""
    image = nib.load(path).slicer[::2, ::2]
    nib.save(image, folder / path.name)
    return folder / path.name


def test_a_real_ct_is_segmented_as_by_the_command(host: Any, shared_data: Path, tmp_path: Path) -> None:
    # Every second row and column: reading, restoring and the surface of a quarter of the voxels show the same.
    image, truth = (thinned(shared_data / "ct" / f"ircad01_{name}.nii.gz", tmp_path) for name in ("ct", "label"))
    stored = nib.load(image)
    volume = slicer.util.addVolumeFromArray(
        np.asarray(stored.dataobj).transpose(2, 1, 0), ijkToRAS=stored.affine, name="ircad01"
    )
    ui = host.widget.ui
    host.select("LiverSeg")
    assert ui.inputSelector.currentNode() is volume
    shown: list[tuple[int, str]] = []
    host.widget.logic.onChange = lambda: (
        host.widget.panel.update(),
        shown.append((ui.progressBar.value(), ui.statusText.text())),
    )
    ui.deviceBox.setCurrentIndex(ui.deviceBox.findData("cpu"))
    ui.segmentButton.click()
    assert host.spin_until(lambda: is_idle(host), 180)
    host.spin(0.05)
    assert ui.statusText.text().startswith("ircad01 was segmented in ")
    assert len({value for value, _ in shown}) > 5, "the progress bar did not move"
    assert any("left" in text for _, text in shown), "no time left was told"
    node = ui.outputSelector.currentNode()
    names = node.GetSegmentation().GetSegmentIDs()
    assert sorted(names) == ["LiverSeg_liver", "LiverSeg_tumor"]
    parts = [slicer.util.arrayFromSegmentBinaryLabelmap(node, name, volume).transpose(2, 1, 0) > 0 for name in names]
    clicked = parts[0] | parts[1]

    environment = {**os.environ, "LIVERSEG_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "LiverSegLib.cli", "segment", str(image), "--out", str(tmp_path / "out"),
               "--device", "cpu", "--no-overlay"]  # fmt: skip
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    written = liver_of(next((tmp_path / "out").glob("*_labels.nii.gz")))
    reference = liver_of(truth)
    by_module, by_command = dice(clicked, reference), dice(written, reference)
    print(f"liver Dice by the module {by_module:.6f}, by the command {by_command:.6f}")
    assert round(by_module, 4) == round(by_command, 4)
    assert by_module > 0.95
    assert np.array_equal(clicked, written)
