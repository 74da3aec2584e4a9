"""Server, worker, deployments and service of this machine: `python -m flows.system up|down|server|status|ui|unit`."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from flows.environment import SERVER_RECORD, kept_server, make_home, prefect_home, prepare, secret, secret_s_hash, use
from flows.identity import identity, living
from flows.unit import unit
from tasks.base.errors import InputError, PipelineError
from tasks.base.state import ROOT, state_folder

PORT = 4200
POOL = "local"
PROCESSES = ("keeper", "worker", SERVER_RECORD.removesuffix(".json"))
"""In the order in which they are ended: the keeper would start the others again."""
MARK = "MODEL_SERVICE_SYSTEM"
"""Names the state folder in the environment of every process of a system, inherited by what these start."""
START_SECONDS = 180.0
STOP_SECONDS = 15.0


class Background:
    """A process of ours that outlives the command, found again by its record."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.record = prefect_home() / f"{name}.json"
        self.log = state_folder() / "logs" / f"{name}.log"

    def process(self) -> psutil.Process | None:
        """The running process, None when it ended or was never started."""
        return living(self.facts())

    def facts(self) -> dict[str, Any]:
        """The record; empty when there is none that can be read."""
        try:
            return json.loads(self.record.read_text())
        except (OSError, ValueError):
            return {}

    def start(self, command: Sequence[str], environ: dict[str, str], **facts: object) -> psutil.Process:
        """Starts `command` in a session of its own, its output in the log file."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                # A flow run starts elsewhere, and must find our packages.
                env={**environ, MARK: str(state_folder()), "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )
        process = psutil.Process(child.pid)
        self.remember(process, **facts)
        return process

    def remember(self, process: psutil.Process, **facts: object) -> None:
        """Makes `process` the one that is found again."""
        self.record.parent.mkdir(parents=True, exist_ok=True)
        self.record.write_text(json.dumps({**identity(process.pid), "secret": secret_s_hash(), **facts}))

    def stop(self) -> bool:
        """Ends the process and its children, first politely; False when none ran."""
        process = self.process()
        if process is None:
            self.record.unlink(missing_ok=True)
            return False
        family = [process, *process.children(recursive=True)]
        process.send_signal(signal.SIGINT)
        _end(family)
        self.record.unlink(missing_ok=True)
        return True


def _end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=STOP_SECONDS)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=STOP_SECONDS)


def end_left_over() -> int:
    """Ends what a killed process of the system had started, such as the runs of a killed worker; returns how many."""
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(state_folder()) and process.pid != os.getpid():
                process.terminate()
                left.append(process)
        except psutil.Error:
            # Ended meanwhile, or another user's.
            continue
    _end(left)
    return len(left)


def _server() -> Background:
    return Background(SERVER_RECORD.removesuffix(".json"))


def server_port() -> int:
    """The TCP port of the kept Prefect server, or the one it would ask for; 0 for any.

    That of a killed server comes first: a worker that still runs knows its address and no other.
    """
    former = urlsplit(_server().facts().get("url", "")).port
    return former or int(os.environ.get("PREFECT_SERVER_API_PORT", PORT))


def start_server() -> str:
    """The API address of the kept local Prefect server, started when none answers.

    Raises:
        PipelineError: it did not come up; the message names its log.
    """
    if url := kept_server():
        use(url)
        return url
    server, wanted = _server(), server_port()
    ended = _end_strangers()
    server.stop()
    port = _free_port(wanted)
    url = f"http://127.0.0.1:{port}/api"
    use(url)
    environ = {**os.environ, "PREFECT_SERVER_API_HOST": "127.0.0.1", "PREFECT_SERVER_API_PORT": str(port)}
    del environ["PREFECT_API_URL"]
    process = server.start([sys.executable, "-m", "flows.prefect_server", str(port)], environ, url=url)
    _wait(lambda: kept_server() is not None, process, server.log, "the Prefect server")
    if "worker" in ended:
        start_worker(deploy=False)
    if "keeper" in ended:
        start_keeper()
    return url


def _end_strangers() -> list[str]:
    """Ends what runs without the secret of Prefect's API, or with another one, and says so; returns the names."""
    ended = []
    for name in PROCESSES:
        process = Background(name)
        if process.facts().get("secret") != secret_s_hash() and process.stop():
            print(f"{name:<12}ran without this project's secret: started anew", file=sys.stderr, flush=True)
            ended.append(name)
    return ended


