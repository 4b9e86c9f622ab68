"""One page about a run: curves, results, data, recipe, network, machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from Training.data.folder import PreparedFolder
from Training.errors import DataError, RunError
from Training.evaluation.scores import read_scores
from Training.fit.curves import plot_history
from Training.fit.run_folder import RunFolder, Series, best_epoch
from Training.fit.system import system_rows
from Training.markdown import table
from Training.reports import html
from Training.reports.evaluation_report import REPORT
from Training.reports.score_tables import markdown

_NO_EPOCH = "> No epoch has ended yet."


_NO_EPOCH = "> No epoch has ended yet."


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
        RunError: `run` is no run folder.
        DataError: a folder of `results` or `data` holds no results or report.
        OutputError: the page cannot be written.
    """
    folder = RunFolder(run)
    text = _text(folder.recipe_file)
    if not text:
        raise RunError(f"{folder} holds no {folder.recipe_file.name}; it is not a run, train first.")
    path = out if out.suffix.lower() in (".html", ".htm") else out / REPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    recipe, history = _mapping(text), _history(folder)
    parts = [
        _overview(folder, recipe, history),
        *(_picture("Curves", plot_history(folder)) if history else [html.markdown("## Curves", _NO_EPOCH)]),
        *(part for scores in results for part in _results(scores, path.parent)),
        *_picture("First training batch, as augmented", folder.first_batch),
        *([] if data is None else _data(PreparedFolder(data))),
        *_folded("Recipe", text),
        *_folded("Network", _text(folder.network_text)),
        *_system(_mapping(_text(folder.system_file))),
    ]
    title = f"Run {run.resolve().name}: {recipe.get('card', {}).get('title') or recipe.get('name', '')}"
    html.write_page(path, title, parts)
    return path


def _overview(run: RunFolder, recipe: dict[str, Any], history: dict[str, Series]) -> str:
    """What was trained, for how long, and how good it became."""
    labels = recipe.get("labels") or {}
    epochs = max((int(series[0][-1]) for series in history.values()), default=-1) + 1
    rows = [
        ("Recipe", recipe.get("name", "")),
        ("Network", f"{recipe.get('network', {}).get('name', '')}, {recipe.get('spatial_dims', '')}D"),
        ("Labels", ", ".join(str(name) for name in labels.values())),
        ("Epochs", f"{epochs} of at most {recipe.get('optimization', {}).get('max_epochs', '?')}"),
    ]
    seconds = sum(history.get("seconds", ([], []))[1])
    if seconds:
        rows.append(("Time", _duration(seconds)))
    best = best_epoch(history)
    if best is not None:
        rows.append(("Best epoch", f"{best[0]}, validation Dice {best[1]:.4f}"))
        for name, (at, values) in history.items():
            if name.startswith("val_dice_") and best[0] in at:
                rows.append((f"Dice of {name.removeprefix('val_dice_')}", f"{values[at.index(best[0])]:.4f}"))
    rows.append(("Checkpoints", ", ".join(run.kept) or "none"))
    note = "> Research software, not for clinical use. Epochs count from 0."
    return html.markdown(table(("", ""), rows, text_columns=2), note)


def _history(run: RunFolder) -> dict[str, Series]:
    try:
        return run.history()
    except RunError:
        return {}


def _picture(title: str, path: Path) -> list[str]:
    return [html.markdown(f"## {title}"), html.image(path.read_bytes(), alt=title)] if path.is_file() else []


def _results(folder: Path, beside: Path) -> list[str]:
    scores = read_scores(folder)
    parts = [html.markdown(f"## Evaluation: {scores.title or folder.resolve().name}", markdown(scores))]
    if scores.command:
        parts.append(html.folded(scores.command))
    page = folder / REPORT
    if page.is_file():
        parts.append(html.link("Full report with pictures", _address(page, beside)))
    return parts


def _address(page: Path, beside: Path) -> str:
    """Relative where it can be, so that the folder can be moved as a whole."""
    try:
        return quote(Path(os.path.relpath(page.resolve(), beside.resolve())).as_posix())
    except ValueError:  # another drive of Windows
        return page.resolve().as_uri()


def _data(folder: PreparedFolder) -> list[str]:
    text = _text(folder.report)
    if not text:
        raise DataError(f"{folder} holds no {folder.report.name}; name the prepared folder of the run.")
    # Headings of the text come below the page's own.
    lowered = "\n".join(f"##{line}" if line.startswith("#") else line for line in text.splitlines())
    return [html.markdown("## Data", lowered)]


def _folded(title: str, text: str) -> list[str]:
    return [html.markdown(f"## {title}"), html.folded(text)] if text else []


def _system(facts: dict[str, Any]) -> list[str]:
    return [html.markdown("## Machine", table(("", ""), system_rows(facts), text_columns=2))] if facts else []


def _text(path: Path) -> str:
    """What a file holds; nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


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
