"""Bundle configuration as data: references are followed, expressions are never evaluated.

MONAI bundles may hold `$` expressions, which MONAI evaluates as Python. Packages come from strangers, so here
an expression that is needed is refused by name; one that is not needed (output folders, devices, handlers) is
never looked at. One form that is plain data in disguise is understood: `$A if @flag else B` with literals.
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
from pathlib import Path
from typing import Any

from LiverSegLib.errors import ModelError
from LiverSegLib.models.text import find_odd_text, one_line, shown

_CONDITIONAL = re.compile(r"^\$(?P<yes>.+?) if (?P<flag>@[\w#]+) else (?P<no>.+)$", re.DOTALL)
_MAX_DEPTH = 32
_MAX_VALUES = 100_000
_MAX_LITERAL = 1000
"""Characters; Python's parser can be made to fail badly by long ones."""


class BundleConfig:
    """A parsed JSON configuration with `@` references, `@a#b` for nested keys.

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
        if depth > _MAX_DEPTH:
            raise self._refusal(where, "refers to itself or is nested too deep; repair it.")
        self._values += 1
        if self._values > _MAX_VALUES:  # lists of references to lists of references grow without end
            raise ModelError(f"{self.source}: the references of {one_line(where)} grow too large; repair the package.")
        if isinstance(value, dict):
            return {k: self.resolve(v, _below(where, f".{k}"), depth + 1) for k, v in value.items()}
        if isinstance(value, list):
            return [self.resolve(v, _below(where, f"[{n}]"), depth + 1) for n, v in enumerate(value)]
        if isinstance(value, str) and value.startswith("@"):
            return self.resolve(self._lookup(value, where), where, depth + 1)
        if isinstance(value, str) and value.startswith("$"):
            return self._conditional(value, where, depth)
        return value

    def _lookup(self, reference: str, where: str) -> Any:
        node: Any = self.data
        for part in reference[1:].split("#"):
            try:
                node = node[int(part)] if isinstance(node, list) else node[part]
            except (KeyError, IndexError, ValueError, TypeError) as error:
                raise self._refusal(where, f"refers to {one_line(reference, 60)}, which is not there.") from error
        return node

    def _conditional(self, text: str, where: str, depth: int) -> Any:
        match = _CONDITIONAL.match(text)
        if match:
            flag = self.resolve(self._lookup(match["flag"], where), where, depth + 1)
            with contextlib.suppress(ValueError):
                return _literal((match["yes"] if flag is True else match["no"]).strip())
        what = f"is the expression {shown(text)}; expressions are not executed, replace it by a value."
        raise self._refusal(where, what)

    def _refusal(self, where: str, what: str) -> ModelError:
        return ModelError(f"{self.source}: {one_line(where)} {what}")


def _below(where: str, part: str) -> str:
    """Where a part of `where` is; the text cannot grow with each level."""
    return (where + part)[:100]


def _literal(text: str) -> Any:
    """The value of a Python literal as JSON has it.

    Raises:
        ValueError: it is anything else, or too long.
    """
    if len(text) > _MAX_LITERAL:
        raise ValueError("too long")
    try:
        # Numbers, strings, lists and dictionaries only; anything else raises.
        value = json.loads(json.dumps(ast.literal_eval(text)))
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("no literal") from error
    if find_odd_text(value) is not None:
        raise ValueError("no plain text")
    return value


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """The JSON object that is the content of the file `path` of a package.

    Raises:
        ModelError: it is no JSON object, or has text that is not plain.
    """
    try:
        data = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError, MemoryError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({one_line(error, 200)}); get the package again.") from error
    if not isinstance(data, dict):
        raise ModelError(f"{path} does not hold a JSON object; get the package again.")
    odd = find_odd_text(data)
    if odd is not None:
        raise ModelError(f"{path} holds characters that cannot be shown, in {ascii(odd)[:60]}; repair the package.")
    return data
