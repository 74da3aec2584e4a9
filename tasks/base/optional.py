"""Analyses that a run can do without: each gives a result, or says why it has none."""

from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class NoResult(Exception):
    """What an analysis raises for inputs of which, by its own rule, nothing can be said; the message says why.

    For that alone: a fault in an analysis is a fault, and ends the run as any other.
    """


def attempt(name: str, analysis: Callable[[], Result], otherwise: Result, left_out: dict[str, str]) -> Result:
    """The analysis's result; `otherwise` where it has none, and then the reason by `name` in `left_out`."""
    try:
        return analysis()
    except NoResult as reason:
        left_out[name] = str(reason)
        return otherwise
