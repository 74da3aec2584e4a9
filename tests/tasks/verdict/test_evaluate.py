import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from bentos.text_classifier.model import TextModel
from tasks.base.errors import InputError
from tasks.base.manifests import Dataset, Evaluation, content_of
from tasks.learning.candidate import VALIDATION_LOGITS
from tasks.learning.examples import rows_of
from tasks.report import RunReport, report
from tasks.report.run import as_json
from tasks.verdict.evaluate import evaluate
from tasks.watching.drift import reference_statistics
from tests.bentos.text_classifier.model_folder import WORDS, grams_folder
from tests.tasks.judged import LABELS, candidate, dataset, noisy_dataset, rows, served, variant


def judge(tmp_path: Path, data: Dataset) -> Evaluation:
    folder = tmp_path / "evaluate"
    folder.mkdir()
    return evaluate(served(tmp_path / "model"), candidate(tmp_path / "trained"), data, 13, folder)


def test_the_served_variant_is_judged_on_every_test_row(tmp_path: Path) -> None:
    data = noisy_dataset(tmp_path / "data", test_rows=300, noise=0.1)
    evaluation = judge(tmp_path, data)
    table = pq.read_table(data.test)
    answers = [one.label for one in TextModel.load(evaluation.folder).predict(table["text"].to_pylist())]
    right = [answer == label for answer, label in zip(answers, table["label"].to_pylist(), strict=True)]
    assert evaluation.metrics["accuracy"].value == pytest.approx(np.mean(right))
    written = pq.read_table(evaluation.predictions)
    assert written["predicted"].to_pylist() == answers
    assert written["correct"].to_pylist() == right
    assert np.sum(evaluation.confusion) == 300
    assert np.trace(evaluation.confusion) == sum(right)


def test_progress_goes_through_both_parts_and_never_falls(tmp_path: Path) -> None:
    data, told = noisy_dataset(tmp_path / "data"), []
    trained, folder = candidate(tmp_path / "trained"), tmp_path / "evaluate"
    folder.mkdir()
    evaluate(served(tmp_path / "model"), trained, data, 13, folder, progress=lambda *one: told.append(one))
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert list(dict.fromkeys(text for _, text in told)) == [
        "answering the validation set",
        "answering the test set",
        "looking for labels that may be wrong",
    ]


def test_every_figure_has_an_interval_around_it_and_is_strict_json(tmp_path: Path) -> None:
    """mlflow#3237: metrics without intervals."""
    evaluation = judge(tmp_path, noisy_dataset(tmp_path / "data"))
    assert {"accuracy", "macro_f1", "weighted_f1", "matthews", "log_loss", "roc_auc", "pr_auc"} <= set(
        evaluation.metrics
    )
    for name, figure in evaluation.metrics.items():
        assert figure.low <= figure.value <= figure.high, name
    json.dumps(evaluation.model_dump(mode="json"), allow_nan=False)


def test_calibration_is_shown_before_and_after_on_the_test_part(tmp_path: Path) -> None:
    """ludwig#1908."""
    calibration = judge(tmp_path, noisy_dataset(tmp_path / "data", 1000, noise=0.25)).calibration
    assert calibration["before"]["error"] > 0.15
    assert calibration["after"]["error"] < 0.05
    assert sum(one["rows"] for one in calibration["after"]["bins"]) == 1000


def test_wrong_labels_of_training_and_validation_rows_are_named_and_stay(tmp_path: Path) -> None:
    data = noisy_dataset(tmp_path / "data", noise=0.05)
    before = content_of(data.train, data.validation)
    evaluation = judge(tmp_path, data)
    assert content_of(data.train, data.validation) == before
    assert {one["part"] for one in evaluation.label_errors} == {"training", "validation"}
    for one in evaluation.label_errors:
        assert one["text"].split()[0] not in WORDS[one["label"]]


def test_the_manifest_that_ships_carries_the_figures_and_the_lineage(tmp_path: Path) -> None:
    data = noisy_dataset(tmp_path / "data")
    evaluation = judge(tmp_path, data)
    manifest = TextModel.load(evaluation.folder).manifest
    assert manifest.metrics["accuracy"]["value"] == evaluation.metrics["accuracy"].value
    assert manifest.lineage["data"] == data.content
    assert evaluation.content == content_of(evaluation.folder, evaluation.predictions)


def test_false_alarms_of_the_scope_rule_are_counted_on_the_test_part(tmp_path: Path) -> None:
    scope = judge(tmp_path, noisy_dataset(tmp_path / "data")).scope
    assert scope["stated_false_alarm_rate"] == 0.05
    assert scope["test_false_alarm_rate"]["value"] < 0.15


def test_extra_columns_of_the_test_part_become_slices(tmp_path: Path) -> None:
    parts = {"train": rows(60, 1), "validation": rows(60, 2), "test": rows(60, 3)}
    data = dataset(tmp_path / "data", parts, extra={"city": ["Rome", "Oslo"] * 30})
    assert {one["value"] for one in judge(tmp_path, data).slices if one["slice"] == "city"} == {"Rome", "Oslo"}


