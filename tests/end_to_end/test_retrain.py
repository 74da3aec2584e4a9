"""The whole chain as a user runs it: a real Prefect API, real training, a real bento, real HTTP."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.console import Console
from flows.exclusive import exclusive
from tasks.deployment.supervisor.record import history
from tests.conftest import ROOT
from tests.end_to_end.labelled_text import rows, write_odd_csv
from tests.end_to_end.place import Place

pytestmark = pytest.mark.slow
COLUMNS = ("--text-column", "Nachricht (text)", "--label-column", "Kategorie / 类别")
QUICK = ("--effort", "quick", "--train.candidates", "linear")


@pytest.fixture(scope="module")
def place(prefect_server, tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("place"), PREFECT_API_URL.value(), *COLUMNS, *QUICK)
    yield place
    place.serving("stop")


@pytest.fixture(scope="module")
def first(place, tmp_path_factory):
    """The first run on a person's own file."""
    folder = tmp_path_factory.mktemp("own")
    source = write_odd_csv(folder / "tickets.csv", rows(600))
    return place.retrain("--source", str(source), "--report", str(folder / "out.json")), folder / "out.json", source


def test_an_odd_file_ends_as_a_live_service(place, first):
    done, report, _ = first
    assert done.returncode == 0, done.stdout + done.stderr
    page = done.stdout.splitlines()[-1].removeprefix("report: ")
    assert Path(page).read_text("utf-8").startswith("<!doctype html>")
    answer = place.predict("Why was the parcel late on Monday?", "请问密码为什么在昨天出错")
    assert [prediction["label"] for prediction in answer["predictions"]] == ["delivery", "01"]
    assert answer["model"]["bento"] == json.loads(report.read_text("utf-8"))["bento"]["tag"]


def test_nothing_in_the_state_is_open_to_another_user_and_what_was_asked_for_elsewhere_has_the_user_s_own_mode(
    place, first
):
    _, report, _ = first
    place.predict("Why was the parcel late on Monday?")
    entries = [place.state, *place.state.rglob("*")]
    assert {"serving", "records", "stages", "runs", "logs", "prefect", "control.sock"} <= {one.name for one in entries}
    assert [str(one) for one in entries if not one.is_symlink() and one.stat().st_mode & 0o077] == []
    assert report.stat().st_mode & 0o777 == 0o666 & ~int(os.environ["MODEL_SERVICE_UMASK"], 8)


def test_nothing_of_any_library_is_heard(first):
    done, _, _ = first
    for line in done.stdout.splitlines():
        assert not any(word in line for word in ("WARNING", "Warning", "INFO", "Traceback", "tensorflow", "prefect"))
    assert done.stderr == "" or all("%" in line for line in done.stderr.splitlines())


