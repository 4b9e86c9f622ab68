"""Report pages: one self-contained HTML file, without scripts, that any browser and printer shows.

Text comes as Markdown. Of Markdown only tables, headings, lists and quotes are known, so that names, warnings and
recipes, which come from outside, can bring neither links nor pictures nor HTML: whatever they hold is shown as text.
Pictures are embedded, or lie beside the page in the same folder.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path
from urllib.parse import quote

from markdown_it import MarkdownIt

from Training.files import write_text

_MARKDOWN = MarkdownIt("zero").enable(["table", "heading", "list", "blockquote"])
_LONG = 40
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.7rem 0; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #8884; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; }
td:not([style]) { overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; }
figure { margin: 1rem 0 2rem; } figcaption { font-size: 0.95em; margin-bottom: 0.3rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { background: #8882; padding: 0.8rem; overflow-x: auto; }
blockquote { opacity: 0.75; font-size: 0.93em; margin: 0; } .bad { color: #b3261e; font-weight: 600; }
.wide { overflow-x: auto; }
"""


def write_page(path: Path, title: str, parts: Iterable[str]) -> None:
    """Write a whole page.

    Args:
        path: the .html file.
        title: plain text; shown as the heading and in the browser's tab.
        parts: finished HTML, from the functions of this module.

    Raises:
        OutputError: the page cannot be written.
    """
    body = "\n".join(parts)
    text = f"""<!DOCTYPE html>
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
    write_text(path, text)


def markdown(*blocks: str) -> str:
    """Blocks of Markdown as HTML; a quote (`> ...`) is a quieter note."""
    text = "\n".join(f"{block}\n" for block in blocks)
    return f'<div class="wide">\n{_MARKDOWN.render(text)}</div>'


def folded(code: str) -> str:
    """A text as it is, such as a recipe, folded away where it is long."""
    body, lines = f"<pre>{escape(code)}</pre>", code.count("\n") + 1
    return f"<details><summary>Show its {lines} lines</summary>{body}</details>" if lines > _LONG else body


def alarm(text: str) -> str:
    """A sentence that stands out; plain text."""
    return f'<p class="bad">{escape(text)}</p>'


def link(text: str, address: str) -> str:
    """A link to a page of ours; plain text, and an address that is quoted already."""
    return f'<p><a href="{escape(address)}">{escape(text)}</a></p>'


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
