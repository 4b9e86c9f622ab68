"""The built-in models on phantoms and, where the shared data are, on real CTs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.models.store import DEFAULT, built_in_names
from LiverSegLib.phantom import make_phantom
from Training.evaluation.cases import LabeledVolume, load_cases
from Training.evaluation.metrics import dice

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CASES = Path(__file__).resolve().parents[2] / "Training" / "cases"
STARTER = "liver_ct_starter"


@pytest.fixture(scope="module", params=[DEFAULT, STARTER])
def model(request: pytest.FixtureRequest) -> Segmenter:
    return Segmenter(request.param, device="cpu")


def test_the_models_ship_with_the_code() -> None:
    assert {DEFAULT, STARTER, "liver_segments3d_ct"} <= set(built_in_names())
    assert Segmenter(device="cpu").package.path.name == DEFAULT


# Other patients on the same grid go the same way; one is enough to see that the model works at all.
@pytest.mark.parametrize("seed", [31, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (20260, 32))])
def test_a_phantom_never_seen_gets_its_liver(model: Segmenter, seed: int) -> None:
    phantom = make_phantom(seed, spacing=(2, 2, 4), phase="portal")
    result = model.segment(phantom.volume)
    assert dice(result.mask("liver"), phantom.labelmap > 0) >= 0.85


def test_a_slice_alone_and_anisotropic_voxels_work(model: Segmenter) -> None:
    phantom = make_phantom(33, spacing=(1.0, 1.0, 7.5), phase="portal")
    whole = model.segment(phantom.volume)
    assert dice(whole.mask("liver"), phantom.labelmap > 0) >= 0.85
    k = int((phantom.labelmap > 0).sum((0, 1)).argmax())
    alone = replace(phantom.volume, array=phantom.volume.array[..., k : k + 1])
    result = model.segment(alone)
    assert dice(result.mask("liver"), phantom.labelmap[..., k : k + 1] > 0) >= 0.85


REAL = {
    STARTER: {"ircad01": 0.95, "ircad17": 0.95, "slab3mm": 0.92, "ct20": 0.92},
    DEFAULT: {"ircad01": 0.96, "ircad17": 0.95, "slab3mm": 0.95, "ct20": 0.96},
}


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared real CTs are not beside the repository")
def test_real_livers_reach_the_bar(model: Segmenter) -> None:
    found = {}
    for case in load_cases(CASES / "real_ct.yaml", DATA):
        assert isinstance(case, LabeledVolume)
        result = model.segment(case.volume)
        if case.reference is not None:
            found[case.name] = dice(result.mask("liver"), case.reference > 0)
        else:  # the trunk: nothing outside the upper abdomen, a plausible size
            ml = result.measurements.volume_ml("liver")
            z = np.flatnonzero(result.mask("liver").any((0, 1)))
            assert 700 < ml < 2500
            assert z.size * case.volume.spacing[2] < 260  # mm from dome to tip
    bars = REAL[model.package.path.name]
    assert found.keys() == bars.keys()
    for name, bar in bars.items():
        assert found[name] >= bar, found
    assert np.mean([found["ircad01"], found["ircad17"]]) >= 0.96, found


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared real CTs are not beside the repository")
def test_real_tumors_reach_the_bar() -> None:
    model = Segmenter(device="cpu")
    found = []
    for case in load_cases(CASES / "real_ct_tumor.yaml", DATA):
        assert isinstance(case, LabeledVolume)
        assert case.reference is not None
        found.append(dice(model.segment(case.volume).mask("tumor"), case.reference == 2))
    assert np.mean(found) >= 0.45, found
