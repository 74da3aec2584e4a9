import json
import math
from pathlib import Path

import pytest

from tasks.base.errors import PipelineError
from tasks.base.manifests import Table, Verdict
from tasks.report import RunReport, write_json
from tasks.report.run import as_json, finite
from tests.tasks.report.made import NAMES, made

KEYS = ["data", "candidates", "chosen", "test", "gate", "conversion", "variants", "bento", "deployment", "smoke"]
KEYS += ["seconds", "versions", "hashes"]


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def test_the_object_has_its_parts_whatever_was_reached(tmp_path: Path) -> None:
    assert list(as_json(made(tmp_path))) == KEYS
    assert list(as_json(RunReport(source="x.csv"))) == KEYS


def test_the_file_is_strict_json_and_whole(tmp_path: Path) -> None:
    write_json(made(tmp_path / "run"), tmp_path / "new" / "out.json")
    written = json.loads((tmp_path / "new" / "out.json").read_text("utf-8"), parse_constant=refuse_constant)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["out.json"]
    assert written["data"]["rows_read"] == 610
    assert written["data"]["quarantined"] == {"blank text": 10}
    assert written["data"]["classes"] == dict.fromkeys(NAMES, 200)
    assert written["chosen"]["name"] == "encoder"
    assert written["chosen"]["skipped"] == {"rnn": "too <i>slow</i>"}
    assert {one["name"]: one["on_front"] for one in written["candidates"]} == {"bag": True, "encoder": True}
    assert set(written["test"]["accuracy"]) == {"value", "low", "high"}
    assert set(written["test"]["expected_calibration_error"]) == {"value", "low", "high"}
    assert list(written["test"]["per_class"]) == written["test"]["labels"] == NAMES
    assert {"precision", "recall", "f1", "support"} <= set(written["test"]["per_class"][NAMES[0]])
    assert len(written["test"]["confusion"]) == 3
    assert written["gate"]["verdict"] == "passed"
    assert [one["name"] for one in written["variants"] if one["picked"]] == ["float32"]
    assert written["smoke"] == [{"name": "contract", "passed": True}]
    assert "smoke" not in written["deployment"]
    assert {"code", "split", "model", "evaluation", "bento", "deployment"} <= set(written["hashes"])


def test_a_refusal_without_a_bento_is_written_too(tmp_path: Path) -> None:
    refused = Verdict(verdict="refused", reasons=["too weak"], checks=[])
    run = made(tmp_path / "run").model_copy(update={"verdict": refused, "package": None, "deployment": None})
    write_json(run, tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert written["gate"] == {"verdict": "refused", "reasons": ["too weak"], "checks": []}
    assert written["bento"] is None
    assert written["deployment"] is None
    assert written["smoke"] == []


def test_where_no_file_can_stand_nothing_half_written_is_left(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "file").write_text("")
    for path, reason in ((tmp_path / "out", "Is a directory"), (tmp_path / "file" / "out.json", "File exists")):
        with pytest.raises(PipelineError, match=f"the report cannot be written to {path}: {reason}"):
            write_json(RunReport(source="x.csv"), path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "out"]


def test_a_run_that_ended_at_the_data_tells_of_the_data(tmp_path: Path) -> None:
    table = Table(
        path=tmp_path, task="single", text_column="t", label_column="l", rows_read=5, rows=3,
        quarantined={"blank": 2}, content="a" * 64,
    )  # fmt: skip
    data = as_json(RunReport(source="x.csv", table=table))["data"]
    assert data["rows_kept"] == 3
    assert data["quarantined"] == {"blank": 2}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_know_become_null(number: float) -> None:
    assert finite({"a": [number, (1.5, number)], 2: "x"}) == {"a": [None, [1.5, None]], "2": "x"}
