"""Do two checkouts give the same labels? Each segments the same inputs in a process of its own; all files are compared.

    git worktree add ../before v0.1.0
    python -m Testing.benchmarks.same_labels ../before ct.nii.gz dicom_folder --model liver_ct_starter

Label maps have to be equal voxel for voxel, their affines bit for bit, and the tables of measurements letter for
letter. The exit status is 1 where one differs. Both compute in float32: whether bfloat16 is faster is tried anew in
each process, and its labels differ by some voxels.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel
import numpy as np

HERE = Path(__file__).resolve().parents[2]
_SEGMENT = (
    "from LiverSegLib.engine import devices; devices.has_bf16_matrix_unit = lambda: False; "
    "from LiverSegLib.cli import main; main()"
)


def segment(checkout: Path, inputs: Sequence[Path], out: Path, model: str | None) -> None:
    """`liverseg segment` as the checkout has it.

    Raises:
        CalledProcessError: it failed; what it said is on the screen.
    """
    command = [sys.executable, "-c", _SEGMENT, "segment", *map(str, inputs), "-o", str(out), "--no-overlay"]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    subprocess.run([*command, *(["--model", model] if model else [])], cwd=checkout, env=environment, check=True)


def differences(before: Path, after: Path) -> Iterator[str]:
    """What differs between two folders of results, a sentence a file."""
    names = {path.relative_to(folder) for folder in (before, after) for path in folder.rglob("*") if path.is_file()}
    if not any(name.name.endswith(".nii.gz") for name in names):
        yield "there is no label map"
    for name in sorted(names):
        old, new = before / name, after / name
        if not (old.exists() and new.exists()):
            yield f"{name} is written by one checkout only"
        elif name.name.endswith(".nii.gz"):
            yield from _label_map_differences(old, new, str(name))
        elif name.suffix == ".csv" and old.read_text() != new.read_text():
            yield f"{name} has other numbers"


def _label_map_differences(old: Path, new: Path, name: str) -> Iterator[str]:
    maps = [nibabel.nifti1.Nifti1Image.from_filename(path) for path in (old, new)]
    first, second = (np.asarray(image.dataobj) for image in maps)
    if first.shape != second.shape:
        yield f"{name} has another shape: {first.shape} and {second.shape}"
    elif np.any(first != second):
        yield f"{name} differs in {np.count_nonzero(first != second):,} of {first.size:,} voxels"
    if not np.array_equal(maps[0].affine, maps[1].affine):
        yield f"{name} lies elsewhere"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.benchmarks.same_labels", description=__doc__)
    parser.add_argument("before", type=Path, help="another checkout of this repository")
    parser.add_argument("inputs", type=Path, nargs="+", help="volumes to segment")
    parser.add_argument("--model", help="package; a relative path is looked for in this checkout")
    parsed = parser.parse_args()
    inputs = [path.resolve() for path in parsed.inputs]
    model = str((HERE / parsed.model).resolve()) if parsed.model and (HERE / parsed.model).exists() else parsed.model
    with tempfile.TemporaryDirectory() as folder:
        for name, checkout in (("before", parsed.before.resolve()), ("after", HERE)):
            segment(checkout, inputs, Path(folder) / name, model)
        found = list(differences(Path(folder) / "before", Path(folder) / "after"))
    print("\n".join(found) or f"The labels of {len(inputs)} inputs are the same.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
