"""Batch prediction: a table of any size in, the same rows in the same order with the model's answers out."""

from tasks.batch.inputs import outputs_of
from tasks.batch.run import BatchResult, batch_predict

__all__ = ["BatchResult", "batch_predict", "outputs_of"]
