"""What goes wrong with keys."""


class KeyProblem(ValueError):
    """A key that is missing, malformed or not the one that is needed; the message never holds key bytes."""
