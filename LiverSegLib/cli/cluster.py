"""A batch on a cluster: each part is one job of SLURM (submitit), or one task of a Dask cluster.

All that makes a batch survive is in the batch itself. A part that starts again goes on where it ended, so both
adapters do nothing but start parts, and start again those that a dead node took with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from LiverSegLib.batch.folder import Part
from LiverSegLib.cli.batch_run import Batch, run_part
from LiverSegLib.errors import WorkerError

RETRIES = 5
"""How often a part is started again whose node died, or whose time was over."""


@dataclass(frozen=True)
class PartJob:
    """Does one part of a batch; pickled to where it runs, so `batch.source` and `batch.out` are absolute, shared paths.

    Args:
        batch: what is asked for.
        parts: in how many parts it is divided.
    """

    batch: Batch
    parts: int

    def __call__(self, number: int) -> tuple[int, int, int]:
        """Do the part `number`, from 1; gives cases of the part, those done now, and those that failed now."""
        ended = run_part(self.batch, Part(number, self.parts))
        return ended.cases, ended.count.done, ended.count.failed

    def checkpoint(self, number: int) -> Any:
        """What submitit queues again when the time is over or the node is taken away: the same part."""
        return _submitit().helpers.DelayedSubmission(self, number)


def submit_to_slurm(
    batch: Batch, parts: int, logs: Path, *, cluster: str | None = None, **parameters: Any
) -> list[Any]:
    """Queue all parts as one job array.

    Args:
        batch: what is asked for.
        parts: jobs; far more than run at once may wait.
        logs: folder of submitit's files, on a disk that the nodes share.
        cluster: "slurm", "local" (processes here), or None: SLURM where it is found.
        parameters: of `submitit.AutoExecutor.update_parameters`, for example `timeout_min=240, gpus_per_node=1,
            cpus_per_task=8, slurm_array_parallelism=32`.

    Returns:
        The jobs of submitit, in the order of the parts.

    Raises:
        WorkerError: submitit is not installed.
    """
    executor = _submitit().AutoExecutor(folder=logs, cluster=cluster, slurm_max_num_timeout=RETRIES)
    executor.update_parameters(**parameters)
    return list(executor.map_array(PartJob(batch, parts), range(1, parts + 1)))


def submit_to_dask(batch: Batch, parts: int, client: Any, **parameters: Any) -> list[Any]:
    """Give all parts to a Dask cluster.

    Args:
        batch: what is asked for.
        parts: tasks; a few for each Dask worker.
        client: `dask.distributed.Client`, of a LocalCluster, an SLURMCluster of dask-jobqueue, or any other.
        parameters: of `Client.map`, for example `resources={"GPU": 1}`.

    Returns:
        The futures of Dask, in the order of the parts.
    """
    # Not pure: the result is in the folder, and a part that is asked for again must look there again.
    how = {"pure": False, "retries": RETRIES, **parameters}
    return list(client.map(PartJob(batch, parts), range(1, parts + 1), **how))


def _submitit() -> Any:
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise WorkerError(f"Jobs of SLURM need submitit ({error}); run pip install 'liverseg[cluster]'.") from error
    return submitit
