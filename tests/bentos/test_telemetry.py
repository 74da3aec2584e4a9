import subprocess
import sys

import pytest

from bentos import telemetry
from tests.conftest import ROOT

AFTER = "import os, sys; assert not {'onnxruntime', 'bentoml', 'prefect'} & set(sys.modules); "


@pytest.mark.parametrize("package", ["bentos.telemetry", "bentos.text_classifier", "tasks", "flows", "benchmarks"])
def test_whatever_of_ours_is_imported_first_switches_everything_off_before_a_library(package, tmp_path):
    show = "print({name: os.environ.get(name) for name in " + repr(list(telemetry.variables())) + "})"
    code = f"import {package}; {AFTER}{show}"
    environ = {"PYTHONPATH": str(ROOT), "MODEL_SERVICE_STATE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(telemetry.variables())


def test_what_a_person_has_set_stays_and_is_seen():
    mine = {"BENTOML_DO_NOT_TRACK": "False", "ORT_DISABLE_TELEMETRY": "1"}
    telemetry.switch_off(mine)
    assert mine["BENTOML_DO_NOT_TRACK"] == "False"
    assert telemetry.left_on("bentoml", mine) == ["BENTOML_DO_NOT_TRACK"]
    assert telemetry.left_on("onnxruntime", mine) == []
