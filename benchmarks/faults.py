"""What happens when things are killed, full, broken, busy or late? `python -m benchmarks.faults [--only WORDS]`

A whole local system of its own (Prefect's server and worker, the keeper, the service) with a live version,
which clients ask all the while. Each fault in turn is done to it, and after each the next retrain must end as
one that nothing disturbed: status 0, the same figures on the test part, its version alone answering on the
same port. A row is seen when that holds, the fault's own expectation holds, and no client got anything
but a right answer; where a process that was answering is killed, what it was at work on may be lost, and is
counted. The last table is the disk over thirty retrains in a row. Takes about half an hour.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.live_system import CLIENTS, ROWS, LiveSystem, Ran, free_port, until
from tasks.base.errors import DeploymentError
from tasks.base.manifests import Package
from tasks.deployment.deploy import deploy, rollback
from tasks.deployment.supervisor import lifecycle, processes
from tasks.deployment.supervisor.address import address_of
from tasks.deployment.supervisor.processes import Role
from tasks.release.package import bento_model

RETRAINS = 30
SWAPS = 10
GROWTH = 1.25
"""The disk of the last retrains in a row over that of those in the middle, Prefect's database left out."""


@dataclass
class Row:
    fault: str
    seen: bool
    requests: int
    lost: int
    seconds: float
    note: str

    def line(self) -> str:
        seen = "yes" if self.seen else "NO"
        return f"{self.fault:60}{seen:6}{self.requests:9}{self.lost:6}{self.seconds:9.1f}  {self.note}"


class Unexpected(Exception):
    """What was seen is not what a fault may do; the message says what."""


def expect(condition: object, otherwise: str) -> None:
    if not condition:
        raise Unexpected(otherwise)


