"""What the first Segment after a start costs, with and without the warm-up that entering the module begins.

    python -m Testing.benchmarks.first_segment
    python -m Testing.benchmarks.first_segment --model liver_ct_starter --repeat 3

Three clicks on Segment, each seen by the panel's side of the pipe: the first in a process that has done nothing, the
first in one that was warmed up, and the second there. The two kinds of process take turns. Quote ratios: seconds are
those of one machine at one time.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from LiverSegLib.volume import Volume
from Testing.worker_client import WorkerClient


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.first_segment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", help="package folder or id; the default model otherwise")
    parser.add_argument("--repeat", type=int, default=3, help="processes of each kind; medians are told")
    options = parser.parse_args(arguments)
    from LiverSegLib.sample import make_sample

    volume = make_sample()[0]
    rounds = [_round(volume, options.model) for _ in range(options.repeat)]
    cold, warming, first, second = (_median(column) for column in zip(*rounds, strict=True))
    print(f"{volume.name} {'x'.join(map(str, volume.array.shape))}, {options.repeat} processes of each kind, medians")
    print("                                      clock   processor")
    for what, cost in (
        ("the first Segment, nothing ready", cold),
        ("the warm-up, while nobody waits", warming),
        ("the first Segment after it", first),
        ("the second Segment", second),
    ):
        print(f"  {what:<34} {cost.clock:6.2f} s {cost.processor:6.2f} s")
    clock, processor = first.clock / cold.clock, first.processor / cold.processor
    print(f"Warmed up, the first takes {clock:.0%} of the time, {processor:.0%} of the processor's.")


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and of the processor (not a number where only Linux tells)."""

    clock: float
    processor: float


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(median(cost.clock for cost in costs), median(cost.processor for cost in costs))


def _round(volume: Volume, model: str | None) -> tuple[Cost, Cost, Cost, Cost]:
    """What a Segment costs in a new process; and in another its warm-up, a first and a second Segment."""
    with WorkerClient() as client:
        cold = _cost(client, lambda: client.segment(volume, model=model))
        assert client.last_warm is False
    with WorkerClient() as client:
        warming = _cost(client, lambda: client.warm_up(model))
        first = _cost(client, lambda: client.segment(volume, model=model))
        assert client.last_warm is True
        return cold, warming, first, _cost(client, lambda: client.segment(volume, model=model))


def _cost(client: WorkerClient, do: Callable[[], object]) -> Cost:
    start, used = time.perf_counter(), _processor(client)
    do()
    return Cost(time.perf_counter() - start, _processor(client) - used)


def _processor(client: WorkerClient) -> float:
    """Seconds of the processor that the worker has used; 0 before it runs."""
    hello = client.session.hello
    if hello is None:
        return 0.0
    try:
        # proc(5): after the name in brackets the state, and utime and stime as the 12th and 13th from there.
        fields = Path(f"/proc/{hello.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
