"""Kinds of task, one file each with everything that differs: labels, loss, figures, calibration, answers.

From above: `registry.KINDS` (by name, found among the files here), `figures`, `scaling`. A service's side of a kind
is its decoder in the bento; nobody else compares a kind's name.
"""
