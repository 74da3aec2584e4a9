"""On which devices and machines a model trains, and in which precision."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.base.errors import InputError
from tasks.base.settings import TrainSettings
from tasks.learning.backend import keras, tf

BFLOAT16_CAPABILITY = (8, 0)


def _one(gpus: int) -> Any:
    return tf.distribute.get_strategy()


def _mirrored(gpus: int) -> Any:
    # Without a GPU: the logical CPUs, which is how the tests run two replicas.
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker(gpus: int) -> Any:
    if "TF_CONFIG" not in os.environ:
        raise InputError(
            "train.strategy is multi_worker, but the environment variable TF_CONFIG, which names the workers and "
            "this worker's place among them, is not set; see docs/scale-out.md"
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


STRATEGIES: dict[str, Callable[[int], Any]] = {
    "one": _one,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "auto": lambda gpus: _mirrored(gpus) if gpus > 1 else _one(gpus),
}


@dataclass(frozen=True)
class Devices:
    """Where a model trains. `xla` compiles a step, for which shapes come in few sizes."""

    strategy: Any
    precision: str
    xla: bool
    worker: int
    workers: int

    @property
    def chief(self) -> bool:
        """Whether this process writes the files."""
        return self.worker == 0

    @property
    def replicas(self) -> int:
        return self.strategy.num_replicas_in_sync

    def shares(self, array: np.ndarray) -> Any:
        """The batch `array`, whose rows are a multiple of the replicas, as what each local replica gets."""
        if self.replicas == 1:
            return tf.convert_to_tensor(array)
        local = self.replicas // self.workers
        size = len(array) // self.replicas

        def of(context: Any) -> Any:
            start = (self.worker * local + context.replica_id_in_sync_group % local) * size
            return tf.convert_to_tensor(array[start : start + size])

        return self.strategy.experimental_distribute_values_from_function(of)


@contextlib.contextmanager
def devices(settings: TrainSettings) -> Iterator[Devices]:
    """Chooses devices and precision by the settings and what is there; restores Keras' policy at the end."""
    gpus = tf.config.list_physical_devices("GPU")
    capable = bool(gpus) and all(
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) >= BFLOAT16_CAPABILITY
        for gpu in gpus
    )
    mixed = {"auto": capable, "on": True, "off": False}[settings.mixed_precision]
    strategy = STRATEGIES[settings.strategy](len(gpus))
    worker, workers = place(settings)
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
    try:
        yield Devices(
            strategy=strategy,
            precision="bfloat16" if mixed else "float32",
            xla={"auto": bool(gpus), "on": True, "off": False}[settings.xla] and strategy.num_replicas_in_sync == 1,
            worker=worker,
            workers=workers,
        )
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def place(settings: TrainSettings) -> tuple[int, int]:
    """This worker's number and how many there are, from TF_CONFIG; number 0 is the chief."""
    if settings.strategy != "multi_worker":
        return 0, 1
    config = json.loads(os.environ["TF_CONFIG"])
    cluster, task = config["cluster"], config["task"]
    chiefs = len(cluster.get("chief", []))
    index = int(task["index"]) + (chiefs if task["type"] == "worker" else 0)
    return index, chiefs + len(cluster.get("worker", []))
