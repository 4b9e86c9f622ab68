"""The pages for developers name files, tests and targets that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
_PATH = re.compile(r"`((?:LiverSeg|LiverSegLib|Training|Testing|typings|docs|\.github)/[\w./-]*)`")
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#([^)]*))?\)")
_TEST = re.compile(r"`(test_\w+)`")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [name for name in _PATH.findall(text) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    path = ROOT / page
    for target, anchor in _LINK.findall(path.read_text(encoding="utf-8")):
        found = (path.parent / target).resolve()
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_promise_has_its_test() -> None:
    text = (ROOT / "docs/development.md").read_text(encoding="utf-8")
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "Testing").rglob("test_*.py"))
    names = _TEST.findall(text)
    assert len(names) > 15
    assert [name for name in names if f"def {name}(" not in tests] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    names = _TEST.findall((ROOT / page).read_text(encoding="utf-8"))
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "Testing").rglob("test_*.py"))
    assert [name for name in names if f"def {name}(" not in tests] == []


def test_every_room_is_on_the_map() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent for house in ("LiverSegLib", "Training") for path in (ROOT / house).glob("*/__init__.py")}
    assert [room.name for room in sorted(rooms) if f"`{room.relative_to(ROOT).as_posix()}/`" not in text] == []
