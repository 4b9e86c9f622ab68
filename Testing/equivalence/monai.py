"""Our labels beside MONAI's own, for bundles and models of Auto3DSeg with trained weights: a table in Markdown.

    python -m Testing.equivalence.monai --out equivalence.md

Small models are trained for some minutes on phantoms by MONAI's own code and saved in the files in which such models
are shared. Both sides then segment the same phantoms, each in a process of its own. With `--model FOLDER IMAGE...`
a model that is there is compared on images that are there, on any machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from Testing.peak_memory import peak_bytes

HEAD = ("model", "image", "voxels equal", "Dice", "seconds ours / theirs", "peak MB ours / theirs")
ENOUGH_EQUAL, ENOUGH_DICE = 0.999, 0.995


@dataclass(frozen=True, kw_only=True)
class Run:
    """Labels of one side, and what they took."""

    labels: npt.NDArray[np.uint8]
    seconds: float
    peak_mb: float


def run_here(side: str, model: Path, image: Path, out: Path) -> None:
    """One side in this process; labels and numbers go to files."""
    start = time.perf_counter()
    labels = _ours(model, image) if side == "ours" else _theirs(model, image)
    seconds = time.perf_counter() - start
    np.save(out / "labels.npy", labels)
    (out / "numbers.json").write_text(json.dumps({"seconds": seconds, "peak_mb": peak_bytes() / 2**20}))


def _ours(model: Path, image: Path) -> npt.NDArray[np.uint8]:
    from LiverSegLib.engine import devices
    from LiverSegLib.engine.segmenter import Segmenter
    from LiverSegLib.io import read_volume
    from LiverSegLib.request import ALL, SegmentationRequest, Settings

    devices.has_bf16_matrix_unit = lambda: False  # in the numbers of MONAI
    raw = Settings(largest_component=False, fill_holes=False, lesions_inside=False)
    every_label = SegmentationRequest(targets=ALL, settings=raw)
    return Segmenter(model, "cpu").segment(read_volume(image), request=every_label).labelmap


def _theirs(model: Path, image: Path) -> npt.NDArray[np.uint8]:
    from Testing.equivalence.auto3dseg_reference import auto3dseg_labels
    from Testing.equivalence.bundle_reference import bundle_labels

    return auto3dseg_labels(model, image) if (model / "labels.csv").exists() else bundle_labels(model, image)


def run(side: str, model: Path, image: Path) -> Run:
    """One side in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "Testing.equivalence.monai", "--side", side, folder, str(model), str(image)]
        done = subprocess.run(command, env={**os.environ}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{side} on {model.name} failed: {done.stderr[-2000:]}")
        numbers = json.loads((Path(folder) / "numbers.json").read_text())
        return Run(labels=np.load(Path(folder) / "labels.npy"), **numbers)


def dice(ours: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8]) -> float:
    """The least Dice of all values that either has; 1 where neither has any."""
    values = [value for value in np.union1d(ours, theirs) if value]
    pairs = [(ours == value, theirs == value) for value in values]
    return min((2 * float((a & b).sum()) / float(a.sum() + b.sum()) for a, b in pairs), default=1.0)


def row(model: Path, image: Path) -> tuple[list[str], bool]:
    """A line of the table, and whether both sides agree."""
    ours, theirs = run("ours", model, image), run("theirs", model, image)
    equal, overlap = float((ours.labels == theirs.labels).mean()), dice(ours.labels, theirs.labels)
    share = ", ".join(f"{value}: {n}" for value, n in zip(*np.unique(theirs.labels, return_counts=True), strict=True))
    cells = [model.name, f"{image.name} ({share})", f"{equal:.6f}", f"{overlap:.5f}"]
    cells += [f"{ours.seconds:.1f} / {theirs.seconds:.1f}", f"{ours.peak_mb:.0f} / {theirs.peak_mb:.0f}"]
    return cells, equal >= ENOUGH_EQUAL and overlap >= ENOUGH_DICE


def table(rows: Sequence[Sequence[str]]) -> str:
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.equivalence.monai", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("equivalence.md"), help="the table")
    parser.add_argument("--work", type=Path, help="where models and images are kept, and found again")
    parser.add_argument("--steps", type=int, default=150, help="of training for each model")
    parser.add_argument("--model", nargs="+", help="a model's folder and images, instead of the trained ones")
    parser.add_argument("--side", nargs=4, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.side:
        side, out, model, image = parsed.side
        run_here(side, Path(model), Path(image), Path(out))
        return 0
    if parsed.model:
        pairs = iter([(Path(parsed.model[0]), Path(image)) for image in parsed.model[1:]])
    else:
        from Testing.equivalence.monai_models import make_pairs

        pairs = make_pairs(parsed.work or Path(tempfile.mkdtemp()), parsed.steps)
    rows = []
    for model, image in pairs:
        rows.append(row(model, image))
        parsed.out.write_text(table([cells for cells, _ in rows]), encoding="utf-8")
        print(" | ".join(rows[-1][0]), flush=True)
    return 0 if all(good for _, good in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
