"""Networks run by OpenVINO: the same labels, only where a trial found it faster, and nobody is told of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from LiverSegLib.cli.commands import app
from LiverSegLib.cli.trials import tune
from LiverSegLib.engine import trial
from LiverSegLib.engine.devices import Device, choose_device, with_precision
from LiverSegLib.engine.one_model import OneModel
from LiverSegLib.engine.openvino_network import OpenVinoNetwork, convert
from LiverSegLib.engine.progress import Monitor
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import DeviceError, SegmentationCancelled
from LiverSegLib.models import ModelPackage, read_package
from LiverSegLib.models.weights import loaded_network
from LiverSegLib.phantom import make_phantom
from LiverSegLib.request import Settings
from LiverSegLib.volume import Result, Volume

pytest.importorskip("openvino", reason="OpenVINO is optional")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVERSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def image() -> Volume:
    return make_phantom(3, spacing=(9, 9, 12), phase="portal").volume


def drawn(model: OneModel, image: Volume) -> Result:
    return model.segment(image, Settings(largest_component=False), Monitor(None, None))


def graph(package: ModelPackage, tmp_path: Path) -> OpenVinoNetwork:
    convert(loaded_network(package).eval(), package.spatial_dims, 1, tmp_path / "network.xml")
    return OpenVinoNetwork(tmp_path / "network.xml", half=False)


def remember(package: ModelPackage, **changes: Any) -> Path:
    folder = trial.trial_folder(package, with_precision(choose_device("cpu")))
    assert folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    convert(loaded_network(package).eval(), package.spatial_dims, 1, trial.graph_file(folder))
    found = {"torch_seconds": 2.0, "openvino_seconds": 1.0, "equal": 1.0, "dice": 1.0, **changes}
    trial.remember(folder, trial.Trial(**found))
    return folder


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("dims", [2, 3])
def test_the_labels_are_those_of_torch(dims: int, random_package: Any, image: Volume, tmp_path: Path) -> None:
    package = read_package(random_package(dims))
    fast = graph(package, tmp_path)

    by_torch = drawn(OneModel(package, "cpu", accelerate=lambda *_: None), image)
    by_openvino = drawn(OneModel(package, "cpu", accelerate=lambda *_: fast), image)

    assert by_torch.device == "cpu (float32)"
    assert by_openvino.device == "cpu (float32, OpenVINO)"
    assert 0 < np.count_nonzero(by_torch.labelmap) < by_torch.labelmap.size
    assert np.mean(by_torch.labelmap == by_openvino.labelmap) > 0.9995  # random weights have many near-ties


@pytest.mark.usefixtures("float32")
def test_it_is_used_only_where_a_trial_found_it_better(random_package: Any, image: Volume) -> None:
    package = read_package(random_package(3))
    assert "OpenVINO" not in drawn(OneModel(package, "cpu"), image).device

    remember(package)
    assert "OpenVINO" in Segmenter(package, "cpu").segment(image).device

    for worse in ({"openvino_seconds": 1.9}, {"equal": 0.99}, {"dice": 0.99}, {"openvino_seconds": None}):
        remember(package, **worse)
        assert "OpenVINO" not in drawn(OneModel(package, "cpu"), image).device


@pytest.mark.usefixtures("float32")
def test_a_trial_holds_for_its_weights_and_threads(
    random_package: Any, image: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = random_package(3)
    package = read_package(path)
    remember(package)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert trial.accelerated(package, with_precision(choose_device("cpu"))) is None
    monkeypatch.undo()

    weights = next((path / "models").glob("model.*"))
    weights.touch()
    assert "OpenVINO" not in drawn(OneModel(read_package(path), "cpu"), image).device


@pytest.mark.usefixtures("float32")
def test_damage_of_what_is_remembered_costs_nothing(random_package: Any, image: Volume) -> None:
    package = read_package(random_package(3))
    folder = remember(package)
    wanted = drawn(OneModel(package, "cpu", accelerate=lambda *_: None), image).labelmap
    for name, text in (("network.xml", "<net>"), ("trial.json", "{"), ("trial.json", "[]")):
        (folder / name).write_text(text)
        result = drawn(OneModel(package, "cpu"), image)
        assert "OpenVINO" not in result.device
        assert np.array_equal(result.labelmap, wanted)


@pytest.mark.usefixtures("float32")
def test_torch_takes_over_where_it_fails(random_package: Any, image: Volume, tmp_path: Path) -> None:
    package = read_package(random_package(3))
    fast = graph(package, tmp_path)
    (tmp_path / "network.xml").unlink()  # it is read again for each size of windows
    result = drawn(OneModel(package, "cpu", accelerate=lambda *_: fast), image)
    assert result.device == "cpu (float32)"
    assert np.array_equal(result.labelmap, drawn(OneModel(package, "cpu", accelerate=lambda *_: None), image).labelmap)


@pytest.mark.usefixtures("float32")
def test_it_can_be_stopped_within_a_window(random_package: Any, image: Volume, tmp_path: Path) -> None:
    package = read_package(random_package(3))
    fast = graph(package, tmp_path)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 5

    model = OneModel(package, "cpu", accelerate=lambda *_: fast)
    with pytest.raises(SegmentationCancelled):
        model.segment(image, Settings(), Monitor(None, stop))
    assert drawn(model, image).labelmap.any()  # and works again


@pytest.mark.usefixtures("float32")
def test_a_trial_measures_both_and_is_remembered(random_package: Any) -> None:
    package = read_package(random_package(2))
    found = tune(package)
    assert found.problem == ""
    assert found.torch_seconds > 0
    assert found.openvino_seconds is not None
    assert found.equal > 0.999
    folder = trial.trial_folder(package, with_precision(choose_device("cpu")))
    assert folder is not None
    assert json.loads((folder / "trial.json").read_text())["use"] is found.is_better
    fast = trial.accelerated(package, with_precision(choose_device("cpu")))
    assert (fast is not None) is found.is_better


def test_the_command_tells_what_is_used_from_now_on(random_package: Any) -> None:
    path = random_package(2)
    done = CliRunner().invoke(app, ["tune", "--model", str(path)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    package = read_package(path)
    folder = trial.trial_folder(package, with_precision(choose_device("cpu")))
    assert folder is not None
    used = "OpenVINO" if json.loads((folder / "trial.json").read_text())["use"] else "torch"
    row = next(line for line in done.output.splitlines() if package.title in line)
    assert row.split("│")[-2].strip() == used


def test_without_openvino_there_is_a_sentence(random_package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "openvino_version", lambda: None)
    with pytest.raises(DeviceError, match="pip install"):
        tune(read_package(random_package(2)))


def test_a_gpu_is_never_given_up_for_it(random_package: Any) -> None:
    package = read_package(random_package(2))
    gpu = Device(torch.device("cuda:0"))
    assert trial.trial_folder(package, gpu) is None


def test_nobody_is_told_of_its_use() -> None:
    """OpenVINO reports imports to its maker where its telemetry package can be imported."""
    code = (
        "import sys; from LiverSegLib.engine.openvino_network import _openvino; _openvino(); "
        "import openvino.tools.ovc.telemetry_utils as used; "
        "assert used.tm.__name__.endswith('telemetry_stub'), used.tm; assert sys.modules['openvino_telemetry'] is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
