"""After deployment: drift of live traffic, and forgetting a person.

From above: `drift.look`, `forget.forget`.
"""
