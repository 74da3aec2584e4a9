"""From a source to a data set: ingest, validate, preprocess; with feedback, quarantine, personal data and sealed files.

From above: the stages of those names, `sources.source_of`, `rows.Rows`.
"""
