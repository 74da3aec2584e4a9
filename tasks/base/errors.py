"""What can go wrong, each with one message for a person.

The exit status is part of the product's contract: 2 for bad input or usage, 3 when the gate
refuses, 4 when the smoke test or the deployment fails, 1 for anything else.
"""


class PipelineError(Exception):
    """A failure that its message explains; shown without a traceback.

    The message says what is wrong, where (file, line or row, column) and what to do.
    """

    exit_status = 1


class InputError(PipelineError):
    """The data, a parameter or a file that the user named cannot be used."""

    exit_status = 2


class GateRefused(PipelineError):
    """The trained model is not good enough to replace what is live."""

    exit_status = 3


class DeploymentError(PipelineError):
    """The smoke test or the deployment failed; the version that was live still is."""

    exit_status = 4
