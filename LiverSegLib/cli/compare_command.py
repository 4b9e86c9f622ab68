"""`liverseg compare`: two scans of one patient."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from LiverSegLib import stopping
from LiverSegLib.cli import screen
from LiverSegLib.cli.given_labels import USUAL, labels_of, read_labels
from LiverSegLib.cli.request_options import at_home, request_from
from LiverSegLib.cli.screen import plain, show_note

if TYPE_CHECKING:
    from LiverSegLib.cli.way import Run
    from LiverSegLib.followup import Comparison, TimePoint
    from LiverSegLib.labels import Label

Scan = Annotated[Path, typer.Argument(help="The earlier scan: a file, or the folder of a DICOM series.")]
Later = Annotated[Path, typer.Argument(help="The later scan.")]


def compare(
    baseline: Scan,
    followup: Later,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the results.")],
    baseline_labels: Annotated[Path | None, typer.Option(help="Its label map; without one it is segmented.")] = None,
    followup_labels: Annotated[Path | None, typer.Option(help="Its label map; without one it is segmented.")] = None,
    values: Annotated[str, typer.Option(help="What the values of given label maps mean.")] = USUAL,
    model: Annotated[str | None, typer.Option(help="Package folder, zip, or id of a model that segments them.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    deformable: Annotated[bool, typer.Option(help="Bend the liver, too, when the scans are registered.")] = False,
) -> None:
    """Compare two scans of one patient: which lesions are new, gone, grown, shrunk or stable."""
    stopping.say("Stopped; nothing was written.")
    from LiverSegLib.followup import compare as compared
    from LiverSegLib.followup.write import write_comparison

    labels = labels_of(values)
    run = None
    if baseline_labels is None or followup_labels is None:
        from LiverSegLib.cli.way import way_of

        with screen.console().status(plain("Loading the model")):
            asked = request_from(model=model, device=device, roi=None, targets="all", postprocess=True)
            run = way_of(asked, None, 0.0)
    first = _time_point(baseline, baseline_labels, labels, run)
    second = _time_point(followup, followup_labels, labels, run)
    with screen.console().status(plain("Comparing")):
        found = compared(first, second, deformable=deformable)
        files = write_comparison(out, found, first, second)
    screen.console().print(comparison_table(found))
    for warning in found.warnings:
        show_note(warning)
    for file in files[:3]:
        screen.console().print(plain(f"  {file}"), soft_wrap=True)


def _time_point(path: Path, labels_path: Path | None, labels: tuple[Label, ...], run: Run | None) -> TimePoint:
    """Read a scan, and read or make its label map."""
    from LiverSegLib.followup import TimePoint
    from LiverSegLib.io import read_volume

    with screen.console().status(plain(f"Reading {path.name}")):
        volume = read_volume(at_home(str(path)))
    if labels_path is not None:
        labelmap = read_labels(labels_path, volume, labels)
        return TimePoint(labelmap=labelmap, affine=volume.affine, labels=labels, name=path.name, volume=volume)
    assert run is not None
    with screen.console().status(plain(f"Segmenting {path.name}")):
        result = run(volume, should_stop=stopping.requested)
    return TimePoint(
        labelmap=result.labelmap, affine=result.affine, labels=result.labels, name=path.name, volume=volume
    )


def comparison_table(found: Comparison) -> Table:
    """The changes, for people."""
    table = Table("Lesion", "Baseline", "Follow-up", title=plain("Follow-up", "table.title"))
    for title in ("Diameter (mm)", "Volume (mL)"):
        table.add_column(title, justify="right")
    for change in found.changes:
        numbers = ["+".join(f"no. {n}" for n in side) or "-" for side in (change.baseline, change.followup)]
        sizes = [
            f"{change.baseline_mm:.1f} → {change.followup_mm:.1f}",
            f"{change.baseline_ml:.2f} → {change.followup_ml:.2f}",
        ]
        table.add_row(f"{change.status} {change.note}".strip(), *numbers, *sizes)
    sums = f"{found.baseline_sum_mm:.1f} → {found.followup_sum_mm:.1f}"
    table.add_row("sum", "", "", sums, "")
    return table
