import socket
import threading

import pytest

from tasks.base.errors import DeploymentError
from tasks.deployment.supervisor import listener


def test_a_port_that_a_dying_process_still_holds_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    held = socket.create_server(("127.0.0.1", 0))
    port = held.getsockname()[1]
    monkeypatch.setattr(listener, "_holder", lambda port: None)
    threading.Timer(0.3, held.close).start()
    with listener.open_listener("127.0.0.1", port) as opened:
        assert opened.getsockname()[1] == port


def test_a_port_that_another_process_holds_is_refused_with_its_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(DeploymentError, match=rf"port {port} on 127.0.0.1 is taken by process \d+ \("):
            listener.open_listener("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(DeploymentError, match=r"cannot listen on 192\.0\.2\.1:0"):
        listener.open_listener("192.0.2.1", 0)
