"""One self-contained HTML page, for the screen and for paper: no scripts, no network, pictures inside.

Whatever comes from files - names, warnings, licenses - is escaped here and shown as text.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from LiverSegLib import __version__
from LiverSegLib.printable import printable

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 14px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #1c1e21; background: #fff;
  max-width: 1080px; margin: 0 auto; padding: 1.2rem 1.5rem 2rem; }
header { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem;
  border-bottom: 2px solid #1c1e21; }
h1 { font-size: 1.5rem; margin: 0 0 0.3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.08rem; margin: 1.5rem 0 0.4rem; break-after: avoid; }
p { margin: 0.35rem 0; overflow-wrap: anywhere; }
ul { margin: 0.35rem 0; padding-left: 1.2rem; }
li { overflow-wrap: anywhere; }
.notice { font-weight: 700; color: #8a1c12; white-space: nowrap; }
.bad { color: #8a1c12; font-weight: 600; }
.quiet { color: #555; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; break-inside: auto; }
th, td { padding: 0.2rem 0.75rem; border-bottom: 1px solid #d5d8dc; text-align: left; vertical-align: top; }
th { border-bottom: 1.5px solid #555; font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
td { overflow-wrap: break-word; }
th { white-space: nowrap; }
tr { break-inside: avoid; }
.swatch { display: inline-block; width: 0.75em; height: 0.75em; margin-right: 0.45em; border: 1px solid #0006;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.side { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 0 2.5rem; }
figure { margin: 0.6rem 0; break-inside: avoid; }
figcaption { margin-bottom: 0.2rem; }
img { max-width: 100%; height: auto; display: block; }
img.overview { width: 760px; margin: 0 auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(480px, 1fr)); gap: 0.4rem 1rem; }
@page { size: A4; margin: 13mm; }
@media print { body { font-size: 10.5pt; padding: 0; max-width: none; } img.overview { width: 150mm; }
  .cards { grid-template-columns: 1fr 1fr; } .side table { break-inside: avoid; }
  th { white-space: normal; } th, td { padding: 0.15rem 0.5rem; } td:first-child { min-width: 9em; } }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
Rows = Iterable[Sequence[str]]


def page(title: str, notice: str, parts: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: plain text, the heading.
        notice: plain text beside it.
        parts: finished HTML, from the functions of this module.
    """
    body = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="LiverSeg {escape(__version__)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{text(title)}</h1><span class="notice">{text(notice)}</span></header>
{body}
</body>
</html>
"""


def text(value: str) -> str:
    """Plain text as HTML: on one line, with nothing in it that a browser obeys."""
    return escape(printable(value))


def heading(value: str) -> str:
    """A heading; plain text."""
    return f"<h2>{text(value)}</h2>"


def paragraph(value: str, kind: str = "") -> str:
    """A sentence; plain text. `kind`: "bad" or "quiet"."""
    return f'<p class="{escape(kind)}">{text(value)}</p>' if kind else f"<p>{text(value)}</p>"


def bullets(items: Iterable[str]) -> str:
    """A list; plain texts."""
    return "<ul>" + "".join(f"<li>{text(item)}</li>" for item in items) + "</ul>"


def table(titles: Sequence[str], rows: Rows, *, names: int = 1, colors: Sequence[str] = ()) -> str:
    """A table.

    Args:
        titles: plain texts, one a column.
        rows: plain texts, as many as titles.
        names: how many columns at the left hold text; the others hold numbers.
        colors: of a square before each row, as "#rrggbb", "" for none; () for none at all.
    """
    classes = ["" if column < names else ' class="number"' for column in range(len(titles))]
    head = "".join(f"<th{kind}>{text(title)}</th>" for kind, title in zip(classes, titles, strict=True))
    body = []
    for number, row in enumerate(rows):
        cells = [f"<td{kind}>{text(cell)}</td>" for kind, cell in zip(classes, row, strict=True)]
        if colors and colors[number]:
            swatch = f'<span class="swatch" style="background:{escape(colors[number])}"></span>'
            cells[0] = cells[0].replace("<td>", f"<td>{swatch}", 1)
        body.append("<tr>" + "".join(cells) + "</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def facts(rows: Rows) -> str:
    """A table of what is called how; plain texts."""
    body = "".join(f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in rows)
    return f"<table>{body}</table>"


def image(png: bytes, alt: str, *, caption: str = "", kind: str = "") -> str:
    """A PNG inside the page.

    Args:
        png: its bytes.
        alt: plain text for who cannot see it.
        caption: plain text above it.
        kind: its class in the style.
    """
    source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    above = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f'<figure>{above}<img class="{escape(kind)}" src="{source}" alt="{text(alt)}"></figure>'


def group(kind: str, parts: Iterable[str]) -> str:
    """Parts side by side: "side" for tables, "cards" for pictures."""
    return f'<div class="{escape(kind)}">' + "\n".join(parts) + "</div>"
