"""One side of a comparison in a process of its own; it is asked for one run after the other.

    python -m Testing.benchmarks.sides ours IMAGE PACKAGE OUT

Each line "run" on standard input is answered by a line of JSON; the end of the input ends it. The first run begins
with the imports. A warm run is from the voxels in memory to the label map in memory, written to OUT afterwards.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from Testing.peak_memory import peak_bytes

Labels = npt.NDArray[np.uint8]
Run = Callable[[], tuple[Labels, dict[str, float]]]


def ours(image: Path, package: Path) -> Run:
    """The engine, as it is used everywhere."""
    from LiverSegLib.engine.segmenter import Segmenter
    from LiverSegLib.io import read_volume
    from LiverSegLib.models import read_package
    from LiverSegLib.request import Settings
    from Testing.benchmarks.compare import NNUNET_SIDE, baseline

    volume, found = read_volume(image), read_package(package)
    # MONAI's pipeline does not fill holes either, and nnU-Net's predictor cleans nothing.
    cleans = baseline(found) != NNUNET_SIDE
    segmenter = Segmenter(found, "cpu", Settings(fill_holes=False, largest_component=cleans))

    def run() -> tuple[Labels, dict[str, float]]:
        result = segmenter.segment(volume)
        return result.labelmap, result.timings

    return run


def monai(image: Path, package: Path) -> Run:
    """The same by MONAI's transforms and inferers, as its tutorials do it."""
    import torch
    from monai import transforms as mt
    from monai.data import MetaTensor, decollate_batch, list_data_collate
    from monai.inferers import SliceInferer, SlidingWindowInferer

    from LiverSegLib.io import read_volume
    from LiverSegLib.models import read_package
    from LiverSegLib.models.weights import load_weights
    from LiverSegLib.networks import build_network

    volume, found = read_volume(image), read_package(package)
    network = build_network(found.network, found.arguments).eval()
    load_weights(found, network)
    steps = [mt.Compose([getattr(mt, s["_target_"])(**_without(s))]) for s in (i.to_monai() for i in found.intensity)]
    before = mt.Compose(
        [
            mt.EnsureChannelFirstd("image", channel_dim="no_channel"),
            mt.Orientationd("image", found.axcodes),
            mt.Spacingd("image", found.pixdim, mode="bilinear"),
            *steps,
            mt.DivisiblePadd("image", found.divisible),
        ]
    )
    after = mt.Compose(
        [
            mt.Invertd("pred", before, orig_keys="image", nearest_interp=False),
            mt.AsDiscreted("pred", argmax=True),
            mt.KeepLargestConnectedComponentd("pred"),
        ]
    )
    window = found.inferer
    kind: Any = SlidingWindowInferer if found.spatial_dims == 3 else SliceInferer
    extra = {} if found.spatial_dims == 3 else {"spatial_dim": 2}
    inferer = kind(
        roi_size=window.roi_size, sw_batch_size=window.batch_size, overlap=window.overlap, mode="gaussian", **extra
    )

    def run() -> tuple[Labels, dict[str, float]]:
        times, last = {}, time.perf_counter()
        values = torch.as_tensor(np.ascontiguousarray(volume.array, dtype=np.float32))
        batch = list_data_collate([before({"image": MetaTensor(values, affine=torch.as_tensor(volume.affine))})])
        times["prepare"], last = time.perf_counter() - last, time.perf_counter()
        with torch.inference_mode():
            batch["pred"] = inferer(batch["image"], network)
        times["network"], last = time.perf_counter() - last, time.perf_counter()
        labels = after(decollate_batch(batch)[0])["pred"][0].numpy().astype(np.uint8)
        times["restore"] = time.perf_counter() - last
        return labels, times

    return run


def _without(step: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key != "_target_"}


SIDES: dict[str, Callable[[Path, Path], Run]] = {"ours": ours, "monai": monai}


def main() -> None:
    """Answer each line of standard input by a run."""
    side, image, package, out = sys.argv[1:]
    last, run = time.perf_counter(), None
    for _ in sys.stdin:
        if run is None:
            run = SIDES[side](Path(image), Path(package))
        else:
            last = time.perf_counter()
        labels, stages = run()
        seconds = time.perf_counter() - last
        np.save(out, labels)
        print(json.dumps({"seconds": seconds, "peak": peak_bytes(), "stages": stages}), flush=True)


if __name__ == "__main__":
    main()
