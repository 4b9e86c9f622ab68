"""Packages from strangers: damaged, oversized or with code in them; each is refused with one sentence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from LiverSegLib.errors import ModelError
from LiverSegLib.models import read_package
from LiverSegLib.models.weights import load_weights
from LiverSegLib.networks import build_network
from LiverSegLib.volume import Volume

MakePackage = Callable[..., Path]
Config = dict[str, Any]


@pytest.fixture
def package(random_package: MakePackage) -> Path:
    """A sound package without its list of checksums, to be spoilt."""
    folder = random_package()
    (folder / "checksums.sha256").unlink()
    return folder


def spoil(folder: Path, change: Callable[[Config], Any], name: str = "inference") -> Path:
    path = folder / "configs" / f"{name}.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return folder


def refusal(folder: Path) -> str:
    """What a user reads who tries to use the package; one sentence."""
    with pytest.raises(ModelError) as caught:
        load(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def load(folder: Path) -> torch.nn.Module:
    package = read_package(folder)
    network = build_network(package.network, package.arguments)
    load_weights(package, network)
    return network


def assert_words(sentence: str, *words: str) -> None:
    assert [word for word in words if word not in sentence] == [], sentence


def test_the_package_is_sound_before_it_is_spoilt(package: Path) -> None:
    assert isinstance(load(package), torch.nn.Module)


@pytest.mark.parametrize("name", ["configs/metadata.json", "configs/inference.json"])
def test_a_missing_configuration(package: Path, name: str) -> None:
    (package / name).unlink()
    assert_words(refusal(package), name, "is missing")


def test_missing_weights(package: Path) -> None:
    for path in (package / "models").iterdir():
        path.unlink()
    assert_words(refusal(package), "Toy model", "holds no weights", "model.safetensors")


def test_an_empty_folder_and_no_folder(tmp_path: Path) -> None:
    assert_words(refusal(tmp_path), "metadata.json", "is missing")
    assert_words(refusal(tmp_path / "nowhere"), "There is no model package at", "nowhere")


TRAP = "__import__('pathlib').Path({trap!r}).touch()"
PLACES: dict[str, Callable[[Config, str], Any]] = {
    "network_def": lambda c, code: c.update(network_def=code),
    "channels": lambda c, code: c["network_def"].update(channels=code),
    "nested": lambda c, code: c["network_def"].update(norm=["group", {"num_groups": code}]),
    "_target_": lambda c, code: c["network_def"].update(_target_=code),
    "pixdim": lambda c, code: c["preprocessing"]["transforms"][3].update(pixdim=code),
    "referred to": lambda c, code: (c.update(a=code), c["preprocessing"]["transforms"][3].update(pixdim="@a")),
    "a_min": lambda c, code: c["preprocessing"]["transforms"][4].update(a_min=code),
    "axcodes": lambda c, code: c["preprocessing"]["transforms"][2].update(axcodes=code),
    "_disabled_": lambda c, code: c["preprocessing"]["transforms"][3].update(_disabled_=code),
    "transforms": lambda c, code: c["preprocessing"].update(transforms=code),
    "roi_size": lambda c, code: c["inferer"].update(roi_size=code),
    "inferer": lambda c, code: c.update(inferer=code),
    "argmax": lambda c, code: c["postprocessing"]["transforms"][1].update(argmax=code),
}
FORMS = [
    "${code}",
    "${code} if @yes else 1",
    "$1 if @no else {code}",
    "$[{code}] if @yes else [2]",
    "${code} if True else 1",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
def test_code_where_a_value_is_needed_is_refused_and_never_runs(
    package: Path, tmp_path: Path, place: str, form: str
) -> None:
    trap = tmp_path / "trapped"
    code = form.format(code=TRAP.format(trap=str(trap)))

    def change(config: Config) -> None:
        config.update(yes=True, no=False)
        PLACES[place](config, code)

    sentence = refusal(spoil(package, change))

    assert not trap.exists()
    assert "The package random" in sentence or "network" in sentence


def test_code_where_no_value_is_needed_is_never_looked_at(package: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trapped"
    code = "$" + TRAP.format(trap=str(trap))

    def change(config: Config) -> None:
        config["imports"] = [code]
        config.update(initialize=[code], run=[code], device=code, handlers=[{"_target_": code}], network=code)
        config["preprocessing"]["transforms"][0]["reader"] = code
        config["postprocessing"]["transforms"][2]["output_dir"] = code

    load(spoil(package, change))
    assert not trap.exists()


def test_an_expression_is_quoted(package: Path) -> None:
    spoil(package, lambda c: c["inferer"].update(roi_size="$[32] * 3"))
    assert_words(refusal(package), "inferer.roi_size is the expression '$[32] * 3'", "not executed", "replace it")


def test_a_choice_between_two_literals_is_understood(package: Path) -> None:
    spoil(package, lambda c: c.update(high=False, pixdim="$[1, 1, 1] if @high else [3, 3, 3]"))
    spoil(package, lambda c: c["preprocessing"]["transforms"][3].update(pixdim="@pixdim"))
    assert read_package(package).pixdim == (3, 3, 3)


def set_step(number: int, **arguments: Any) -> Callable[[Config], Any]:
    return lambda c: c["preprocessing"]["transforms"][number].update(arguments)


def set_inferer(**arguments: Any) -> Callable[[Config], Any]:
    return lambda c: c["inferer"].update(arguments)


def set_network(**arguments: Any) -> Callable[[Config], Any]:
    return lambda c: c["network_def"].update(arguments)


def many_references(config: Config) -> None:
    config.update({f"a{n}": [f"@a{n + 1}"] * 10 for n in range(8)}, a8=1)
    config["inferer"]["roi_size"] = "@a0"


SPOILT: list[tuple[Callable[[Config], Any], list[str]]] = [
    (set_step(3, _target_="RandFlipd"), ["transform RandFlipd", "not supported"]),
    (set_step(3, _target_="evil.module.Spacingd"), ["evil.module.Spacingd", "not supported"]),
    (set_step(3, _target_=7), ["names no transform"]),
    (set_step(3, scale_extent=True), ["scale_extent of Spacingd", "not supported"]),
    (set_step(3, pixdim=[1, 2]), ["Spacingd", "pixdim [1, 2]"]),
    (set_step(3, pixdim=[1e-9, 1, 1]), ["Spacingd", "pixdim"]),
    (set_step(3, pixdim=float("nan")), ["Spacingd", "pixdim"]),
    (set_step(2, axcodes="RRS"), ["Orientationd", "axcodes 'RRS'"]),
    (set_step(4, a_min=float("nan")), ["ScaleIntensityRanged", "a_min nan"]),
    (set_step(4, a_max=-1e9), ["ScaleIntensityRanged", "is not below"]),
    (set_step(5, k=float("inf")), ["DivisiblePadd", "wrong argument"]),
    (set_step(5, k=10**6), ["DivisiblePadd", "k 1000000"]),
    (set_inferer(_target_="SaliencyInferer"), ["inferer SaliencyInferer", "not supported"]),
    (set_inferer(_target_="evil.SlidingWindowInferer"), ["evil.SlidingWindowInferer", "not supported"]),
    (set_inferer(roi_size=[0, 32, 32]), ["window (0, 32, 32)", "impossible"]),
    (set_inferer(roi_size=[10**9] * 3), ["impossible"]),
    (set_inferer(roi_size=[float("inf")] * 3), ["inferer", "wrong argument"]),
    (set_inferer(roi_size=[32, 32]), ["impossible"]),
    (set_inferer(_target_="SliceInferer", roi_size=[32, 32], spatial_dim=2), ["3D network", "window of 2"]),
    (set_inferer(_target_="SliceInferer", roi_size=[32, 32]), ["slices along axis 0"]),
    (set_inferer(overlap=1), ["overlap 1.0", "impossible"]),
    (set_inferer(sw_batch_size=0), ["impossible"]),
    (set_inferer(padding_mode="evil"), ["padding_mode 'evil'"]),
    (set_inferer(cval=-1), ["cval"]),
    (set_network(_target_="builtins.exec"), ["network 'builtins.exec'", "not supported"]),
    (set_network(_target_="VISTA3D"), ["network 'VISTA3D'", "use one of"]),
    (set_network(evil=1), ["does not take 'evil'"]),
    (set_network(out_channels=5), ["names 2 channels", "has 5"]),
    (set_network(in_channels=3), ["3 input channels", "only one"]),
    (set_network(spatial_dims=4), ["spatial_dims 4"]),
    (set_network(channels=[10**9, 10**9, 10**9]), ["channels = [1000000000"]),
    (set_network(channels="@missing#thing"), ["network_def.channels refers to @missing#thing", "not there"]),
    (set_network(channels="@network_def"), ["refers to itself"]),
    (lambda c: c.update(a="@b", b="@a", network_def="@a"), ["refers to itself"]),
    (many_references, ["inferer", "grow too large"]),
    (set_step(4, a_max=1e-320, a_min=0), ["ScaleIntensityRanged", "a_min 0 and a_max", "too close"]),
    (set_step(4, b_min=1e308), ["ScaleIntensityRanged", "b_min 1e+308", "impossible"]),
    (set_step(4, a_min="0"), ["ScaleIntensityRanged", "a_min '0'", "impossible"]),
    (set_step(4, clip="false"), ["ScaleIntensityRanged", "clip 'false'"]),
    (set_step(3, pixdim=[True, 1, 1]), ["Spacingd", "pixdim True"]),
    (lambda c: c["preprocessing"].update(transforms=c["preprocessing"]["transforms"] * 20), ["transforms", "64 are"]),
    (set_inferer(roi_size="323"), ["inferer", "roi_size '323'", "impossible"]),
    (set_inferer(roi_size=True), ["inferer", "roi_size True", "impossible"]),
    (set_inferer(roi_size=[True] * 3), ["inferer", "roi_size True", "impossible"]),
    (set_inferer(roi_size=[1024] * 3), ["window (1024, 1024, 1024)", "impossible"]),
    (set_inferer(overlap=0.999999), ["overlap 0.999999", "impossible"]),
    (set_network(strides=[0, 2]), ["network UNet", "strides = [0, 2]"]),
    (set_network(strides=[-2, 2]), ["network UNet", "strides = [-2, 2]"]),
    (set_network(strides=[4096, 4096]), ["network UNet", "strides = [4096, 4096]"]),
    (set_network(num_res_units=True), ["network UNet", "num_res_units = True"]),
    (set_network(in_channels=True), ["network UNet", "in_channels = True"]),
    (set_network(channels=[4096] * 6, strides=[2] * 5), ["network UNet", "billion numbers", "allowed"]),
    (set_network(act=["prelu", {"num_parameters": 10**9}]), ["network UNet", "act"]),
    (lambda c: c.update(yes=True, network_def="$b'x' if @yes else 1"), ["expression"]),
    (lambda c: c.update(yes=True, network_def="$" + "-" * 100_000 + "1 if @yes else 1"), ["expression"]),
    (lambda c: c.pop("inferer"), ["has no inferer"]),
    (lambda c: c.pop("preprocessing"), ["no list of transforms in preprocessing"]),
    (lambda c: (c.pop("network_def"), c.pop("network")), ["has no 'network'"]),
    (lambda c: c["postprocessing"]["transforms"].append({"_target_": "scripts.Evil"}), ["scripts.Evil"]),
    (lambda c: c["postprocessing"]["transforms"][1].update(argmax=False), ["ends in thresholds"]),
]


@pytest.mark.parametrize(("change", "words"), SPOILT, ids=[" ".join(words)[:50] for _, words in SPOILT])
def test_a_spoilt_inference_configuration(package: Path, change: Callable[[Config], Any], words: list[str]) -> None:
    assert_words(refusal(spoil(package, change)), *words)


@pytest.mark.timing
def test_references_that_grow_without_end_are_refused_soon(package: Path) -> None:
    start = time.perf_counter()
    refusal(spoil(package, many_references))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ({"0": "background"}, ["with gaps"]),
        ({"0": "background", "2": "liver"}, ["with gaps"]),
        ({"0": "background", "1": "liver", "2": "tumor"}, ["names 3 channels", "network has 2"]),
        ({"0": "background", "1": "tumour", "2": "lesion"}, ["two channels that mean tumor"]),
        ({str(n): "x" for n in range(300)}, ["with gaps"]),
        ({"zero": "background"}, ["what its channels are"]),
        (["background", "liver"], ["what its channels are"]),
        (None, ["what its channels are"]),
    ],
)
def test_spoilt_channels(package: Path, channels: Any, words: list[str]) -> None:
    def change(metadata: Config) -> None:
        metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = channels

    assert_words(refusal(spoil(package, change, "metadata")), "The package random", *words)


ODD_NAMES = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\ud800",
    "\u202eevil",
    "[link=http://x]y",
    "=cmd|' /c calc'!a0",
    "",
    " ",
    "a\nb",
    "x" * 101,
]


@pytest.mark.parametrize("text", ODD_NAMES, ids=ascii)
def test_labels_and_names_that_would_harm_a_screen_or_a_table(package: Path, text: str) -> None:
    def label(metadata: Config) -> None:
        metadata["network_data_format"]["outputs"]["pred"]["channel_def"]["1"] = text

    before = (package / "configs/metadata.json").read_text()
    sentence = refusal(spoil(package, label, "metadata"))
    assert sentence.isprintable()
    assert "metadata.json" in sentence or "channel_def" in sentence
    if text:
        (package / "configs/metadata.json").write_text(before)
        sentence = refusal(spoil(package, lambda m: m.update(name=text), "metadata"))
        assert sentence.isprintable()


def test_odd_characters_are_refused_wherever_they_stand(package: Path) -> None:
    spoil(package, lambda m: m.update(changelog={"\x1b[31m": "x"}), "metadata")
    assert_words(refusal(package), "metadata.json", "cannot be shown", "\\x1b[31m")


def test_long_texts_are_shown_on_one_line(package: Path) -> None:
    spoil(package, lambda m: m.update(license="a\nb " * 3000, data_source=["x"], intended_use=7), "metadata")
    found = read_package(package)
    assert (found.license[:5], len(found.license)) == ("a b a", 2000)
    assert (found.data_source, found.intended_use) == ("['x']", "7")


@pytest.mark.parametrize("metrics", ["good", [0.9], {"Dice": "0.9"}, {"Dice": [0.9]}, {"Dice": True}, 0.9])
def test_metrics_that_are_no_numbers(package: Path, metrics: Any) -> None:
    spoil(package, lambda m: m.update(eval_metrics=metrics), "metadata")
    assert_words(refusal(package), "The package random", "eval_metrics", "by name")


IMPOSSIBLE: list[tuple[Callable[[Config], Any], list[str]]] = [
    (set_inferer(roi_size=[1, 1, 1]), ["network UNet of Toy model", "windows of 1x1x1", "roi_size 1x1x1"]),
    (set_inferer(roi_size=[31, 33, 7]), ["network UNet of Toy model", "windows of 31x33x7", "roi_size 31x33x7"]),
]


@pytest.mark.parametrize(("change", "words"), IMPOSSIBLE, ids=["one voxel", "odd sizes"])
def test_windows_that_the_network_cannot_take(package: Path, change: Callable[[Config], Any], words: list[str]) -> None:
    from LiverSegLib.engine.segmenter import Segmenter

    values = np.arange(16**3, dtype=np.int16).reshape(16, 16, 16)
    segmenter = Segmenter(spoil(package, change), "cpu")
    with pytest.raises(ModelError) as caught:
        segmenter.segment(Volume(values, np.diag([2.0, 2, 2, 1])))
    assert_words(str(caught.value), *words, "repair the package.")


@pytest.mark.parametrize("name", ["metadata", "inference"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "cannot be read as JSON"),
        (" " * 50_000_000, "larger than any package configuration"),
        ("[1]", "does not hold a JSON object"),
        ("{", "cannot be read as JSON"),
        ("", "cannot be read as JSON"),
        ("\udcff", "cannot be read as JSON"),
        ('{"a": ' + "9" * 5000 + "}", "cannot be read as JSON"),
    ],
    ids=["deep list", "deep object", "50 MB", "list", "cut", "empty", "no text", "long number"],
)
def test_spoilt_json(package: Path, name: str, text: str, words: str) -> None:
    (package / "configs" / f"{name}.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert_words(refusal(package), f"{name}.json", words)


@pytest.mark.parametrize("file", ["model.safetensors", "model.pt"])
def test_a_wrong_checksum(random_package: MakePackage, file: str) -> None:
    folder = random_package()
    if file == "model.pt":
        (folder / "models/model.safetensors").unlink()
    path = folder / "models" / file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert_words(refusal(folder), file, "wrong checksum")
