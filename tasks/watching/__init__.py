"""After deployment: drift of live traffic, forgetting a person, keeping databases and folders small.

From above: `drift.look`, `forget.forget`, `upkeep`.
"""
