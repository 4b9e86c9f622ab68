"""No file but those of the labels knows an organ or a lesion by its name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from LiverSegLib.labels import KNOWN_NAMES, label_for
from Testing.project.test_walls import HOUSES, ROOT, sources

NAMES = {*KNOWN_NAMES, "tumour", "cancer", "kidney_tumor", "liver_tumor"}
ALLOWED = {
    "LiverSegLib/labels.py",  # their home
    "LiverSegLib/phantom/anatomy.py",  # the tissues that it draws
    "LiverSegLib/phantom/compose.py",
    "LiverSegLib/phantom/build.py",  # how much of the body it covers
    "Training/data/phantoms.py",  # the same, and the labels of the data set that it writes
}


def names_in(path: Path) -> set[str]:
    """Names of organs and lesions among a file's strings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    } & NAMES


def test_labels_are_known_by_data_alone() -> None:
    found = {path.relative_to(ROOT).as_posix(): names_in(path) for path in sources(*HOUSES)}
    assert {path: names for path, names in found.items() if names and path not in ALLOWED} == {}
    assert all(found[path] for path in ALLOWED), "a file of the list knows no name any more; take it off"


def test_the_check_sees_a_test_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('x = "tumor" in names\n"""The liver and its tumor."""\n')
    assert names_in(tmp_path / "a.py") == {"tumor"}


@pytest.mark.parametrize("name", KNOWN_NAMES)
def test_every_known_name_has_terms(name: str) -> None:
    label = label_for(1, name)
    assert label.terminology.count("~") == 6
    assert "SCT^" in label.terminology
    assert label.display_name[0].isupper()
