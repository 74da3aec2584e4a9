"""TensorFlow, Keras and tf2onnx, imported in one place so that none is heard while it starts.

Everyone who needs them writes `from tasks.learning.backend import keras, tf`.
"""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# tf2onnx reports an operator that it cannot convert as a log line only; `convert` loads every export instead.
for _name, _level in {"tf2onnx": logging.CRITICAL, "tensorflow": logging.ERROR, "absl": logging.ERROR}.items():
    logging.getLogger(_name).setLevel(_level)
# A text of one token attends to itself alone, as it should.
warnings.filterwarnings("ignore", message="You are using a softmax over axis")
warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a copy keyword")
warnings.filterwarnings("ignore", category=FutureWarning, module="(tf2onnx|tensorflow|keras)")


@contextlib.contextmanager
def _quiet_native_code() -> Iterator[None]:
    """Drops what C++ code writes to file descriptor 2: TensorFlow logs there before its level is read."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 (a device, not a file of ours)
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


with _quiet_native_code():
    import keras
    import tensorflow as tf
    import tf2onnx

    for _gpu in tf.config.list_physical_devices("GPU"):
        # Without it TensorFlow takes the whole card and ONNX Runtime finds no memory there.
        tf.config.experimental.set_memory_growth(_gpu, True)

# Untyped: Keras declares that an operation may give None.
ops: Any = keras.ops

__all__ = ["keras", "ops", "tf", "tf2onnx"]
