"""The built-in starter model on phantoms and, where the shared data are, on real CTs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.models.store import DEFAULT, built_in_names
from LiverSegLib.phantom import make_phantom
from Training.evaluation.cases import LabeledVolume, load_cases
from Training.evaluation.metrics import dice

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CASES = Path(__file__).resolve().parents[2] / "Training" / "cases" / "real_ct.yaml"


@pytest.fixture(scope="module")
def starter() -> Segmenter:
    return Segmenter(device="cpu")


def test_the_default_model_ships_with_the_code() -> None:
    assert DEFAULT in built_in_names()


# Other patients on the same grid go the same way; one is enough to see that the model works at all.
@pytest.mark.parametrize("seed", [31, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (20260, 32))])
def test_a_phantom_never_seen_gets_its_liver(starter: Segmenter, seed: int) -> None:
    phantom = make_phantom(seed, spacing=(2, 2, 4), phase="portal")
    result = starter.segment(phantom.volume)
    assert dice(result.mask("liver"), phantom.labelmap > 0) >= 0.85


def test_a_slice_alone_and_anisotropic_voxels_work(starter: Segmenter) -> None:
    phantom = make_phantom(33, spacing=(1.0, 1.0, 7.5), phase="portal")
    whole = starter.segment(phantom.volume)
    assert dice(whole.mask("liver"), phantom.labelmap > 0) >= 0.85
    k = int((phantom.labelmap > 0).sum((0, 1)).argmax())
    from dataclasses import replace

    alone = replace(phantom.volume, array=phantom.volume.array[..., k : k + 1])
    result = starter.segment(alone)
    assert dice(result.mask("liver"), phantom.labelmap[..., k : k + 1] > 0) >= 0.85


REAL = {"ircad01": 0.95, "ircad17": 0.95, "slab3mm": 0.92, "ct20": 0.92}


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared real CTs are not beside the repository")
def test_real_livers_reach_the_bar(starter: Segmenter) -> None:
    found = {}
    for case in load_cases(CASES, DATA):
        assert isinstance(case, LabeledVolume)
        result = starter.segment(case.volume)
        if case.reference is not None:
            found[case.name] = dice(result.mask("liver"), case.reference > 0)
        else:  # the trunk: nothing outside the upper abdomen, a plausible size
            ml = result.measurements.volume_ml("liver")
            z = np.flatnonzero(result.mask("liver").any((0, 1)))
            assert 700 < ml < 2500
            assert z.size * case.volume.spacing[2] < 260  # mm from dome to tip
    assert found.keys() == REAL.keys()
    for name, bar in REAL.items():
        assert found[name] >= bar, found
    assert np.mean([found["ircad01"], found["ircad17"]]) >= 0.96, found
