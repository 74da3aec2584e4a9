"""Batch prediction keeps rows and order, marks what is bad, and goes on after a kill."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bentos.text_classifier.model import TextModel
from tasks.base.errors import InputError, PipelineError
from tasks.base.settings import BatchSettings, SourceSettings
from tasks.base.state import ROOT
from tasks.batch import batch_predict
from tasks.data.sealed_files import KEY_VARIABLE, MAGIC, seal_file, unseal_file
from tests.bentos.text_classifier.model_folder import WORDS, grams_folder, sentence
from tests.tasks.keys import key_pair_files

FEW = BatchSettings(chunk_rows=100, workers=1)
LABELS = list(WORDS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grams_folder(tmp_path_factory.mktemp("model"))


def table(path: Path, rows: int) -> list[str]:
    """A Parquet file of `rows` texts of the labels in turn, each with its number."""
    texts = [f"{sentence(LABELS[row % 3], 1 + row % 7)} {row}" for row in range(rows)]
    pq.write_table(pa.table({"text": texts, "id": [str(row) for row in range(rows)]}), path)
    return texts


def test_every_row_is_answered_in_order_as_the_model_answers_it(tmp_path: Path, model: Path) -> None:
    texts = table(tmp_path / "in.parquet", 950)
    source = SourceSettings(source=str(tmp_path / "in.parquet"), extra_columns=("id",))
    result = batch_predict(source, tmp_path / "out.parquet", model, FEW)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["text"] for row in rows] == texts
    assert [row["id"] for row in rows] == [str(number) for number in range(950)]
    assert [row["line"] for row in rows] == list(range(1, 951))
    expected = TextModel.load(model).predict(texts)
    assert [row["label"] for row in rows] == [answer.label for answer in expected]
    assert [row["score"] for row in rows] == pytest.approx([answer.score for answer in expected], abs=1e-6)
    assert (result.rows, result.errors, result.kept) == (950, 0, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]


def test_bad_rows_stand_in_their_place_with_the_reason(tmp_path: Path, model: Path) -> None:
    lines = ["id,text", "1,goal match", "2,one,too many", "3," + "x" * 300, "4,", "5,bread soup"]
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    settings = FEW.model_copy(update={"max_text_characters": 200})
    source = SourceSettings(source=str(tmp_path / "in.csv"))
    result = batch_predict(source, tmp_path / "out.jsonl", model, settings)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["line"] for row in rows] == [2, 3, 4, 5, 6]
    assert [row["label"] for row in rows] == ["sport", None, None, "science", "food"]
    assert "3 fields" in rows[1]["error"]
    assert "300 characters" in rows[2]["error"]
    assert rows[3]["error"] is None
    assert rows[3]["in_scope"] is False
    assert result.errors == 2


def test_several_processes_give_the_same_file_as_one(tmp_path: Path, model: Path) -> None:
    table(tmp_path / "in.parquet", 500)
    source = SourceSettings(source=str(tmp_path / "in.parquet"))
    batch_predict(source, tmp_path / "one.csv", model, FEW)
    batch_predict(source, tmp_path / "two.csv", model, FEW.model_copy(update={"workers": 2}))
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    with (tmp_path / "one.csv").open(newline="") as stream:
        first = next(csv.DictReader(stream))
    assert json.loads(first["labels"])[0]["label"] == first["label"] == "science"


FORMULAS = ["=HYPERLINK(1)", "+1+1", "-2-2", "@SUM(A1)", "\t=1", "\r=1", "＝1+1"]
HARMLESS = ["-1.5", "+3", "-.5e-3", "a = b", "x", "'=1", "5-3"]


def answered(folder: Path, model: Path, name: str, **settings: Any) -> tuple[list[dict[str, str]], list[str]]:
    """The rows of a CSV output of texts and an extra column that a spreadsheet would run, and the notes."""
    cells = [*FORMULAS, *HARMLESS]
    pq.write_table(pa.table({"text": cells, "@id": cells[::-1]}), folder / "in.parquet")
    source = SourceSettings(source=str(folder / "in.parquet"), extra_columns=("@id",))
    done = batch_predict(source, folder / name, model, FEW.model_copy(update=settings))
    with (folder / name).open(newline="") as stream:
        return list(csv.DictReader(stream)), done.notes


def test_a_cell_that_a_spreadsheet_would_run_is_disarmed_in_csv_and_said(tmp_path: Path, model: Path) -> None:
    rows, notes = answered(tmp_path, model, "out.csv")
    wanted = [*(f"'{cell}" for cell in FORMULAS), *HARMLESS]
    assert [row["text"] for row in rows] == wanted
    assert [row["'@id"] for row in rows] == wanted[::-1]
    assert any("14 cells that a spreadsheet would run" in note and "--csv-raw" in note for note in notes)


def test_a_flag_leaves_the_cells_as_they_are(tmp_path: Path, model: Path) -> None:
    rows, notes = answered(tmp_path, model, "out.csv", csv_raw=True)
    assert [row["text"] for row in rows] == [*FORMULAS, *HARMLESS]
    assert [row["@id"] for row in rows] == [*FORMULAS, *HARMLESS][::-1]
    assert not any("spreadsheet" in note for note in notes)


def test_other_formats_are_left_alone(tmp_path: Path, model: Path) -> None:
    pq.write_table(pa.table({"text": FORMULAS}), tmp_path / "in.parquet")
    source = SourceSettings(source=str(tmp_path / "in.parquet"))
    for name in ("out.parquet", "out.jsonl"):
        assert not any("spreadsheet" in note for note in batch_predict(source, tmp_path / name, model, FEW).notes)
    assert pq.read_table(tmp_path / "out.parquet")["text"].to_pylist() == FORMULAS


def test_a_run_that_stopped_goes_on_without_a_repeated_or_missing_row(tmp_path: Path, model: Path) -> None:
    texts = table(tmp_path / "in.parquet", 900)
    source = SourceSettings(source=str(tmp_path / "in.parquet"))

    def stop(rows: int, text: str) -> None:
        if rows >= 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch_predict(source, tmp_path / "out.parquet", model, FEW, stop)
    assert not (tmp_path / "out.parquet").exists()
    result = batch_predict(source, tmp_path / "out.parquet", model, FEW)
    assert result.kept == 300
    assert pq.read_table(tmp_path / "out.parquet").column("text").to_pylist() == texts


def test_what_changed_since_the_kill_is_predicted_anew(tmp_path: Path, model: Path) -> None:
    texts = table(tmp_path / "in.parquet", 500)
    source = SourceSettings(source=str(tmp_path / "in.parquet"))

    def stop(rows: int, text: str) -> None:
        if rows == 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch_predict(source, tmp_path / "out.parquet", model, FEW, stop)
    texts[150] = "bread"
    pq.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    assert batch_predict(source, tmp_path / "out.parquet", model, FEW).kept == 400
    assert pq.read_table(tmp_path / "out.parquet").column("text").to_pylist() == texts


def test_sigkill_leaves_no_process_and_the_next_run_finishes(tmp_path: Path, model: Path) -> None:
    texts = table(tmp_path / "in.parquet", 20_000)
    script = (
        "import sys; from pathlib import Path; from tasks.batch import batch_predict;"
        "from tasks.base.settings import BatchSettings, SourceSettings;"
        "source, output, model = sys.argv[1:];"
        "batch_predict(SourceSettings(source=source), Path(output), Path(model),"
        "BatchSettings(chunk_rows=200, workers=2))"
    )
    arguments = [str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), str(model)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], env=environment)
    parts = tmp_path / "out.parquet.parts"
    while process.poll() is None and len(list(parts.glob("[0-9]*.parquet"))) < 5:
        time.sleep(0.005)
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert children
    end = time.monotonic() + 240
    while any(Path(f"/proc/{pid}/cmdline").exists() and _alive(pid) for pid in children):
        assert time.monotonic() < end, "a worker outlived its caller"
        time.sleep(0.02)
    result = batch_predict(
        SourceSettings(source=arguments[0]), Path(arguments[1]), model, BatchSettings(chunk_rows=200, workers=2)
    )
    assert 0 < result.kept < 20_000
    assert pq.read_table(tmp_path / "out.parquet").column("text").to_pylist() == texts


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_wrong_names_are_refused_with_what_to_do(tmp_path: Path, model: Path) -> None:
    table(tmp_path / "in.parquet", 3)
    source = SourceSettings(source=str(tmp_path / "in.parquet"))
    with pytest.raises(InputError, match=r"must end in \.parquet, \.csv, \.jsonl"):
        batch_predict(source, tmp_path / "out.xlsx", model, FEW)
    with pytest.raises(InputError, match="no model folder"):
        batch_predict(source, tmp_path / "out.csv", tmp_path, FEW)
    with pytest.raises(InputError, match="'weather' is none of the model's labels"):
        batch_predict(source, tmp_path / "out.csv", model, FEW.model_copy(update={"labels": ("weather",)}))


def test_a_full_disk_is_one_message(tmp_path: Path, model: Path) -> None:
    table(tmp_path / "in.parquet", 3)
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(PipelineError, match=r"out\.csv cannot be written"):
        batch_predict(SourceSettings(source=str(tmp_path / "in.parquet")), tmp_path / "out.csv", model, FEW)


def test_a_sealed_table_is_answered_into_a_sealed_one_and_nothing_lies_in_clear(tmp_path: Path, model: Path) -> None:
    public, private = key_pair_files(tmp_path)
    texts = table(tmp_path / "in.parquet", 500)
    seal_file(tmp_path / "in.parquet", tmp_path / "in.parquet.sealed", public)
    (tmp_path / "in.parquet").unlink()
    source = SourceSettings(source=str(tmp_path / "in.parquet.sealed"), data_key=private)
    output = tmp_path / "out.jsonl.sealed"
    settings = FEW.model_copy(update={"seal": public, "workers": 2})

    def stop(rows: int, text: str) -> None:
        if rows >= 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch_predict(source, output, model, settings, stop)
    parts = list((tmp_path / "out.jsonl.sealed.parts").glob("[0-9]*"))
    assert len(parts) >= 3
    assert all(part.read_bytes().startswith(MAGIC) for part in parts)
    result = batch_predict(source, output, model, settings)
    assert result.kept >= 300
    assert output.read_bytes().startswith(MAGIC)
    unseal_file(output, tmp_path / "out.jsonl", private)
    answered = [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert answered == texts
    assert not (tmp_path / "out.jsonl.sealed.parts").exists()


def test_without_a_key_that_opens_no_sealed_output_is_begun(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    public, _ = key_pair_files(tmp_path)
    table(tmp_path / "in.parquet", 10)
    source = SourceSettings(source=str(tmp_path / "in.parquet"))
    with pytest.raises(InputError, match=r"no key to seal it for; give --seal"):
        batch_predict(source, tmp_path / "out.csv.sealed", model, FEW)
    sealed_for_others = FEW.model_copy(update={"seal": public})
    with pytest.raises(InputError, match=r"finished chunks wait under a key that opens them again"):
        batch_predict(source, tmp_path / "out.csv.sealed", model, sealed_for_others)
    with pytest.raises(InputError, match=r"would not be sealed: end the name in \.sealed, as in out\.csv\.sealed"):
        batch_predict(source, tmp_path / "out.csv", model, sealed_for_others)
    assert not list(tmp_path.glob("out*"))


def test_a_sealed_table_that_was_changed_leaves_no_output(tmp_path: Path, model: Path) -> None:
    public, private = key_pair_files(tmp_path)
    table(tmp_path / "in.parquet", 200)
    sealed = tmp_path / "in.parquet.sealed"
    seal_file(tmp_path / "in.parquet", sealed, public)
    whole = bytearray(sealed.read_bytes())
    whole[-30] ^= 1
    sealed.write_bytes(whole)
    with pytest.raises(InputError, match=r"in\.parquet\.sealed was changed or cut short since it was sealed"):
        batch_predict(SourceSettings(source=str(sealed), data_key=private), tmp_path / "out.csv", model, FEW)
    assert not list(tmp_path.glob("out*"))
