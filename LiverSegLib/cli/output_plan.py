"""Where the results of each input go: settled before anything is computed, so that nothing of the user's is lost."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from LiverSegLib.cli.outputs import (
    case_name,
    check_replaceable,
    check_writable,
    image_ending,
    is_single_file,
    result_files,
)
from LiverSegLib.errors import OutputError


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input. `out`: the folder, or the one file, of its results; `name`: how they are called in a folder.

    `path` is a file or a folder, of a DICOM series any of its files; `single`: a DICOM file that is read alone;
    `series`: which series of a DICOM folder.
    """

    path: Path
    name: str
    out: Path
    single: bool = False
    series: str | None = None

    @property
    def source_id(self) -> str:
        """The input's place as a digest, which tells no name: a later run knows its own earlier results by it."""
        which = b"" if self.series is None else b"\0" + os.fsencode(self.series)
        return hashlib.sha256(os.fsencode(self.path.resolve()) + which).hexdigest()

    def files(self, picture: bool, more: Sequence[str] = ()) -> list[Path]:
        """What will be written; `more`: endings of files beyond the usual."""
        return result_files(self.out, self.name, self.path.name, picture, more)


def plan_cases(
    inputs: Sequence[Path],
    out: Path | None,
    *,
    picture: bool,
    keep: Sequence[Path] = (),
    more: Sequence[str] = (),
    series: str | None = None,
) -> list[Case]:
    """Give each input a name and a place of its own, and check that all results can be written there.

    Inputs of the same name get that of their folder before it ("A_ct", "B_ct"), or their ending behind it. An input
    that is given twice is one.

    Args:
        inputs: files and folders, which need not exist.
        out: a folder, or one file for a single input; None: a folder of each input's name here.
        picture: whether a picture is drawn of each.
        keep: more files that must not be replaced: a model, a mask.
        more: endings of files beyond the usual.
        series: which series of DICOM folders.

    Raises:
        OutputError: results would replace an input, each other, or what LiverSeg did not write, or cannot be written.
    """
    # A link is an input of its own: it has its own name.
    paths = list({os.path.abspath(path): path for path in inputs}.values())  # noqa: PTH100
    names = _own_names(paths)
    cases = [
        Case(path=path, name=name, out=_place(path, name) if out is None else out, series=series)
        for path, name in zip(paths, names, strict=True)
    ]
    _check_apart(cases, picture, more)
    for case in cases:
        if any(given.is_dir() and _is_same(case.out, given) for given in paths):
            raise OutputError(f"{case.out} is the folder of an input; choose another folder for results with -o.")
        check_inputs_stay(case.files(picture, more), [*paths, *keep])
        check_replaceable(case.files(picture, more), case.source_id)
    for place in dict.fromkeys(case.out for case in cases):
        check_writable(place)
    return cases


def _own_names(paths: Sequence[Path]) -> list[str]:
    """A name for each path, with as much of its folders and ending as tells it from the others."""
    names = [case_name(path) for path in paths]
    keys = [_key(name) for name in names]
    for key in {key for key in keys if keys.count(key) > 1}:
        group = [number for number, other in enumerate(keys) if other == key]
        for number, name in zip(group, _told_apart([paths[n] for n in group]), strict=True):
            names[number] = name
    return names


def _told_apart(paths: Sequence[Path]) -> list[str]:
    """Names of inputs that are called the same: "A_ct", "B_ct"; "ct_nii", "ct_mha" in one folder."""
    parts = [Path(os.path.abspath(path)).parent.parts[1:] for path in paths]  # noqa: PTH100
    for with_ending in (False, True):
        for depth in range(max(map(len, parts)) + 1):
            names = []
            for path, folders in zip(paths, parts, strict=True):
                ending = image_ending(path.name).lstrip(".") if with_ending else ""
                words = [*folders[max(0, len(folders) - depth) :], case_name(path), ending]
                names.append("_".join(filter(None, words)))
            if len(set(map(_key, names))) == len(names):
                return names
    raise OutputError(
        f"{paths[0]} and {paths[1]} would have results of the same name; segment them one by one into different "
        "folders with -o."
    )


def _key(name: str) -> str:
    """What two names have in common that are one file on a system that does not tell upper from lower case."""
    return unicodedata.normalize("NFC", name).casefold()


def _place(path: Path, name: str) -> Path:
    """The folder for an input's results here, unless that is the input itself, such as a DICOM folder."""
    place = Path(name)
    is_taken = place.exists() and (not place.is_dir() or _is_same(place, path))
    return Path(f"{name}_liverseg") if is_taken or is_single_file(place) else place


def _check_apart(cases: Sequence[Case], picture: bool, more: Sequence[str]) -> None:
    owner: dict[str, Case] = {}
    for case in cases:
        for file in case.files(picture, more):
            other = owner.setdefault(_key(os.path.abspath(file)), case)  # noqa: PTH100
            if other is not case:
                raise OutputError(
                    f"{other.path} and {case.path} would both write {file}; segment them into different folders."
                )


def check_inputs_stay(files: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Refuse to write any of `files` over one of `inputs`, under whatever name that goes.

    Raises:
        OutputError: the sentence names the input.
    """
    for given in inputs:
        if any(_is_same(file, given) for file in files):
            raise OutputError(
                f"Results would replace the input {given}; choose another folder or name for them with -o."
            )


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths are one file or folder: through links, hard links, and names in upper and lower case."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one of them is not there
        return False
