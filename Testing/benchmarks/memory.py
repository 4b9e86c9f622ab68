"""How much memory a segmentation takes, stage by stage, each case in a process of its own.

    python -m Testing.benchmarks.memory                       # a phantom of 512x512x130
    python -m Testing.benchmarks.memory --shape 512x512x1200 --address-space 4
    python -m Testing.benchmarks.memory --image ct.nii.gz --model liver_ct_starter

Tells the peak of the resident memory of everything: the interpreter, reading, segmenting and writing the result files.
Where Linux tells it, each stage's own peak is listed too. Bytes are exact, unlike seconds: another machine finds the
same but for some megabytes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from Testing.benchmarks.volumes import write_phantom_ct

_FIELD_MM = 650.0
"""Feet to head, of any number of slices; a slice is at most so thick as clinics have them."""
_THICKEST_MM = 2.5


class Peaks:
    """The largest resident memory between two looks, in bytes; Linux alone can begin anew."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}

    def lap(self, stage: str) -> None:
        """What was needed since the last call was needed for `stage`."""
        with suppress(OSError, StopIteration):
            status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            line = next(line for line in status if line.startswith("VmHWM:"))
            self.found[stage] = max(self.found.get(stage, 0), int(line.split()[1]) * 1024)
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    @property
    def whole(self) -> int:
        """Of all stages."""
        # Beginning anew makes the system forget what it tells elsewhere.
        told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return max(told, *self.found.values())


def one_case(image: Path, model: str | None, out: Path, memory_limit: str | None) -> dict[str, object]:
    """Read, segment and write as `liverseg segment` does; gives bytes by stage."""
    from LiverSegLib.networks import monai_import

    monai_import.shorten()  # as the command line and the worker do
    peaks = Peaks()
    from LiverSegLib.cli.outputs import write_outputs
    from LiverSegLib.cli.request_options import request_from, with_means
    from LiverSegLib.engine.budget import ROOM
    from LiverSegLib.engine.progress import Progress
    from LiverSegLib.engine.segmenter import Segmenter
    from LiverSegLib.io import read_volume
    from LiverSegLib.system import resident_bytes

    request = request_from(model=model, device="cpu", roi=None, targets=None, postprocess=True)
    request = with_means(request, find_first=False, memory_limit=memory_limit)
    segmenter = Segmenter(request.model, request.device, request.settings)
    peaks.lap("imports and model")
    volume = read_volume(image)
    peaks.lap("read")
    before, need = resident_bytes() or 0, segmenter.need(volume)
    peaks.lap("predict")
    current = "locate"

    def look(step: Progress) -> None:
        nonlocal current
        if step.stage != current:
            peaks.lap(current)
            current = step.stage

    result = segmenter.segment(volume, look, request=request)
    peaks.lap(current)
    segmented = max(peaks.found.get(stage, 0) for stage in ("locate", "prepare", "network", "restore", "measure"))
    write_outputs(out, "case", volume, result, True)
    peaks.lap("write")
    return {"input": volume.array.nbytes, "peak": peaks.whole, "stages": peaks.found} | {
        "before": before,
        "segmented": segmented,
        "predicted": before + need.most + ROOM,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one case and print it."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--shape", default="512x512x130", help="of the phantom")
    parser.add_argument("--image", type=Path, help="a volume instead of the phantom")
    parser.add_argument("--model", help="package folder or id; the default model otherwise")
    parser.add_argument("--address-space", type=float, help="GB that the process may map at all (RLIMIT_AS)")
    parser.add_argument("--memory-limit", help="as of liverseg segment, for example 1GB")
    parser.add_argument("--inside", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside:
        if options.address_space:
            most = int(options.address_space * 1e9)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        image, out = options.inside
        print(json.dumps(one_case(image, options.model, out, options.memory_limit)))
        return
    with tempfile.TemporaryDirectory() as name:
        image = options.image
        if image is None:
            i, j, k = (int(n) for n in options.shape.split("x"))
            image = write_phantom_ct(Path(name, "phantom.nii"), (i, j, k), min(_THICKEST_MM, _FIELD_MM / k))
        _show(image, _measured([*(arguments or sys.argv[1:]), "--inside", str(image), name]))


def _measured(arguments: Sequence[str]) -> dict[str, object]:
    command = [sys.executable, "-m", "Testing.benchmarks.memory", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit("The case has failed; its message is above.")
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def _show(image: Path, found: dict[str, object]) -> None:
    stages = found["stages"]
    assert isinstance(stages, dict)
    size, peak = int(str(found["input"])), int(str(found["peak"]))
    print(f"{image.name}: input {size / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB, {(peak - size) / 1e6:.0f} MB above it")
    told, segmented = int(str(found["predicted"])), int(str(found["segmented"]))
    print(f"  of the model by itself, on all of it: predicted {told / 1e6:.0f} MB, found {segmented / 1e6:.0f} MB")
    for stage, most in stages.items():
        print(f"  {stage:<18} {most / 1e6:6.0f} MB")


if __name__ == "__main__":
    main()
