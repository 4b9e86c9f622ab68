"""`python -m Testing.kill_test --count 10000`: exit status 1 where the batch lost a case, or did one wrong.

Tiny volumes are segmented by a tiny network through `liverseg batch`, whose processes and which itself are killed
(SIGKILL) at random moments. One input in 25 is damaged. In the end every case must stand in the table exactly once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from Testing.conftest import write_threshold
from Testing.kill_test.inputs import write_inputs
from Testing.kill_test.killing import run_and_kill
from Testing.kill_test.verdict import faults, innocent_failures


def main() -> int:
    """Make the inputs, run and kill, look at what came out."""
    parser = argparse.ArgumentParser(prog="python -m Testing.kill_test", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="cases")
    parser.add_argument("--workers", type=int, default=2, help="processes of the batch")
    parser.add_argument("--every", type=float, default=15.0, help="mean seconds between two kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where all is kept; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return test(options.folder or Path(temporary), options.count, options.workers, options.every, options.seed)


def test(folder: Path, count: int, workers: int, every_s: float, seed: int) -> int:
    """Do it in a folder and print a report; 1 where something is wrong."""
    truths = write_inputs(folder / "images", count)
    write_threshold(folder / "model", labels=1)
    out = folder / "out"
    arguments = ["batch", str(folder / "images"), "-o", str(out), "--model", str(folder / "model")]
    arguments += ["--device", "cpu", "--workers", str(workers)]
    log = folder / "log.txt"
    kills = run_and_kill(arguments, out / "table.csv", log, every_s=every_s, most=10 * count, seed=seed)
    damaged = sum(truth.liver_ml is None for truth in truths)
    print(f"{count} cases, {damaged} of them damaged; {kills.seconds:.0f} s")
    print(f"{kills.starts} starts; kills: {kills.runs} of the whole run, {kills.workers} of single processes")
    unlucky = innocent_failures(out, truths)
    if unlucky:
        print(f"{unlucky} sound cases were killed three times; --retry-failed does them again")
        run_and_kill([*arguments, "--retry-failed"], out / "table.csv", log, every_s=1e9, most=0, seed=seed)
    found = faults(out, truths)
    for fault in found[:20]:
        print(fault)
    print(f"{len(found)} faults" if found else "no case lost, none twice, all volumes right, all damaged ones listed")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
