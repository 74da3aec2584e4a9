"""Which models are tried and which is chosen: plan, search, cross-validation, average, student, selection.

From above: the stages of those names.
"""
