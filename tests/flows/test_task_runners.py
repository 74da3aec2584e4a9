"""Whom the processes of a local cluster obey."""

import os

import httpx
import pytest
from distributed import Client, LocalCluster, Security
from prefect_dask.task_runners import DaskTaskRunner

from flows.task_runners import task_runner

pytestmark = pytest.mark.slow

PAGES = ("health", "metrics", "info/main/workers.html", "info/main/logs.html", "json/identity.json")


def test_another_program_of_this_machine_cannot_make_a_local_cluster_run_anything_nor_read_its_pages():
    runner = task_runner("dask", 1)
    assert isinstance(runner, DaskTaskRunner)
    with LocalCluster(**runner.cluster_kwargs) as cluster, Client(cluster) as client:
        assert isinstance(cluster, LocalCluster)
        assert client.submit(os.getpid).result() != os.getpid()
        known = client.scheduler_info()["workers"]
        addresses = [cluster.scheduler_address, *known, *(one["nanny"] for one in known.values())]
        for address in addresses:
            assert address.startswith("tls://127.0.0.1:")
        for address, secret in (
            (cluster.scheduler_address.replace("tls", "tcp"), None),
            (cluster.scheduler_address, Security.temporary()),
        ):
            with (
                pytest.raises(OSError, match=r"Timed out|in <|certificate"),
                Client(address, security=secret, timeout=2),
            ):
                pass
        status = {httpx.get(f"{_pages(cluster)}/{page}").status_code for page in PAGES}
        assert status == {404}


def _pages(cluster: LocalCluster) -> str:
    """Where the scheduler would show its pages."""
    assert cluster.scheduler
    return f"http://127.0.0.1:{cluster.scheduler.http_server.port}"
