"""Nobody is told anything: every look-up and connection of a whole life of the product stays on this machine."""

import ipaddress
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tasks.deployment.supervisor.listener import spare_port
from tasks.release.package import NAME
from tests.conftest import ROOT
from tests.end_to_end.labelled_text import rows, write_odd_csv

pytestmark = [pytest.mark.slow, pytest.mark.strace, pytest.mark.timeout(1500)]
OWN = ("PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR")
"""All that is inherited: no switch, and no sign of a CI service or of unit tests, which silence some libraries."""
CALLS = "connect,sendto,sendmsg,sendmmsg"
PLACE = re.compile(r'port=htons\((?P<port>\d+)\).*?inet_(?:addr\(|pton\(AF_INET6, )"(?P<address>[^"]+)"')
RESOLVER = re.compile(r'sun_path="[^"]*(?:resolve|avahi)[^"]*"')
CALLS_WITHIN = 30
"""Seconds in which a library that means to call does so; ONNX Runtime waits for some ten after its first session."""
START_SECONDS = 120.0


def strangers(trace: str) -> Iterator[str]:
    """The lines of a trace of `strace` by which something was asked of another machine, or a name was looked up.

    Port 53 of this machine counts too: behind it stands a resolver that asks others.
    """
    for line in trace.splitlines():
        if RESOLVER.search(line):
            yield line
        elif found := PLACE.search(line):
            address = ipaddress.ip_address(found["address"])
            address = getattr(address, "ipv4_mapped", None) or address
            if int(found["port"]) == 53 or not (address.is_loopback or address.is_unspecified):
                yield line


@pytest.mark.parametrize(
    ("line", "strange"),
    [
        ('connect(8, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.255.255.53")}, 16) = 0', True),
        ('connect(8, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0', True),
        ('connect(8, {sa_family=AF_INET, sin_port=htons(3000), sin_addr=inet_addr("127.0.0.1")}, 16) = 0', False),
        (
            'sendto(8, "", 0, 0, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), '
            'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = 0',
            True,
        ),
        ('connect(8, {sa_family=AF_INET6, sin6_port=htons(80), inet_pton(AF_INET6, "::ffff:127.0.0.1", ', False),
        ('connect(8, {sa_family=AF_UNIX, sun_path="/run/systemd/resolve/io.systemd.Resolve"}, 42) = 0', True),
        ('connect(8, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT', False),
    ],
)
def test_a_trace_is_read_right(line: str, strange: bool) -> None:
    assert bool(list(strangers(line))) == strange


class Life:
    """Commands as a person types them, each with all that it starts under `strace`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.environ = {name: os.environ[name] for name in OWN if name in os.environ} | {
            "HOME": str(self.home),
            "MODEL_SERVICE_STATE": str(folder / "state"),
            "BENTOML_HOME": str(folder / "bentoml"),
            "PREFECT_SERVER_API_PORT": "0",
        }
        self.lines: list[str] = []

    @contextmanager
    def running(self, name: str, script: str) -> Iterator[None]:
        """A script of the shell whose standard input ends with the block; all that it starts is followed to its end."""
        trace, log = self.folder / f"{name}.trace", self.folder / f"{name}.log"
        strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-s", "120", "-e", f"trace={CALLS}", "-e", "signal=none"]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*strace, "-o", str(trace), "sh", "-c", script],
                cwd=ROOT,
                env=self.environ,
                stdout=stream,
                stderr=stream,
                stdin=subprocess.PIPE,
            )
        try:
            yield
        finally:
            process.communicate(timeout=1000)
        assert process.returncode == 0, log.read_text()
        self.lines += strangers(trace.read_text())


def module(*command: str) -> str:
    return shlex.join([sys.executable, "-m", *command])


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """Server, worker and keeper; a retrain on a cluster; the service, supervised and by BentoML; batch and monitor."""
    life = Life(tmp_path_factory.mktemp("life"))
    source = str(write_odd_csv(life.folder / "tickets.csv", rows(600)))
    text, label = ("--text-column", "Nachricht (text)"), ("--label-column", "Kategorie / 类别")
    training = ("--effort", "quick", "--train.candidates", "linear,bag", "--runner", "dask")
    port = str(spare_port())
    commands = (
        module("flows.system", "up"),
        module("flows.retrain", "--source", source, *text, *label, *training, "--serve.port", port),
        module("flows.batch_predict", "--input", source, *text, "--output", str(life.folder / "out.csv")),
        module("flows.monitor"),
        f"sleep {CALLS_WITHIN}",
    )
    with life.running("system", f"{' && '.join(commands)}; done=$?; {module('flows.system', 'down')}; exit $done"):
        pass
    bento = f"{NAME}:{(life.folder / 'bentoml' / 'bentos' / NAME / 'latest').read_text()}"
    port = str(spare_port())
    with life.running("bentoml", f"{module('bentoml', 'serve', bento, '--port', port)} & read _; kill $!; wait"):
        predict(f"http://127.0.0.1:{port}")
        time.sleep(CALLS_WITHIN)
    return life


def predict(url: str) -> None:
    """Asks once the service is there."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx.post(f"{url}/predict", json={"texts": ["Why was the parcel late?"]}, timeout=10).raise_for_status()
            return
        except httpx.TransportError:
            assert time.monotonic() < end, f"{url} does not answer"
            time.sleep(0.2)


def test_nobody_beyond_this_machine_is_asked_for_anything(life: Life) -> None:
    assert life.lines == []


def test_nothing_is_kept_ready_to_be_sent(life: Life) -> None:
    """An identity of the device and a queue of events are made long before the first call."""
    assert [file for file in life.home.rglob("*") if file.suffix == ".db" or "deviceid" in file.name] == []
