"""Several processes that convert cases, and how many of them are sensible."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from LiverSegLib.system import allowed_cpus, main_memory
from Training.data.conversion import Conversion, Taken
from Training.data.estimate import Estimate
from Training.data.readers import Entry
from Training.errors import DataError
from Training.recipe.sources import Source

Job = tuple[int, Source, Entry]
# Measured: a process has 0.6 GB of libraries, and 2 GB at its peak for an image of 34 million voxels.
_PROCESS_BYTES, _VOXEL_BYTES = 0.6e9, 60
# Starting a process takes seconds, in which one converts 20 million voxels.
_WORTH_A_PROCESS = 50e6
_MOST = 16


def sensible_workers(found: Estimate | None) -> int:
    """As many processes as have a processor, memory for the largest image, and enough to do; 1 where none knows."""
    if found is None:
        return 1
    available = main_memory().available
    each = _PROCESS_BYTES + _VOXEL_BYTES * found.largest
    fitting = _MOST if available is None else int(0.8 * available / each)
    return max(1, min(allowed_cpus(), _MOST, fitting, int(found.voxels / _WORTH_A_PROCESS)))


def convert_all(conversion: Conversion, jobs: Sequence[Job], workers: int) -> Iterator[tuple[int, Taken]]:
    """The number of each job and what came of it, as they get ready; with one worker in this process and in order.

    Raises:
        DataError: a process was killed.
    """
    if workers <= 1 or len(jobs) < 2:
        for number, source, entry in jobs:
            yield number, conversion(source, entry)
        return
    # Forked processes would inherit torch's threads in the middle of whatever they do.
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), multiprocessing.get_context("spawn"), initializer=_leave_ctrl_c_to_the_parent
    )
    try:
        futures = {pool.submit(conversion, source, entry): number for number, source, entry in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "A process that converted cases was killed, as the system does when memory runs out; what is converted is "
            f"kept, so run the same command with --workers {max(1, workers // 2)}."
        ) from error
    finally:
        # Cases at hand are finished, so that the next try finds them.
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