def test_the_majority_is_the_best_constant_answer(tmp_path: Path) -> None:
    texts, labels = ["atom", "atom", "atom", "goal"], ["science", "science", "science", "sport"]
    data = dataset(tmp_path / "data", {"train": rows(60, 1), "validation": rows(60, 2), "test": (texts, labels)})
    assert judge(tmp_path, data).majority == 0.75


def test_texts_with_several_labels_are_judged_label_by_label(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)

    def part(count: int) -> tuple[list[str], list[list[str]]]:
        chosen = [[name for name in LABELS if generator.random() < 0.5] or ["food"] for _ in range(count)]
        return [" ".join(WORDS[name][row % 5] for name in names) for row, names in enumerate(chosen)], chosen

    data = dataset(tmp_path / "data", {"train": part(90), "validation": part(200), "test": part(200)}, task="multi")
    (tmp_path / "out").mkdir()
    picked = variant(grams_folder(tmp_path / "model", task="multi"))
    evaluation = evaluate(picked, candidate(tmp_path / "c"), data, 13, tmp_path / "out")
    assert {"accuracy", "micro_f1", "macro_f1"} <= set(evaluation.metrics)
    assert evaluation.metrics["micro_f1"].value > 0.8
    written = pq.read_table(evaluation.predictions)
    both = zip(written["label"].to_pylist(), written["predicted"].to_pylist(), strict=True)
    assert written["correct"].to_pylist() == [sorted(truth) == sorted(answer) for truth, answer in both]


def test_a_model_trained_again_is_calibrated_on_the_rows_that_it_was_chosen_by(tmp_path: Path) -> None:
    data = noisy_dataset(tmp_path / "data")
    before = candidate(tmp_path / "before", content="b" * 64)
    before.folder.mkdir()
    targets = rows_of(data, "validation")[1]
    np.save(before.folder / VALIDATION_LOGITS, np.eye(len(LABELS), dtype=np.float32)[targets])
    made = []
    for name, chosen in (("same", before), ("again", candidate(tmp_path / "again", content="a" * 64))):
        (tmp_path / name).mkdir(exist_ok=True)
        picked = served(tmp_path / f"model {name}")
        made.append(evaluate(picked, chosen, data, 13, tmp_path / name, (before, data)).calibration["rows"])
    assert made == [len(targets), 2 * len(targets)]


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize(
    ("task", "texts", "labels"),
    [
        ("single", ["atom", "goal", "bread"], ["science"] * 3),
        ("single", ["atom"], ["science"]),
        ("single", ["atom"] * 30, LABELS * 10),
        ("single", [" "] * 6, LABELS * 2),
        ("multi", ["atom", "goal", "bread"], [["science", "food"], ["science"], ["science", "food"]]),
        ("multi", ["atom", "goal", "bread"], [LABELS] * 3),
        ("multi", ["atom", "goal", "bread"], [["science"], [], []]),
        ("multi", ["atom"], [["science"]]),
    ],
)
def test_a_part_of_which_an_analysis_can_say_nothing_does_not_end_the_run(
    tmp_path: Path, part: str, task: str, texts: list[str], labels: list[Any]
) -> None:
    usual = rows(30, 1)
    parts = dict.fromkeys(("train", "validation", "test"), (usual[0], [[one] for one in usual[1]]))
    data = dataset(
        tmp_path / "data",
        (parts if task == "multi" else dict.fromkeys(parts, usual)) | {part: (texts, labels)},
        task=task,
    )
    (tmp_path / "out").mkdir()
    picked = variant(grams_folder(tmp_path / "model", task=task))
    evaluation = evaluate(picked, candidate(tmp_path / "c"), data, 13, tmp_path / "out")
    reference_statistics(data, evaluation.folder, evaluation.folder, ("validation",))
    run = RunReport(source="rows.csv", dataset=data, evaluation=evaluation)
    page = report(run, tmp_path).read_text("utf-8")
    json.dumps(as_json(run), allow_nan=False)
    for name, why in evaluation.left_out.items():
        assert f"<b>{name}</b>: {why}" in page


def test_what_is_left_out_is_said_with_its_reason(tmp_path: Path) -> None:
    one = (["atom"] * 10, ["science"] * 10)
    data = dataset(tmp_path / "data", {"train": one, "validation": one, "test": one})
    assert judge(tmp_path, data).left_out == {
        "accuracy by kind of text": "there are no two kinds of text with 5 rows each",
        "wrong labels of validation rows": "all 10 rows have the same label",
        "wrong labels of training rows": "all 10 rows have the same label",
    }


def test_an_empty_test_part_is_refused(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", {"train": rows(10, 1), "validation": rows(10, 2), "test": ([], [])})
    with pytest.raises(InputError, match="test set has no rows"):
        judge(tmp_path, data)
