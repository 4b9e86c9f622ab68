"""The worker as a real process: the same result as in this one, warm, cancellable, and never in the way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from LiverSegLib.engine.progress import Progress
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import DeviceError, InputError, ModelError, SegmentationCancelled, WorkerError
from LiverSegLib.request import SegmentationRequest, Settings
from LiverSegLib.volume import Volume
from Testing.conftest import DrawCase, MakePackage
from Testing.worker.examples import OBLIQUE, SHAPE, SLOW, command
from Testing.worker_client import WorkerClient


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerClient]:
    with WorkerClient(command()) as client:
        yield client


@pytest.fixture
def case(draw_case: DrawCase) -> Volume:
    return draw_case(OBLIQUE, SHAPE, np.int16)


def stop_in(stage: str) -> tuple[Callable[[Progress], None], Callable[[], bool], list[float]]:
    """Callbacks that stop a run in a stage, and when they did."""
    at: list[float] = []

    def progress(step: Progress) -> None:
        if step.stage == stage and step.done > 0 and not at:
            at.append(time.monotonic())

    return progress, lambda: bool(at), at


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("dims", [2, 3])
def test_the_result_is_that_of_this_process(
    worker: WorkerClient, random_package: MakePackage, case: Volume, dims: int
) -> None:
    package = random_package(dims, labels=2)
    seen: list[Progress] = []
    result = worker.segment(case, seen.append, model=package, device="cpu")
    expected = Segmenter(package, "cpu").segment(case)
    assert expected.labelmap.any()
    assert np.array_equal(result.labelmap, expected.labelmap)
    assert np.array_equal(result.affine, case.affine)
    for name in ("labels", "measurements", "warnings", "device", "model"):
        assert getattr(result, name) == getattr(expected, name)
    assert result.timings.keys() == expected.timings.keys()
    stages = list(dict.fromkeys(step.stage for step in seen))
    assert stages[-5:] == ["prepare", "network", "restore", "postprocess", "measure"]
    assert not list(worker.session.folder.path.glob("*.npy"))


@pytest.mark.usefixtures("float32")
def test_memory_order_and_settings_go_along(worker: WorkerClient, threshold_package: MakePackage, case: Volume) -> None:
    package = threshold_package()
    slicer_like = replace(case, array=np.asfortranarray(case.array), name="Fortran")
    raw = Settings(largest_component=False, fill_holes=False, lesions_inside=False)
    plain = worker.segment(slicer_like, model=package, device="cpu", settings=raw)
    expected = Segmenter(package, "cpu", raw).segment(slicer_like)
    assert np.array_equal(plain.labelmap, expected.labelmap)
    assert plain.mask("tumor").any()
    assert plain.labelmap.flags.f_contiguous


@pytest.mark.usefixtures("float32")
def test_a_region_and_targets_are_those_of_the_engine(
    worker: WorkerClient, threshold_package: MakePackage, case: Volume
) -> None:
    package = threshold_package()
    worker.segment(case, model=package, device="cpu")
    request = SegmentationRequest(region=((8, 60), (10, 50), (5, 36)), targets=("liver",))
    part = worker.segment(case, model=package, device="cpu", region=request.region, targets=request.targets)
    assert worker.last_warm
    expected = Segmenter(package, "cpu").segment(case, request=request)
    assert part.labelmap.any()
    assert np.array_equal(part.labelmap, expected.labelmap)
    assert part.measurements == expected.measurements
    with pytest.raises(InputError, match="The region of interest lies outside"):
        worker.segment(case, model=package, device="cpu", region=((90, 99), (0, 9), (0, 9)))
    with pytest.raises(InputError, match="does not segment 'spleen'"):
        worker.segment(case, model=package, device="cpu", targets=("spleen",))


def test_errors_come_as_what_they_were(worker: WorkerClient, random_package: MakePackage, case: Volume) -> None:
    with pytest.raises(ModelError, match="There is no model /nowhere"):
        worker.segment(case, model="/nowhere")
    with pytest.raises(DeviceError, match="There is no device 'toaster'"):
        worker.segment(case, model=random_package(), device="toaster")
    flat = replace(case, array=np.zeros((8, 8, 8), np.int16), name="flat")
    with pytest.raises(InputError, match="flat has the value 0 everywhere"):
        worker.segment(flat, model=random_package(), device="cpu")
    devices = worker.devices()
    assert devices[-1].name == "cpu"
    assert devices[-1].title


def test_a_changed_package_is_loaded_again(worker: WorkerClient, random_package: MakePackage, case: Volume) -> None:
    package = random_package()
    worker.segment(case, model=package, device="cpu")
    assert not worker.last_warm
    assert worker.segment(case, model=package, device="cpu").model == "Toy model 1.2.3"
    assert worker.last_warm
    random_package(version="1.3.0")
    assert worker.segment(case, model=package, device="cpu").model == "Toy model 1.3.0"
    assert not worker.last_warm


def test_a_model_that_was_warmed_up_is_ready(worker: WorkerClient, random_package: MakePackage, case: Volume) -> None:
    package = random_package(name="warmed")
    worker.warm_up(package, "cpu")
    worker.segment(case, model=package, device="cpu")
    assert worker.last_warm
    with pytest.raises(ModelError, match="There is no model /nowhere"):
        worker.warm_up("/nowhere")
    with pytest.raises(SegmentationCancelled):
        worker.warm_up(package, "cpu", should_stop=lambda: True)


def test_a_cancel_keeps_the_model(worker: WorkerClient, random_package: MakePackage, case: Volume) -> None:
    package = random_package()
    worker.segment(case, model=package, device="cpu")
    hello = worker.session.hello
    progress, should_stop, _ = stop_in("network")
    with pytest.raises(SegmentationCancelled):
        worker.segment(case, progress, should_stop, model=package, device="cpu", settings=SLOW)
    worker.cancel()  # while idle: harmless
    worker.segment(case, model=package, device="cpu")
    assert worker.last_warm
    assert worker.session.hello is hello  # the same process


def test_an_interrupted_call_does_not_compute_on(
    worker: WorkerClient, random_package: MakePackage, case: Volume
) -> None:
    def interrupt(step: Progress) -> None:
        if step.stage == "network":
            raise KeyboardInterrupt

    package = random_package()
    with pytest.raises(KeyboardInterrupt):
        worker.segment(case, interrupt, model=package, device="cpu", settings=SLOW)
    worker.segment(case, model=package, device="cpu")
    assert not list(worker.session.folder.path.glob("*.npy"))


@pytest.mark.timing
def test_a_cancel_and_what_follows_take_less_than_a_second(
    worker: WorkerClient, random_package: MakePackage, case: Volume
) -> None:
    package = random_package()
    worker.segment(case, model=package, device="cpu")
    progress, should_stop, at = stop_in("network")
    with pytest.raises(SegmentationCancelled):
        worker.segment(case, progress, should_stop, model=package, device="cpu", settings=SLOW)
    assert time.monotonic() - at[0] < 1
    start = time.monotonic()
    first: list[float] = []
    worker.segment(case, lambda _: first.append(time.monotonic()), model=package, device="cpu")
    assert worker.last_warm
    assert first[0] - start < 1


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_worker_is_one_sentence_and_the_next_run_works(
    worker: WorkerClient, random_package: MakePackage, case: Volume
) -> None:
    package = random_package()

    def kill(step: Progress) -> None:
        if step.stage == "network" and worker.session.hello is not None:
            os.kill(worker.session.hello.pid, signal.SIGKILL)

    with pytest.raises(WorkerError) as caught:
        worker.segment(case, kill, model=package, device="cpu", settings=SLOW)
    assert str(caught.value).startswith("The segmentation process stopped unexpectedly (exit code -9) while")
    assert worker.segment(case, model=package, device="cpu").labelmap.any()
    assert worker.last_warm is False
    assert not list(worker.session.folder.path.glob("*.npy"))
