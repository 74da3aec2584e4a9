"""Where a flow's tasks run, by one setting: in this process, or in the processes of a Dask or Ray cluster."""

import socket
from importlib.util import find_spec
from typing import Any, Literal
from urllib.parse import urlsplit

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.base.errors import InputError

RunnerName = Literal["local", "dask", "ray"]

CONNECT_SECONDS = 10.0


def task_runner(name: RunnerName, workers: int, address: str | None = None, threads: int = 1) -> TaskRunner[Any]:
    """The task runner called `name`.

    Args:
        workers: tasks at a time; for `dask` and `ray` processes on this machine.
        address: of a cluster that runs already; it is then taken as it is.
        threads: of a process's libraries.

    Raises:
        InputError: Ray is asked for and not installed.
    """
    if name == "local":
        return ThreadPoolTaskRunner(max_workers=workers)
    environment = {variable: str(threads) for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")}
    return _dask(workers, address, environment) if name == "dask" else _ray(workers, address, environment)


def _dask(workers: int, address: str | None, environment: dict[str, str]) -> TaskRunner[Any]:
    # Imported here: importing Dask takes a second that other runs need not wait for.
    import dask.config
    from prefect_dask.task_runners import DaskTaskRunner

    if address:
        return DaskTaskRunner(address=address)
    # Scheduler and workers run whatever reaches their ports: only who has this run's certificate does. Their pages,
    # which everybody could read, are left out.
    dask.config.set({f"distributed.{part}.http.routes": [] for part in ("scheduler", "worker", "nanny")})
    cluster = {
        "security": True,
        "n_workers": workers,
        # Tasks at a time in a process; what is computed within one may use more.
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": None,
        "env": environment,
    }
    return DaskTaskRunner(cluster_kwargs=cluster)


def check_runner(name: RunnerName | None, address: str | None) -> None:
    """Refuses what could not run anything.

    Raises:
        InputError: Ray is asked for and not installed, or nobody answers at the address.
    """
    if name == "ray" and not find_spec("prefect_ray"):
        raise InputError("runner: Ray is not installed; add it with `.venv/bin/pip install prefect-ray==0.6.0`")
    if address is None or (place := urlsplit(address)).port is None or place.hostname is None:
        return
    try:
        socket.create_connection((place.hostname, place.port), CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(f"runner_address: nobody answers at {address}: {error.strerror or error}") from error


def _ray(workers: int, address: str | None, environment: dict[str, str]) -> TaskRunner[Any]:
    check_runner("ray", address)
    from prefect_ray.task_runners import RayTaskRunner  # pyright: ignore[reportMissingImports] (an extra)

    if address:
        return RayTaskRunner(address=address)
    # A task takes one of these; how many CPUs its libraries use is theirs.
    settings = {"num_cpus": workers, "include_dashboard": False, "runtime_env": {"env_vars": environment}}
    return RayTaskRunner(init_kwargs=settings)
