from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bentos.text_classifier.model import TextModel
from tasks.base.errors import InputError
from tasks.base.manifests import Evaluation, Figure, Verdict
from tasks.base.settings import Budget, GateSettings
from tasks.verdict.checks import Check, Question, questions, register
from tasks.verdict.checks.behaviour import read_cases
from tasks.verdict.checks.mcnemar import better
from tasks.verdict.gate import gate
from tests.bentos.text_classifier.model_folder import WORDS, grams_folder, sentence
from tests.tasks.judged import LABELS, optimised, served, variant


def evaluation(tmp_path: Path, truths: list[str], answers: list[str], texts: list[str] | None = None) -> Evaluation:
    """What `evaluate` hands over when the model gave these answers."""
    correct = [truth == answer for truth, answer in zip(truths, answers, strict=True)]
    path = tmp_path / "predictions.parquet"
    columns = {"text": texts or [f"text {row}" for row in range(len(truths))], "label": truths, "predicted": answers}
    pq.write_table(pa.table(columns | {"score": [0.9] * len(truths), "correct": correct}), path)
    accuracy = sum(correct) / len(correct)
    per_class = {}
    for name in sorted(set(truths)):
        own = [right for truth, right in zip(truths, correct, strict=True) if truth == name]
        per_class[name] = {"recall": sum(own) / len(own), "support": float(len(own))}
    return Evaluation(
        folder=grams_folder(tmp_path / "served"),
        metrics={"accuracy": Figure(value=accuracy, low=accuracy, high=accuracy)},
        per_class=per_class,
        confusion=[],
        calibration={},
        predictions=path,
        content="e" * 64,
    )


def judge(
    tmp_path: Path,
    judged: Evaluation,
    champion: TextModel | None = None,
    budget: Budget | None = None,
    promote_anyway: str | None = None,
    **settings: Any,
) -> Verdict:
    picked = served(tmp_path / "picked")
    return gate(judged, optimised(picked), champion, GateSettings(**settings), budget or Budget(), promote_anyway)


def check(verdict: Verdict, name: str) -> dict[str, Any]:
    return next(one for one in verdict.checks if one["name"] == name)


def test_a_good_model_passes_and_every_check_is_listed_with_its_figure(tmp_path: Path) -> None:
    truths = LABELS * 30
    verdict = judge(tmp_path, evaluation(tmp_path, truths, truths))
    assert verdict.verdict == "passed"
    assert verdict.reasons == []
    assert [one["name"] for one in verdict.checks] == [
        "better than always giving the most frequent answer",
        "better than chance",
        "recall of every class",
    ]
    assert all(one["passed"] and one["figure"] == 1.0 for one in verdict.checks)


def test_an_always_majority_model_fails_however_accurate_it_is(tmp_path: Path) -> None:
    """keras#14141: a 4 % class is hidden by accuracy."""
    truths = ["ham"] * 960 + ["spam"] * 40
    verdict = judge(tmp_path, evaluation(tmp_path, truths, ["ham"] * 1000))
    assert verdict.verdict == "refused"
    failed = [one["name"] for one in verdict.checks if not one["passed"]]
    assert failed == ["better than always giving the most frequent answer", "recall of every class"]
    assert "accuracy 96.0% against 96.0% when it is always 'ham'" in verdict.reasons[0]


def test_a_hidden_class_fails_even_when_accuracy_beats_the_majority(tmp_path: Path) -> None:
    truths = ["a"] * 500 + ["b"] * 460 + ["c"] * 40
    verdict = judge(tmp_path, evaluation(tmp_path, truths, ["a"] * 500 + ["b"] * 500))
    assert verdict.verdict == "refused"
    assert "below it: 'c' 0.0%" in verdict.reasons[0]
    assert judge(tmp_path, evaluation(tmp_path, truths, ["a"] * 500 + ["b"] * 500), min_recall=0.0).verdict == "passed"


def test_a_class_with_few_test_rows_is_not_held_to_the_floor(tmp_path: Path) -> None:
    truths = ["a"] * 100 + ["b"] * 100 + ["c"] * 19
    assert judge(tmp_path, evaluation(tmp_path, truths, ["a"] * 100 + ["b"] * 119)).verdict == "passed"


