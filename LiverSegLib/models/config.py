"""Bundle configuration as data: references are followed, expressions are never evaluated.

MONAI bundles may hold `$` expressions, which MONAI evaluates as Python. Packages come from strangers, so here
an expression that is needed is refused by name; one that is not needed (output folders, devices, handlers) is
never looked at. One form that is plain data in disguise is understood: `$A if @flag else B` with literals.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from LiverSegLib.errors import ModelError

_CONDITIONAL = re.compile(r"^\$(?P<yes>.+?) if (?P<flag>@[\w#]+) else (?P<no>.+)$", re.DOTALL)
_MAX_DEPTH = 32
_MAX_VALUES = 100_000
_MAX_BYTES = 8_000_000


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

    def __contains__(self, key: str) -> bool:
        return key in self.data

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
            raise ModelError(f"{self.source}: {where} refers to itself or is nested too deep; repair it.")
        self._values += 1
        if self._values > _MAX_VALUES:  # lists of references to lists of references grow without end
            raise ModelError(f"{self.source}: the references of {where} grow too large; repair the package.")
        if isinstance(value, dict):
            return {k: self.resolve(v, f"{where}.{k}", depth + 1) for k, v in value.items()}
        if isinstance(value, list):
            return [self.resolve(v, f"{where}[{n}]", depth + 1) for n, v in enumerate(value)]
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
                raise ModelError(f"{self.source}: {where} refers to {reference}, which is not there.") from error
        return node

    def _conditional(self, text: str, where: str, depth: int) -> Any:
        match = _CONDITIONAL.match(text)
        if match:
            flag = self.resolve(self._lookup(match["flag"], where), where, depth + 1)
            try:
                # Literals only: numbers, strings, lists; anything else raises.
                return ast.literal_eval((match["yes"] if flag is True else match["no"]).strip())
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                pass
        raise ModelError(
            f"{self.source}: {where} is the expression {text[:60]!r}; expressions are not executed, "
            "replace it by a value."
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ModelError: missing, too large, or not a JSON object.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path} is larger than any package configuration; it is not read.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; the folder is not a complete model package.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error}); get the package again.") from error
    if not isinstance(data, dict):
        raise ModelError(f"{path} does not hold a JSON object; get the package again.")
    return data
