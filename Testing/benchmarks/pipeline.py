"""Ours against the usual MONAI pipeline: same image, same weights, one run.

    python -m Testing.benchmarks.pipeline ct.nii.gz
    python -m Testing.benchmarks.pipeline ct.nii.gz --network SegResNet --repeat 3

Without `--network` the built-in starter is run. The baseline is what MONAI's tutorials do: load, orient, resample,
window, sliding window, invert the logits, argmax, largest component. Each side runs in a process of its own, so that
its peak memory is its own; "first" includes imports and building, "warm" is the median of the repeats. Quote ratios.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

NETWORKS: dict[str, dict[str, Any]] = {
    "UNet": {"channels": [16, 32, 64, 128, 256], "strides": [2, 2, 2, 2], "num_res_units": 2, "norm": "batch"},
    "SegResNet": {"init_filters": 16, "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1]},
}


def make_package(folder: Path, name: str) -> Path:
    """A 3D package of random weights: 1.5 mm, windows of 96, overlap 0.25."""
    import torch

    from LiverSegLib.labels import labels_for
    from LiverSegLib.models import ModelSpec
    from LiverSegLib.models.inferer import Inferer
    from LiverSegLib.models.intensity import ScaleRange
    from LiverSegLib.models.package import write_package
    from LiverSegLib.networks import build_network

    torch.manual_seed(0)
    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, **NETWORKS[name]}
    spec = ModelSpec(
        name="benchmark",
        version="0",
        modality="CT",
        labels=labels_for({1: "liver"}),
        network=name,
        arguments=arguments,
        axcodes="RAS",
        pixdim=(1.5, 1.5, 1.5),
        intensity=(ScaleRange(-100, 250),),
        inferer=Inferer(roi_size=(96, 96, 96), overlap=0.25),
    )
    write_package(folder, spec, build_network(name, arguments).state_dict(), card="", license_text="none")
    return folder


def ours(image: Path, package: Path, repeat: int) -> dict[str, Any]:
    """Seconds of the first and of the warm runs, from file to label map."""
    start = time.perf_counter()
    from LiverSegLib.engine.segmenter import Segmenter
    from LiverSegLib.io import read_volume
    from LiverSegLib.request import Settings

    segmenter = Segmenter(package, "cpu", Settings(fill_holes=False))
    times = []
    for _ in range(repeat + 1):
        result = segmenter.segment(read_volume(image))
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
    stages = {name: round(seconds, 2) for name, seconds in result.timings.items()}
    return _report(times, result.labelmap, {"device": result.device, **stages})


def baseline(image: Path, package: Path, repeat: int) -> dict[str, Any]:
    """The same by MONAI's transforms and inferers."""
    start = time.perf_counter()
    import torch
    from monai import transforms as mt
    from monai.data import decollate_batch, list_data_collate
    from monai.inferers import SliceInferer, SlidingWindowInferer

    from LiverSegLib.models import read_package
    from LiverSegLib.models.weights import load_weights
    from LiverSegLib.networks import build_network

    found = read_package(package)
    network = build_network(found.network, found.arguments).eval()
    load_weights(found, network)
    low, high = found.intensity[0].low, found.intensity[0].high  # type: ignore[union-attr]
    pre = mt.Compose(
        [
            mt.LoadImaged("image"),
            mt.EnsureChannelFirstd("image"),
            mt.Orientationd("image", found.axcodes),
            mt.Spacingd("image", found.pixdim, mode="bilinear"),
            mt.ScaleIntensityRanged("image", low, high, 0.0, 1.0, clip=True),
            mt.DivisiblePadd("image", found.divisible),
        ]
    )
    post = mt.Compose(
        [
            mt.Invertd("pred", pre, orig_keys="image", nearest_interp=False),
            mt.AsDiscreted("pred", argmax=True),
            mt.KeepLargestConnectedComponentd("pred"),
        ]
    )
    i = found.inferer
    kind: Any = SlidingWindowInferer if found.spatial_dims == 3 else SliceInferer
    extra = {} if found.spatial_dims == 3 else {"spatial_dim": 2}
    inferer = kind(i.roi_size, sw_batch_size=i.batch_size, overlap=i.overlap, mode="gaussian", **extra)
    times = []
    for _ in range(repeat + 1):
        batch = list_data_collate([pre({"image": str(image)})])
        with torch.inference_mode():
            batch["pred"] = inferer(batch["image"], network)
        labels = post(decollate_batch(batch)[0])["pred"][0].numpy().astype(np.uint8)
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
    return _report(times, labels, {})


def _report(times: list[float], labels: np.ndarray, extra: dict[str, Any]) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    np.save(sys.argv[-1], labels)
    return {"first": times[0], "warm": statistics.median(times[1:]), "peak_gb": peak, **extra}


def run_side(side: str, image: Path, package: Path, repeat: int, out: Path) -> dict[str, Any]:
    """One side in a fresh process."""
    command = [sys.executable, "-m", __spec__.name, str(image), "--side", side, "--package", str(package),
               "--repeat", str(repeat), str(out)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Parse the command line and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--network", choices=sorted(NETWORKS))
    parser.add_argument("--package", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--side", choices=["ours", "baseline"], help=argparse.SUPPRESS)
    parser.add_argument("out", nargs="?", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps({"ours": ours, "baseline": baseline}[args.side](args.image, args.package, args.repeat)))
        return
    from LiverSegLib.models import find_package

    with tempfile.TemporaryDirectory() as folder:
        package = args.package or find_package("liver_ct_starter")
        if args.network:
            package = make_package(Path(folder) / "package", args.network)
        sides = {
            s: run_side(s, args.image, package, args.repeat, Path(folder) / f"{s}.npy") for s in ("baseline", "ours")
        }
        a, b = (np.load(Path(folder) / f"{s}.npy") > 0 for s in ("baseline", "ours"))
    for side, numbers in sides.items():
        print(f"{side:9s}", {k: round(v, 2) if isinstance(v, float) else v for k, v in numbers.items()})
    for what in ("first", "warm", "peak_gb"):
        print(f"{what}: baseline / ours = {sides['baseline'][what] / sides['ours'][what]:.1f}")
    print(f"Dice between the two: {2 * (a & b).sum() / max(a.sum() + b.sum(), 1):.5f}")


if __name__ == "__main__":
    main()
