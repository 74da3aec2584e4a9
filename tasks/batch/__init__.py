"""Batch prediction: a table of any size in, the same rows in the same order with the model's answers out.

From above: the names below. `python -m tasks.batch` is one of its processes.
"""

from tasks.batch.inputs import outputs_of
from tasks.batch.run import BatchResult, batch_predict

__all__ = ["BatchResult", "batch_predict", "outputs_of"]
