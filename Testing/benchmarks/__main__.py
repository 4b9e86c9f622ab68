"""How fast the engine is, beside the usual MONAI pipeline and nnU-Net's own predictor: `make bench`.

    python -m Testing.benchmarks                      # 130 slices, all models: about a quarter of an hour on two cores
    python -m Testing.benchmarks --quick              # some minutes
    python -m Testing.benchmarks --image ct.nii.gz --model liver_ct_starter
    python -m Testing.benchmarks --shape 512x512x300 --model nnU-Net --nnunet nnunet-env/bin/python
    python -m Testing.benchmarks --shape 512x512x300 --model SegResNet --tune

Writes `benchmark.csv` and `benchmark.md` into the folder of `--out`, or adds to those that are there: a case that was
measured before is replaced. Both sides have the same volume and weights, each in a process of its own, and take turns.
Quote ratios: seconds are those of one machine at one time.

nnU-Net's predictor is a side where `--nnunet` names a Python that has nnunetv2, see `Testing/equivalence/nnunet.py`.
With `--tune`, ours are networks that `liverseg tune` was run for, which may have chosen OpenVINO.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from LiverSegLib.models import ModelPackage, find_package, read_package
from Testing.benchmarks import table
from Testing.benchmarks.compare import NNUNET_SIDE, Side, baseline, compare
from Testing.benchmarks.models import NETWORKS, NNUNET, made
from Testing.benchmarks.volumes import write_phantom_ct

# The distance of slices in mm.
USUAL, LONGER = {"512x512x130": 2.5}, {"512x512x300": 1.5, "512x512x600": 0.9}
QUICK, TINY = {"256x256x65": 5.0}, {"40x36x20": 12.0}
_FIELD_MM, _THICKEST_MM = 650.0, 5.0
"""Of phantoms of other shapes: a trunk, and slices as clinics have them."""
BUILT_IN = ("liver_ct_starter", "liver_tumor3d_ct")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases and write both tables."""
    options = _parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    repeat = options.repeat or (1 if options.quick or options.tiny else 3)
    usual = TINY if options.tiny else QUICK if options.quick else USUAL
    python = None if options.nnunet is None else _with_nnunet(options.nnunet)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.tune:  # remembered as long as these packages are there
            os.environ["LIVERSEG_CACHE"] = str(folder / "cache")
        images = {path.name: path for path in options.image}
        for shape in options.shape or ([] if images else usual):
            images[shape] = write_phantom_ct(folder / f"{shape}.nii", *_sized(shape))
        for called, image in images.items():
            for model in options.model or [*NETWORKS, NNUNET, *BUILT_IN]:
                package = _package(model, folder, tiny=options.tiny)
                case = f"{called}, {model}{_tuned(package) if options.tune else ''}"
                rows = table.rows_of(compare(case, image, package.path, _sides(package, python), repeat, folder))
                table.add(options.out, rows)
                print("\n".join(table.text_of(row) for row in rows), flush=True)
    print(f"Tables: {options.out / 'benchmark.csv'}, {options.out / 'benchmark.md'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small volumes, one warm run")
    parser.add_argument("--tiny", action="store_true", help="tiny ones: whether it runs at all")
    parser.add_argument("--image", type=Path, action="append", default=[], help="volumes instead of the phantoms")
    parser.add_argument("--shape", action="append", default=[], help="of a phantom, for example 512x512x300")
    models = ", ".join([*NETWORKS, NNUNET, *BUILT_IN])
    parser.add_argument("--model", action="append", default=[], help=f"of {models}, or a path")
    parser.add_argument("--repeat", type=int, help="warm runs, the median counts")
    parser.add_argument("--nnunet", type=Path, metavar="PYTHON", help="of the environment with nnunetv2")
    parser.add_argument("--tune", action="store_true", help="run `liverseg tune` for each model before")
    parser.add_argument("--out", type=Path, default=Path("benchmark"))
    return parser


def _sized(shape: str) -> tuple[tuple[int, int, int], float]:
    """The voxels and the slice distance in mm of a phantom."""
    known = USUAL | LONGER | QUICK | TINY
    try:
        i, j, k = (int(n) for n in shape.split("x"))
    except ValueError:
        raise SystemExit(f"--shape {shape} is not understood; give three numbers such as 512x512x300.") from None
    if min(i, j, k) < 2:
        raise SystemExit(f"--shape {shape} is no volume; give three numbers above 1 such as 512x512x300.")
    return (i, j, k), known.get(shape, min(_THICKEST_MM, _FIELD_MM / k))


def _with_nnunet(python: Path) -> Path:
    """The Python of `--nnunet`, which has nnunetv2; as it was given, since a link stands for its environment."""
    try:
        done = subprocess.run([python, "-c", "import nnunetv2"], capture_output=True, check=False).returncode
    except OSError as error:
        raise SystemExit(f"--nnunet {python} cannot be run ({error.strerror}); name a Python with nnunetv2.") from error
    if done:
        raise SystemExit(f"--nnunet {python} has no nnunetv2; run {python} -m pip install nnunetv2, or name another.")
    return python.absolute()


def _package(model: str, folder: Path, *, tiny: bool) -> ModelPackage:
    path = made(folder / model, model, tiny=tiny) if model in (*NETWORKS, NNUNET) else find_package(model)
    return read_package(path)


def _tuned(package: ModelPackage) -> str:
    """Run the trial of a model, and tell what it chose."""
    from LiverSegLib.cli.trials import tune

    return ", OpenVINO" if tune(package).is_better else ", torch"


def _sides(package: ModelPackage, python: Path | None) -> list[Side]:
    """Ours, and what it is compared with where that is there."""
    other = baseline(package)
    if other == NNUNET_SIDE and python is None:
        print(f"{package.name} runs without nnU-Net's predictor beside it: --nnunet PYTHON would name one.", flush=True)
        return [Side("ours")]
    return [Side("ours"), *([] if other is None else [Side(other, python if other == NNUNET_SIDE else None)])]


if __name__ == "__main__":
    main()
