"""The notebooks: their commands exist, they are stored without outputs, and they run as they are."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from LiverSegLib.cli import commands
from Training.__main__ import app

nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat, of the extra dev")
nbclient = pytest.importorskip("nbclient", reason="notebooks need nbclient, of the extra dev")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
PROGRAMS: dict[str, Any] = {
    "Training": typer.main.get_command(app),
    "LiverSegLib.cli": typer.main.get_command(commands.app),
}


def cells(path: Path, kind: str) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def run_commands(path: Path) -> Iterator[list[str]]:
    """The words of every command that a notebook runs; what it fills in later is left out."""
    for source in cells(path, "code"):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "run":
                (text,) = node.args
                parts = text.values if isinstance(text, ast.JoinedStr) else [text]
                words = "".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in parts)
                yield shlex.split(words)


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {"train_and_look", "compare_three_networks", "correct_and_finetune"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_whole_and_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            ast.parse(cell.source)
            assert cell.outputs == []
            assert cell.execution_count is None
    first = next(source for source in cells(path, "code"))
    assert "pip" in first
    assert "SOURCE =" in first


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_command_of_a_notebook_exists_with_its_options(path: Path) -> None:
    found = list(run_commands(path))
    assert len(found) > 4
    for program, name, *words in found:
        command = PROGRAMS[program].get_command(click.Context(PROGRAMS[program]), name)
        assert command is not None, name
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if re.match(r"--?[a-z]", word)} <= known


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_it_is(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an empty folder to its last cell, and each picture that it shows is one."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [key for output in outputs for key in output.get("data", {}) if key.startswith("image/")]
    assert len(shown) >= 1
