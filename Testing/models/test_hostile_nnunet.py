"""Checkpoints of nnU-Net from strangers: code, lies about sizes and damage; each is one sentence, and nothing runs."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from LiverSegLib.errors import ModelError
from LiverSegLib.models import read_package
from LiverSegLib.models.nnunet_checkpoint import keep_safetensors
from LiverSegLib.models.safetensors_file import write_safetensors
from LiverSegLib.models.weights import loaded_network, read_weights
from Testing.models import nnunet_folders as nnunet

FOLD = "fold_0/checkpoint_final.pth"


class Trap:
    """Unpickling this creates a file: harmless, but it could be anything."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound model, to be spoilt."""
    return nnunet.toy(tmp_path / "model")


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        loaded_network(read_package(folder))
    assert str(caught.value).endswith(".")
    with pytest.raises(ModelError):
        keep_safetensors(folder)
    assert (folder / FOLD).exists() or not (folder / "fold_0").exists()
    return str(caught.value)


@pytest.mark.parametrize("place", ["network_weights", "optimizer_state", "logging", "init_args", "elsewhere"])
def test_code_is_refused_by_its_name_wherever_it_is(folder: Path, tmp_path: Path, place: str) -> None:
    content = nnunet.checkpoint(nnunet.toy_arguments())
    content[place] = Trap(tmp_path / "sprung")
    torch.save(content, folder / FOLD)
    sentence = refusal(folder)
    assert "something other than weights (perhaps code)" in sentence
    assert "mkdir" in sentence
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("value", [np.arange(3), Path("x"), {1, 2}, np.random.default_rng(0), complex(1, 2), slice(3)])
def test_other_kinds_than_the_list_are_refused(folder: Path, value: Any) -> None:
    torch.save(nnunet.checkpoint(nnunet.toy_arguments(), logging=value), folder / FOLD)
    assert "something other than weights" in refusal(folder)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("value", [np.float64(0.5), np.float32(1), np.int64(7), np.bool_(True), torch.device("cuda:0")])
def test_numbers_of_numpy_and_devices_are_left_unread(folder: Path, value: Any, protocol: int) -> None:
    content = nnunet.checkpoint(nnunet.toy_arguments(), logging=[value, value], _best_ema=value)
    torch.save(content, folder / FOLD, pickle_protocol=protocol)
    loaded_network(read_package(folder))


def test_the_older_name_of_numpys_numbers(folder: Path) -> None:
    change(folder, lambda data: data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    loaded_network(read_package(folder))


def change(folder: Path, how: Callable[[bytes], bytes]) -> None:
    """The checkpoint with another pickle."""
    path = folder / FOLD
    with zipfile.ZipFile(path) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, how(data) if name.endswith("data.pkl") else data)


def test_a_called_name_that_is_no_function_of_the_list(folder: Path) -> None:
    change(folder, lambda data: data.replace(b"numpy._core.multiarray\nscalar", b"numpy._core.multiarray\nabsent"))
    assert "numpy._core.multiarray.absent" in refusal(folder)


def test_what_is_left_unread_can_be_neither_weights_nor_a_function(folder: Path) -> None:
    content = nnunet.checkpoint(nnunet.toy_arguments())
    torch.save(content | {"network_weights": {"a": np.float64(1)}}, folder / FOLD)
    assert "does not hold a state dict of tensors" in refusal(folder)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_checkpoints(folder: Path, share: float) -> None:
    data = (folder / FOLD).read_bytes()
    (folder / FOLD).write_bytes(data[: int(len(data) * share)])
    assert "cannot be read as weights" in refusal(folder)


def test_a_checkpoint_that_is_a_plain_pickle(folder: Path, tmp_path: Path) -> None:
    (folder / FOLD).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    refusal(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"init_args": {}}, "does not tell its trainer and configuration"),
        ({"init_args": 7}, "does not tell its trainer and configuration"),
        ({"init_args": {"configuration": ["3d_fullres"]}}, "does not tell its trainer and configuration"),
        ({"init_args": {"configuration": "4d"}}, "it has no configuration '4d'"),
        ({"trainer_name": "a b\n"}, "does not tell its trainer and configuration"),
        ({"inference_allowed_mirroring_axes": (0, 7)}, "has the mirroring axes (0, 7)"),
        ({"inference_allowed_mirroring_axes": "all"}, "has the mirroring axes 'all'"),
    ],
)
def test_checkpoints_that_tell_nonsense(folder: Path, changes: dict[str, Any], words: str) -> None:
    torch.save(nnunet.checkpoint(nnunet.toy_arguments(), **changes), folder / FOLD)
    with pytest.raises(ModelError) as caught:
        read_package(folder)
    assert words in str(caught.value)


def test_old_checkpoints_lack_the_mirroring_axes(folder: Path) -> None:
    content = nnunet.checkpoint(nnunet.toy_arguments())
    del content["inference_allowed_mirroring_axes"]
    torch.save(content, folder / FOLD)
    assert read_package(folder).inferer.mirror == ()


def test_a_model_without_folds(folder: Path) -> None:
    (folder / FOLD).unlink()
    (folder / "fold_0").rmdir()
    assert "holds no trained fold" in refusal(folder)


def test_a_fold_that_leads_elsewhere(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.pth"
    (folder / FOLD).rename(outside)
    (folder / FOLD).symlink_to(outside)
    with pytest.raises(ModelError):
        read_package(folder)


def test_headers_of_safetensors_that_tell_nonsense(folder: Path) -> None:
    state = read_weights(folder / FOLD)
    (folder / FOLD).unlink()
    kept = folder / "fold_0/checkpoint_final.safetensors"
    for texts in ({}, {"init_args": "{", "trainer_name": "7"}, {"init_args": "[" * 5000}):
        write_safetensors(kept, state, texts)
        with pytest.raises(ModelError, match="does not tell its trainer"):
            read_package(folder)
    kept.write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="is a damaged safetensors file"):
        read_package(folder)
