"""How many windows `--find-first` would leave of a model's, counted without running any network.

    python -m Testing.benchmarks.windows_near "ct/*_ct.nii.gz"

Beside each image lies its label map, `..._label.nii.gz` for `..._ct.nii.gz`: the box of what is not 0 stands for what
the locator finds. The windows are those of the benchmark's networks.
"""

from __future__ import annotations

import argparse
import glob
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from LiverSegLib.boxes import bounding_box
from LiverSegLib.engine.find_first import MARGIN_MM
from LiverSegLib.engine.geometry import model_grid
from LiverSegLib.engine.lattice import grid_near
from LiverSegLib.engine.sliding_window import window_starts
from LiverSegLib.io import read_volume
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.volume import Volume
from Testing.benchmarks.models import MONAI_SIZE, NNUNET_SIZE, Size

MODELS: dict[str, tuple[Size, Inferer]] = {
    "UNet, SegResNet": (MONAI_SIZE, Inferer(roi_size=(MONAI_SIZE.window,) * 3, overlap=0.25)),
    "nnU-Net": (NNUNET_SIZE, Inferer(roi_size=(NNUNET_SIZE.window,) * 3, overlap=0.5, evenly=True)),
}


def count(volume: Volume, label: Volume, size: Size, inferer: Inferer) -> tuple[int, int] | None:
    """Windows over all of a volume, and of them those near what is not 0 in the label map; None where all is 0."""
    box = bounding_box(label.array > 0)
    if box is None:
        return None
    margins = [math.ceil(MARGIN_MM / mm) for mm in volume.spacing]
    sides = zip(box, margins, volume.array.shape, strict=True)
    i, j, k = ((max(0, side.start - more), min(n, side.stop + more)) for side, more, n in sides)
    grid = model_grid(volume, "RAS", (size.voxel_mm,) * 3)
    part = grid_near(grid, (i, j, k), volume, inferer, nearest=False)
    return _windows(grid.shape, inferer), _windows(part.shape, inferer)


def _windows(shape: Sequence[int], inferer: Inferer) -> int:
    sides = zip(shape, inferer.roi_size, strict=True)
    return math.prod(len(window_starts(n, window, inferer.overlap, inferer.evenly)) for n, window in sides)


def lines(images: Sequence[Path]) -> Iterator[str]:
    """A line for each image, and one for all."""
    total = {name: [0, 0] for name in MODELS}
    for path in images:
        volume = read_volume(path)
        label = read_volume(path.with_name(path.name.replace("_ct.", "_label.")))
        mm = " x ".join(f"{n * step:.0f}" for n, step in zip(volume.array.shape, volume.spacing, strict=True))
        told = []
        for name, (size, inferer) in MODELS.items():
            found = count(volume, label, size, inferer)
            if found is not None:
                total[name] = [before + more for before, more in zip(total[name], found, strict=True)]
                told.append(f"{name} {found[0]} and {found[1]}")
        yield f"{path.name}, {mm} mm: {', '.join(told) or 'no label'}"
    yield "all: " + ", ".join(f"{name} {everywhere} and {near}" for name, (everywhere, near) in total.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.windows_near",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", nargs="+", help="volumes whose names end in _ct, or patterns of such")
    options = parser.parse_args(arguments)
    images = [Path(name) for pattern in options.images for name in sorted(glob.glob(pattern))]  # noqa: PTH207
    if not images:
        raise SystemExit(f"There are no files {', '.join(options.images)}; name images with label maps beside them.")
    for line in lines(images):
        print(line, flush=True)


if __name__ == "__main__":
    main()
