"""`python -m Testing.fuzz images --seed 1 --count 2000`: exit status 1 where a case escaped.

Without a target all of them run.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

TARGETS = sorted(
    path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if path.stem not in ("changes", "harness")
)


def main() -> int:
    """Run the targets one after the other and print their reports."""
    parser = argparse.ArgumentParser(prog="python -m Testing.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help=f"of {', '.join(TARGETS)}; default all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, help="cases of each target, instead of what it does in some minutes")
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to repeat one")
    options = parser.parse_args()
    unknown = sorted(set(options.target) - set(TARGETS))
    if unknown:
        parser.error(f"there is no target {unknown[0]}; known are {', '.join(TARGETS)}")
    escaped = False
    for name in options.target or TARGETS:
        started = time.monotonic()
        module = importlib.import_module(f"Testing.fuzz.{name}")
        count = options.count or getattr(module, "COUNT", 500)
        report = module.run(options.seed, count, options.first)
        print(f"{report}\n{time.monotonic() - started:.0f} s")
        escaped |= bool(report.escapes)
    return int(escaped)


if __name__ == "__main__":
    sys.exit(main())
