"""The public models themselves: our labels beside those of the programs that they were made for.

    python -m Testing.equivalence.public auto3dseg_abdomen_ct_fast monai_spleen_ct --images ct.nii.gz --out public.md
    python -m Testing.equivalence.public totalseg_ct_fast --images ct.nii.gz --reference nnunet-env/bin/python

It fetches the models of these names in the catalogue, some hundred MB each, and keeps them in the work folder as their
publishers packed them. MONAI is the reference of bundles and Auto3DSeg; models of nnU-Net need the Python of an
environment with nnU-Net (see `Testing.equivalence.nnunet` on how to make it). The exit status is 1 where labels differ
by more than rounding.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib

from LiverSegLib.errors import LiverSegError
from LiverSegLib.models.archive import unpack
from LiverSegLib.models.catalogue import Entry, read_catalogue
from LiverSegLib.models.download import download
from LiverSegLib.models.family import NNUNET, find_root
from LiverSegLib.models.transfer import Transfer, Watch
from Testing.equivalence import monai, nnunet

Line = tuple[list[str], bool]


def fetched(entry: Entry, work: Path) -> Path:
    """The folder of the model as its publisher packed it, fetched where it is not there yet."""
    home = work / entry.id
    if not (home / "model").is_dir():
        home.mkdir(parents=True, exist_ok=True)
        watch = Watch(entry.title, _show)
        download(entry.url, home / "model.zip", watch=watch, checksum=entry.checksum)
        unpack(home / "model.zip", home / "unpacked")
        (home / "unpacked").rename(home / "model")
    return find_root(home / "model", home)[0]


def _show(transfer: Transfer) -> None:
    print(f"\r{transfer.title}: {transfer.text}   ", end="", file=sys.stderr, flush=True)


def lines(entry: Entry, images: Sequence[Path], work: Path, python: Path | None) -> Iterator[Line]:
    """The lines of one model in the table, and whether both sides agree."""
    model = fetched(entry, work)
    if entry.family != NNUNET.name:
        for image in images:
            cells, good = monai.row(model, image)
            yield [entry.id, *cells[1:]], good
        return
    if python is None:
        raise SystemExit(
            f"{entry.id} is a model of nnU-Net: --reference is needed, the Python of an environment with it"
        )
    for image in images:
        row = nnunet.row(entry.id, _task(entry, model, image, work / entry.id), python)
        seconds, megabytes = ([who[key] for who in (row.ours, row.theirs)] for key in ("seconds", "megabytes"))
        cells = [
            entry.id,
            f"{image.name} (labelled: {100 * row.foreground:.1f} %)",
            f"{row.equal:.6f}",
            f"{row.dice:.5f}",
        ]
        yield [*cells, "{:.1f} / {:.1f}".format(*seconds), "{:.0f} / {:.0f}".format(*megabytes)], row.good


def _task(entry: Entry, model: Path, image: Path, home: Path) -> Path:
    """What nnU-Net's side is told: every fold, no mirroring, the image turned as the publisher's program turns it."""
    place = home / image.name.partition(".")[0]
    tests = place / "tests"
    tests.mkdir(parents=True, exist_ok=True)
    turned = nib.load(image)
    if entry.about.axcodes:
        here = nib.orientations.io_orientation(turned.affine)
        there = nib.orientations.axcodes2ornt(entry.about.axcodes)
        turned = turned.as_reoriented(nib.orientations.ornt_transform(here, there))
    turned.to_filename(tests / "image_0000.nii.gz")
    folds = sorted(int(path.name.removeprefix("fold_")) for path in model.glob("fold_[0-9]"))
    task: dict[str, Any] = {"model": str(model), "tests": str(tests), "folds": folds, "mirror": False}
    (place / "task.json").write_text(json.dumps(task))
    return place / "task.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; 1 where a model falls short."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.equivalence.public", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="models as `liverseg models list` names them")
    parser.add_argument("--images", nargs="+", type=Path, required=True, help="NIfTI files")
    parser.add_argument("--work", type=Path, default=Path("public-models"), help="folder that is kept")
    parser.add_argument("--reference", type=Path, metavar="PYTHON", help="of an environment with nnunetv2")
    parser.add_argument("--out", type=Path, default=Path("public.md"), help="the table")
    chosen = parser.parse_args(arguments)
    entries = {name: entry for name, entry in read_catalogue().entries.items() if entry.url}
    for name in chosen.ids:
        if name not in entries:
            parser.error(f"{name} is no model of the catalogue that can be fetched; those are {', '.join(entries)}")
    rows: list[Line] = []
    for name in chosen.ids:
        python = chosen.reference and chosen.reference.absolute()
        for line in lines(entries[name], [path.absolute() for path in chosen.images], chosen.work.absolute(), python):
            rows.append(line)
            chosen.out.write_text(monai.table([cells for cells, _good in rows]), encoding="utf-8")
            print(" | ".join(line[0]), flush=True)
    return 0 if all(good for _cells, good in rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LiverSegError as error:
        sys.exit(str(error))
