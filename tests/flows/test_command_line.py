import os
import re
import socket
import subprocess
import sys

import pytest
from pydantic import ValidationError

from flows.command_line import parse
from flows.config import RetrainConfig
from tasks.base.errors import InputError
from tests.conftest import ROOT


def retrain(*arguments: str) -> RetrainConfig:
    return parse(RetrainConfig, "python -m flows.retrain", list(arguments))


def test_nested_parameters_are_dotted():
    config = retrain("--source", "x.csv", "--serve.rollout.alpha", "0.01", "--no-deploy")
    assert (config.source, config.serve.rollout.alpha, config.deploy) == ("x.csv", 0.01, False)


def test_lists_are_separated_by_commas_or_repeated():
    assert retrain("--train.candidates", "cnn,rnn").train.candidates == ("cnn", "rnn")
    assert retrain("--train.candidates", "cnn", "--train.candidates", "rnn").train.candidates == ("cnn", "rnn")


def test_a_wrong_value_is_refused_with_the_option_s_name():
    with pytest.raises(InputError, match=r"--data\.test-share: Input should be less than 0\.5 \(given: '0\.9'\)"):
        retrain("--data.test-share", "0.9")


def test_an_unknown_parameter_is_refused_in_yaml_too():
    with pytest.raises(ValidationError, match="no_such_thing"):
        RetrainConfig.model_validate({"train": {"no_such_thing": 1}})


def test_the_environment_changes_no_parameter(monkeypatch):
    monkeypatch.setenv("SOURCE", "elsewhere.csv")
    monkeypatch.setenv("EFFORT", "thorough")
    assert retrain().source == "docstrings"
    assert retrain().effort is None


def test_help_names_every_parameter():
    done = subprocess.run(
        [sys.executable, "-m", "flows.retrain", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for option in (
        "--source",
        "--test-source",
        "--no-deploy",
        "--report",
        "--max-latency-ms",
        "--serve.rollout.alpha",
    ):
        assert option in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("mistyped", ["--nonsense", "x.csv", "--train.nonsense=1"])
def test_an_unknown_option_is_one_line_that_names_it(mistyped, capsys):
    with pytest.raises(InputError, match=re.escape(mistyped)) as refused:
        retrain(mistyped)
    assert "--help" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capsys.readouterr() == ("", "")


def test_an_option_without_its_value_is_named():
    with pytest.raises(InputError, match="--source: expected one argument"):
        retrain("--source")


def test_no_command_waits_for_what_it_may_not_need():
    code = (
        "import sys, flows.retrain, flows.monitor, flows.predict_files, flows.rollback, flows.maintain, flows.status;"
        "print(sorted({'tensorflow', 'keras', 'great_expectations', 'distributed'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_wrong_value_ends_the_command_with_status_2_and_one_message():
    done = subprocess.run(
        [sys.executable, "-m", "flows.retrain", "--effort", "huge"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=480,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --effort: Input should be 'quick', 'standard' or 'thorough'")
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("option", ["--train.folds=3", "--train.trials=2", "--data.refit", "--train.candidates=a,b"])
def test_a_privacy_budget_is_spent_on_one_training(option):
    with pytest.raises(InputError, match=r"^train\.privacy\.epsilon is the budget of one training") as refused:
        retrain("--source", "x.csv", "--train.privacy.epsilon", "8", option)
    assert option.lstrip("-").split("=")[0] in str(refused.value)


@pytest.mark.parametrize("command", ["batch_predict", "monitor", "maintain", "rollback", "retrain"])
def test_a_command_whose_server_is_silent_says_so_and_does_not_hang(tmp_path, command):
    """It accepts connections, as a stopped or overloaded one does, and never answers."""
    arguments = ["--input", "in.csv", "--output", "out.csv"] if command == "batch_predict" else []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        environ = {**os.environ, "PREFECT_API_URL": url, "MODEL_SERVICE_STATE": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-m", f"flows.{command}", *arguments],
            cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: the Prefect server at {url} does not answer")
    assert done.stderr.count("\n") == 1
