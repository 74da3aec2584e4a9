"""How a model learns: the loop, optimiser, losses, devices, checkpoints, differential privacy.

From above: `job.Job`, `training.fit`, `candidate.save`, `examples`; it knows no model structure by name.
"""
