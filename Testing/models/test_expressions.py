"""Expressions of bundles are understood by their meaning; nothing is ever run, and what is more than data is named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from LiverSegLib.errors import ModelError
from LiverSegLib.models.config import BundleConfig
from LiverSegLib.models.expressions import NoValueError, evaluate

CONFIG: dict[str, Any] = {
    "bundle_root": ".",
    "yes": True,
    "no": False,
    "zero": 0,
    "size": [96, 96, 64],
    "more": [1, "@zero"],
    "modelname": "$'model.pt' if @yes else 'model_lowres.pt'",
    "nested": {"high": False, "name": "@modelname", "list": [5, 6]},
    "wide": "$@size",
}
VALUES: dict[str, Any] = {
    "$None": None,
    "$7": 7,
    "$-1.5": -1.5,
    "$(1, 2)": [1, 2],
    "$@bundle_root + '/models/' + @modelname": "./models/model.pt",
    "$@bundle_root+'/models/x.pt'": "./models/x.pt",
    "$os.path.join(@bundle_root, 'models', @nested#name)": "./models/model.pt",
    "$[1.5, 1.5, 1.5] if @nested#high else [3.0, 3.0, 3.0]": [3.0, 3.0, 3.0],
    "$[1.5] if @nested::high else [3.0]": [3.0],
    "$len(@size)": 3,
    "$len(@wide)": 3,
    "$int(3) if @no else int(2)": 2,
    "$int('12')": 12,
    "$not @yes": False,
    "$(not @zero)": True,
    "$@size + @more": [96, 96, 64, 1, 0],
    "$@nested#list#1 + 1": 7,
    "$copy.deepcopy(@size)": [96, 96, 64],
    "$copy.deepcopy(@nested)": {"high": False, "name": "model.pt", "list": [5, 6]},
    "$'never looked at' if @yes else torch.load('x')": "never looked at",
    "$@modelname": "model.pt",
    "$str(@size) if @no else 'a'": "a",
    "$[@zero, @yes]": [0, True],
    "$list((1, 2)) + [float(3)]": [1, 2, 3.0],
    "${'a': @size}": {"a": [96, 96, 64]},
}
REFUSED = {
    "$lambda x: x > 0": "a lambda",
    "$torch.load('/etc/passwd')": "calls torch.load",
    "$__import__('os').system('true')": "calls ....system",
    "$urllib.request.urlopen('http://x')": "calls urllib.request.urlopen",
    "$requests.get(@bundle_root)": "calls requests.get",
    "$open('/etc/passwd').read()": "calls ....read",
    "$[x for x in @size]": "a loop",
    "$@size[0]": "an index",
    "$@size.__class__": "an attribute",
    "$().__class__.__bases__[0].__subclasses__()": "calls ....__subclasses__",
    "$[32] * 3": "operator Mult",
    "$@size * 1000000": "operator Mult",
    "$2 ** 9999999": "operator Pow",
    "$f'{@size}'": "a formatted text",
    "$(x := 5)": "an assignment",
    "$@yes and @no": "a logical operator",
    "$1 < 2": "a comparison",
    "$int('1', base=16)": "calls int",
    "$int(None)": "calls int",
    "$len(5)": "calls len",
    "$len": "uses len",
    "$os.path.join(@size)": "calls os.path.join",
    "$os.path.expanduser('~')": "calls os.path.expanduser",
    "$1 + 'a'": "adds int and str",
    "$True + 1": "adds bool and int",
    "$not 1 + []": "adds int and list",
    "$-'a'": "operator USub",
    "$~1": "operator Invert",
    "$b'x'": "type bytes",
    "$1j": "type complex",
    "$...": "type ellipsis",
    "$1e999": "without bounds",
    "$float('nan')": "without bounds",
    "$int('" + "9" * 500 + "')": "without bounds",
    "$'\\x1b[31m'": "cannot be shown",
    "$'\\ud800'": "cannot be shown",
    "$'see @size'": "within a text",
    "${1: 2}": "keys are no texts",
    "$" + "(" * 300 + ")" * 300: "is no Python",
    "$" + "-" * 999 + "1": "",
    "$" + "a" * 2000: "too long",
    "$a b": "no Python",
    "$import os": "no Python",
    "$": "no Python",
    "$\x00": "no Python",
}


def resolved(text: str) -> Any:
    return BundleConfig(CONFIG | {"it": text}, "The package").get("it")


@pytest.mark.parametrize("text", VALUES)
def test_what_is_data_is_understood(text: str) -> None:
    assert resolved(text) == VALUES[text]
    assert type(resolved(text)) is type(VALUES[text])


@pytest.mark.parametrize("text", [t for t in VALUES if "torch.load" not in t and "#" not in t and "::" not in t])
def test_it_is_what_monai_makes_of_it(text: str) -> None:
    from monai.bundle import ConfigParser

    theirs = ConfigParser({**CONFIG, "imports": ["$import os", "$import copy"], "it": text})
    theirs.get_parsed_content("imports")
    found = theirs.get_parsed_content("it")
    assert (list(found) if isinstance(found, tuple) else found) == VALUES[text]


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text)[:40])
def test_what_is_more_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        resolved(text)
    sentence = str(caught.value)
    assert sentence.startswith("The package: it is the expression ")
    assert "expressions are not executed" in sentence
    assert REFUSED[text] in sentence
    assert len(sentence) < 400
    assert "\n" not in sentence


def test_nothing_is_run(tmp_path: Path) -> None:
    trap = tmp_path / "trapped"
    for code in (f"open({str(trap)!r}, 'w')", f"__import__('pathlib').Path({str(trap)!r}).touch()"):
        for form in ("${}", "$[{}]", "$len({})", "$not {}", "$1 + {}", "$({} if True else 1)", "$os.path.join({})"):
            with pytest.raises(ModelError):
                resolved(form.format(code))
    assert not trap.exists()


@pytest.mark.parametrize(
    "config",
    [{"it": "$@it"}, {"it": "$@a + 1", "a": "$@it"}, {"it": "$len(@it)"}, {"it": "@a", "a": "$@b", "b": "@it"}],
)
def test_circles_and_depths_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="refers to itself"):
        BundleConfig(config, "The package").get("it")


@pytest.mark.parametrize("start", [["x"], "x"], ids=["lists", "texts"])
def test_what_grows_without_end_is_refused(start: Any) -> None:
    config = {f"a{n}": f"$@a{n + 1} + @a{n + 1}" for n in range(14)} | {"a14": start}
    with pytest.raises(ModelError, match="too large"):
        BundleConfig(config, "The package").get("a0")


def test_evaluation_many_times_over_is_refused() -> None:
    config: dict[str, Any] = {f"a{n}": f"$len(@a{n + 1}) + len(@a{n + 1})" for n in range(30)}
    config |= {f"a{n}": f"$[@a{n + 1}] + [@a{n + 1}]" for n in range(30)} | {"a30": 1}
    with pytest.raises(ModelError, match=r"too large|deep"):
        BundleConfig(config, "The package").get("a0")


def test_numbers_stay_finite() -> None:
    assert math.isfinite(evaluate("1e15", str))
    with pytest.raises(NoValueError):
        evaluate("1e15 + 1e15", str)
