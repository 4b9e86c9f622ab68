"""What the tests of the worker share: a result, a worker that makes noise, and a request that takes long."""

from __future__ import annotations

import numpy as np

from LiverSegLib.labels import label_for
from LiverSegLib.measure import Lesion, Measurements, SegmentMeasurement
from LiverSegLib.request import Settings
from LiverSegLib.volume import Result
from LiverSegLib.worker import messages
from LiverSegLib.worker.launch import worker_command

AFFINE = np.array([[0.7, 0.1, 0, -120.3], [-0.1, 0.7, 0.2, 1 / 3], [0, -0.2, 2.5, 7e-7], [0, 0, 0, 1.0]])
HELLO = messages.Hello(messages.PROTOCOL, 7)
OBLIQUE = np.array([[-1.9, 0.3, 0.1, 60.0], [0.3, 1.9, -0.2, -58.0], [0.1, 0.2, 2.6, -50.0], [0, 0, 0, 1.0]])
SHAPE = (64, 60, 40)
SLOW = Settings(overlap=0.94)
"""Makes a volume of `SHAPE` take tens of thousands of windows."""

# With torch come prints from Python, from the file descriptor and from C, as libraries like to do; and the
# arithmetic is fixed, so that results can be compared bit for bit.
_HOOK = """
import ctypes, os
import LiverSegLib.worker.work as work
def noisy(first=work.import_torch):
    first()
    import LiverSegLib.engine.devices as devices
    devices.has_bf16_matrix_unit = lambda: False
    print("noise", flush=True)
    os.write(1, b'{"type":"Done"} noise ' * 100)
    if os.name != "nt":
        ctypes.CDLL(None).puts(b"noise from C")
        ctypes.CDLL(None).fflush(None)
work.import_torch = noisy
"""


def command(idle_seconds: float = 600.0, hook: str = "") -> list[str]:
    """The worker's command line with the noise, and with what else `hook` changes in the worker."""
    *start, script = worker_command(idle_seconds)
    before, after = script.rsplit("from LiverSegLib", 1)
    return [*start, f"{before}exec({_HOOK + hook!r}); from LiverSegLib{after}"]


def a_result() -> Result:
    """A small result with numbers that have many digits."""
    labelmap = np.zeros((4, 5, 6), np.uint8, order="F")
    labelmap[1:3, 2, 3] = 1
    measured = Measurements(
        segments=(SegmentMeasurement(name="liver", voxels=2, volume_ml=0.1 + 0.2),),
        lesions=(Lesion(volume_ml=1 / 3, longest_diameter_mm=7.5, center_ras=(-1.0, 2.0, 1e-17)),),
    )
    labels = (label_for(1, "liver"), label_for(2, "tumor"))
    return Result(
        labelmap=labelmap,
        affine=AFFINE,
        labels=labels,
        measurements=measured,
        timings={"network": 1.25},
        warnings=("a note",),
        device="cpu (float32)",
        model="Toy 1",
    )
