"""Recipes as YAML files that people like to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from Training.files import new_folder, write_text
from Training.recipe.recipe import Recipe, parse_recipe


class _Dumper(yaml.SafeDumper):
    """Keys one below the other, lists of numbers on one line."""


def _list_node(dumper: _Dumper, data: Sequence[Any]) -> yaml.Node:
    holds_keys = any(isinstance(value, dict) for value in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=not holds_keys)


_Dumper.add_representer(list, _list_node)
_Dumper.add_representer(tuple, _list_node)


def recipe_data(recipe: Recipe) -> dict[str, Any]:
    """What the recipe sets, as plain data; defaults stay unsaid."""
    return recipe.model_dump(exclude_unset=True)


def recipe_text(data: dict[str, Any], title: str, comments: dict[str, str] | None = None) -> str:
    """YAML with `title` as the first comment and a comment above each section that `comments` names."""
    parts = [f"# {title}\n"]
    for key, value in data.items():
        if comments and key in comments:
            parts.append(f"# {comments[key]}\n")
        parts.append(yaml.dump({key: value}, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True))
    return "".join(parts)


def write_recipe(path: Path, data: dict[str, Any], title: str, comments: dict[str, str] | None = None) -> Recipe:
    """Check recipe data, then write them.

    Raises:
        RecipeError: an impossible key.
        OutputError: the file cannot be written.
    """
    text = recipe_text(data, title, comments)
    recipe = parse_recipe(yaml.safe_load(text), str(path))
    new_folder(path.parent)
    write_text(path, text)
    return recipe


def keep_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe with everything that it leaves to its defaults, as runs and prepared folders keep theirs.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
