import shutil
import socket
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flows import beforehand
from flows.config import RetrainConfig
from tasks.base.errors import InputError, PipelineError
from tasks.base.files import write_whole
from tasks.base.machine import has_gpu
from tasks.base.settings import ServeSettings
from tasks.base.state import state_folder
from tasks.conversion.optimise import VARIANTS
from tasks.deployment.supervisor.record import LIVE, Live, Version
from tasks.release import export

ROWS = "text,label\ngoal,sport\nbread,food\n"


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state of the test's own, and BentoML's home beside it."""
    folder = tmp_path_factory.mktemp("beforehand") / "state"
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(folder))
    monkeypatch.setenv("BENTOML_HOME", str(folder.parent / "bentoml"))
    return folder


def check(**parameters: Any) -> None:
    parameters["serve"] = {"port": 0, **parameters.get("serve", {})}
    beforehand.check(RetrainConfig.model_validate(parameters), state_folder())


def refusal(**parameters: Any) -> str:
    with pytest.raises(InputError) as refused:
        check(**parameters)
    return str(refused.value)


def test_a_report_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert refusal(report=tmp_path) == f"--report: {tmp_path} is a folder; give the path of a file"
    assert refusal(report=file / "new" / "out.json").endswith(f"{file} is a file, not a folder")


def test_a_report_may_replace_a_file_and_stand_in_a_new_folder(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("{}")
    check(report=tmp_path / "out.json")
    check(report=tmp_path / "new" / "out.json")
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
        ({"export": ["onnx=/dev/null/out"]}, "--export: /dev/null/out cannot be written: /dev/null is a file"),
        ({"runner": "dask", "runner_address": "tcp://127.0.0.1:9"}, "nobody answers at tcp://127.0.0.1:9"),
        (
            {"security": {"sigstore": {"identity": "ann@mail.example", "issuer": "https://issuer.example"}}},
            "nothing here says who signs",
        ),
    ],
)
def test_what_a_late_stage_would_refuse_is_refused_before_the_first(
    parameters: dict[str, object], message: str
) -> None:
    assert message in refusal(**parameters)


def test_what_is_not_deployed_may_have_any_address_and_one_database_is_enough_for_a_query(tmp_path: Path) -> None:
    check(serve={"host": "0.0.0.0"}, deploy=False)
    database = f"sqlite:///{tmp_path / 'a.db'}"
    with closing(sqlite3.connect(tmp_path / "a.db")) as opened:
        opened.execute("CREATE TABLE rows (text, label)")
    (tmp_path / "rows.csv").write_text(ROWS)
    check(source=str(tmp_path / "rows.csv"), test_source=database, query="SELECT * FROM rows")


def live_at(state: Path, port: int) -> None:
    version = Version(tag="text_classifier:v1", path=state, content="c", serve=ServeSettings(port=port))
    write_whole(state / LIVE, Live(versions=[version], since=datetime.now(UTC)).model_dump_json())


@pytest.mark.parametrize("asked", [True, False])
def test_a_taken_port_is_found_whether_it_is_asked_for_or_the_live_version_s(state: Path, asked: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        if not asked:
            live_at(state, port)
        message = refusal(serve={"port": port if asked else None})
        assert message.startswith(f"--serve.port: port {port} on 127.0.0.1 is taken by process ")
        check(serve={"port": port}, deploy=False)


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "file" / "home"))
    assert "BENTOML_HOME: " in refusal()
    assert f"{tmp_path / 'file'} is a file, not a folder" in refusal()
    monkeypatch.setenv("MODEL_SERVICE_STATE", "/proc/nowhere")
    assert refusal().startswith("the state folder: /proc/nowhere cannot be written: ")


def test_a_disk_with_no_room_for_a_run_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    left = shutil.disk_usage("/")._replace(free=7_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: left)
    with pytest.raises(PipelineError, match=r"the state folder: 7 MB are free for .*, and 500 needed"):
        check()


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_a_gpu_that_must_serve_and_is_not_there_is_found() -> None:
    assert refusal(serve={"gpu": 1, "strict_gpu": True}).startswith("serve.strict_gpu: this machine")


@pytest.mark.parametrize("part", ["validation_source", "test_source"])
def test_columns_that_an_own_part_lacks_are_found_before_the_first_stage(tmp_path: Path, part: str) -> None:
    source, own = tmp_path / "rows.csv", tmp_path / "own.csv"
    source.write_text(ROWS.replace("label", "team"))
    own.write_text(ROWS)
    columns = {"source": str(source), "label_column": "team", part: str(own)}
    assert "own.csv" in refusal(**columns)
    own.write_text(ROWS.replace("label", "team"))
    check(**columns)
    own.unlink()
    assert "there is no such file" in refusal(**columns)
