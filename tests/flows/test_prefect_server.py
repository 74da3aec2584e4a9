"""The Prefect server that is kept, over real HTTP: whom it lets in."""

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from flows.identity import identity
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FORMER = """
import http.server
class Open(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", 0), Open)
print(server.server_port, flush=True)
server.serve_forever()
"""
"""Answers everybody, as the server of an earlier version did."""

SOCKETS = ["events/in", "events/out", "logs/out", "work_pools/local/workers/connect"]


class Kept(NamedTuple):
    """A kept server that took the place of one without the secret, and what the commands said."""

    state: Path
    url: str
    secret: str
    former: psutil.Process
    former_port: int
    said: str
    shown: str

    @property
    def origin(self) -> str:
        return self.url.removesuffix("/api")

    def ask(self, secret: str | None = None, method: str = "POST", **headers: str) -> httpx.Response:
        if secret is not None:
            headers["Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
        return httpx.request(method, f"{self.url}/deployments/filter", json={}, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    state = tmp_path_factory.mktemp("kept") / "state"
    (state / "prefect").mkdir(parents=True)
    state.chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environ |= {"MODEL_SERVICE_STATE": str(state), "PREFECT_SERVER_API_PORT": "0"}

    def command(name: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "flows.system", name], cwd=ROOT, env=environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    with subprocess.Popen([sys.executable, "-c", FORMER], stdout=subprocess.PIPE, text=True) as former:
        assert former.stdout
        port = int(former.stdout.readline())
        record = state / "prefect" / "server.json"
        record.write_text(json.dumps({**identity(former.pid), "url": f"http://127.0.0.1:{port}/api"}))
        try:
            said = command("server").stderr
            shown = command("ui").stdout
            secret = (state / "prefect" / "api.secret").read_text()
            url = json.loads(record.read_text())["url"]
            yield Kept(state, url, secret, psutil.Process(former.pid), port, said, shown)
        finally:
            former.kill()
            command("down")


def test_who_has_no_secret_or_a_wrong_one_is_refused(kept):
    assert kept.ask().status_code == 401
    assert kept.ask("admin:wrong").status_code == 401
    assert kept.ask(kept.secret).status_code == 200


def test_a_server_without_the_secret_is_replaced_on_its_port_which_is_said(kept):
    assert kept.former.status() == psutil.STATUS_ZOMBIE
    assert kept.origin == f"http://127.0.0.1:{kept.former_port}"
    assert kept.said.splitlines() == ["server      ran without this project's secret: started anew"]


def test_the_secret_is_random_its_owner_s_alone_and_shown_to_who_opens_the_pages(kept):
    assert len(kept.secret) > 40
    assert (kept.state / "prefect" / "api.secret").stat().st_mode & 0o777 == 0o600
    assert kept.shown.splitlines() == [kept.origin, f"the page asks for: {kept.secret}"]


def test_the_state_that_an_earlier_version_left_open_is_closed_to_others(kept):
    assert kept.state.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4200", "127.0.0.1.evil.example", "[::1]:4200", "localhost.", ""]
)
def test_a_foreign_host_is_refused_whatever_it_knows(kept, host):
    assert kept.ask(kept.secret, Host=host).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:8080", "LocalHost"])
def test_a_name_of_this_machine_is_let_in_on_whatever_port_it_was_forwarded(kept, host):
    assert kept.ask(kept.secret, Host=host).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://{host}", "http://localhost"]
)
def test_a_page_of_another_origin_may_not_ask_nor_is_it_told_that_it_may(kept, origin):
    origin = origin.format(host=kept.origin.removeprefix("http://"))
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for answer in (kept.ask(kept.secret, Origin=origin), kept.ask(method="OPTIONS", Origin=origin, **preflight)):
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_own_page_may_ask(kept):
    assert kept.ask(kept.secret, Origin=kept.origin).status_code == 200
    page = httpx.get(kept.origin, headers={"Origin": kept.origin}, follow_redirects=True)
    assert "<html" in page.text


def said_to(kept: Kept, path: str, token: str | None, host: str = "", origin: str | None = None) -> dict[str, Any]:
    """What a websocket says to a client that gives `token`, and that believes to be talking to `host`."""
    url = f"ws://{host or kept.origin.removeprefix('http://')}/api/{path}"
    own = Origin(origin) if origin else None
    with (
        socket.create_connection(("127.0.0.1", kept.former_port)) as plain,
        connect(url, sock=plain, subprotocols=[Subprotocol("prefect")], origin=own, proxy=None) as client,
    ):
        client.send(json.dumps({"type": "auth", "token": token}))
        return json.loads(client.recv(timeout=10))


@pytest.mark.parametrize("path", SOCKETS)
def test_a_websocket_asks_for_the_secret(kept, path):
    for token in (None, "admin:wrong"):
        with pytest.raises(ConnectionClosed):
            said_to(kept, path, token)
    assert said_to(kept, path, kept.secret) == {"type": "auth_success"}


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize(
    ("status", "options"),
    [(403, {"origin": "http://evil.example"}), (400, {"host": "evil.example"})],
)
def test_a_websocket_of_a_foreign_page_is_refused_before_it_is_open(kept, path, status, options):
    with pytest.raises(InvalidStatus) as refused:
        said_to(kept, path, kept.secret, **options)
    assert refused.value.response.status_code == status


def test_a_websocket_that_does_not_speak_prefect_s_protocol_is_refused(kept):
    with pytest.raises(InvalidStatus), connect(f"{kept.url.replace('http', 'ws', 1)}/events/out", proxy=None):
        pass


def test_the_server_is_reached_on_loopback_alone(kept):
    server = psutil.Process(json.loads((kept.state / "prefect" / "server.json").read_text())["pid"])
    listening = [each.laddr for each in server.net_connections() if each.status == psutil.CONN_LISTEN]
    assert [f"http://{host}:{port}" for host, port in listening] == [kept.origin]
