"""`liverseg report`: the page of an image and a label map that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from LiverSegLib import stopping
from LiverSegLib.cli import screen
from LiverSegLib.cli.given_labels import USUAL, labels_in, labels_of, read_labels
from LiverSegLib.cli.request_options import at_home
from LiverSegLib.cli.screen import plain
from LiverSegLib.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from LiverSegLib.labels import Label
    from LiverSegLib.volume import Result, Volume


def report(
    image: Annotated[Path, typer.Argument(help="The image: a file, or the folder of a DICOM series.")],
    labels: Annotated[Path, typer.Argument(help="Its label map, on the same grid; also a DICOM SEG.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The page, or the folder in which it is written.")],
    values: Annotated[
        str | None, typer.Option(help=f"What the values mean. [default: what a DICOM SEG says of itself, else {USUAL}]")
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Of a DICOM folder with several: number, UID, description, or best.")
    ] = None,
) -> None:
    """Write the report of a case that was segmented before, or corrected, or by others."""
    stopping.say("Stopped; nothing was written.")
    from LiverSegLib.cli.outputs import case_name, check_replaceable
    from LiverSegLib.io import read_volume
    from LiverSegLib.io.atomic import told
    from LiverSegLib.report import write_case_report

    path = out if out.suffix.lower() in (".html", ".htm") else out / f"{case_name(image)}_report.html"
    check_replaceable([path])
    given = at_home(str(labels))
    meaning = labels_in(given) if values is None else labels_of(values)
    with screen.console().status(plain(f"Reading {image.name}")):
        volume = read_volume(at_home(str(image)), series=series)
        labelmap = read_labels(given, volume, meaning)
    if not labelmap.any():
        named = ", ".join(f"{label.name}={label.value}" for label in meaning)
        raise InputError(f"{labels} has no voxel of the values {named}; tell what its values mean with --values.")
    with screen.console().status(plain("Drawing")):
        result = _measured(volume, labelmap, meaning)
        with told(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_case_report(volume, result, path, by_hand=[label.name for label in meaning])
    screen.console().print(plain(f"  {path}"), soft_wrap=True)


def _measured(volume: Volume, labelmap: npt.NDArray[np.uint8], labels: tuple[Label, ...]) -> Result:
    """The label map as a result: nobody knows what made it."""
    from LiverSegLib.measure import measure
    from LiverSegLib.volume import Result

    unit = "HU" if volume.modality == "CT" else ""
    measured = measure(labelmap, volume.affine, labels, volume.array, unit)
    return Result(labelmap=labelmap, affine=volume.affine, labels=labels, measurements=measured)
