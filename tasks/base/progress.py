"""How a long stage says how far it has come."""

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called with the share done (0 to 1) and a short text such as 'epoch 3, accuracy 0.91'."""


def silent(share: float, text: str) -> None:
    """Tells nobody."""


def within(progress: Progress, start: float, end: float, name: str = "") -> Progress:
    """The progress of a part of the work, which begins and ends at these shares of the whole; `name` precedes texts."""
    return lambda share, text: progress(start + (end - start) * share, name + text)


def saying(progress: Progress, text: str) -> Callable[[float], None]:
    """What tells a share under always the same text."""
    return lambda share: progress(share, text)