def test_a_coin_fails(tmp_path: Path) -> None:
    truths = ["heads", "tails"] * 100
    verdict = judge(tmp_path, evaluation(tmp_path, truths, ["heads", "heads", "tails", "tails"] * 50))
    assert not check(verdict, "better than chance")["passed"]


def test_a_handful_of_rows_is_too_few_to_tell_and_says_so(tmp_path: Path) -> None:
    verdict = judge(tmp_path, evaluation(tmp_path, ["a", "b", "a"], ["a", "b", "a"]))
    assert verdict.verdict == "refused"
    assert "on only 3 test rows, too few to tell" in verdict.reasons[0]


def test_mcnemars_exact_test_is_the_binomial_of_the_rows_where_one_is_right() -> None:
    assert better(5, 0) == pytest.approx(1 / 32)
    assert better(3, 3) == pytest.approx(42 / 64)
    assert better(0, 0) == 1.0


def champion_case(tmp_path: Path, lost: int) -> tuple[Evaluation, TextModel]:
    """120 rows that the champion gets right; the new model loses the first `lost` of them."""
    truths = LABELS * 40
    texts = [sentence(label) for label in truths]
    answers = ["food" if truth != "food" else "sport" for truth in truths[:lost]] + truths[lost:]
    return evaluation(tmp_path, truths, answers, texts), TextModel.load(grams_folder(tmp_path / "champion"))


def test_a_model_as_good_as_the_live_one_may_replace_it(tmp_path: Path) -> None:
    judged, champion = champion_case(tmp_path, lost=4)
    verdict = judge(tmp_path, judged, champion)
    assert verdict.verdict == "passed"
    against = check(verdict, "not worse than the live model")
    assert against["p_value"] == pytest.approx(1 / 16)
    assert "0 only this model has right, 4 only the live one" in against["found"]


def test_a_model_significantly_worse_than_the_live_one_is_refused(tmp_path: Path) -> None:
    judged, champion = champion_case(tmp_path, lost=5)
    verdict = judge(tmp_path, judged, champion)
    assert verdict.verdict == "refused"
    assert "accuracy 95.8% against 100.0%" in verdict.reasons[0]


def test_a_live_model_that_lacks_a_class_is_also_compared_on_those_it_knows(tmp_path: Path) -> None:
    judged, _ = champion_case(tmp_path, lost=5)
    known = {name: WORDS[name] for name in ("science", "sport")}
    champion = TextModel.load(grams_folder(tmp_path / "old", words=known))
    verdict = judge(tmp_path, judged, champion)
    assert check(verdict, "not worse than the live model")["passed"]
    shared = check(verdict, "not worse than the live model on the classes that it knows")
    assert "on 80 rows; 0 only this model has right" in shared["found"]
    assert verdict.verdict == ("passed" if shared["passed"] else "refused")


def test_a_live_model_with_other_labels_altogether_is_no_obstacle(tmp_path: Path) -> None:
    judged, _ = champion_case(tmp_path, lost=0)
    champion = TextModel.load(grams_folder(tmp_path / "old", words={"x": ["foo"], "y": ["bar"]}))
    assert judge(tmp_path, judged, champion).verdict == "passed"