def test_the_report_is_one_strict_json_object(first):
    _, report, _ = first
    content = json.loads(report.read_text("utf-8"), parse_constant=pytest.fail)
    expected = "data candidates chosen test gate conversion variants bento deployment smoke seconds versions hashes"
    assert list(content) == expected.split()
    accuracy = content["test"]["accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert content["gate"]["verdict"] == "passed"
    assert set(content["data"]["classes"]) == {"billing/账单", "delivery", "01"}


def test_a_file_that_is_not_there_is_one_message_and_status_2(place):
    done = place.retrain("--source", "no-such-file.csv")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "no-such-file.csv" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Options that name labels without meaning, to train on and to choose by."""
    folder = tmp_path_factory.mktemp("noise")
    source = write_odd_csv(folder / "noise.csv", rows(400, seed=2, noise=1.0))
    validation = write_odd_csv(folder / "validation.csv", rows(150, seed=5, noise=1.0))
    return "--source", str(source), "--validation-source", str(validation)


def test_labels_without_meaning_are_refused_and_the_live_version_stays(place, first, noise, tmp_path):
    before = place.predict("parcel")
    done = place.retrain(*noise, "--report", str(tmp_path / "out.json"))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "the gate refuses this model" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "out.json").read_text("utf-8"))["gate"]["verdict"] == "refused"
    assert place.predict("parcel")["model"] == before["model"]


def test_without_waiting_a_second_run_ends_at_once_while_the_first_is_at_work(place):
    with exclusive(place.state, wait=False, console=Console()):
        done = place.retrain("--source", "x.csv", "--no-wait")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: another retrain is running (process ")
    assert done.stdout == ""


@pytest.fixture(scope="module")
def promoted(place, first, noise, tmp_path_factory):
    """A run whose model the gate refuses, and which is promoted all the same."""
    folder = tmp_path_factory.mktemp("promoted")
    options = "--promote-anyway", "nothing better to show", "--export", f"onnx={folder / 'onnx'}"
    return place.retrain(*noise, *options, "--report", str(folder / "out.json")), folder


def test_a_refused_model_is_served_when_a_person_says_why(place, promoted):
    done, folder = promoted
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((folder / "out.json").read_text("utf-8"))
    assert report["gate"]["verdict"] == "overridden"
    assert report["gate"]["reasons"][0] == "promoted anyway: nothing better to show"
    assert len(report["gate"]["reasons"]) > 1
    assert place.predict("parcel")["model"]["bento"] == report["deployment"]["tag"]
    *_, event = history(place.state)
    assert event["why"] == "promoted anyway: nothing better to show"


def test_own_validation_rows_are_those_that_are_chosen_by(promoted):
    _, folder = promoted
    counted = json.loads((folder / "out.json").read_text("utf-8"))["data"]["rows"]
    # All but those whose text stands in the training part as well.
    assert 140 <= counted["validation"] <= 150
    assert sum(counted.values()) <= 550


def test_an_export_that_was_asked_for_lies_in_its_folder(promoted):
    done, folder = promoted
    assert (folder / "onnx" / "model" / "model.onnx").is_file()
    assert any(line.startswith("  export onnx") for line in done.stdout.splitlines())


def test_a_rollback_serves_the_version_before_again(place, first, promoted):
    _, report, _ = first
    before = json.loads(report.read_text("utf-8"))["bento"]["tag"]
    assert place.rollback("--to", "text_classifier:none").returncode == 2
    done = place.rollback("--why", "it knows nothing")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert f"{before} answers on " in done.stdout
    assert place.predict("parcel")["model"]["bento"] == before
    *_, event = history(place.state)
    assert (event["event"], event["why"]) == ("rolled back", "it knows nothing")


def test_a_run_again_keeps_its_stages_and_no_deploy_ends_with_the_bento(place, first):
    _, _, source = first
    live = place.predict("parcel")["model"]
    done = place.retrain("--source", str(source), "--no-deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {
        line.split()[0] + " " + line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("  ")
    }
    assert "kept" in lines["train linear"]
    assert not any(name.startswith("deploy") for name in lines)
    assert "bentoml serve text_classifier:" in done.stdout
    assert place.predict("parcel")["model"] == live


def test_the_same_model_again_is_not_deployed(place, first):
    _, _, source = first
    live, events = place.predict("parcel")["model"], len(list(history(place.state)))
    done = place.retrain("--source", str(source))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"unchanged       {live['bento']} is this very model: nothing was deployed." in done.stdout
    assert "New labelled rows, feedback or other settings would make another one." in done.stdout
    assert place.predict("parcel")["model"] == live
    assert len(list(history(place.state))) == events


def test_a_killed_run_goes_on_from_its_last_finished_stage(place, tmp_path):
    source = write_odd_csv(tmp_path / "tickets.csv", rows(500, seed=3))
    command = place.command("--source", str(source), "--no-deploy")
    with subprocess.Popen(command, cwd=ROOT, env=place.environ, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        for line in run.stdout:
            if line.startswith("  preprocess"):
                time.sleep(0.2)
                run.send_signal(signal.SIGKILL)
                break
    done = place.retrain("--source", str(source), "--no-deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    kept = [line.split()[0] for line in done.stdout.splitlines() if " kept " in line]
    assert "preprocess" in kept
