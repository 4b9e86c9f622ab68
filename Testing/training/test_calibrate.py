"""What to expect of a model, learned from evaluated cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.errors import ModelError
from LiverSegLib.models import read_package
from LiverSegLib.quality import odds, share_of
from Testing.training.test_training_main import run
from Training.errors import DataError
from Training.evaluation.calibrate import area_under_curve, fit
from Training.evaluation.metrics import LabelScore
from Training.evaluation.scores import CaseScore, Scores, write_scores

MakePackage = Callable[..., Path]


def scores(count: int, noise: float = 0.2, patients: int = 5) -> Scores:
    """Cases whose Dice follows the agreement, and not the gray value."""
    rng = np.random.default_rng(3)
    cases = []
    for number in range(count):
        agreement = float(rng.uniform(0.6, 0.98))
        dice = share_of(odds(agreement) + 0.3 + noise * float(rng.normal()))
        row = LabelScore(label="liver", volume_ml=1500.0, reference_ml=1500.0, dice=dice)
        evidence = {"agreement": agreement, "gray": float(rng.uniform(60, 160))}
        name = f"case {number}, {'noise' if number % 2 else 'as it is'}"
        cases.append(CaseScore(case=name, patient=f"p{number % patients}", labels=[row], evidence=evidence))
    return Scores(
        conventions=2, title="t", command="c", model="m", tolerance_mm=2.0, labels=["liver"], summary={}, statistics=[],
        cases=cases,
    )  # fmt: skip


def test_a_calibration_foretells_cases_that_it_has_not_seen() -> None:
    fitted = fit([scores(60)], "liver")
    assert fitted.calibration.weights["agreement"] == pytest.approx(1, abs=0.15)
    assert fitted.calibration.weights["gray"] < 0.3
    for trust in (fitted.new_patients, fitted.new_alterations):
        assert trust is not None
        assert trust.cases == 60
        assert trust.error < 0.03
        assert trust.covered > 0.8
        assert trust.auc is not None
        assert trust.auc > 0.97


def test_evidence_that_says_nothing_gives_wide_intervals_and_no_curve() -> None:
    random = scores(60, noise=3.0)
    expected = fit([random], "liver").calibration.expected({"agreement": 0.9, "gray": 100.0})
    assert expected is not None
    assert expected[2] - expected[1] > 0.4


def test_the_area_under_the_curve() -> None:
    positive = np.array([True, True, False, False])
    assert area_under_curve(positive, np.array([4.0, 3, 2, 1])) == 1
    assert area_under_curve(positive, np.array([1.0, 2, 3, 4])) == 0
    assert area_under_curve(positive, np.array([1.0, 1, 1, 1])) == 0.5
    assert area_under_curve(np.array([True, True]), np.array([1.0, 2])) is None


@pytest.mark.parametrize(("count", "patients", "sentence"), [(7, 3, "evaluate at least 8"), (9, 1, "of one patient")])
def test_too_few_cases_are_one_sentence(count: int, patients: int, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        fit([scores(count, patients=patients)], "liver")


def test_the_command_puts_it_into_the_package(threshold_package: MakePackage, tmp_path: Path) -> None:
    package = threshold_package()
    (tmp_path / "scores").mkdir()
    write_scores(tmp_path / "scores", scores(40))
    done = run(tmp_path, "-m", "Training", "calibrate", str(package), str(tmp_path / "scores"))
    assert done.returncode == 0, done.stderr
    assert "Goes by: agreement" in done.stdout
    calibration = read_package(package).calibration
    assert calibration is not None
    assert set(calibration.weights) == {"agreement", "gray"}


def test_weights_of_unknown_evidence_are_one_sentence(threshold_package: MakePackage) -> None:
    package = threshold_package()
    path = package / "configs" / "metadata.json"
    quality = {"offset": 0.0, "weights": {"mood": 1.0}, "low": -1.0, "high": 1.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"liverseg_quality": quality}))
    (package / "checksums.sha256").unlink()
    with pytest.raises(ModelError, match="weighs 'mood', which is none of agreement, certainty"):
        read_package(package)
