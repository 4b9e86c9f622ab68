"""The `$` expressions of bundles that are plain data in disguise, understood by their meaning and never run.

MONAI hands what stands behind a `$` to Python. Here it is taken apart by Python's parser, and a short list of forms is
followed: values, references, `a if b else c`, `not a`, `a + b`, and calls of the functions below. Everything else is
refused by the name of what it is.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Callable
from typing import Any, ClassVar

from LiverSegLib.models.text import find_odd_text, one_line

Follow = Callable[[str], Any]
"""Gives what a reference such as "@a#b" stands for, as data that is neither reference nor expression itself."""

_REFERENCE = re.compile(r"@(?:\w+(?:(?:::|#)\w+)*)")
_MAX_TEXT = 1000
"""Characters; Python's parser can be made to fail badly by long ones."""
_MOST = 10_000
"""Characters or elements of what an expression may make."""
_NAME = "reference_{}_"
_LARGEST = 1e15


class NoValueError(ValueError):
    """The expression is more than data; the text says what it does, as the end of "it ..."."""


def evaluate(text: str, follow: Follow) -> Any:
    """The value of an expression, `text` without its "$".

    Raises:
        NoValueError: it is none that is known, or too large.
    """
    if len(text) > _MAX_TEXT:
        raise NoValueError("is too long")
    references: list[str] = []

    def named(match: re.Match[str]) -> str:
        references.append(match.group())
        return _NAME.format(len(references) - 1)

    try:
        tree = ast.parse(_REFERENCE.sub(named, text).strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise NoValueError("is no Python") from error
    known = {_NAME.format(number): reference for number, reference in enumerate(references)}
    try:
        return _Reader(known, follow).value(tree.body)
    except RecursionError as error:
        raise NoValueError("is nested too deep") from error


class _Reader:
    """Follows the nodes of one expression.

    Args:
        references: what is referred to, by the names that stand for references in the expression.
        follow: gives their values.
    """

    def __init__(self, references: dict[str, str], follow: Follow) -> None:
        self._references = references
        self._follow = follow

    def value(self, node: ast.expr) -> Any:
        """What the node means, bounded in size."""
        form = self._FORMS.get(type(node))
        if form is None:
            raise NoValueError(f"is or holds {_KINDS.get(type(node), type(node).__name__)}")
        found = form(self, node)
        if isinstance(found, str | list | dict) and len(found) > _MOST:
            raise NoValueError("grows too large")
        if isinstance(found, int | float) and not -_LARGEST <= found <= _LARGEST:  # nor NaN
            raise NoValueError("is a number without bounds")
        return found

    def _constant(self, node: ast.Constant) -> Any:
        if not isinstance(node.value, str | int | float | None):
            raise NoValueError(f"holds a value of the type {type(node.value).__name__}")
        if isinstance(node.value, str) and any(name in node.value for name in self._references):
            raise NoValueError("refers to something within a text")
        if find_odd_text(node.value) is not None:
            raise NoValueError("holds characters that cannot be shown")
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id not in self._references:
            raise NoValueError(f"uses {one_line(node.id, 40)}")
        return self._follow(self._references[node.id])

    def _list(self, node: ast.List | ast.Tuple) -> list[Any]:
        return [self.value(part) for part in node.elts]

    def _dict(self, node: ast.Dict) -> dict[str, Any]:
        keys = [None if key is None else self.value(key) for key in node.keys]
        if not all(isinstance(key, str) for key in keys):
            raise NoValueError("holds a dictionary whose keys are no texts")
        return dict(zip(keys, map(self.value, node.values), strict=True))  # type: ignore[arg-type]

    def _choice(self, node: ast.IfExp) -> Any:
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _unary(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if isinstance(node.op, ast.Not):
            return not value
        if isinstance(node.op, ast.USub | ast.UAdd) and _is_number(value):
            return -value if isinstance(node.op, ast.USub) else value
        raise NoValueError(f"uses the operator {type(node.op).__name__}")

    def _sum(self, node: ast.BinOp) -> Any:
        if not isinstance(node.op, ast.Add):
            raise NoValueError(f"uses the operator {type(node.op).__name__}")
        left, right = self.value(node.left), self.value(node.right)
        for fits in (_is_number, lambda value: isinstance(value, str), lambda value: isinstance(value, list)):
            if fits(left) and fits(right):
                return left + right
        raise NoValueError(f"adds {type(left).__name__} and {type(right).__name__}")

    def _call(self, node: ast.Call) -> Any:
        name = _dotted(node.func)
        if name not in _FUNCTIONS or node.keywords:
            raise NoValueError(f"calls {one_line(name, 60)}")
        try:
            return _FUNCTIONS[name](*[self.value(argument) for argument in node.args])
        except NoValueError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise NoValueError(f"calls {name} with what it does not take") from error

    _FORMS: ClassVar[dict[type[ast.expr], Callable[[Any, Any], Any]]] = {
        ast.Constant: _constant,
        ast.Name: _name,
        ast.List: _list,
        ast.Tuple: _list,
        ast.Dict: _dict,
        ast.IfExp: _choice,
        ast.UnaryOp: _unary,
        ast.BinOp: _sum,
        ast.Call: _call,
    }


_KINDS: dict[type[ast.expr], str] = {
    ast.Lambda: "a lambda",
    ast.Attribute: "an attribute",
    ast.Subscript: "an index",
    ast.ListComp: "a loop",
    ast.GeneratorExp: "a loop",
    ast.DictComp: "a loop",
    ast.SetComp: "a loop",
    ast.JoinedStr: "a formatted text",
    ast.Compare: "a comparison",
    ast.BoolOp: "a logical operator",
    ast.NamedExpr: "an assignment",
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _dotted(node: ast.expr) -> str:
    """The name of what is called, for example "os.path.join"; "" for what has none."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return ".".join([node.id, *parts]) if isinstance(node, ast.Name) else ".".join(["...", *parts])


def _length(value: str | list[Any] | dict[str, Any]) -> int:
    return len(value)


def _whole(value: Any) -> int:
    if not _is_number(value) and not isinstance(value, bool | str):
        raise TypeError("no number")
    return int(value)


def _text(value: Any) -> str:
    if isinstance(value, list | dict):
        raise TypeError("no text or number")
    return str(value)


def _same(value: Any) -> Any:
    """Data is never changed, so that it need not be copied."""
    return value


def _joined(*parts: Any) -> str:
    if not parts or not all(isinstance(part, str) for part in parts):
        raise TypeError("no paths")
    return posixpath.join(*parts)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": _length,
    "int": _whole,
    "float": float,
    "bool": bool,
    "str": _text,
    "list": list,
    "tuple": list,
    "os.path.join": _joined,
    "copy.deepcopy": _same,
}
"""Those that make data of data. Their arguments are data, too, and results are bounded as all values are."""
