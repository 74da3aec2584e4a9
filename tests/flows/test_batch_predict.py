"""The flow of batch prediction: which model, which outputs, on which processes."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flows.batch_predict
from bentos.serving.model_folder import KEY_VARIABLE
from bentos.serving.sealing.folder import seal_folder
from bentos.serving.sealing.keys import provider_of
from flows.batch_predict import BatchPredictConfig, batch_predict_flow
from flows.console import Console, shown_on
from tasks.base.errors import InputError
from tasks.data.sealed_files import MAGIC, seal_file
from tasks.deployment.served_model import ServedModel
from tests.bentos.text_classifier.model_folder import WORDS, grams_folder, sentence
from tests.tasks.keys import key_file

pytestmark = pytest.mark.usefixtures("prefect_server")
LABELS = list(WORDS)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder of three tables; the model folder lies beside it."""
    grams_folder(tmp_path / "model")
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        texts = [sentence(LABELS[(row + number) % 3], 2) for row in range(50 + number)]
        pq.write_table(pa.table({"text": texts}), folder / f"day{number}.parquet")
    return folder


@pytest.mark.slow
def test_many_files_are_shared_out_over_the_processes_of_a_dask_cluster(inputs: Path, tmp_path: Path) -> None:
    config = BatchPredictConfig(
        input=str(inputs), output=tmp_path / "out", model=tmp_path / "model", format="jsonl", runner="dask", workers=2
    )
    assert batch_predict_flow(config)["rows"] == 153
    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == ["day0.jsonl", "day1.jsonl", "day2.jsonl"]
    assert [len(path.read_text().splitlines()) for path in files] == [50, 51, 52]


def test_one_output_takes_the_rows_of_all_files(inputs: Path, tmp_path: Path) -> None:
    out = io.StringIO()
    config = BatchPredictConfig(input=str(inputs), output=tmp_path / "out.parquet", model=tmp_path / "model")
    with shown_on(Console(out, io.StringIO())):
        batch_predict_flow(config)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["line"] for row in rows] == [*range(1, 51), *range(1, 52), *range(1, 53)]
    assert "153 rows by text_classifier:v1, 0 marked with an error" in out.getvalue()


def test_a_folder_of_sealed_files_gives_sealed_answers(inputs: Path, tmp_path: Path) -> None:
    key = key_file(tmp_path / "key")
    for file in list(inputs.iterdir()):
        seal_file(file, file.with_name(f"{file.name}.sealed"), key)
        file.unlink()
    config = BatchPredictConfig(
        input=str(inputs), output=tmp_path / "out", model=tmp_path / "model", format="csv", data_key=key, seal=key
    )
    assert batch_predict_flow(config)["rows"] == 153
    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == ["day0.csv.sealed", "day1.csv.sealed", "day2.csv.sealed"]
    assert all(path.read_bytes().startswith(MAGIC) for path in files)


def test_without_a_live_version_one_must_be_named(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no version is live: name a bento"):
        batch_predict_flow(BatchPredictConfig(input=str(inputs), output=tmp_path / "out.csv"))
    with pytest.raises(InputError, match="there is no such bento"):
        batch_predict_flow(BatchPredictConfig(input=str(inputs), output=tmp_path / "out.csv", bento="absent"))


@pytest.mark.parametrize("by", ["the live version", "a variable"])
def test_a_sealed_model_is_opened_by_its_key(
    inputs: Path, tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_file(tmp_path / "key")
    seal_folder(tmp_path / "model", provider_of(key))
    config = BatchPredictConfig(input=str(inputs), output=tmp_path / "out.jsonl", workers=2, chunk_rows=20)
    if by == "a variable":
        with pytest.raises(InputError, match="no key was given: set MODEL_SERVICE_KEY"):
            batch_predict_flow(config.model_copy(update={"model": tmp_path / "model"}))
        monkeypatch.setenv(KEY_VARIABLE, key)
        config = config.model_copy(update={"model": tmp_path / "model"})
    else:
        monkeypatch.setattr(
            flows.batch_predict, "served_model", lambda state, bento: ServedModel(tmp_path / "model", key)
        )
    assert batch_predict_flow(config) == {
        "files": 1,
        "rows": 153,
        "errors": 0,
        "kept": 0,
        "model": "text_classifier:v1",
    }
