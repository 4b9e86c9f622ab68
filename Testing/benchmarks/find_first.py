"""What finding the liver first saves a model that looks at whole images, and whether its labels are the same.

    python -m Testing.benchmarks.find_first                      # phantoms: at the border, half, none, mirrored
    python -m Testing.benchmarks.find_first --image ct.nii.gz --model ../package

The model is the network of the default one without its helpers, as a package of others would be. Both ways take turns
on each case. Quote ratios: seconds are those of one machine at one time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from LiverSegLib.engine.progress import Progress
from LiverSegLib.engine.region import crop
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.io import read_volume
from LiverSegLib.models import ModelPackage, find_package, read_package
from LiverSegLib.phantom import make_phantom
from LiverSegLib.request import SegmentationRequest
from LiverSegLib.volume import Volume


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.find_first",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--image", type=Path, action="append", default=[], help="volumes instead of the phantoms")
    parser.add_argument("--model", help="package of a model that looks at whole images")
    parser.add_argument("--window", help="voxels of its windows, for example 96x96x24; its own otherwise")
    parser.add_argument("--seed", type=int, default=1, help="of the phantom")
    parser.add_argument("--spacing", type=float, default=2.0, help="of the phantom, mm")
    options = parser.parse_args(arguments)
    package = alone(read_package(find_package(options.model)))
    if options.window:
        roi = tuple(int(n) for n in options.window.split("x"))
        package = replace(package, inferer=replace(package.inferer, roi_size=roi))
    segmenter = Segmenter(package, "cpu")
    cases = {path.name: read_volume(path) for path in options.image} or phantoms(options.seed, options.spacing)
    for name, volume in cases.items():
        print(f"{name:<20} {_compared(segmenter, volume)}", flush=True)


def alone(package: ModelPackage) -> ModelPackage:
    """The package without the models that help it."""
    return replace(package, guide=None, voters=(), divides="")


def phantoms(seed: int, spacing: float) -> dict[str, Volume]:
    """One body as scans of which something is the matter."""
    made = make_phantom(seed, spacing=(spacing,) * 3, coverage="trunk", phase="portal")
    volume, liver = made.volume, made.labelmap > 0
    used = np.flatnonzero(liver.any(axis=(0, 1)))
    first, last = int(used[0]), int(used[-1]) + 1
    side = np.flatnonzero(liver.any(axis=(1, 2)))
    wide, deep, tall = ((0, n) for n in volume.array.shape)
    middle = (int(side[0]) + int(side[-1])) // 2
    return {
        "a trunk": volume,
        "liver at the border": crop(volume, (wide, deep, (first + 2, last - 2))),
        "upper half of it": crop(volume, (wide, deep, ((first + last) // 2, tall[1]))),
        "left half of it": crop(volume, ((middle, wide[1]), deep, tall)),
        "no liver": crop(volume, (wide, deep, (0, max(8, first - 3)))),
        "mirrored": volume.mapped(lambda channel: channel[::-1]),
        "upside down": volume.mapped(lambda channel: channel[:, :, ::-1]),
    }


def _compared(segmenter: Segmenter, volume: Volume) -> str:
    seconds, windows, found = [], [], []
    for first in (False, True):
        steps: list[Progress] = []
        start = time.process_time()
        found.append(segmenter.segment(volume, steps.append, request=SegmentationRequest(find_first=first)))
        seconds.append(time.process_time() - start)
        windows.append(_computed(steps))
    everywhere, near = (result.labelmap > 0 for result in found)
    both = int(everywhere.sum()) + int(near.sum())
    dice = 1.0 if not both else 2 * int((everywhere & near).sum()) / both
    how = "searched all" if any("all of it was segmented" in note for note in found[1].warnings) else "in a region"
    return (
        f"{windows[0]} and {windows[1]} windows or slices, "
        f"{seconds[0]:.2f} and {seconds[1]:.2f} s of the processor; {how}; Dice {dice:.5f}"
    )


def _computed(steps: Sequence[Progress]) -> int:
    """Windows or slices of the network; it may have run several times."""
    done = [step.done for step in steps if step.stage == "network"]
    return sum(last for last, following in zip(done, [*done[1:], 0], strict=True) if following == 0)


if __name__ == "__main__":
    main()
