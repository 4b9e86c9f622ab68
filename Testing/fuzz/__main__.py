"""`python -m Testing.fuzz images packages --seed 1 --count 2000`: exit status 1 where a case escaped."""

from __future__ import annotations

import argparse
import importlib
import sys
import time

TARGETS = ("images", "packages")


def main() -> int:
    """Run the targets one after the other and print their reports."""
    parser = argparse.ArgumentParser(prog="python -m Testing.fuzz", description=__doc__)
    parser.add_argument("target", nargs="+", choices=TARGETS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=2000, help="cases of each target")
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to repeat one")
    options = parser.parse_args()
    escaped = False
    for name in options.target:
        started = time.monotonic()
        report = importlib.import_module(f"Testing.fuzz.{name}").run(options.seed, options.count, options.first)
        print(f"{report}\n{time.monotonic() - started:.0f} s")
        escaped |= bool(report.escapes)
    return int(escaped)


if __name__ == "__main__":
    sys.exit(main())
