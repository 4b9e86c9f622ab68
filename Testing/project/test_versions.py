"""A version stands in one place; where a second one is needed, it is the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

import LiverSegLib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
CONSTRAINTS = dict(
    re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
)


def test_the_version_of_the_project_is_that_of_the_library() -> None:
    assert 'version = { attr = "LiverSegLib.__version__" }' in PROJECT
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == LiverSegLib.__version__
    assert f"## {LiverSegLib.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", ["torch", "monai"])
def test_the_modules_installer_asks_for_what_the_project_needs(package: str) -> None:
    source = (ROOT / "LiverSeg" / "LiverSegUI" / "install.py").read_text(encoding="utf-8")
    minima = {
        target.id.lower(): ".".join(map(str, ast.literal_eval(node.value)))
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert f'"{package}>={minima[package]}"' in PROJECT


def test_tested_versions_are_allowed_ones() -> None:
    for package, least in re.findall(r'"([\w-]+)(?:\[\w+\])?>=([\d.]+)', PROJECT):
        if package in CONSTRAINTS:
            tested = [int(part) for part in CONSTRAINTS[package].split(".")]
            assert tested >= [int(part) for part in least.split(".")], package


def test_style_is_that_of_the_tested_ruff_everywhere() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert hooks["repos"][0]["rev"] == f"v{CONSTRAINTS['ruff']}"
