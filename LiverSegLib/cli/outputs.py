"""The files of one segmented case, the same for the command line, batch and demo."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from LiverSegLib.errors import OutputError
from LiverSegLib.io import write_labelmap, write_measurements_csv, write_measurements_json, write_seg_nrrd
from LiverSegLib.io.atomic import Opener, atomic_files
from LiverSegLib.io.leftovers import remove_leftovers
from LiverSegLib.io.marks import is_ours, source_of
from LiverSegLib.io.picture import PICTURES
from LiverSegLib.volume import Result, Volume

_ENDINGS = (".seg.nrrd", ".nii.gz", ".nii")
_INPUT_ENDINGS = (*_ENDINGS, ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", *PICTURES)
_SEGMENTS, _LABELS, _TABLE, _NUMBERS = ".seg.nrrd", "_labels.nii.gz", "_measurements.csv", "_measurements.json"


def _write_nothing(*_: object) -> None:
    """What is done where nothing more is asked for."""


@dataclass(frozen=True)
class More:
    """Files of a case beyond the usual: their endings, and what writes them, given their paths in this order."""

    endings: tuple[str, ...] = ()
    write: Callable[[Sequence[Path], Volume, Result, Opener], None] = _write_nothing


NOTHING_MORE = More()


def case_name(path: Path) -> str:
    """File or folder name without its image ending: "ct/case01.nii.gz" is "case01".

    A link has the name by which it is passed, not that of the file it leads to.
    """
    # Absolute, because "." has no name.
    name = Path(os.path.abspath(path)).name  # noqa: PTH100
    return name[: len(name) - len(image_ending(name))]


def image_ending(name: str) -> str:
    """The ending that tells an image format, "" where there is none."""
    return next((name[-len(ending) :] for ending in _INPUT_ENDINGS if name.lower().endswith(ending)), "")


def is_single_file(out: Path) -> bool:
    """Whether `out` names one label map or segmentation file instead of a folder."""
    return out.name.lower().endswith(_ENDINGS) and not out.is_dir()


def result_files(out: Path, name: str, input_name: str, picture: bool, more: Sequence[str] = ()) -> list[Path]:
    """The files that a case will have.

    Args:
        out: a folder, or one file ending in .nii.gz, .nii or .seg.nrrd.
        name: start of the file names in a folder.
        input_name: how the input's file is called.
        picture: whether the overlay picture is drawn.
        more: endings of further files, which come last.
    """
    if is_single_file(out):
        return [out]
    endings = [_SEGMENTS, _LABELS, _TABLE, _NUMBERS]
    if picture:
        # A segmented PNG may lie in this folder under this very name.
        endings.append("_overlay.png" if input_name.lower().endswith(".png") else ".png")
    return [out / f"{name}{ending}" for ending in (*endings, *more)]


def check_writable(out: Path) -> None:
    """Find out before minutes of work whether results can be written; nothing is left behind.

    Raises:
        OutputError: says what is in the way.
    """
    folder = out.parent if is_single_file(out) else out
    with _made(folder, keep=False), atomic_files(folder):
        pass


def check_replaceable(files: list[Path], source_id: str | None = None) -> None:
    """Refuse to replace what LiverSeg did not write, and the results of another input.

    Args:
        files: what a case is going to write.
        source_id: what its measurements will tell about the input; None: the input is not compared.

    Raises:
        OutputError: a file is in the way; the sentence names it.
    """
    for path in files:
        if not _exists(path):
            continue
        if path.is_dir():
            raise OutputError(f"{path} cannot be written because a folder has that name; choose another name with -o.")
        # A link is replaced itself; the file it leads to stays.
        if not path.is_symlink() and not is_ours(path):
            raise OutputError(
                f"{path} was not written by LiverSeg, or was changed since; it is not replaced. Choose another "
                "output with -o, or move it away."
            )
        if path.name.endswith(_NUMBERS) and source_id and source_of(path) not in (None, source_id):
            raise OutputError(
                f"{path} holds the results of another image, or of this one at its earlier place; they are not "
                "replaced. Choose another output with -o, or move them away."
            )


def _exists(path: Path) -> bool:
    # In a folder that is there, because in a missing one a name that is too long is not found out.
    folder = next((place for place in path.parents if place.is_dir()), path.parent)
    try:
        (folder / path.name).lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); choose another name.") from error
    return folder == path.parent


def write_outputs(
    out: Path,
    name: str,
    volume: Volume,
    result: Result,
    picture: bool,
    source_id: str | None = None,
    more: More = NOTHING_MORE,
) -> list[Path]:
    """Write a case and return the files; they appear all together or not at all.

    Args:
        out: a folder (created), or one file ending in .nii.gz, .nii or .seg.nrrd.
        name: start of the file names in a folder.
        volume, result: the case.
        picture: also draw the overlay picture (folder only).
        source_id: told in the measurements, so that a later run knows which input they are of.
        more: what else is written (folder only).

    Raises:
        OutputError: a file could not be written; all earlier files of the case are unchanged.
    """
    files = result_files(out, name, volume.name, picture, more.endings)
    check_replaceable(files, source_id)
    folder = out.parent if is_single_file(out) else out
    with _made(folder, keep=True):
        remove_leftovers(folder)
        if is_single_file(out):
            (write_seg_nrrd if out.name.lower().endswith(_SEGMENTS) else write_labelmap)(out, result)
        else:
            segments, labels, table, numbers, *others = files
            further = others[len(others) - len(more.endings) :]
            with atomic_files(folder) as opener:
                write_seg_nrrd(segments, result, opener=opener)
                write_labelmap(labels, result, opener=opener)
                write_measurements_csv(table, result.measurements, opener=opener)
                write_measurements_json(numbers, result, source_id=source_id, opener=opener)
                for path in others[: len(others) - len(further)]:
                    from LiverSegLib.pictures import save_case_picture  # matplotlib: only where it is drawn

                    save_case_picture(path, volume, result, opener=opener)
                more.write(further, volume, result, opener)
    return files


@contextmanager
def _made(folder: Path, *, keep: bool) -> Iterator[None]:
    """Have `folder` exist; what was made for it goes again where the block fails or `keep` is false."""
    missing: list[Path] = []
    try:
        try:
            missing = [place for place in (folder, *folder.parents) if not place.exists()]
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(f"{folder} cannot be written to ({reason}); choose another output with -o.") from error
        yield
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            with suppress(OSError):
                for place in missing:  # the innermost first; one that another program uses is not empty
                    place.rmdir()
