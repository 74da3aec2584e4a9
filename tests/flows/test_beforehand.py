from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.beforehand import check
from flows.config import RetrainConfig
from tasks.base.errors import InputError
from tasks.conversion.optimise import VARIANTS
from tasks.release import export


def refusal(**parameters: object) -> str:
    with pytest.raises(InputError) as refused:
        check(RetrainConfig.model_validate(parameters))
    return str(refused.value)


def test_a_report_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert refusal(report=tmp_path) == f"--report: {tmp_path} is a folder; give the path of a file"
    assert refusal(report=file / "new" / "out.json").endswith(f"{file} is a file, not a folder")


def test_a_report_may_replace_a_file_and_stand_in_a_new_folder(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("{}")
    check(RetrainConfig(report=tmp_path / "out.json"))
    check(RetrainConfig(report=tmp_path / "new" / "out.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ({"optimise": {"variants": ["float32", "int4"]}}, ("optimise", "variants", 1)),
        ({"export": ["foo=bar"]}, ("export", 0)),
        ({"export": ["onnx="]}, ("export", 0)),
        ({"serve": {"rollout": {"shares": [0.1, 2.0]}}}, ("serve", "rollout", "shares", 1)),
        ({"serve": {"rollout": {"shares": [-1]}}}, ("serve", "rollout", "shares", 0)),
        ({"serve": {"memory": "lots"}}, ("serve", "memory")),
    ],
)
def test_values_of_which_no_run_could_make_use_are_refused_by_the_schema(
    parameters: dict[str, object], place: tuple[str | int, ...]
) -> None:
    with pytest.raises(ValidationError) as refused:
        RetrainConfig.model_validate(parameters)
    assert refused.value.errors()[0]["loc"] == place


def test_the_schema_knows_every_variant_and_every_form_of_export() -> None:
    pairs = [f"{name}=out" for name in export.forms()]
    RetrainConfig.model_validate({"export": pairs, "optimise": {"variants": list(VARIANTS)}})


@pytest.mark.parametrize("memory", ["1Gi", "512Mi", "2G", "1.5Gi", "1073741824"])
def test_memory_is_written_as_kubernetes_does(memory: str) -> None:
    assert RetrainConfig.model_validate({"serve": {"memory": memory}}).serve.memory == memory


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"train": {"candidates": ["nonsense"]}}, "no such model structure 'nonsense'"),
        ({"gate": {"behaviour": "no-such.csv"}}, "no-such.csv: the behaviour cases cannot be read"),
        ({"serve": {"host": "0.0.0.0"}}, "serve.host 0.0.0.0 can be reached from other machines"),
        ({"security": {"tls_certificate": "/no.pem"}}, "security.tls_certificate: there is no file /no.pem"),
        ({"security": {"sign": "/no.pem"}}, "security.sign: /no.pem holds no usable key"),
        ({"security": {"verify": "/no.pub"}}, "security.verify: /no.pub holds no usable public key"),
        ({"security": {"encrypt": "env:NO_SUCH_KEY"}}, "security.encrypt: the environment variable NO_SUCH_KEY"),
        ({"source": "rows.csv", "query": "SELECT 1"}, "--query: rows.csv is no database"),
    ],
)
def test_what_a_late_stage_would_refuse_is_refused_before_the_first(
    parameters: dict[str, object], message: str
) -> None:
    assert message in refusal(**parameters)


def test_what_is_not_deployed_may_have_any_address_and_one_database_is_enough_for_a_query() -> None:
    check(RetrainConfig.model_validate({"serve": {"host": "0.0.0.0"}, "deploy": False}))
    check(RetrainConfig.model_validate({"source": "rows.csv", "test_source": "sqlite:///a.db", "query": "SELECT 1"}))
