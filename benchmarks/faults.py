"""What happens when things are killed, full, broken or busy? `python -m benchmarks.faults`

First a real retrain is killed with SIGKILL in each of its stages in turn, on one state folder, and must end
as an undisturbed one. Then the tests that do the other faults on real processes are run, one by one named
in the table.
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from tasks.state import ROOT
from tests.end_to_end.labelled_text import rows as labelled

STAGE = re.compile(r"  (\S.*?) +(?:[\d.]+ s|kept)   ")

SYSTEM, SERVING, TASKS = "tests/flows/test_system.py", "tests/tasks/serving/test_faults.py", "tests/tasks"
# What is done, the test that does it, what must be seen.
FAULTS = (
    (
        "SIGKILL of a run, cancel of the next, three asked for at once",
        f"{SYSTEM}::test_runs_asked_for_together_train_one_by_one_through_a_kill_and_a_cancel",
        "Crashed, Cancelled without children, the third done; never two at once",
    ),
    (
        "SIGKILL of the Prefect server and of the worker",
        f"{SYSTEM}::test_a_killed_server_and_a_killed_worker_come_back_by_themselves",
        "both back by themselves",
    ),
    (
        "SIGKILL of a worker whose run goes on, then down",
        "tests/flows/test_left_over.py::test_what_a_killed_process_had_started_is_ended_and_nothing_else",
        "no process is left",
    ),
    (
        "SIGKILL of the retrain that another waits for",
        "tests/flows/test_exclusive.py::test_a_second_run_queues_says_so_and_goes_on_when_the_holder_is_killed",
        "the second goes on",
    ),
    ("SIGKILL of a serving worker", f"{SERVING}::test_a_killed_worker_is_replaced", "replaced"),
    (
        "SIGKILL of the supervisor",
        f"{SERVING}::test_a_killed_supervisor_costs_no_request_and_its_worker_is_adopted",
        "no request lost",
    ),
    ("SIGKILL of the guardian", f"{SERVING}::test_a_killed_guardian_is_replaced_and_guards_as_before", "replaced"),
    (
        "SIGKILL of guardian and supervisor",
        f"{SERVING}::test_with_guardian_and_supervisor_killed_the_worker_answers_and_the_next_start_adopts_it",
        "answers, adopted",
    ),
    (
        "SIGKILL of any serving process, then a swap",
        f"{SERVING}::test_after_any_kill_the_next_swap_ends_with_only_the_new_version",
        "only the new version answers",
    ),
    (
        "a new version that turns bad under load",
        f"{TASKS}/serving/test_rollout.py::test_a_version_that_turns_bad_after_the_swap_is_rescued_and_withdrawn",
        "rescued and withdrawn",
    ),
    (
        "a swap under load",
        "tests/bentos/test_worker.py::test_a_swap_under_keep_alive_load_loses_no_request",
        "no request lost",
    ),
    (
        "disk full while a bento is written",
        f"{TASKS}/test_package.py::test_a_full_disk_leaves_nothing_in_the_store",
        "nothing half-written",
    ),
    ("disk full while data is read", f"{TASKS}/test_bad_input.py::test_full_disk_leaves_nothing", "one message"),
    (
        "a broken model file",
        "tests/bentos/test_worker.py::test_a_broken_model_ends_the_worker_with_a_reason_and_no_word_of_readiness",
        "refused with the reason, never ready",
    ),
    (
        "the port is taken",
        f"{TASKS}/test_deploy.py::test_a_taken_port_is_refused_by_the_name_of_its_holder",
        "refused, the holder named",
    ),
    (
        "30 versions in a row",
        f"{TASKS}/test_retention.py::test_thirty_versions_leave_the_newest",
        "the disk is bounded",
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the table here")
    parser.add_argument("--stages-only", action="store_true", help="only the kills in the stages of a retrain")
    options = parser.parse_args()
    print(f"{'fault':66}{'must be seen':72}seen")
    table = []
    for row in [*killed_stages(), *([] if options.stages_only else tested())]:
        table.append(row)
        print(f"{row['fault']:66}{row['expected']:72}{'yes' if row['seen'] else 'NO'}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(table, indent=2) + "\n")
    return 0 if all(row["seen"] for row in table) else 1


def killed_stages() -> list[dict[str, Any]]:
    """Kills a retrain in each stage in turn; the last run must give the figures of an undisturbed one."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        table = folder / "tickets.csv"
        with table.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("text", "label"), *labelled(240)])
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PREFECT_SERVER_API_PORT": "0",
            "MODEL_SERVICE_STATE": str(folder / "state"),
            "BENTOML_HOME": str(folder / "bentoml"),
        }
        command = [sys.executable, "-m", "flows.retrain", "--source", str(table), "--effort", "quick"]
        command += ["--train.candidates", "linear", "--no-deploy", "--report", str(folder / "report.json")]
        _system("server", environ)
        try:
            stages = _run(command, environ)
            undisturbed = _figures(folder / "report.json")
            # Nothing of the first run may be taken up by the others.
            (folder / "state" / "stages").rename(folder / "undisturbed")
            killed = [(stage, _run(command, environ, number)) for number, stage in enumerate(stages)]
            _run(command, environ)
            same = _figures(folder / "report.json") == undisturbed
        finally:
            _system("down", environ)
    expected = "the next run goes on; the last gives an undisturbed one's figures"
    return [
        {"fault": f"SIGKILL in stage {stage!r}", "expected": expected, "seen": same and seen == stages[: len(seen)]}
        for stage, seen in killed
    ]


def _system(command: str, environ: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "flows.system", command], cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, check=True
    )


def _run(command: list[str], environ: dict[str, str], kill_after: int | None = None) -> list[str]:
    """The stages that ended, in order; with `kill_after` the process is killed once so many have."""
    seen: list[str] = []
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        if kill_after == 0:
            while not any((Path(environ["MODEL_SERVICE_STATE"]) / "prefect" / "running").glob("*.json")):
                assert process.poll() is None
        for line in process.stdout if kill_after != 0 else ():
            if match := STAGE.match(line):
                seen.append(match[1])
            if len(seen) == kill_after:
                break
        if kill_after is not None:
            process.kill()
    if kill_after is None and process.returncode:
        raise RuntimeError(f"a retrain that nobody killed ended with status {process.returncode}")
    return seen


def _figures(report: Path) -> dict[str, Any]:
    content = json.loads(report.read_text())
    report.unlink()
    return {name: content["test"][name] for name in ("accuracy", "macro_f1", "confusion")}


def tested() -> list[dict[str, Any]]:
    """The faults that tests do on real processes, each seen when its test passes."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        nodes = [node for _, node, _ in FAULTS]
        # The system is shared by the tests of its module; `down` is part of it.
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", f"--junitxml={results}", *nodes],
            cwd=ROOT, stdout=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        cases = ET.parse(results).getroot().iter("testcase")
        passed = {case.get("name", "").partition("[")[0]: not len(case) for case in cases}
    return [
        {"fault": fault, "expected": expected, "seen": passed.get(node.rpartition("::")[2], False)}
        for fault, node, expected in FAULTS
    ]


if __name__ == "__main__":
    sys.exit(main())
