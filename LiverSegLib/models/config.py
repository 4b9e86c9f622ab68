"""Bundle configuration as data: references are followed, expressions are never run.

MONAI bundles may hold `$` expressions, which MONAI evaluates as Python. Packages come from strangers, so here
an expression that is needed is refused by name; one that is not needed (output folders, devices, handlers) is
never looked at. Those that are plain data in disguise are understood (`LiverSegLib/models/expressions.py`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from LiverSegLib.errors import ModelError
from LiverSegLib.models.expressions import NoValueError, evaluate
from LiverSegLib.models.text import find_odd_text, one_line, shown

_MAX_DEPTH = 32
_MAX_VALUES = 100_000


class BundleConfig:
    """A parsed configuration with `@` references, `@a#b` or `@a::b` for nested keys.

    Args:
        data: the top-level object.
        source: what errors call it.
    """

    def __init__(self, data: dict[str, Any], source: str) -> None:
        self.data = data
        self.source = source
        self._values = 0

    def get(self, key: str) -> Any:
        """The value of a top-level key with every reference in it replaced.

        Raises:
            ModelError: the key is missing, needs an expression, or refers in a circle.
        """
        if key not in self.data:
            raise ModelError(f"{self.source} has no {key!r}; it is not a package that can be run.")
        return self.resolve(self.data[key], key)

    def resolve(self, value: Any, where: str, depth: int = 0) -> Any:
        """`value` with references replaced; `where` names it in errors."""
        value = self.follow(value, where, depth)
        if isinstance(value, dict):
            return {k: self.resolve(v, _below(where, f".{k}"), depth + 1) for k, v in value.items()}
        if isinstance(value, list):
            return [self.resolve(v, _below(where, f"[{n}]"), depth + 1) for n, v in enumerate(value)]
        return value

    def follow(self, value: Any, where: str, depth: int = 0) -> Any:
        """What `value` stands for where it is a reference or an expression itself; what lies in it is left as it is."""
        if depth > _MAX_DEPTH:
            raise self._refusal(where, "refers to itself or is nested too deep; repair it.")
        self._values += 1
        if self._values > _MAX_VALUES:  # lists of references to lists of references grow without end
            raise ModelError(f"{self.source}: the references of {one_line(where)} grow too large; repair the package.")
        if isinstance(value, str) and value.startswith("@"):
            return self.follow(self._lookup(value, where), where, depth + 1)
        if isinstance(value, str) and value.startswith("$"):
            return self._value_of(value, where, depth)
        return value

    def _lookup(self, reference: str, where: str) -> Any:
        node: Any = self.data
        for part in re.split("#|::", reference[1:]):
            try:
                node = node[int(part)] if isinstance(node, list) else node[part]
            except (KeyError, IndexError, ValueError, TypeError) as error:
                raise self._refusal(where, f"refers to {one_line(reference, 60)}, which is not there.") from error
        return node

    def _value_of(self, text: str, where: str, depth: int) -> Any:
        try:
            return evaluate(text[1:], lambda reference: self.follow(reference, where, depth + 1))
        except NoValueError as error:
            what = f"is the expression {shown(text)}; expressions are not executed, replace it by a value"
            raise self._refusal(where, f"{what} (it {error}).") from error

    def _refusal(self, where: str, what: str) -> ModelError:
        return ModelError(f"{self.source}: {one_line(where)} {what}")


def _below(where: str, part: str) -> str:
    """Where a part of `where` is; the text cannot grow with each level."""
    return (where + part)[:100]


def parse_yaml(content: bytes, path: Path) -> dict[str, Any]:
    """The object that is the content of the YAML file `path` of a package, as JSON would have it.

    Raises:
        ModelError: it is no plain YAML (aliases and tags of Python are none), too large or deep, or PyYAML is missing.
    """
    try:
        from LiverSegLib import plain_yaml
    except ImportError as error:
        raise ModelError(
            f"{path} is YAML, and the Python package PyYAML, which reads it, is not there; install pyyaml (in Slicer's "
            "Python console: slicer.util.pip_install('pyyaml'))."
        ) from error
    try:
        data = json.loads(json.dumps(plain_yaml.parse_yaml(content.decode("utf-8"))))
    except (plain_yaml.YamlError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as YAML ({one_line(error, 200)}); get the package again.") from error
    return _plain_object(data, path, "a YAML object")


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """The JSON object that is the content of the file `path` of a package.

    Raises:
        ModelError: it is no JSON object, or has text that is not plain.
    """
    try:
        data = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError, MemoryError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({one_line(error, 200)}); get the package again.") from error
    return _plain_object(data, path, "a JSON object")


def _plain_object(data: Any, path: Path, what: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ModelError(f"{path} does not hold {what}; get the package again.")
    odd = find_odd_text(data)
    if odd is not None:
        raise ModelError(f"{path} holds characters that cannot be shown, in {ascii(odd)[:60]}; repair the package.")
    return data
