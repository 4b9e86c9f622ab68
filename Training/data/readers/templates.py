"""Files found by templates such as `images/{patient}_{slice}.dcm`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from Training.errors import DataError
from Training.recipe.sources import FIELD


def natural(text: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts `slice2` before `slice10`."""
    parts = re.findall(r"\d+|\D+", text)
    return tuple((int(p), "") if p.isdigit() else (-1, p) for p in parts)


def pattern(template: str) -> re.Pattern[str]:
    """The template as an expression: each field matches as little as possible within one part of the path.

    A field that stands there twice is the same text twice.
    """
    text, at, seen = "", 0, set()
    for field in FIELD.finditer(template):
        text += re.escape(template[at : field.start()])
        text += f"(?P={field[1]})" if field[1] in seen else f"(?P<{field[1]}>[^/]+?)"
        seen.add(field[1])
        at = field.end()
    return re.compile(text + re.escape(template[at:]))


def inside(folder: Path, relative: str, where: str) -> Path:
    """`folder / relative`, refused where it leaves the folder.

    Raises:
        DataError: an absolute path or one with `..`.
    """
    if Path(relative).is_absolute() or ".." in re.split(r"[\\/]", relative):
        raise DataError(f"{where}: the path {relative} leaves {folder}; give the folder with --data and stay below it.")
    return folder / relative


def find(template: str, data: Path, where: str) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """Files and folders that match, in natural order: path, path below `data`, and the fields' texts.

    Hidden files are no data. A template without a suffix means folders where there are any: a series of slices.

    Raises:
        DataError: the template leaves `data`, or the folder before its first field is missing.
    """
    inside(data, template, where)
    parts = [part for part in template.split("/") if part not in ("", ".")]
    template = "/".join(parts)
    fixed = next((n for n, part in enumerate(parts) if FIELD.search(part)), len(parts))
    start = data.joinpath(*parts[:fixed])
    if fixed < len(parts) and not start.is_dir():
        raise DataError(f"{where}: the folder {start} is missing; give the folder that holds it with --data.", start)
    found = [(path, path.relative_to(data).as_posix()) for path in _below(start, parts[fixed:])]
    if "." not in parts[-1][parts[-1].rfind("}") + 1 :] and any(path.is_dir() for path, _ in found):
        found = [(path, text) for path, text in found if path.is_dir()]
    whole = pattern(template)
    for path, text in sorted(found, key=lambda item: natural(item[1])):
        match = whole.fullmatch(text)
        if match:
            yield path, text, match.groupdict()


def _below(folder: Path, parts: list[str]) -> Iterator[Path]:
    if not parts:
        # A link that leads nowhere is told when it is read, not left out in silence.
        if folder.exists() or folder.is_symlink():
            yield folder
        return
    part, *rest = parts
    if not FIELD.search(part):
        yield from _below(folder / part, rest)
        return
    wanted = pattern(part)
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if not entry.name.startswith(".") and wanted.fullmatch(entry.name) and (not rest or entry.is_dir()):
            yield from _below(entry, rest)


def fill(template: str, fields: dict[str, str]) -> str:
    """The template with its fields' texts."""
    return FIELD.sub(lambda match: fields[match[1]], template)


def case_name(template: str, text: str, fields: dict[str, str]) -> str:
    """What a case is called: its only field, or its path from the first field on, without suffix."""
    if len(fields) == 1:
        return next(iter(fields.values()))
    parts = template.split("/")
    first = next(n for n, part in enumerate(parts) if FIELD.search(part))
    name = "_".join(text.split("/")[first:])
    _, dot, ending = template[template.rfind("}") + 1 :].partition(".")
    return name.removesuffix(dot + ending)
