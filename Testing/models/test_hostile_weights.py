"""Weight files from strangers: code, lies about sizes, damage; none of it runs, each is one sentence."""

from __future__ import annotations

import json
import os
import pickle
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from LiverSegLib.errors import ModelError
from LiverSegLib.models import read_package
from LiverSegLib.models.safetensors_file import write_safetensors
from LiverSegLib.models.weights import load_weights, loaded_network, read_weights
from LiverSegLib.networks import build_network

MakePackage = Callable[..., Path]
State = dict[str, torch.Tensor]


@pytest.fixture
def models(random_package: MakePackage) -> Path:
    """The folder of the weights of a sound package, to be spoilt."""
    folder = random_package()
    (folder / "checksums.sha256").unlink()
    return folder / "models"


def load(models: Path) -> None:
    package = read_package(models.parent)
    load_weights(package, build_network(package.network, package.arguments))


def refusal(models: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(models)
    assert str(caught.value).endswith(".")
    return str(caught.value)


def rewritten(models: Path, change: Callable[[State], Any]) -> Path:
    path = models / "model.safetensors"
    state = read_weights(path)
    change(state)
    write_safetensors(path, state, {})
    return models


FIRST = "model.0.conv.unit0.conv.weight"
MISFITS: list[tuple[Callable[[State], Any], str]] = [
    (lambda s: s.pop(FIRST), f"lacks {FIRST}"),
    (lambda s: s.clear(), "lacks model.0"),
    (lambda s: s.update(evil=torch.zeros(1)), "has the unknown evil"),
    (lambda s: s.update({FIRST: torch.zeros(4, 1, 3, 3)}), f"has another shape for {FIRST}"),
    (lambda s: s[FIRST].fill_(float("nan")), f"not finite in {FIRST}"),
    (lambda s: s[FIRST].view(-1)[3].fill_(float("inf")), f"not finite in {FIRST}"),
]


@pytest.mark.parametrize(("change", "words"), MISFITS, ids=[words[:24] for _, words in MISFITS])
def test_weights_that_do_not_fit(models: Path, change: Callable[[State], Any], words: str) -> None:
    sentence = refusal(rewritten(models, change))
    assert words in sentence
    assert "model.safetensors" in sentence


class Trap:
    """Unpickling this creates a file: harmless, but it could be anything."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def with_torch(path: Path, trap: Path) -> None:
    torch.save({"state_dict": {FIRST: torch.zeros(1)}, "extra": Trap(trap)}, path)


def with_old_torch(path: Path, trap: Path) -> None:
    torch.save(Trap(trap), path, _use_new_zipfile_serialization=False)


def with_pickle(path: Path, trap: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(trap)))


@pytest.mark.parametrize("write", [with_torch, with_old_torch, with_pickle], ids=lambda f: f.__name__)
@pytest.mark.parametrize("safe_too", [True, False], ids=["beside safetensors", "alone"])
def test_code_in_model_pt_never_runs(
    models: Path, tmp_path: Path, write: Callable[[Path, Path], None], safe_too: bool
) -> None:
    trap = tmp_path / "trapped"
    write(models / "model.pt", trap)
    if safe_too:
        load(models)
    else:
        (models / "model.safetensors").unlink()
        sentence = refusal(models)
        assert "model.pt" in sentence
        assert "(perhaps code) and was not loaded" in sentence
    assert not trap.exists()


def test_the_trap_would_work(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "trapped")))  # noqa: S301
    assert (tmp_path / "trapped").exists()


def test_torchscript_is_refused(models: Path) -> None:
    (models / "model.safetensors").unlink()
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), models / "model.pt")
    assert "model.pt cannot be read as weights" in refusal(models)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "does not hold a state dict of tensors"),
        ({"state_dict": {"a": 1}}, "does not hold a state dict of tensors"),
        ({1: torch.zeros(1)}, "lacks"),
        (torch.zeros(3), "does not hold a state dict of tensors"),
    ],
)
def test_model_pt_without_a_state_dict(models: Path, content: Any, words: str) -> None:
    (models / "model.safetensors").unlink()
    torch.save(content, models / "model.pt")
    assert words in refusal(models)


def test_odd_tensors_are_refused(models: Path) -> None:
    state = read_weights(models / "model.pt")
    (models / "model.safetensors").unlink()
    for odd in (state[FIRST].to_sparse(), state[FIRST].to("meta"), state[FIRST].to(torch.complex64)):
        torch.save(state | {FIRST: odd}, models / "model.pt")
        assert "model.pt" in refusal(models)


def safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape: Any, *offsets: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


LIES: dict[str, bytes] = {
    "empty": b"",
    "seven bytes": b"1234567",
    "endless header": (2**63).to_bytes(8, "little") + b"{}",
    "header beyond the end": (100).to_bytes(8, "little") + b"{}",
    "no JSON": safetensors(b"{]"),
    "deep JSON": safetensors(b"[" * 100_000),
    "list": safetensors([1]),
    "number": safetensors(5),
    "entry without fields": safetensors({"a": {}}),
    "unknown type": safetensors({"a": entry([1], 0, 4, dtype="F8")}, bytes(4)),
    "type is a list": safetensors({"a": entry([1], 0, 4, dtype=[])}, bytes(4)),
    "offsets beyond the end": safetensors({"a": entry([2], 0, 8)}, bytes(4)),
    "size is not the shape's": safetensors({"a": entry([3], 0, 8)}, bytes(8)),
    "negative offset": safetensors({"a": entry([2], -8, 0)}, bytes(8)),
    "negative shape": safetensors({"a": entry([-1, -2], 0, 8)}, bytes(8)),
    "overlap": safetensors({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
    "same bytes twice": safetensors({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, bytes(8)),
    "hole": safetensors({"a": entry([1], 4, 8)}, bytes(8)),
    "bytes left over": safetensors({"a": entry([1], 0, 4)}, bytes(99)),
    "infinite shape": safetensors({"a": entry([float("inf")], 0, 4)}, bytes(4)),
    "endless empty shape": safetensors({"a": entry([0, 10**30], 0, 0)}),
    "three offsets": safetensors({"a": entry([1], 0, 4, 8)}, bytes(8)),
    "offsets of text": safetensors({"a": entry([1], "x", "y"), "b": entry([1], 0, 4)}, bytes(4)),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_in_safetensors(models: Path, lie: str) -> None:
    (models / "model.safetensors").write_bytes(LIES[lie])
    sentence = refusal(models)
    assert "model.safetensors is a damaged safetensors file" in sentence


def test_cut_safetensors(models: Path) -> None:
    path = models / "model.safetensors"
    whole = path.read_bytes()
    for length in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "damaged safetensors" in refusal(models)


FOUR_BILLION = b"\x8a\x05\x00\x28\x6b\xee\x00\x85R."
BOMBS: dict[str, bytes] = {
    "bytearray": b"\x80\x02cbuiltins\nbytearray\n" + FOUR_BILLION,
    "tensor": b"\x80\x02ctorch\nTensor\n" + FOUR_BILLION,
    "storage": b"\x80\x02ctorch.storage\nUntypedStorage\n" + FOUR_BILLION,
    "bytearray of protocol 5": b"\x80\x05\x96\x00\x28\x6b\xee\x00\x00\x00\x00.",
    "memory": b"\x80\x02}r\xff\xff\xff\x7f.",
    "nested key": b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.",
    "marks": b"(" * 200_000 + b".",
    "endless": b"\x80\x02" + b"N0" * 300_000 + b".",
}


def zipped_pickle(path: Path, pickled: bytes) -> None:
    """A file as torch writes it, with another pickle."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, pickled if name.endswith("data.pkl") else content)


@pytest.mark.parametrize("inside", [True, False], ids=["in a zip", "alone"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_pickles_that_ask_for_memory(models: Path, bomb: str, inside: bool) -> None:
    (models / "model.safetensors").unlink()
    path = models / "model.pt"
    if inside:
        zipped_pickle(path, BOMBS[bomb])
    else:
        path.write_bytes(BOMBS[bomb])
    tracemalloc.start()
    sentence = refusal(models)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "model.pt" in sentence
    assert peak < 200e6


def test_a_compressed_model_pt_is_not_unpacked(models: Path) -> None:
    (models / "model.safetensors").unlink()
    path = models / "model.pt"
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, bytes(100_000_000) if name.endswith("data/0") else content)
    assert "model.pt cannot be read as weights (it would unpack to more than its size)" in refusal(models)


def test_a_storage_that_is_smaller_than_it_says(models: Path) -> None:
    (models / "model.safetensors").unlink()
    path = models / "model.pt"
    torch.save({FIRST: torch.zeros(4, 1, 3, 3, 3)}, path)
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        pickled = archive.read(name)
    zipped_pickle(path, pickled.replace(b"Kl", b"Km"))  # 108 numbers become 109
    assert "model.pt cannot be read as weights" in refusal(models)


@pytest.mark.parametrize("kind", ["old format", "parameters", "half", "nested", "shared", "transposed"])
def test_the_kinds_of_model_pt_that_people_have(models: Path, kind: str) -> None:
    (models / "model.safetensors").unlink()
    path = models / "model.pt"
    state: Any = torch.load(path, weights_only=True)
    if kind == "parameters":
        state = {name: torch.nn.Parameter(value, value.is_floating_point()) for name, value in state.items()}
    elif kind == "half":
        state = {name: value.half() if value.ndim > 1 else value for name, value in state.items()}
    elif kind == "shared":
        block = torch.arange(12.0)
        state = {"a": block[:6].reshape(2, 3), "b": block[4:]}
    elif kind == "transposed":
        state = {
            name: value.transpose(0, 1).contiguous().transpose(0, 1) if value.ndim > 1 else value
            for name, value in state.items()
        }
    content = {"epoch": 3, "rate": 0.1, "state_dict": state, "names": ["a", None]} if kind == "nested" else state
    torch.save(content, path, _use_new_zipfile_serialization=kind != "old format")
    found = read_weights(path)
    assert found.keys() == state.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, state[name].detach(), atol=0, rtol=0)
    if kind != "shared":
        load(models)


def test_many_tensors_are_refused_before_any_is_made(models: Path) -> None:
    empty = entry([0], 0, 0)
    (models / "model.safetensors").write_bytes(safetensors({f"t{n}": empty for n in range(60_000)}))
    assert "it lists 60000 tensors" in refusal(models)
    (models / "model.safetensors").write_bytes(safetensors({f"t{n}": empty for n in range(700_000)}))
    assert "its header is truncated or too long" in refusal(models)


def test_weights_that_do_not_fit_are_not_read(models: Path) -> None:
    path = models / "model.safetensors"
    rest = 400_000_000
    with path.open("wb") as file:
        file.write(safetensors({"a": entry([rest // 4], 0, rest)}))
        file.truncate(file.tell() + rest)
    tracemalloc.start()
    with pytest.raises(ModelError, match="do not fit their network"):
        loaded_network(read_package(models.parent))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize("file", ["model.safetensors", "model.pt"])
def test_random_damage_is_a_sentence_or_does_no_harm(models: Path, file: str) -> None:
    if file == "model.pt":
        (models / "model.safetensors").unlink()
    path, dice = models / file, random.Random(1)
    whole = path.read_bytes()
    sentences = []
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(dice.choice([64, 2000, len(data)]))] = dice.randrange(256)
        path.write_bytes(data)
        try:
            read_weights(path)
        except ModelError as error:
            sentences.append(str(error))
    assert len(sentences) > 50
    assert [sentence for sentence in sentences if file not in sentence] == []
