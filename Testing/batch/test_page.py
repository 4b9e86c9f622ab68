"""The pages: escaped, divided, with pictures that are loaded when they come into sight."""

from __future__ import annotations

from pathlib import Path

from LiverSegLib.batch.folder import BatchFolder
from LiverSegLib.batch.page import ON_A_PAGE, Shown, write_pages


def shown(number: int) -> Shown:
    files = (f"cases/case {number}/thumbnail.jpg", f"cases/case {number}/ü.png")
    return Shown(name=f"case {number}", input=f"/x/{number}.nii", status="done", seconds=1.0, files=files)


def test_thousands_of_cases_are_pages_that_open_at_once(tmp_path: Path) -> None:
    write_pages(BatchFolder(tmp_path), [shown(number) for number in range(1_000)])
    first = (tmp_path / "index.html").read_text()
    last = (tmp_path / "pages" / "page-0010.html").read_text()
    assert len(list((tmp_path / "pages").iterdir())) == 1_000 // ON_A_PAGE - 1
    assert len(first) < 100_000
    assert first.count('loading="lazy"') == ON_A_PAGE
    assert 'src="cases/case%200/thumbnail.jpg"' in first
    assert 'href="../cases/case%20999/%C3%BC.png"' in last
    assert "Cases 901 to 1000 of 1000" in last
    assert 'href="pages/page-0010.html"' in first
    assert 'href="../index.html"' in last
    write_pages(BatchFolder(tmp_path), [shown(1)])
    assert list((tmp_path / "pages").iterdir()) == []


def test_what_comes_from_files_is_text(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>\u202e"
    row = Shown(name=evil, input=evil, status="failed", seconds=0, facts=(evil,), notes=(evil,))
    write_pages(BatchFolder(tmp_path), [row])
    page = (tmp_path / "index.html").read_text()
    assert "<script" not in page
    assert "\u202e" not in page
    assert page.count("&lt;script&gt;") == 4
