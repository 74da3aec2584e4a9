"""What differs between kinds of task: how labels are read, targets, figures with intervals, calibration, answers.

From above: `registry.KINDS` and `labels.LABEL_KINDS`; nobody else compares a kind's name.
"""
