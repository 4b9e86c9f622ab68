"""The look at the samples before any training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from Testing.tiny_run import NO_AUGMENT, tiny_recipe, write_prepared, write_recipe
from Training.__main__ import app
from Training.data.readers.prepared import Case, write_index
from Training.errors import DataError
from Training.fit.batches import CaseData, TrainingSamples, epoch_draws
from Training.fit.film import save_film
from Training.fit.look import look
from Training.recipe import Recipe


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared"))


def write_volume(folder: Path, recipe: Recipe) -> Path:
    """Two patients whose volume of 6 slices, prepared one by one, shows a liver that moves."""
    (folder / "cases").mkdir()
    cases = []
    for patient in ("a", "b"):
        for k in range(6):
            label = np.zeros((32, 32), np.uint8)
            label[4 + 2 * k : 16 + 2 * k, 8:24] = 1
            name = f"phantom_{patient}_{k}"
            np.save(folder / "cases" / f"{name}_image.npy", (label * 150 - 50).astype(np.int16))
            np.save(folder / "cases" / f"{name}_label.npy", label)
            voxels = np.bincount(label.ravel(), minlength=3).tolist()
            split = "train" if patient == "a" else "val"
            more = {"source": "phantom", "split": split, "voxels": voxels, "volume": f"phantom_{patient}"}
            cases.append(Case(id=name, patient=patient, **more))
    write_index(folder, recipe, folder, cases)
    return folder


def test_the_command_draws_batches_and_pairs_and_says_why_there_is_no_film(prepared: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tiny_recipe(), tmp_path / "recipe.yaml")
    done = CliRunner().invoke(app, ["preview", str(recipe), "--data", str(prepared), "-o", str(tmp_path / "look")])
    assert done.exit_code == 0, done.output
    names = {path.name for path in (tmp_path / "look").iterdir()}
    assert names == {"batch_1.png", "batch_2.png", "augmentation.png"}
    assert "no film leads" in done.output
    for name in names:
        with Image.open(tmp_path / "look" / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 10


def test_the_batches_are_those_that_training_begins_with(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from Training.fit import look as module

    drawn: list[torch.Tensor] = []
    monkeypatch.setattr(module, "save_preview", lambda batch, *_: drawn.append(batch["image"]))
    look(tiny_recipe(), prepared, prepared / "look", workers=0)
    first, second = (batch["image"] for batch in CaseData(tiny_recipe(), prepared, 0).train_dataloader())
    assert torch.equal(drawn[0], first)
    assert torch.equal(drawn[1], second)


def test_as_it_is_is_the_same_patch_without_the_augmentation(prepared: Path) -> None:
    still = tiny_recipe(augment={**NO_AUGMENT, "flip": {}})
    noisy = tiny_recipe(augment={**NO_AUGMENT, "noise": 1.0, "affine": 1.0, "flip": {}})
    cases = CaseData(still, prepared, 0).train_cases
    for draw in epoch_draws(cases, still, epoch=0):
        plain = TrainingSamples(still, prepared, cases)[draw]
        before = TrainingSamples(noisy, prepared, cases).as_it_is(draw)
        after = TrainingSamples(noisy, prepared, cases)[draw]
        torch.testing.assert_close(before["image"], plain["image"])
        assert torch.equal(before["label"], plain["label"])
        assert not torch.allclose(after["image"], before["image"], atol=1e-3)


def test_a_film_leads_through_the_slices_of_a_volume(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    folder = write_volume(tmp_path, recipe)
    film, why = save_film(recipe, folder, tmp_path / "case.gif", "phantom_b")
    assert (film, why) == (tmp_path / "case.gif", "")
    with Image.open(tmp_path / "case.gif") as moving:
        assert moving.n_frames == 6  # type: ignore[attr-defined]
        moving.seek(2)
        colors = np.asarray(moving.convert("RGB")).astype(int)
    assert (abs(colors[..., 0] - colors[..., 2]) > 30).any()  # a liver in color


def test_an_unknown_case_is_named_with_what_there_is(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    folder = write_volume(tmp_path, recipe)
    with pytest.raises(DataError, match="no case nobody; name one of phantom_a, phantom_b"):
        save_film(recipe, folder, tmp_path / "case.gif", "nobody")
