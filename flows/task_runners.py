"""Where a flow's tasks run, by one setting: in this process, or in the processes of a Dask cluster."""

from typing import Any, Literal

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

RunnerName = Literal["local", "dask"]


def task_runner(name: RunnerName, workers: int, address: str | None = None, threads: int = 1) -> TaskRunner[Any]:
    """The task runner called `name`.

    Args:
        workers: tasks at a time; for `dask` processes on this machine.
        address: of a Dask scheduler that runs already; the cluster is then taken as it is.
        threads: of a process's libraries.
    """
    if name == "local":
        return ThreadPoolTaskRunner(max_workers=workers)
    # Imported here: importing Dask takes a second that other runs need not wait for.
    from prefect_dask.task_runners import DaskTaskRunner

    if address:
        return DaskTaskRunner(address=address)
    cluster = {
        "n_workers": workers,
        # Tasks at a time in a process; what is computed within one may use more.
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": None,
        "env": {name: str(threads) for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")},
    }
    return DaskTaskRunner(cluster_kwargs=cluster)
