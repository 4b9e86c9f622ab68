"""One page about a run: curves, results, data, recipe, network, machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from markdown_it import MarkdownIt

from LiverSegLib.io.atomic import atomic_file
from Training.errors import DataError
from Training.evaluation.scores import read_scores
from Training.fit.system import system_rows
from Training.reports import html
from Training.reports.plots import Series, best_epoch, plot_history, read_history
from Training.reports.score_tables import markdown

_LONG = 40


def report(run: Path, out: Path, *, results: Sequence[Path] = (), data: Path | None = None) -> Path:
    """Write the page of a run, complete in one file: pictures are embedded, nothing is loaded from elsewhere.

    What a run does not have (yet) is left out; the curves are drawn anew.

    Args:
        run: run folder.
        out: the .html file, or a folder that gets report.html.
        results: folders of `evaluate` whose scores belong to this run.
        data: the prepared folder that it was trained on, for the data report.

    Returns:
        The page.

    Raises:
        DataError: `run` is no run folder, or a folder of `results` or `data` holds no results or report.
        OutputError: the page cannot be written.
    """
    text = _text(run / "recipe.yaml")
    if text is None:
        raise DataError(f"{run} holds no recipe.yaml; it is not a run, train first.")
    path = out if out.suffix.lower() in (".html", ".htm") else out / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    recipe = _mapping(text)
    parts = [
        *_overview(run, recipe),
        *_curves(run),
        *(part for folder in results for part in _results(folder, path.parent)),
        *_picture("First training batch, as augmented", run / "first_batch.png"),
        *([] if data is None else _data(data)),
        *_folded("Recipe", text),
        *_folded("Network", _text(run / "model.txt")),
        *_system(run),
    ]
    title = f"Run {run.resolve().name}: {recipe.get('card', {}).get('title') or recipe.get('name', '')}"
    with atomic_file(path) as file:
        file.write(html.page(title, parts).encode("utf-8"))
    return path


def _overview(run: Path, recipe: dict[str, Any]) -> list[str]:
    """What was trained, for how long, and how good it became."""
    history = _history(run)
    labels = recipe.get("labels") or {}
    rows = [
        ("Recipe", str(recipe.get("name", ""))),
        ("Network", f"{recipe.get('network', {}).get('name', '')}, {recipe.get('spatial_dims', '')}D"),
        ("Labels", ", ".join(str(name) for name in labels.values())),
    ]
    epochs = max((int(series[0][-1]) for series in history.values()), default=-1) + 1
    wanted = recipe.get("optimization", {}).get("max_epochs", "?")
    rows.append(("Epochs", f"{epochs} of at most {wanted}"))
    seconds = sum(history.get("seconds", ([], []))[1])
    if seconds:
        rows.append(("Time", _duration(seconds)))
    best = best_epoch(history)
    if best is not None:
        rows.append(("Best epoch", f"{best[0]}, validation Dice {best[1]:.4f}"))
        for name, (at, values) in history.items():
            if name.startswith("val_dice_") and best[0] in at:
                rows.append((f"  {name.removeprefix('val_dice_')}", f"{values[at.index(best[0])]:.4f}"))
    kept = sorted(file.name for file in (run / "checkpoints").glob("*.ckpt"))
    rows.append(("Checkpoints", ", ".join(kept) or "none"))
    note = "Research software, not for clinical use. Epochs count from 0."
    return [html.table(("", ""), rows, text_columns=2), html.paragraph(note, "note")]


def _history(run: Path) -> dict[str, Series]:
    try:
        return read_history(run)
    except DataError:
        return {}


def _curves(run: Path) -> list[str]:
    if not _history(run):
        return [html.heading("Curves"), html.paragraph("No epoch has ended yet.", "note")]
    return _picture("Curves", plot_history(run))


def _picture(title: str, path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [html.heading(title), html.image(path.read_bytes(), alt=title)]


def _results(folder: Path, beside: Path) -> list[str]:
    scores = read_scores(folder)
    parts = [html.heading(f"Evaluation: {scores.title or folder.resolve().name}"), _markdown(markdown(scores))]
    if scores.command:
        parts.append(html.preformatted(scores.command))
    page = folder / "report.html"
    if page.is_file():
        parts.append(f'<p><a href="{escape(_link(page, beside))}">Full report with pictures</a></p>')
    return parts


def _link(page: Path, beside: Path) -> str:
    """Relative where it can be, so that the folder can be moved as a whole."""
    try:
        return quote(Path(os.path.relpath(page.resolve(), beside.resolve())).as_posix())
    except ValueError:  # another drive of Windows
        return page.resolve().as_uri()


def _data(folder: Path) -> list[str]:
    text = _text(folder / "report.md")
    if text is None:
        raise DataError(f"{folder} holds no report.md; name the prepared folder of the run.")
    return [html.heading("Data"), _markdown(text)]


def _folded(title: str, text: str | None) -> list[str]:
    """A text under a heading, folded away where it is long."""
    if text is None:
        return []
    body = html.preformatted(text)
    lines = text.count("\n") + 1
    folded = f"<details><summary>Show its {lines} lines</summary>{body}</details>"
    return [html.heading(title), folded if lines > _LONG else body]


def _system(run: Path) -> list[str]:
    text = _text(run / "system.json")
    facts = _mapping(text or "")
    if not facts:
        return []
    return [html.heading("Machine"), html.table(("", ""), system_rows(facts), text_columns=2)]


def _markdown(text: str) -> str:
    """Tables and paragraphs as HTML; HTML within the text, which comes from file names, is escaped."""
    # Headings of the text come below the page's own.
    lowered = "\n".join(f"##{line}" if line.startswith("#") else line for line in text.splitlines())
    return f'<div class="wide">{MarkdownIt("commonmark", {"html": False}).enable("table").render(lowered)}</div>'


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _mapping(text: str) -> dict[str, Any]:
    """YAML or JSON that a run wrote; {} for anything else, since the page shall not fail for it."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
