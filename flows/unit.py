"""The systemd unit that keeps server and worker running from boot on."""

import sys
from pathlib import Path

from tasks.base.state import ROOT

_UNIT = """\
[Unit]
Description=Model as a service: the keeper, and the Prefect server and worker that it starts
After=network.target

[Service]
WorkingDirectory={root}
Environment=MODEL_SERVICE_STATE={state}
{home}ExecStart={python} -m flows.keeper
Restart=always
RestartSec=5
# Server, worker and runs belong to the unit and are asked to end with it; what is left after the time is killed.
KillMode=control-group
TimeoutStopSec=45
NoNewPrivileges=true

[Install]
WantedBy=default.target
"""


def unit(state: Path, *, bentoml_home: str | None) -> str:
    """The text of a user's unit for this checkout and `state`; `make up` once registers the deployments."""
    return _UNIT.format(
        root=ROOT,
        state=state.resolve(),
        home=f"Environment=BENTOML_HOME={bentoml_home}\n" if bentoml_home else "",
        python=sys.executable,
    )
