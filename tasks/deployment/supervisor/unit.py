"""The systemd unit that starts the deployment with the machine and again after any crash."""

import sys
from pathlib import Path

from tasks.base.state import ROOT

_UNIT = """\
[Unit]
Description=Text classifier: the live version, its workers and their supervisor
After=network.target

[Service]
WorkingDirectory={root}
Environment=MODEL_SERVICE_STATE={state}
{home}ExecStart={python} -m tasks.deployment run
Restart=always
RestartSec=1
# SIGTERM goes to the guardian alone, which lets the workers finish; what is left after the time is killed.
KillMode=mixed
TimeoutStopSec=45
LimitNOFILE=65536
NoNewPrivileges=true
PrivateTmp=true
ProtectSystem=full

[Install]
WantedBy={target}
"""


def unit(state: Path, *, user: bool, bentoml_home: str | None) -> str:
    """The unit's text for this checkout and `state`; a `user` unit belongs to the person, not to the machine."""
    return _UNIT.format(
        root=ROOT,
        state=state.resolve(),
        home=f"Environment=BENTOML_HOME={bentoml_home}\n" if bentoml_home else "",
        python=sys.executable,
        target="default.target" if user else "multi-user.target",
    )
