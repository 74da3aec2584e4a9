"""Kinds are found, named and added in one place."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from bentos.serving.model_folder import ModelError
from bentos.text_classifier.decoding import DECODERS
from bentos.text_classifier.model import TextModel
from flows.config import RetrainConfig
from tasks.base.errors import InputError
from tasks.base.settings import BatchSettings, SourceSettings
from tasks.base.state import ROOT
from tasks.batch.answers import Answerer, read_manifest
from tasks.data.ingest import ingest
from tasks.kinds.figures import measure
from tasks.kinds.registry import KINDS, outcome_of
from tasks.learning.examples import rows_of
from tasks.verdict.calibrate import calibrate
from tests.bentos.text_classifier.model_folder import grams_folder, with_manifest
from tests.bentos.text_classifier.servers import client
from tests.tasks.kinds import ranked
from tests.tasks.kinds.contract import Mark, agrees, answers, explains, make_dataset, train
from tests.tasks.toy import TOPICS

THEIR_PLACES = ("tasks/kinds", "bentos/text_classifier/decoding.py")


def test_the_files_of_the_room_are_the_kinds() -> None:
    assert list(KINDS) == ["multi", "single", "tagging"]


def compared(tree: ast.AST) -> Iterator[ast.AST]:
    """Whatever chooses by equality: sides of comparisons, keys of tables, patterns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            yield from (node.left, *node.comparators)
        elif isinstance(node, ast.Dict):
            yield from (key for key in node.keys if key is not None)
        elif isinstance(node, ast.MatchValue):
            yield node.value


def test_nobody_else_compares_the_names_of_kinds() -> None:
    found = []
    for path in (path for room in ("flows", "tasks", "bentos") for path in (ROOT / room).rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        for part in compared(ast.parse(path.read_text("utf-8"))) if not place.startswith(THEIR_PLACES) else ():
            named = {node.value for node in ast.walk(part) if isinstance(node, ast.Constant)}
            found += [f"{place}:{part.lineno}" for name in KINDS if name in named]  # type: ignore[attr-defined]
    files = (path for room in ("tasks", "bentos") for path in (ROOT / room).rglob("*.*"))
    pages = [path for path in files if path.suffix in (".js", ".html", ".md")]
    assert pages
    names = re.compile(rf"==\s*[\"']({'|'.join(KINDS)})[\"']")
    found += [path.name for path in pages if names.search(path.read_text("utf-8"))]
    assert found == []


def test_a_kind_that_there_is_not_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    told = "there is no kind of task 'several'; there are auto, multi, single, tagging"
    with pytest.raises(ValidationError, match=told):
        RetrainConfig(task="several")
    (tmp_path / "rows.csv").write_text("text,label\na text,a\n")
    with pytest.raises(InputError, match=told):
        ingest(SourceSettings(source=str(tmp_path / "rows.csv"), task="several"), tmp_path, 1)
    assert RetrainConfig.model_json_schema()["properties"]["task"]["enum"] == ["auto", *KINDS]


def test_a_model_of_a_kind_that_this_version_lacks_is_refused(tmp_path: Path) -> None:
    folder = with_manifest(grams_folder(tmp_path / "model"), task="several")
    told = "its task is 'several'; this version knows single, multi, tagging"
    with pytest.raises(ModelError, match=told):
        TextModel.load(folder)
    with pytest.raises(InputError, match=told):
        read_manifest(folder)


def two_in_order(marks: list[Mark]) -> str:
    first = marks[0].label
    second = next((mark.label for mark in marks if mark.label != first), min(TOPICS.keys() - {first}))
    return f"{first} > {second}"


def test_a_new_kind_is_one_file_and_one_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "ranked", ranked.KIND)
    monkeypatch.setitem(DECODERS, "ranked", ranked.DECODER)
    assert RetrainConfig(task="ranked").task == "ranked"
    dataset = make_dataset(tmp_path / "data", "ranked", two_in_order)
    assert (dataset.task, dataset.labels) == ("ranked", sorted(TOPICS))

    made = train("bag", dataset, tmp_path, tmp_path / "trained")
    texts = ["a bread and a match", "", "\U000107a0"]
    agrees(made, texts)
    answers(made, texts)
    explains(made, texts)

    served, _ = calibrate(made.converted.folder, dataset, tmp_path / "served")
    model = TextModel.load(served)
    texts, targets = rows_of(dataset, "test", model.encoders)
    outcome = outcome_of(model.logits(texts), targets, model.manifest)
    figures = measure(outcome, 0, ranked.KIND.figures, rounds=20).figures
    assert {"accuracy", "macro_f1", "weighted_f1", "expected_calibration_error"} <= set(figures)

    asked = pa.table({"text": ["soup"], "reason": [None], "source": ["s"], "line": [1]})
    (row,) = Answerer(served, BatchSettings(), 1).answer(asked).to_pylist()
    assert [one["label"] for one in row["labels"]][:1] == [row["label"]]
    with client(served) as service:
        card = service.get("/model").json()
        (prediction,) = service.post("/predict", json={"texts": ["a soup"]}).json()["predictions"]
    assert (card["task"], card["answer"]) == ("ranked", "labels")
    assert len(prediction["labels"]) == 2
