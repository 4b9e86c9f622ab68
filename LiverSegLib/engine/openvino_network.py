"""A network run by OpenVINO instead of torch: the same arithmetic, on many processors in less time.

OpenVINO (https://docs.openvino.ai) is optional. Nothing of it is used unless a trial on this machine has found it
faster for the model, see `trial`.
"""

from __future__ import annotations

import sys
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from LiverSegLib.engine.progress import Monitor
from LiverSegLib.networks import final_logits
from LiverSegLib.system import package_version

_TRACED = 64
"""Edge of the window that a network is traced with, voxels; levels that halve leave something of it."""
_ASK_MS = 20
_KEPT = 4
"""Shapes of windows that stay compiled: the last ones of a chain's volumes."""


def openvino_version() -> str | None:
    """The version of OpenVINO; None where it is not installed."""
    return package_version("openvino")


def _openvino() -> Any:
    # Unless this name is missing, OpenVINO tells its maker of every import. We speak to nobody unasked.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


class _Logits(torch.nn.Module):
    """The network with one output: networks of several heads give a list."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = final_logits(self.network(x), x.ndim)
        return logits


def convert(network: torch.nn.Module, spatial_dims: int, channels: int, file: Path) -> None:
    """Write the network for OpenVINO, for windows of any size.

    Args:
        network: in float32 on the CPU, for evaluation; takes [N, channels, ...].
        spatial_dims: 2 or 3.
        channels: images of a case.
        file: an .xml file; its weights go into the .bin file beside it.

    Raises:
        Exception: of any kind, where OpenVINO or torch's tracing does not know the network.
    """
    openvino = _openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros(1, channels, *[_TRACED] * spatial_dims)
    # Networks check their shapes with `if`, which tracing warns of. What a trace holds of the size that it was made
    # with fails, or shows in the trial, which is made with other sizes.
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(_Logits(network).eval(), example_input=(example,))
    frontend = FrontEndManager().load_by_framework("pytorch")
    openvino.save_model(frontend.convert(frontend.load(decoder)), file, compress_to_fp16=False)


class OpenVinoNetwork:
    """A network that `convert` wrote, ready for windows of any size; each size is compiled once.

    Args:
        file: the .xml file.
        half: whether it computes in bfloat16 instead of float32.

    Raises:
        Exception: of any kind, where the file is damaged or of another version.
    """

    def __init__(self, file: Path, *, half: bool) -> None:
        self._openvino = _openvino()
        self._core = self._openvino.Core()
        self._file = file
        self._half = half
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._core.read_model(file)  # damage is found now

    def run(self, x: torch.Tensor, monitor: Monitor) -> torch.Tensor:
        """The logits [N, C, ...] float32 of windows [N, channels, ...].

        Raises:
            SegmentationCancelled: the monitor said so; asked about every 20 ms.
        """
        values = x.float().contiguous()
        request = self._request(tuple(values.shape))
        request.set_input_tensor(self._openvino.Tensor(values.numpy(), shared_memory=True))
        request.start_async()
        try:
            while not request.wait_for(_ASK_MS):
                monitor.check()
        except BaseException:
            request.cancel()
            raise
        # The next window is written to the same place.
        return torch.from_numpy(request.get_output_tensor().data.copy())

    def _request(self, shape: tuple[int, ...]) -> Any:
        if shape in self._requests:
            self._requests.move_to_end(shape)
            return self._requests[shape]
        model = self._core.read_model(self._file)
        model.reshape(list(shape))
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if self._half else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            # Two programs on one machine would be bound to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        request = self._core.compile_model(model, "CPU", settings).create_infer_request()
        self._requests[shape] = request
        if len(self._requests) > _KEPT:
            self._requests.popitem(last=False)
        return request
