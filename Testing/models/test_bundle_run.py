"""A package gives the same labels here and under MONAI's own `python -m monai.bundle run`."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.io import read_volume
from LiverSegLib.request import Settings

pytest.importorskip("ignite", reason="pytorch-ignite, which MONAI's evaluator needs, is not installed")

MakePackage = Callable[..., Path]
RAW = Settings(largest_component=False, fill_holes=False, lesions_inside=False)


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A small CT with thick slices whose axes run posterior, left and up."""
    rng = np.random.default_rng(8)
    rough = rng.normal(60, 120, (8, 7, 4)).repeat(5, 0).repeat(5, 1).repeat(4, 2)
    values = (rough + rng.normal(0, 20, rough.shape)).astype(np.int16)[:37, :33, :15]
    # Not turned: MONAI shifts the grid by a part of a voxel where float32 rounding tilts turned axes.
    affine = np.diag([-1.4, -1.6, 5.0, 1.0])[:, [1, 0, 2, 3]]
    affine[:3, 3] = 90, 120, -300
    (tmp_path / "data").mkdir()
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "data" / "case.nii.gz")
    return tmp_path / "data" / "case.nii.gz"


def run_by_monai(package: Path, case: Path, output: Path, *, here: bool = False) -> npt.NDArray[np.uint8]:
    """The label map that MONAI writes for the package, without any code of ours.

    Args:
        package, case, output: what is run on what, and where to.
        here: by the function of MONAI that the command calls, in this process; importing MONAI takes seconds.
    """
    places = {
        "config_file": str(package / "configs" / "inference.json"),
        "bundle_root": str(package),
        "dataset_dir": str(case.parent),
        "output_dir": str(output),
    }
    if here:
        from monai.bundle import run

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as the command's own, which nobody reads
            run(**places)
    else:
        options = [word for name, value in places.items() for word in (f"--{name}", value)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [sys.executable, "-m", "monai.bundle", "run", *options],
            cwd=output.parent, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    (written,) = output.rglob("*.nii.gz")
    image = nib.load(written)
    np.testing.assert_allclose(image.affine, nib.load(case).affine, atol=1e-4)
    return np.asarray(image.dataobj).astype(np.uint8)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize(
    ("dims", "options"),
    [
        (2, {"pixdim": (2.0, 2.0, -1.0), "divisible": (16, 16, 1), "labels": 1, "axcodes": "LPS"}),
        (3, {"pixdim": (1.9, 1.7, 3.0), "roi_size": (16, 16, 16), "overlap": 0.5, "labels": 2}),
    ],
    ids=["slices", "windows"],
)
def test_labels_are_those_of_monai(
    random_package: MakePackage, case: Path, tmp_path: Path, dims: int, options: dict[str, object]
) -> None:
    package = random_package(dims, **options)
    theirs = run_by_monai(package, case, tmp_path / "output", here=dims == 2)

    ours = Segmenter(package, "cpu", RAW).segment(read_volume(case)).labelmap

    assert ours.shape == theirs.shape
    assert (ours == theirs).mean() >= 0.999
    for value in range(1, int(theirs.max()) + 1):
        mine, monais = ours == value, theirs == value
        assert monais.any()
        assert 2 * (mine & monais).sum() / (mine.sum() + monais.sum()) >= 0.999
    assert 0.02 < (theirs > 0).mean() < 0.98