def cases(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cases.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_behaviour_cases_that_keep_their_label_pass(tmp_path: Path) -> None:
    judged = evaluation(tmp_path, LABELS * 30, LABELS * 30)
    path = cases(tmp_path, '\ufefftext,label\n"bread, soup",food\ngoal,sport\n')
    verdict = judge(tmp_path, judged, behaviour=path)
    assert check(verdict, "behaviour cases")["found"] == "all 2 kept"
    assert verdict.verdict == "passed"


def test_a_behaviour_case_that_changes_is_named(tmp_path: Path) -> None:
    judged = evaluation(tmp_path, LABELS * 30, LABELS * 30)
    verdict = judge(tmp_path, judged, behaviour=cases(tmp_path, "text,label\ngoal,food\nsoup,food\n"))
    assert verdict.verdict == "refused"
    assert "1 of 2 changed: 'goal' is 'sport', not 'food'" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,class\na,b\n", "label is missing"),
        ("", "label is missing"),
        ("text,label\n,food\n", "line 2: a behaviour case needs a text and a label"),
    ],
)
def test_a_file_of_cases_that_cannot_be_used_says_where_and_why(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_cases(cases(tmp_path, content))
    with pytest.raises(InputError, match="cannot be read"):
        read_cases(tmp_path / "absent.csv")


def test_the_budget_is_measured_on_what_is_served(tmp_path: Path) -> None:
    judged = evaluation(tmp_path, LABELS * 30, LABELS * 30)
    tight = judge(tmp_path, judged, budget=Budget(max_latency_ms=0.1, max_size_mb=0.001))
    assert [reason.split(":")[0] for reason in tight.reasons] == ["latency of one text", "size of the model"]
    assert judge(tmp_path, judged, budget=Budget(max_latency_ms=1, max_size_mb=1)).verdict == "passed"


def test_a_lowest_accuracy_can_be_asked_for(tmp_path: Path) -> None:
    judged = evaluation(tmp_path, LABELS * 30, LABELS * 29 + ["sport"] * 3)
    assert judge(tmp_path, judged, min_accuracy=0.99).reasons == ["accuracy: 97.8%; wanted: at least 99.0%"]


def test_an_override_is_recorded_with_its_reason_and_what_failed(tmp_path: Path) -> None:
    judged = evaluation(tmp_path, ["a"] * 50 + ["b"] * 50, ["a"] * 100)
    verdict = judge(tmp_path, judged, promote_anyway="the old model is down")
    assert verdict.verdict == "overridden"
    assert verdict.reasons[0] == "promoted anyway: the old model is down"
    assert len(verdict.reasons) == 4
    assert not check(verdict, "recall of every class")["passed"]


def test_an_override_of_a_model_that_passes_changes_nothing(tmp_path: Path) -> None:
    judged = evaluation(tmp_path, LABELS * 30, LABELS * 30)
    assert judge(tmp_path, judged, promote_anyway="hurry").verdict == "passed"


def test_whole_answers_of_several_labels_are_compared(tmp_path: Path) -> None:
    texts = ["atom goal", "bread", "goal soup"] * 30
    truths = [["science", "sport"], ["food"], ["sport", "food"]] * 30
    path = tmp_path / "predictions.parquet"
    pq.write_table(pa.table({"text": texts, "label": truths, "predicted": truths, "correct": [True] * 90}), path)
    folder = grams_folder(tmp_path / "multi", task="multi")
    judged = Evaluation(
        folder=folder, metrics={}, per_class={}, confusion=[], calibration={}, predictions=path, content="e" * 64
    )
    path_of_cases = cases(tmp_path, "text,label\natom goal,sport|science\nbread,food\n")
    settings = GateSettings(behaviour=path_of_cases)
    verdict = gate(judged, optimised(variant(folder)), TextModel.load(folder), settings, Budget(), None)
    assert verdict.verdict == "passed"
    assert "accuracy 100.0% against 100.0% on 90 rows" in check(verdict, "not worse than the live model")["found"]


def test_what_the_gate_asks_is_found_in_its_files_in_the_order_of_the_report() -> None:
    assert [question.name for question in questions()] == [
        "beats nothing",
        "champion",
        "recall",
        "accuracy",
        "behaviour",
        "budget",
    ]


def test_a_question_that_registers_itself_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.verdict.checks._REGISTRY", {})
    register(Question("late", 2, lambda case: [Check("late", False, f"{len(case.tested.texts)} rows", "more")]))
    register(Question("early", 1, lambda case: [Check("early", True, "", "")]))
    verdict = judge(tmp_path, evaluation(tmp_path, LABELS, LABELS))
    assert [one["name"] for one in verdict.checks] == ["early", "late"]
    assert (verdict.verdict, verdict.reasons) == ("refused", ["late: 3 rows; wanted: more"])
