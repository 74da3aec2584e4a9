"""Where a stage's progress is shown: in the terminal and on Prefect's page."""

import time
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows.console import Console

ARTIFACT_SECONDS = 5.0


class Display:
    """Sends a stage's progress to the terminal and, every few seconds, to a Prefect progress artifact."""

    def __init__(self, name: str, console: Console) -> None:
        self.name = name
        self.console = console
        self.artifact: Any = None
        self.sent = time.monotonic()

    def __call__(self, share: float, text: str) -> None:
        self.console.progress(self.name, min(max(share, 0.0), 1.0), text)
        now = time.monotonic()
        if now - self.sent < ARTIFACT_SECONDS:
            return
        self.sent = now
        percent = round(100 * share, 1)
        if self.artifact is None:
            self.artifact = create_progress_artifact(progress=percent, key=_artifact_key(self.name), description=text)
        else:
            update_progress_artifact(artifact_id=self.artifact, progress=percent, description=text)


def _artifact_key(name: str) -> str:
    return "progress-" + "".join(char if char.isalnum() else "-" for char in name.lower())
