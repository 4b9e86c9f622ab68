"""What a reader can take for granted of the shape of the code: short functions, and fields that are named."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOUSES = ("LiverSeg", "LiverSegLib", "Training")
MOST_LINES = 50
MOST_POSITIONAL_FIELDS = 3
# Values that everybody writes in the order of their fields, as in MONAI; only ever lowered.
POSITIONAL_DATACLASSES_LEFT = 7


def trees(*houses: str) -> Iterator[tuple[str, ast.Module]]:
    """Each source file with its syntax tree."""
    for house in houses:
        for path in sorted((ROOT / house).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def long_functions(tree: ast.Module) -> Iterator[str]:
    """Functions with more lines than a reader keeps in mind; docstring included, decorators not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            if count > MOST_LINES:
                yield f"{node.name}, {count} lines"


def positional_dataclasses(tree: ast.Module) -> Iterator[str]:
    """Dataclasses with so many fields that two of them will be swapped one day, and nothing against it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            how = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
            fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
            if "dataclass" in how and "kw_only=True" not in how and len(fields) > MOST_POSITIONAL_FIELDS:
                yield f"{node.name}, {len(fields)} fields"


def test_functions_are_short() -> None:
    found = [f"{path}: {name}" for path, tree in trees(*HOUSES) for name in long_functions(tree)]
    assert found == []


def test_dataclasses_of_many_fields_are_keyword_only() -> None:
    found = [f"{path}: {name}" for path, tree in trees(*HOUSES) for name in positional_dataclasses(tree)]
    assert len(found) <= POSITIONAL_DATACLASSES_LEFT, found


LONG = "def f():\n" + "    pass\n" * 50
POSITIONAL = "@dataclass(frozen=True)\nclass A:\n" + "".join(f"    {name}: int\n" for name in "abcd")


def test_what_counts() -> None:
    tree = ast.parse(LONG + POSITIONAL)
    assert list(long_functions(tree)) == ["f, 51 lines"]
    assert list(positional_dataclasses(tree)) == ["A, 4 fields"]
