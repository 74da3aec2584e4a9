import configparser
import sys
from pathlib import Path

from flows.unit import unit
from tests.conftest import ROOT


def test_the_unit_runs_the_keeper_of_this_checkout_and_state(tmp_path: Path) -> None:
    read = configparser.ConfigParser()
    read.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    read.read_string(unit(tmp_path, bentoml_home=None))
    service = read["Service"]
    assert service["ExecStart"] == f"{sys.executable} -m flows.keeper"
    assert service["WorkingDirectory"] == str(ROOT)
    assert service["Environment"] == f"MODEL_SERVICE_STATE={tmp_path}"
    assert service["Restart"] == "always"


def test_an_own_store_of_bentos_is_the_unit_s_too(tmp_path: Path) -> None:
    assert "\nEnvironment=BENTOML_HOME=/srv/bentos\n" in unit(tmp_path, bentoml_home="/srv/bentos")
