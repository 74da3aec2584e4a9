"""Training on several devices and on several machines, which here are processes on loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tasks.base.errors import InputError
from tasks.base.settings import TrainSettings
from tasks.candidates.multi_worker import WorkerJob
from tests.conftest import ROOT
from tests.tasks.toy import make_dataset

# Two logical CPUs in one process stand for two GPUs of one machine.
TWO_REPLICAS = """
import sys
from pathlib import Path
from tasks.learning.backend import tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tasks.candidates.multi_worker import run
run(Path(sys.argv[1]))
"""


def write_job(folder: Path, strategy: str, epochs: int) -> Path:
    job = WorkerJob(
        architecture="cnn",
        dataset=make_dataset(folder / "data", rows=320),
        folder=folder / "candidate",
        train=TrainSettings(strategy=strategy, epochs=epochs, batch_size=32),  # type: ignore[arg-type]
        effort="quick",
        seed=3,
        # A short network with every kind of variable: a table, a kernel, biases, dropout's seeds.
        hyper={"width": 16, "filters": 8, "windows": (2, 3), "vocabulary": 200, "patience": 99},
    )
    path = folder / "job.json"
    path.write_text(job.model_dump_json())
    return path


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def start_workers(job: Path) -> list[subprocess.Popen[bytes]]:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = os.environ | {"TF_CONFIG": json.dumps(config), "PYTHONPATH": str(ROOT)}
        with (job.parent / f"log_{index}").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tasks.candidates.multi_worker", str(job)], env=environment, stderr=log
                )
            )
    return processes


def weights(folder: Path) -> list[np.ndarray]:
    import tasks.models.architectures.layers  # noqa: F401  (registers the layers)
    from tasks.learning.backend import keras

    model = keras.models.load_model(folder / "model.keras")
    return model.get_weights()  # type: ignore[union-attr]


@pytest.mark.slow
def test_two_workers_learn_what_two_replicas_do_and_go_on_after_a_kill(tmp_path: Path) -> None:
    two = write_job(tmp_path / "replicas", "mirrored", epochs=12)
    code = [sys.executable, "-c", TWO_REPLICAS, str(two)]
    replicas = subprocess.Popen(code, env=os.environ | {"PYTHONPATH": str(ROOT)})
    job = write_job(tmp_path / "workers", "multi_worker", epochs=12)

    workers = start_workers(job)
    checkpoint = job.parent / "candidate" / "checkpoint.npz"
    while not checkpoint.exists() and all(worker.poll() is None for worker in workers):
        time.sleep(0.02)
    workers[1].send_signal(signal.SIGKILL)
    workers[1].wait()
    workers[0].send_signal(signal.SIGKILL)
    workers[0].wait()
    assert checkpoint.exists(), (job.parent / "log_0").read_text()
    assert not (job.parent / "candidate.json").exists()

    workers = start_workers(job)
    assert [worker.wait() for worker in workers] == [0, 0], (job.parent / "log_0").read_text()
    assert replicas.wait() == 0
    finished, expected = (json.loads((path.parent / "candidate.json").read_text()) for path in (job, two))
    assert finished["curves"] == expected["curves"]
    pairs = zip(weights(job.parent / "candidate"), weights(two.parent / "candidate"), strict=True)
    assert all(np.array_equal(worker, replica) for worker, replica in pairs)
    pairs = zip(weights(job.parent / "candidate"), weights(job.parent / "candidate" / "worker_1"), strict=True)
    assert all(np.array_equal(chief, other) for chief, other in pairs)


def test_multi_worker_without_its_cluster_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.learning.distribution import devices

    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(InputError, match="TF_CONFIG"), devices(TrainSettings(strategy="multi_worker")):
        pass
