"""How each stage is done. Rooms from the ground up, each importing only those before it:

base, kinds, data, learning, models, conversion, candidates, verdict, release, deployment, batch, watching, report.

Nothing here imports `flows`; `make check` holds both rules.
"""