class Faults:
    """The faults, each a method that does one and looks at what it did; returns what is worth a note."""

    def __init__(self, system: LiveSystem, undisturbed: Ran) -> None:
        self.system = system
        self.undisturbed = undisturbed
        self.stages = list(undisturbed.stages)

    def all(self) -> Iterator[tuple[str, Callable[[], str], int]]:
        """Name, what to call, and how many requests may be lost: those at work in a process that is killed."""
        for number, stage in enumerate(self.stages):
            yield f"SIGKILL in the stage {stage}", partial(self.kill_stage, number), 0
        for name in ("server", "worker"):
            yield f"SIGKILL of the Prefect {name} during a run", partial(self.kill_prefect, name), 0
        yield "SIGKILL of a run's process", self.kill_run, 0
        yield "SIGKILL of the keeper", self.kill_keeper, 0
        yield "SIGKILL of the serving worker", partial(self.kill_serving, "worker"), CLIENTS
        yield "SIGKILL of the supervisor", partial(self.kill_serving, "supervisor"), 0
        yield "SIGKILL of the guardian", partial(self.kill_serving, "guardian"), 0
        yield "SIGKILL of guardian and supervisor", partial(self.kill_serving, "guardian", "supervisor"), 0
        yield "disk full in the store of bentos", partial(self.full_disk, "store"), 0
        yield "disk full while the bento is built", partial(self.full_disk, "build"), 0
        yield "model file of a stage cut short", self.truncated_stage, 0
        yield "model file of a new bento cut short, deployed under load", self.broken_version, 0
        yield "model file of the live bento cut short, its worker killed", self.truncated_live, CLIENTS
        yield "port taken", self.taken_port, 0
        yield "clock 400 days ahead", partial(self.clock, "+400d"), 0
        yield "clock 400 days behind", partial(self.clock, "-400d"), 0
        yield "two retrains at once", self.two_at_once, 0
        yield f"{SWAPS} swaps under load", self.swaps, 0
        yield f"{RETRAINS} retrains in a row", self.many, 0

    def kill_stage(self, number: int) -> str:
        """Half-way through the stage, by the time that it took undisturbed."""
        stage = self.stages[number]
        for share in (0.5, 0.2, 0.0):
            for folder in (self.system.state / "stages").glob(f"{stage.replace(' ', '-')}-*"):
                shutil.rmtree(folder)
            ran = self.system.retrain(kill=(number, share * self.undisturbed.stages[stage]))
            if len(ran.stages) == number and ran.status == -9:
                return f"after {share * self.undisturbed.stages[stage]:.1f} s"
        raise Unexpected(f"the kill never met the stage: {list(ran.stages)}, status {ran.status}")

    def kill_prefect(self, name: str) -> str:
        run, former = self.system.ask_for_run(), self.system.record(name)["pid"]
        self.system.kill(name)
        started = time.monotonic()
        until(lambda: self.system.returned(name, former), f"another {name}", 60)
        back = time.monotonic() - started
        state = self.system.ended(run)
        expect(state.startswith("COMPLETED"), f"the run ended as {state}")
        return f"another one after {back:.0f} s; the run went on and completed"

    def kill_run(self) -> str:
        run = self.system.ask_for_run()
        record = self.system.state / "prefect" / "running" / f"{run}.json"
        os.kill(json.loads(record.read_text())["pid"], 9)
        started = time.monotonic()
        state = self.system.ended(run)
        expect(state.startswith("CRASHED"), f"the run ended as {state}")
        took = time.monotonic() - started
        expect(took < 120, f"it showed as crashed after {took:.0f} s")
        return f"crashed after {took:.0f} s"

    def kill_keeper(self) -> str:
        former = self.system.record("keeper")["pid"]
        self.system.kill("keeper")
        self.system.system("up")
        expect(self.system.returned("keeper", former), "`up` starts no other one")
        return "`up` starts another one"

    def kill_serving(self, *roles: Role) -> str:
        live = self.system.live().version
        self.system.kill_serving(*roles)
        started = time.monotonic()
        if roles == ("guardian", "supervisor"):
            # Nobody is left to start them; the worker goes on.
            time.sleep(2)
            lifecycle.start_live(self.system.state, address_of(live.serve).host, self.system.port)
        until(self.system.whole, "the whole service", 60)
        return f"whole again after {time.monotonic() - started:.1f} s"

    def full_disk(self, where: str) -> str:
        """A real small file system, which this run alone sees in place of the folder: ENOSPC from the kernel."""
        before = self._bentos()
        if where == "store":
            folder, size, fill = self.system.home / "tmp", 65536, "true"
        else:
            folder = self.system.state / "stages"
            copied = self.system.state / "stages-copied"
            shutil.copytree(folder, copied, ignore=shutil.ignore_patterns("package-*"))
            # Blocks are whole pages; what is left free is less than a bento takes.
            size = sum(-(-file.stat().st_size // 4096) * 4096 for file in copied.rglob("*") if file.is_file())
            size, fill = size + 500_000, f'cp -a "{copied}/." "{folder}"'
        folder.mkdir(parents=True, exist_ok=True)
        mount = f'mount -t tmpfs -o size={size} none "{folder}" && {fill} && exec "$@"'
        ran = self.system.retrain(before=["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"])
        shutil.rmtree(self.system.state / "stages-copied", ignore_errors=True)
        message = last_line(ran)
        expect(ran.status in (1, 4), f"the run ended with {ran.status}")
        expect("No space left" in message and "Traceback" not in ran.output, f"it said: {message}")
        expect(self._bentos() == before, "the store has another bento")
        return f"status {ran.status}: {message}"

    def truncated_stage(self) -> str:
        (folder,) = (self.system.state / "stages").glob("optimise-*")
        model = max(folder.rglob("*.onnx"), key=lambda file: file.stat().st_size)
        cut(model)
        return f"{model.name} of {folder.name.partition('-')[0]}"

    def broken_version(self) -> str:
        live = self.system.live().version
        path = self.system.home / "bentos" / "text_classifier" / "broken"
        shutil.copytree(live.path, path)
        cut(bento_model(path) / "model.onnx")
        try:
            deploy(
                Package(tag="text_classifier:broken", path=path, size_bytes=1, content="broken"),
                live.serve,
                [],
                self.system.state,
            )
        except DeploymentError as error:
            expect(self.system.live().version.tag == live.tag, "it is live")
            return str(error).splitlines()[0]
        finally:
            shutil.rmtree(path)
        raise Unexpected("it was deployed")

    def truncated_live(self) -> str:
        """The version before takes over; the harmed one is mended for the next run's comparison."""
        live = self.system.live()
        before = live.previous
        assert before
        model = bento_model(live.version.path) / "model.onnx"
        whole = model.read_bytes()
        cut(model)
        started = time.monotonic()
        self.system.kill_serving("worker")
        until(lambda: self.system.live().version.tag == before.tag and self.system.whole(), "the one before", 60)
        model.write_bytes(whole)
        return f"the version before answers after {time.monotonic() - started:.1f} s"

    def taken_port(self) -> str:
        with subprocess.Popen(
            [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port := free_port())],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as other:
            time.sleep(1)
            ran = self.system.retrain("--serve.port", str(port))
            other.kill()
        message = last_line(ran)
        expect(
            ran.status == 4 and str(port) in message and str(other.pid) in message, f"status {ran.status}: {message}"
        )
        return f"status 4: {message}"

    def clock(self, step: str) -> str:
        """The run alone sees the other time (libfaketime); it trains and deploys."""
        program = shutil.which("faketime")
        if program is None:
            raise Unexpected("not done: Debian's package `faketime` is not installed")
        # What is kept by content needs no clock: the run is to do its work.
        shutil.rmtree(self.system.state / "stages")
        ran = self.system.retrain(before=[program, "-f", step])
        expect(ran.status == 0, f"status {ran.status}: {last_line(ran)}")
        expect(ran.figures == self.undisturbed.figures, "its figures are others")
        tag = self.system.live().version.tag
        expect(self._alone(tag), f"{tag} does not answer alone")
        return f"{tag} is live"

    def two_at_once(self) -> str:
        first = subprocess.Popen(
            self.system.retrain_command(),
            env=self.system.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        second = self.system.retrain()
        output = first.communicate()[0]
        expect((first.returncode, second.status) == (0, 0), f"{first.returncode} and {second.status}")
        expect(
            ("waiting for it to end" in output) != ("waiting for it to end" in second.output), "none waited, or both"
        )
        return "one waited and said so, both ended with 0"

    def swaps(self) -> str:
        taken = []
        for _ in range(SWAPS):
            live = self.system.live()
            other = live.previous
            assert other
            started = time.monotonic()
            rollback(other.tag, self.system.state, "a fault's test")
            taken.append(time.monotonic() - started)
            lifecycle.swap(self.system.state, live.version, "deployed", "a fault's test")
        return f"rollbacks took at most {max(taken):.1f} s"

    def many(self) -> str:
        sizes = []
        for number in range(1, RETRAINS + 1):
            self.system.write_table(ROWS + number)
            ran = self.system.retrain()
            expect(ran.status == 0, f"retrain {number} ended with {ran.status}: {last_line(ran)}")
            sizes.append(self.system.disk())
            print(
                f"    retrain {number:2}  "
                + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes[-1].items()),
                flush=True,
            )
        self.system.write_table(ROWS)
        middle, last = (
            sum(size for name, size in sizes[index].items() if name != "prefect") for index in (len(sizes) // 2, -1)
        )
        expect(last < GROWTH * middle, f"the disk grew from {middle / 1e6:.1f} MB to {last / 1e6:.1f} MB")
        grown = (sizes[-1]["prefect"] - sizes[len(sizes) // 2]["prefect"]) / (len(sizes) - len(sizes) // 2 - 1)
        sizes_told = f"{middle / 1e6:.1f} MB half-way, {last / 1e6:.1f} MB at the end"
        return f"{sizes_told}; Prefect's database {grown / 1e6:+.2f} MB a run"

    def _bentos(self) -> list[str]:
        return sorted(path.name for path in (self.system.home / "bentos" / "text_classifier").iterdir())

    def _alone(self, tag: str) -> bool:
        workers = {found.version for found in processes.find(self.system.state, "worker")}
        return until(self.system.whole, "the whole service", 60) and workers == {tag}

    def next_run(self) -> None:
        """The retrain after a fault must be as one that nothing disturbed."""
        before = self.system.live().version.tag
        ran = self.system.retrain()
        expect(ran.status == 0, f"the next run ended with {ran.status}: {last_line(ran)}")
        expect(list(ran.stages) == self.stages, f"the next run had the stages {list(ran.stages)}")
        expect(ran.figures == self.undisturbed.figures, f"the next run's figures are others: {ran.figures}")
        tag = self.system.live().version.tag
        expect(tag != before and self._alone(tag), f"{tag} does not answer alone after {before}")


def cut(file: Path) -> None:
    """Leaves the first half of a file."""
    os.truncate(file, file.stat().st_size // 2)


def last_line(ran: Ran) -> str:
    lines = [line for line in ran.output.splitlines() if line.startswith("error:")] or ran.output.splitlines() or [""]
    return lines[-1].removeprefix("error: ")


def measured(faults: Faults, name: str, fault: Callable[[], str], may_lose: int) -> Row:
    """Does one fault and the retrain after it, both under load."""
    started = time.monotonic()
    seen, note = True, ""
    with faults.system.asked() as got:
        try:
            note = fault()
            faults.next_run()
        except (Unexpected, RuntimeError, DeploymentError) as error:
            seen, note = False, f"{note}; {error}" if note else str(error)
    if len(got.failed) > may_lose:
        seen, note = False, f"{note}; {len(got.failed)} failed: {sorted(set(got.failed))[:3]}"
    return Row(name, seen, got.answers.total(), len(got.failed), round(time.monotonic() - started, 1), note)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], help="only faults with one of these in their names")
    parser.add_argument("--json", type=Path, help="also write the table here")
    options = parser.parse_args()
    table: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        system = LiveSystem(Path(folder))
        system.system("up")
        try:
            undisturbed = system.retrain()
            if undisturbed.status:
                raise RuntimeError(undisturbed.output)
            faults = Faults(system, undisturbed)
            print(f"undisturbed: {', '.join(f'{name} {took:.1f} s' for name, took in undisturbed.stages.items())}")
            print(f"{'fault':60}{'seen':6}{'requests':>9}{'lost':>6}{'seconds':>9}  note", flush=True)
            for name, fault, may_lose in faults.all():
                if any(part in name for part in options.only):
                    row = measured(faults, name, fault, may_lose)
                    table.append(row)
                    print(row.line(), flush=True)
        finally:
            left = system.down()
        print(f"left after `down`: {left or 'nothing'}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in table], indent=2) + "\n")
    return 0 if not left and all(row.seen for row in table) else 1


if __name__ == "__main__":
    sys.exit(main())
