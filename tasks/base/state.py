"""Where a local system keeps what it must remember. Only the edges (commands, flows) ask; stages are told."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def state_folder() -> Path:
    """`data/state`, or what MODEL_SERVICE_STATE names: database, runs, logs, feedback, `live.json`."""
    return Path(os.environ.get("MODEL_SERVICE_STATE") or ROOT / "data" / "state").absolute()