def start_worker(*, deploy: bool = True) -> None:
    """Starts the worker when none runs; with `deploy` registers every flow of prefect.yaml first."""
    worker = Background("worker")
    url = start_server()
    environ = dict(os.environ)
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    if deploy:
        _make_pool()
        _do([*prefect, "deploy", "--all"], environ)
        if environ.get("MODEL_SERVICE_NOTIFY"):
            _do([sys.executable, "-m", "flows.notifications"], environ)
    if worker.process() is None:
        process = worker.start([*prefect, "worker", "start", "--pool", POOL, "--name", "local"], environ)
        _wait(lambda: _worker_online(url), process, worker.log, "the Prefect worker")


def start_keeper() -> None:
    """Starts what starts server and worker again after a crash, when it does not run."""
    keeper = Background("keeper")
    if keeper.process() is None:
        start_server()
        keeper.start([sys.executable, "-m", "flows.keeper"], dict(os.environ))


def _make_pool() -> None:
    """Makes the work pool, or makes it anew; Prefect's own command asks a public registry what kinds there are."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    pool = WorkPoolCreate(name=POOL, type="process", base_job_template=template)
    try:
        with get_client(sync_client=True) as client:
            client.create_work_pool(pool, overwrite=True)
    except httpx.HTTPError as error:
        raise PipelineError(f"the Prefect server does not make the work pool {POOL!r}: {error}") from error


def _worker_online(url: str) -> bool:
    # Imported late: `up` and `retrain` need not wait for it where all runs already.
    import httpx

    from flows.api import listed

    try:
        return any(worker["status"] == "ONLINE" for worker in listed(url, f"work_pools/{POOL}/workers"))
    except httpx.HTTPStatusError:
        return False


def _do(command: list[str], environ: dict[str, str]) -> None:
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode == InputError.exit_status and done.stderr.startswith("error: "):
        # Of a command of ours, which has said all there is to say.
        raise InputError(done.stderr.removeprefix("error: ").rstrip())
    if done.returncode:
        raise PipelineError(f"`{' '.join(command[2:])}` failed:\n{done.stdout}{done.stderr}".rstrip())


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise PipelineError("no free TCP port on 127.0.0.1")


def _wait(ready: object, process: psutil.Process, log: Path, name: str) -> None:
    assert callable(ready)
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if ready():
            return
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            raise PipelineError(f"{name} ended at its start; its log says why: {log}")
        time.sleep(0.3)
    raise PipelineError(f"{name} did not answer within {START_SECONDS:.0f} s; see its log: {log}")


def up() -> None:
    """Server, worker, deployments, the status page and, once a version is live, the service."""
    print(f"prefect     {start_server().removesuffix('/api')}", flush=True)
    start_worker()
    print("worker      runs the deployments of prefect.yaml", flush=True)
    start_keeper()
    if (state_folder() / "live.json").exists():
        _serving("start")
    else:
        print("service     nothing is live yet: `make retrain` trains a version and serves it", flush=True)
    # Imported late: the other commands need not wait for it.
    from tasks.report.registry import write_registry

    print(f"registry    {write_registry(state_folder()).as_uri()}", flush=True)


def down() -> None:
    """Ends everything that runs for the project on this machine."""
    _serving("stop")
    for name in PROCESSES:
        print(f"{name:<12}{'stopped' if Background(name).stop() else 'was not running'}", flush=True)
    if count := end_left_over():
        print(f"left over   {count} ended")


def _serving(command: str) -> None:
    subprocess.run([sys.executable, "-m", "tasks.deployment", command], cwd=ROOT, check=False)


def status() -> None:
    """See `flows.status`, whose imports the other commands need not wait for."""
    from flows.status import status

    status()


def ui() -> None:
    """Prints where Prefect's pages are and what they ask for, starting the server when it is not up."""
    print(start_server().removesuffix("/api"))
    print(f"the page asks for: {secret()}")


def print_unit() -> None:
    """Prints a systemd unit that does from boot on what `up` does by hand."""
    print(unit(state_folder(), bentoml_home=os.environ.get("BENTOML_HOME")), end="")


COMMANDS = {"unit": print_unit, "up": up, "down": down, "server": start_server, "status": status, "ui": ui}


def main(arguments: Sequence[str]) -> int:
    prepare()
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"usage: python -m flows.system {'|'.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        make_home()
        COMMANDS[arguments[0]]()
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
