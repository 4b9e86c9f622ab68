"""The files of one segmented case, the same for the command line, batch and demo."""

from __future__ import annotations

from pathlib import Path

from LiverSegLib.errors import OutputError
from LiverSegLib.io import write_labelmap, write_measurements_csv, write_measurements_json, write_seg_nrrd
from LiverSegLib.io.picture import PICTURES
from LiverSegLib.volume import Result, Volume

_ENDINGS = (".seg.nrrd", ".nii.gz", ".nii")
_INPUT_ENDINGS = (*_ENDINGS, ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", *PICTURES)


def case_name(path: Path) -> str:
    """File or folder name without its image ending: "ct/case01.nii.gz" is "case01"."""
    name = path.resolve().name
    for ending in _INPUT_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def is_single_file(out: Path) -> bool:
    """Whether `out` names one label map or segmentation file instead of a folder."""
    return out.name.lower().endswith(_ENDINGS)


def check_writable(out: Path) -> None:
    """Find out before minutes of work whether results can be written.

    Raises:
        OutputError: says what is in the way.
    """
    folder = out.parent if is_single_file(out) else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".liverseg-write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{folder} cannot be written to ({reason}); choose another output with -o.") from error


def write_outputs(out: Path, name: str, volume: Volume, result: Result, picture: bool) -> list[Path]:
    """Write a case and return the files.

    Args:
        out: a folder (created), or one file ending in .nii.gz, .nii or .seg.nrrd.
        name: start of the file names in a folder.
        volume, result: the case.
        picture: also draw the overlay picture (folder only).

    Raises:
        OutputError: a file could not be written; earlier files of that name are unchanged.
    """
    if is_single_file(out):
        (write_seg_nrrd if out.name.lower().endswith(".seg.nrrd") else write_labelmap)(out, result)
        return [out]
    written = []
    for ending, write in (
        (".seg.nrrd", write_seg_nrrd),
        ("_labels.nii.gz", write_labelmap),
        ("_measurements.csv", write_measurements_csv),
        ("_measurements.json", write_measurements_json),
    ):
        path = out / f"{name}{ending}"
        write(path, result)
        written.append(path)
    if picture:
        from LiverSegLib.pictures import save_case_picture  # matplotlib or Slicer: only where it is drawn

        # A segmented PNG may lie in this folder under this very name.
        path = out / (f"{name}_overlay.png" if volume.name.lower().endswith(".png") else f"{name}.png")
        save_case_picture(path, volume, result)
        written.append(path)
    return written
