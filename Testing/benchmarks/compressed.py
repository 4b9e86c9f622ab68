"""How fast .nii.gz is read and written, beside Python's own gzip.

    python -m Testing.benchmarks.compressed                      # a phantom of 512x512x130 and its labels
    python -m Testing.benchmarks.compressed --image ct.nii.gz --repeat 5

Each line is measured in turns with the one that it is compared to, in memory; the smallest of the repetitions counts.
Quote ratios: seconds are those of one machine at one time.
"""

from __future__ import annotations

import argparse
import gzip
import io
import math
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.io import inflate, read_volume
from LiverSegLib.io.deflate import GzipWriter
from Testing.benchmarks.volumes import write_phantom_ct

_FIELD_MM = 650.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.compressed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--shape", default="512x512x130", help="of the phantom")
    parser.add_argument("--image", type=Path, help="a volume instead of the phantom")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        i, j, k = (int(n) for n in options.shape.split("x"))
        image = options.image or write_phantom_ct(Path(name, "phantom.nii"), (i, j, k), _FIELD_MM / k)
        array = read_volume(image).array
    labels = np.zeros(array.shape, np.uint8, order="F")
    box = tuple(slice(n // 4, n // 2) for n in array.shape)
    labels[box] = array[box] > np.median(array[box])
    data = _by_python(array, 1)
    shape = "x".join(map(str, array.shape))
    print(f"{image.name} {shape}: {array.nbytes / 1e6:.0f} MB, compressed {len(data) / 1e6:.0f} MB")
    for what, voxels, level in (("the image", array, 1), ("its labels", labels, 3)):
        ways: list[Callable[[], object]] = [partial(_by_python, voxels, level), partial(_by_us, voxels, level)]
        old, new = _in_turns(options.repeat, ways)
        _show(f"writing {what}", old, "ours", new)
    engines = {"zlib": zlib} if inflate.fast is zlib else {"zlib": zlib, "isal": inflate.fast}
    readers = [partial(_read, data, array.nbytes, engine) for engine in engines.values()]
    old, *found = _in_turns(options.repeat, [partial(_read_by_python, data, array.nbytes), *readers])
    for name, seconds in zip(engines, found, strict=True):
        _show("reading the image", old, f"ours with {name}", seconds)


def _show(what: str, old: float, name: str, new: float) -> None:
    print(f"  {what:<18} gzip of Python {old:6.3f} s, {name} {new:6.3f} s, {old / new:.1f} times faster")


def _in_turns(repeat: int, ways: Sequence[Callable[[], object]]) -> list[float]:
    """The smallest seconds of each way."""
    found = [math.inf] * len(ways)
    for _ in range(repeat):
        for number, way in enumerate(ways):
            start = time.perf_counter()
            way()
            found[number] = min(found[number], time.perf_counter() - start)
    return found


def _by_python(array: npt.NDArray[Any], level: int) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile("", "wb", level, out, mtime=0) as stream:
        _give(stream, array)
    return out.getvalue()


def _by_us(array: npt.NDArray[Any], level: int) -> None:
    with GzipWriter(io.BytesIO(), level) as stream:
        _give(stream, array)


def _give(stream: gzip.GzipFile | GzipWriter, array: npt.NDArray[Any]) -> None:
    for k in range(array.shape[2]):
        stream.write(array[:, :, k].tobytes(order="F"))


def _read_by_python(data: bytes, size: int) -> None:
    assert len(gzip.GzipFile(fileobj=io.BytesIO(data)).read()) == size


def _read(data: bytes, size: int, engine: Any) -> None:
    kept, inflate.fast = inflate.fast, engine
    try:
        stream = inflate.inflated(io.BytesIO(data), "gzip")
        assert stream.readinto(bytearray(size)) == size
        assert not stream.read(1)
    finally:
        inflate.fast = kept


if __name__ == "__main__":
    main()
