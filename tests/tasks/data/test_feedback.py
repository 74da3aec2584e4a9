"""Feedback joins the training rows within its limits, and nothing else."""

from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from bentos.serving.records.personal_data import Found, Redactor
from bentos.text_classifier.feedback import FeedbackRecord
from tasks.base.manifests import Checked, Dataset
from tasks.base.settings import DataSettings, FeedbackSettings, TrainSettings
from tasks.base.workspace import engine
from tasks.data.feedback import add_feedback
from tasks.data.folding import add_fold, fold_expression
from tasks.data.preprocess import preprocess
from tasks.data.rows import Rows

SETTINGS = FeedbackSettings(share=0.5)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data")
    lines = [f"text number {row} about {name}|{name}" for row in range(100) for name in ("food", "sport")]
    (folder / "rows.csv").write_text("text|label\n" + "\n".join(lines) + "\n")
    path = folder / "checked.parquet"
    with engine(folder, "1GB") as duck:
        add_fold(duck)
        duck.execute(
            f"""COPY (SELECT *, 'rows.csv' AS source, row_number() OVER () AS line, true AS kept,
                CAST(md5_number_lower({fold_expression("text")}) >> 1 AS BIGINT) AS "group"
                FROM read_csv('{folder / "rows.csv"}')) TO '{path}' (FORMAT parquet)"""
        )
    checked = Checked(path=path, task="single", rows=200, classes={"food": 100, "sport": 100}, content="c")
    return preprocess(checked, None, None, DataSettings(), TrainSettings(), 1, folder / "preprocess")


def said(text: str, label: str | list[str] = "food", client: str = "a", time: float = 0.0) -> FeedbackRecord:
    return FeedbackRecord(time, "id", text, label, "v1", client)


def add(
    dataset: Dataset,
    tmp_path: Path,
    told: list[FeedbackRecord],
    settings: FeedbackSettings = SETTINGS,
    personal: Redactor | None = None,
) -> tuple[Dataset, list[dict[str, object]]]:
    """The new data set, and its rows that came from feedback."""
    records = tmp_path / "records"
    records.mkdir(parents=True)
    (records / "feedback-1.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in told))
    made = add_feedback(dataset, records, settings, tmp_path / "out", personal)
    table = pq.read_table(made.train)
    return made, [row for row in table.to_pylist() if row.get("source") == "feedback"]


def test_feedback_joins_training_with_weight_and_source(dataset: Dataset, tmp_path: Path) -> None:
    made, rows = add(dataset, tmp_path, [said("a new soup", "food")], SETTINGS.model_copy(update={"weight": 0.5}))
    (row,) = rows
    assert (row["text"], row["label"], row["weight"]) == ("a new soup", "food", 0.5)
    assert row["target"] == dataset.labels.index("food")
    assert made.rows["train"] == dataset.rows["train"] + 1 == len(Rows(made.train))
    assert (made.validation, made.test) == (dataset.validation, dataset.test)
    assert made.content != dataset.content
    assert Rows(made.train).weights().min() == 0.5


def test_feedback_that_was_recorded_under_another_policy_follows_this_one(dataset: Dataset, tmp_path: Path) -> None:
    told = [said("soup by Ann for ann@mail.example"), said("warm bread")]

    def names(text: str) -> list[Found]:
        return [Found("name", 8, 11)] if "Ann" in text else []

    _, rows = add(dataset, tmp_path / "mask", told, personal=Redactor("mask", names=names))
    assert sorted(str(row["text"]) for row in rows) == ["soup by [name] for [email]", "warm bread"]
    made, rows = add(dataset, tmp_path / "drop", told, personal=Redactor("drop"))
    assert [row["text"] for row in rows] == ["warm bread"]
    assert "personal data" in made.notes[-1]
    for file in (tmp_path / "drop" / "out").iterdir():
        assert b"ann@mail" not in file.read_bytes()


def test_without_usable_feedback_the_data_is_the_same(dataset: Dataset, tmp_path: Path) -> None:
    made, _ = add(dataset, tmp_path, [said("soup", "weather"), said("  "), said("soup", ["food", "sport"])])
    assert (made.content, made.train) == (dataset.content, dataset.train)
    assert add_feedback(dataset, tmp_path / "absent", SETTINGS, tmp_path / "out") is dataset
    reasons = (tmp_path / "out" / "feedback.csv").read_text()
    assert "a label that the data does not have" in reasons
    assert "blank text" in reasons
    assert "not one label" in reasons


def test_no_row_of_a_part_that_judges_and_no_accepted_label_is_touched(dataset: Dataset, tmp_path: Path) -> None:
    judged = Rows(dataset.test).texts()[0].upper()
    trained = Rows(dataset.train)
    other = {"food": "sport", "sport": "food"}[trained.labels()[0]]
    made, rows = add(dataset, tmp_path, [said(judged), said(trained.texts()[0], other), said("fine", "sport")])
    assert [row["text"] for row in rows] == ["fine"]
    assert "1 contradicts the accepted data" in made.notes[-1]
    assert "1 the text stands in a part that judges" in made.notes[-1]


def test_a_text_counts_once_by_the_majority_of_its_clients(dataset: Dataset, tmp_path: Path) -> None:
    told = [said("soup of the day", "sport", client="loud", time=moment) for moment in range(9)]
    told += [said("Soup  of the day", "food", client="b"), said("soup of the day", "food", client="c")]
    told += [said("a draw", "food", client="b"), said("a draw", "sport", client="c")]
    _, rows = add(dataset, tmp_path, told)
    assert [(str(row["text"]).lower().split()[0], row["label"]) for row in rows] == [("soup", "food")]


def test_one_client_is_heard_so_often_a_day(dataset: Dataset, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"per_client_a_day": 5, "share": 1.0})
    told = [said(f"flood {number}", client="flooder", time=float(number)) for number in range(50)]
    told += [said("next day", client="flooder", time=90_000.0), said("another client", client="b")]
    _, rows = add(dataset, tmp_path, told, settings)
    assert sorted(str(row["text"]) for row in rows) == ["another client", *(f"flood {n}" for n in range(5)), "next day"]


def test_all_feedback_and_one_client_are_a_bounded_share(dataset: Dataset, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"share": 0.1, "client_share": 0.5})
    most = int(0.1 * dataset.rows["train"])
    told = [said(f"flood {number}", client="flooder", time=float(number)) for number in range(80)]
    told += [said(f"calm {number}", client="calm", time=float(number)) for number in range(3)]
    _, rows = add(dataset, tmp_path, told, settings)
    texts = [str(row["text"]) for row in rows]
    assert sum(text.startswith("flood") for text in texts) == most // 2
    assert sum(text.startswith("calm") for text in texts) == 3


def test_several_clients_may_be_asked_for(dataset: Dataset, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"min_clients": 2})
    told = [said("agreed", client="a"), said("agreed", client="b"), said("alone", client="a")]
    assert [row["text"] for row in add(dataset, tmp_path, told, settings)[1]] == ["agreed"]
