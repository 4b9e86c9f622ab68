"""Report pages: one self-contained HTML file, without scripts, that any browser and printer shows.

Everything that comes from outside (names, warnings, recipe text) is escaped; pictures are embedded, or lie beside
the page in the same folder.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.7rem 0; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #8884; text-align: right; vertical-align: top; }
th { border-bottom: 2px solid #888; }
th.text, td.text { text-align: left; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; }
figure { margin: 1rem 0 2rem; } figcaption { font-size: 0.95em; margin-bottom: 0.3rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { background: #8882; padding: 0.8rem; overflow-x: auto; }
.note { opacity: 0.75; font-size: 0.93em; } .bad { color: #b3261e; font-weight: 600; }
.wide { overflow-x: auto; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: plain text; shown as the heading and in the browser's tab.
        parts: finished HTML, from the functions of this module.
    """
    body = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="script-src 'none'; object-src 'none'; frame-src 'none'">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
</body>
</html>
"""


def heading(text: str) -> str:
    """A section's heading; plain text."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    """Plain text; `kind` "note" is quieter, "bad" stands out."""
    return f'<p class="{escape(kind)}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def preformatted(text: str) -> str:
    """Plain text with its line breaks, such as a recipe."""
    return f"<pre>{escape(text)}</pre>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A table of plain text.

    Args:
        header: the columns' titles.
        rows: cells, as many as titles.
        text_columns: so many columns at the left hold text; the rest are numbers and align right.
    """

    def line(cells: Sequence[str], tag: str) -> str:
        made = (
            f"<{tag}{' class=' + chr(34) + 'text' + chr(34) if n < text_columns else ''}>{escape(cell)}</{tag}>"
            for n, cell in enumerate(cells)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table>\n{line(header, "th")}\n{body}\n</table></div>'


def image(png: bytes | Path, caption: str = "", alt: str = "") -> str:
    """A PNG.

    Args:
        png: its bytes, which are embedded, or a path relative to the page, which is linked.
        caption: plain text above it.
        alt: plain text for who cannot see it; the caption if left out.
    """
    if isinstance(png, bytes):
        source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    else:
        source = quote(png.as_posix())
    above = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure>{above}<img loading="lazy" src="{escape(source)}" alt="{escape(alt or caption)}"></figure>'
