"""How fast the engine is, beside the usual MONAI pipeline: `make bench`.

    python -m Testing.benchmarks                      # about ten minutes on two cores
    python -m Testing.benchmarks --quick              # about two
    python -m Testing.benchmarks --image ct.nii.gz --model liver_ct_starter

Writes `benchmark.csv` and `benchmark.md`. Both sides have the same volume and weights, each in a process of its own,
and take turns. Quote ratios: seconds are those of one machine at one time.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import tempfile
from collections.abc import Sequence
from pathlib import Path

from Testing.benchmarks.compare import Comparison, compare
from Testing.benchmarks.models import NETWORKS, has_baseline, random_package
from Testing.benchmarks.volumes import write_phantom_ct

# Voxels, and the distance of slices in mm.
SHAPES = {
    "512x512x130": ((512, 512, 130), 2.5),
    "512x512x300": ((512, 512, 300), 1.5),
    "512x512x600": ((512, 512, 600), 0.9),
}
QUICK = {"256x256x65": ((256, 256, 65), 5.0)}
TINY = {"40x36x20": ((40, 36, 20), 12.0)}
BUILT_IN = ("liver_ct_starter", "liver_tumor3d_ct")
_COLUMNS = ("case", "side", "cold s", "warm s", "ratio cold", "ratio warm", "peak GB", "Dice", "equal", "stages")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases and write both tables."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small volumes, one warm run")
    parser.add_argument("--tiny", action="store_true", help="tiny ones: whether it runs at all")
    parser.add_argument("--image", type=Path, action="append", default=[], help="volumes instead of the phantoms")
    models = ", ".join([*NETWORKS, *BUILT_IN])
    parser.add_argument("--model", action="append", default=[], help=f"of {models}, or a path")
    parser.add_argument("--repeat", type=int, help="warm runs, the median counts")
    parser.add_argument("--out", type=Path, default=Path("benchmark"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    repeat = options.repeat or (1 if options.quick or options.tiny else 3)
    shapes = TINY if options.tiny else QUICK if options.quick else SHAPES
    rows: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = {path.name: path for path in options.image}
        for called, (shape, mm) in {} if images else shapes.items():
            images[called] = write_phantom_ct(folder / f"{called}.nii", shape, mm)
        for called, image in images.items():
            for model in options.model or [*NETWORKS, *BUILT_IN]:
                package = _package(model, folder, tiny=options.tiny)
                sides = ["ours", "monai"] if has_baseline(package) else ["ours"]
                found = compare(f"{called}, {model}", image, package, sides, repeat, folder)
                rows += _rows(found)
                _write(options.out, rows)
                print("\n".join(" | ".join(row[key] for key in _COLUMNS) for row in rows[-len(sides) :]), flush=True)
    print(f"Tables: {options.out / 'benchmark.csv'}, {options.out / 'benchmark.md'}")


def _package(model: str, folder: Path, *, tiny: bool) -> Path:
    from LiverSegLib.models import find_package

    if model not in NETWORKS:
        return find_package(model)
    path = folder / model
    if not path.is_dir():
        random_package(path, model, *((32, 10.0) if tiny else ()))
    return path


def _rows(found: Comparison) -> list[dict[str, str]]:
    """A line for each side; ratios are those of the other side to ours."""
    ours = found.measured["ours"]
    rows = []
    for side, one in found.measured.items():
        is_ours = side == "ours"
        rows.append(
            {
                "case": found.case,
                "side": side,
                "cold s": f"{one.cold:.2f}",
                "warm s": f"{one.warm:.2f}",
                "ratio cold": "" if is_ours else f"{one.cold / ours.cold:.1f}",
                "ratio warm": "" if is_ours else f"{one.warm / ours.warm:.1f}",
                "peak GB": f"{one.peak / 1e9:.2f}",
                "Dice": "" if is_ours or found.dice is None else f"{found.dice:.5f}",
                "equal": "" if is_ours or found.equal is None else f"{found.equal:.5f}",
                "stages": ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in one.stages.items()),
            }
        )
    return rows


def _write(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "benchmark.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    head = [f"{datetime.date.today().isoformat()}, {_machine()}.", ""]
    table = ["| " + " | ".join(_COLUMNS) + " |", "| " + " | ".join("---" for _ in _COLUMNS) + " |"]
    table += ["| " + " | ".join(row[key] for key in _COLUMNS) + " |" for row in rows]
    (folder / "benchmark.md").write_text("\n".join([*head, *table]) + "\n", encoding="utf-8")


def _machine() -> str:
    """The machine, for people."""
    import torch

    from LiverSegLib.engine.devices import has_bf16_matrix_unit
    from LiverSegLib.system import cpu_name

    unit = "with" if has_bf16_matrix_unit() else "without"
    return f"{cpu_name()}, {torch.get_num_threads()} threads, {unit} a matrix unit, torch {torch.__version__}"


if __name__ == "__main__":
    main()
