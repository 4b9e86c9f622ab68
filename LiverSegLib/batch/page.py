"""The pages of a batch: a hundred cases on each, with small pictures that are loaded when they come into sight."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from LiverSegLib.batch.folder import THUMBNAIL, BatchFolder
from LiverSegLib.io.atomic import atomic_file
from LiverSegLib.printable import printable

ON_A_PAGE = 100
_PAGE = re.compile(r"page-\d+\.html")
_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 0 auto; max-width: 1280px; padding: 1em; color: #1b1f24; }
table { border-collapse: collapse; width: 100%; }
td, th { border-top: 1px solid #d8dee4; padding: .5em; text-align: left; vertical-align: top; }
td.picture { width: 1%; }
td + td { min-width: 12em; } td + td + td + td { min-width: 0; }
td.picture img { display: block; background: #000; max-width: 480px; }
.name { font-weight: 600; overflow-wrap: anywhere; }
.input { color: #59636e; font-size: 12px; overflow-wrap: anywhere; }
.failed { color: #b3261e; } .open { color: #8a5a00; } .done { color: #1a6e37; } .note { color: #8a5a00; }
nav { margin: 1em 0; line-height: 2; } nav a, nav b { margin-right: .5em; }
@media (prefers-color-scheme: dark) { body { background: #101214; color: #e6e6e6; } td, th { border-color: #333; }
  a { color: #8ab4f8; } .input { color: #999; } .failed { color: #ff8a80; } .open, .note { color: #ffb74d; }
  .done { color: #81c995; } }
"""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One case on a page; the texts are as they came from files. `files` are relative to the folder of the batch."""

    name: str
    input: str
    status: str
    seconds: float
    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def write_pages(folder: BatchFolder, rows: Sequence[Shown]) -> None:
    """Write `index.html` and the further pages, and remove those of a longer batch before.

    Raises:
        OutputError: a page cannot be written.
    """
    pages = folder.path / "pages"
    count = max(1, -(-len(rows) // ON_A_PAGE))
    if count > 1:
        pages.mkdir(exist_ok=True)
    names = ["index.html", *(f"pages/page-{number:04d}.html" for number in range(2, count + 1))]
    counts = Counter(row.status for row in rows)
    for number, name in enumerate(names):
        part = rows[number * ON_A_PAGE : (number + 1) * ON_A_PAGE]
        with atomic_file(folder.path / name) as file:
            file.write(_page(part, number, names, counts).encode("utf-8", "backslashreplace"))
    if pages.is_dir():
        for path in pages.iterdir():
            if _PAGE.fullmatch(path.name) and f"pages/{path.name}" not in names:
                path.unlink()


def _page(rows: Sequence[Shown], number: int, names: Sequence[str], counts: Counter[str]) -> str:
    up = "../" if number else ""
    total = sum(counts.values())
    words = ", ".join(f'<span class="{status}">{counts[status]} {status}</span>' for status in sorted(counts))
    first = number * ON_A_PAGE + 1
    where = f"Cases {first} to {first + len(rows) - 1} of {total}, those to look at first." if rows else "No cases."
    body = "\n".join(_row(row, up) for row in rows)
    pages = _links(number, names, up)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>LiverSeg batch, page {number + 1} of {len(names)}</title><style>{_STYLE}</style></head><body>
<h1>{total} cases: {words}</h1>
<p>{where} All numbers: <a href="{up}table.csv">table.csv</a>; failures: <a href="{up}failed.jsonl">failed.jsonl</a>.
Research software, not for clinical use.</p>
{pages}<table>
<tr><th>Picture</th><th>Case</th><th>Found</th><th>Seconds</th></tr>
{body}
</table>
{pages}</body></html>
"""


def _links(number: int, names: Sequence[str], up: str) -> str:
    """The pages around this one, the first and the last."""
    if len(names) == 1:
        return ""
    near = sorted({0, len(names) - 1, *range(max(0, number - 4), min(len(names), number + 5))})
    links = []
    for before, page in zip([-1, *near], near, strict=False):
        gap = "… " if page > before + 1 else ""
        links.append(gap + (f"<b>{page + 1}</b>" if page == number else f'<a href="{up}{names[page]}">{page + 1}</a>'))
    return f"<nav>Page {' '.join(links)}</nav>\n"


def _row(row: Shown, up: str) -> str:
    picture = next((file for file in row.files if PurePosixPath(file).name == THUMBNAIL), None)
    image = ""
    if picture is not None:
        image = f'<a href="{_url(row, up)}"><img src="{up}{quote(picture)}" alt="" loading="lazy" height="120"></a>'
    notes = "".join(
        f'<div class="{"failed" if row.status == "failed" else "note"}">{_text(n)}</div>' for n in row.notes
    )
    name = f'<a href="{_url(row, up)}">{_text(row.name)}</a>' if row.files else _text(row.name)
    return (
        f'<tr><td class="picture">{image}</td><td><div class="name">{name}</div><div class="input">{_text(row.input)}'
        f'</div></td><td><span class="{row.status}">{row.status}</span> {_text("; ".join(row.facts))}{notes}</td>'
        f"<td>{row.seconds:.1f}</td></tr>"
    )


def _url(row: Shown, up: str) -> str:
    """The report of a case or its large picture where there is one, else its folder."""
    large = next((file for ending in (".html", ".png") for file in row.files if file.endswith(ending)), None)
    return up + quote(large or f"cases/{row.name}/")


def _text(text: str) -> str:
    return html.escape(printable(text))
