"""The trial of a model: torch and OpenVINO segment the same phantom in turn."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from LiverSegLib.engine.devices import Device, choose_device, with_precision
from LiverSegLib.engine.one_model import OneModel
from LiverSegLib.engine.openvino_network import OpenVinoNetwork, convert
from LiverSegLib.engine.progress import Monitor, StopCallback
from LiverSegLib.engine.trial import Trial, graph_file, remember, trial_folder
from LiverSegLib.errors import DeviceError, LiverSegError
from LiverSegLib.io.atomic import told
from LiverSegLib.models import ModelPackage
from LiverSegLib.models.text import one_line
from LiverSegLib.models.weights import loaded_network
from LiverSegLib.phantom import make_phantom
from LiverSegLib.request import Settings
from LiverSegLib.volume import Result, Volume

log = logging.getLogger(__name__)
Labels = npt.NDArray[np.uint8]
_ROUNDS = 3
# As the networks have it: nothing is cleaned away that one of them has drawn.
_AS_DRAWN = Settings(largest_component=False, fill_holes=False, lesions_inside=False)
_SPACING_MM = (1.5, 1.5, 4.0)
_SEED = 20261


def tune(package: ModelPackage, should_stop: StopCallback | None = None) -> Trial:
    """Try what is faster for a model on this processor, and remember it for all later runs.

    Args:
        package: the model; its helpers are not tried.
        should_stop: asked several times a second.

    Raises:
        DeviceError: OpenVINO is not installed.
        ModelError: the package cannot be used.
        OutputError: the cache folder cannot be written.
        SegmentationCancelled: `should_stop` said so.
    """
    device = with_precision(choose_device("cpu"))
    folder = trial_folder(package, device)
    if folder is None:
        raise DeviceError("OpenVINO is not installed, so there is nothing to try; pip install 'liverseg[openvino]'.")
    monitor = Monitor(None, should_stop)
    by_torch = OneModel(package, "cpu", accelerate=lambda *_: None)
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        trial = _tried(package, device, by_torch, graph_file(folder), monitor)
        remember(folder, trial)
    return trial


def _tried(package: ModelPackage, device: Device, by_torch: OneModel, graph: Path, monitor: Monitor) -> Trial:
    image = make_phantom(_SEED, spacing=_SPACING_MM, phase="portal", lesions=3).volume
    channels = len(package.inputs)
    image = replace(image, further=(image.array,) * (channels - 1))
    try:
        convert(loaded_network(package).eval(), package.spatial_dims, channels, graph)
        fast = OpenVinoNetwork(graph, half=device.half is not None)
        by_openvino = OneModel(package, "cpu", accelerate=lambda *_: fast)
        # The first runs warm up, and tell whether the labels are equal.
        labels = [_run(model, image, monitor).labelmap for model in (by_torch, by_openvino)]
        rounds = [[_network_seconds(_run(m, image, monitor)) for m in (by_torch, by_openvino)] for _ in range(_ROUNDS)]
    except LiverSegError:
        raise
    # Of any kind: networks that OpenVINO or torch's tracing does not know.
    except Exception as error:
        log.warning("OpenVINO cannot run %s", package.name, exc_info=error)
        seconds = _network_seconds(_run(by_torch, image, monitor))
        return Trial(torch_seconds=seconds, problem=one_line(error, 200))
    mine, others = (min(pair[side] for pair in rounds) for side in (0, 1))
    return Trial(torch_seconds=mine, openvino_seconds=others, equal=_equal(*labels), dice=_dice(*labels))


def _run(model: OneModel, image: Volume, monitor: Monitor) -> Result:
    return model.segment(image, _AS_DRAWN, monitor)


def _network_seconds(result: Result) -> float:
    return result.timings["network"]


def _equal(a: Labels, b: Labels) -> float:
    return float((a == b).mean())


def _dice(a: Labels, b: Labels) -> float:
    both = int((a > 0).sum()) + int((b > 0).sum())
    return 2 * int(((a > 0) & (b > 0)).sum()) / both if both else 1.0
