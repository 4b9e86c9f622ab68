"""Which images a list of files and folders holds, and what each is called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from LiverSegLib.cli.output_plan import Case
from LiverSegLib.cli.outputs import case_name
from LiverSegLib.errors import InputError
from LiverSegLib.io.picture import PICTURES
from LiverSegLib.io.read import is_dicom_file

_VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def find_inputs(paths: Sequence[Path], out: Path, *, slices: bool = False) -> list[Case]:
    """The images that `paths` name, each with a name of its own.

    Folders are searched with all their subfolders for NIfTI, NRRD, MetaImage, PNG, JPEG, BMP, TIFF, .npy and DICOM,
    but not for what lies in `out`, hidden files, and other formats. CT and MR slices of one DICOM series in a
    folder are one image, X-rays are one each.

    Args:
        paths: files and folders.
        out: where results go.
        slices: every DICOM file is an image of its own.

    Raises:
        InputError: a path does not exist, or nothing was found.
    """
    found: list[Case] = []
    dicom: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; check the path.")
        if path.is_dir():
            found += _in_folder(path, out, slices=slices)
        elif _is_dicom(path):
            dicom.append(path)
        else:
            found.append(Case(path=path, name=case_name(path), out=out))
    found += _dicom(dicom, out, slices=slices)
    if not found:
        raise InputError(f"{', '.join(map(str, paths))} holds no image; name files or a folder of images.")
    return _with_unique_names(found)


def _in_folder(folder: Path, out: Path, *, slices: bool) -> Iterator[Case]:
    dicom: list[Path] = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or path.resolve().is_relative_to(out.resolve()):
            continue
        if path.name.lower().endswith((*_VOLUMES, *PICTURES)):
            yield Case(path=path, name=case_name(path), out=out)
        elif _is_dicom(path):
            dicom.append(path)
    yield from _dicom(dicom, out, slices=slices)


def _dicom(paths: Sequence[Path], out: Path, *, slices: bool) -> Iterator[Case]:
    """One input for each series in each folder, or for each file that is a picture of its own."""
    from LiverSegLib.io.dicom.headers import has_dicom_mark, read_header

    seen: set[tuple[Path, str]] = set()
    for path in paths:
        try:
            file = read_header(path)
        except InputError:  # reading it again tells why, in its place in the summary
            yield Case(path=path, name=case_name(path), out=out)
            continue
        if file is None and not has_dicom_mark(path):
            yield Case(path=path, name=case_name(path), out=out)
        if file is None or file.text("Modality") == "SEG":
            continue
        if slices or file.is_xray:
            yield Case(path=path, name=case_name(path), out=out, single=slices)
            continue
        series = (path.parent, file.text("SeriesInstanceUID"))
        if series not in seen:
            seen.add(series)
            yield Case(path=path, name=path.resolve().parent.name, out=out)


def _is_dicom(path: Path) -> bool:
    try:
        return is_dicom_file(path)
    except OSError:  # told when it is read, where it is wanted at all
        return False


def _with_unique_names(found: list[Case]) -> list[Case]:
    """a.png and a.jpg would overwrite each other's results: the second becomes a_2. Nor may a_labels.png be one."""
    taken: set[str] = set()
    unique = []
    for item in found:
        name, number = item.name, 1
        while name.lower() in taken:
            number += 1
            name = f"{item.name}_{number}"
        taken |= {name.lower(), f"{name}_labels".lower()}
        unique.append(replace(item, name=name))
    return unique
