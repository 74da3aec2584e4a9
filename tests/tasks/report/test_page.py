import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.base.manifests import Evaluation, Table, Verdict
from tasks.report import RunReport, report
from tasks.report.page import confused
from tests.tasks.report.made import EVIL, made


class Page(HTMLParser):
    """The tags with their attributes, and the text outside of style."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.source = path.read_text("utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def write(folder: Path, run: RunReport) -> Page:
    return Page(report(run, folder))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    return made(tmp_path_factory.mktemp("run"))


def test_candidates_are_headed_with_the_metric_that_they_were_compared_by(tmp_path: Path, run: RunReport) -> None:
    by_f1 = run.model_copy(update={"parameters": {"train": {"metric": "macro_f1"}}})
    for compared, name in ((run, "accuracy"), (by_f1, "macro F1")):
        (heading,) = re.findall(r"<th[^>]*>validation ([^<]*)</th>", write(tmp_path, compared).source)
        assert heading == name


def test_labels_texts_and_names_are_shown_and_never_run(tmp_path: Path, run: RunReport) -> None:
    page = write(tmp_path, run)
    assert page.all("script") == []
    assert page.all("img") == []
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert EVIL in page.text
    assert "onerror=alert(" in page.text
    assert "it loses <b>2</b> points" in page.text
    assert "too <i>slow</i>" in page.text


def test_the_page_loads_nothing(tmp_path: Path, run: RunReport) -> None:
    page = write(tmp_path, run)
    assert page.all("link") == [{"rel": "icon", "href": "data:,"}]
    assert not [attributes for _, attributes in page.tags if "src" in attributes]
    assert "url(" not in page.source
    assert "@import" not in page.source
    assert all(target.startswith(("#", "http://127.0.0.1")) for one in page.all("a") if (target := one["href"]))


def test_every_chart_is_told_in_words_and_every_link_of_the_page_leads_somewhere(
    tmp_path: Path, run: RunReport
) -> None:
    page = write(tmp_path, run)
    charts = page.all("svg")
    assert len(charts) >= 5
    assert all(one["role"] == "img" and len(one["aria-label"] or "") > 30 for one in charts)
    places = {attributes.get("id") for _, attributes in page.tags}
    assert {(one["href"] or "")[1:] for one in page.all("a") if (one["href"] or "").startswith("#")} <= places
    assert page.all("html")[0]["lang"] == "en"


def test_a_manager_reads_the_result_first(tmp_path: Path, run: RunReport) -> None:
    assert run.evaluation
    page = write(tmp_path, run)
    figure = run.evaluation.metrics["accuracy"]
    start = page.text.index("Passed the gate")
    sentence = (
        f"gives the right answer for {figure.value:.1%} (95% interval {100 * figure.low:.1f} to {figure.high:.1%})"
    )
    assert (
        start
        < page.text.index(sentence)
        < page.text.index("encoder was chosen because")
        < page.text.index("What stands out")
    )


def test_what_was_found_in_the_data_is_listed(tmp_path: Path, run: RunReport) -> None:
    text = write(tmp_path, run).text
    for expected in (
        "610",
        "blank text",
        "rows.csv",
        "spelled almost alike",
        "1 of 2 expectations of the data were met",
        "usual lengths: texts are <i>longer</i>",
        "Labels that look wrong",
        "1" * 64,
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict(verdict="refused", reasons=["accuracy is too low"]), "✕ Refused by the gate"),
        (Verdict(verdict="overridden", reasons=["promoted anyway: hurry"]), "! Promoted in spite of the gate"),
    ],
)
def test_a_refusal_or_an_override_is_said_at_the_top(
    tmp_path: Path, run: RunReport, verdict: Verdict, words: str
) -> None:
    changed = run.model_copy(update={"verdict": verdict, "package": None, "deployment": None})
    text = write(tmp_path, changed).text
    assert text.index(words) < text.index("What stands out") < text.index(verdict.reasons[0])


def test_a_run_that_ended_early_has_a_page_of_what_there_is(tmp_path: Path, run: RunReport) -> None:
    assert run.table
    text = write(tmp_path, RunReport(source="x.csv", table=run.table)).text
    assert "The run ended before a model could be judged." in text
    assert "610" in text
    assert "Nothing was found yet" in write(tmp_path, RunReport(source="x.csv")).text


def with_classes(run: RunReport, count: int) -> RunReport:
    generator = np.random.default_rng(0)
    names = [f"class_number_{index}" for index in range(count)]
    row = {"precision": 0.9, "recall": 0.9, "f1": 0.9, "f1_low": 0.8, "f1_high": 1.0, "support": 40.0}
    confusion = generator.poisson(0.05, (count, count)) + 36 * np.eye(count, dtype=int)
    changes: dict[str, Any] = {"per_class": dict.fromkeys(names, row), "confusion": confusion.tolist()}
    assert run.evaluation
    return run.model_copy(update={"evaluation": Evaluation(**run.evaluation.model_dump() | changes)})


@pytest.mark.parametrize("count", [2, 77, 400])
def test_many_classes_stay_readable_and_small(tmp_path: Path, run: RunReport, count: int) -> None:
    page = write(tmp_path, with_classes(run, count))
    assert len(page.source) < 2_000_000
    matrix = next(one for one in page.all("svg") if "Confusion matrix" in (one["aria-label"] or ""))
    assert f"of {min(count, 100)} classes" in (matrix["aria-label"] or "")
    assert ("The 10 weakest of" in page.text) == (count > 10)


def test_the_most_frequent_confusions_come_first() -> None:
    pairs = confused(["a", "b"], [[8, 2], [5, 5]])
    assert pairs == [
        {"truth": "b", "answer": "a", "rows": 5, "share": 0.5},
        {"truth": "a", "answer": "b", "rows": 2, "share": 0.2},
    ]


def test_nothing_half_written_is_left(tmp_path: Path, run: RunReport) -> None:
    report(run, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_table_without_a_dataset_still_has_its_columns_named(tmp_path: Path) -> None:
    table = Table(
        path=tmp_path, task="single", text_column="t", label_column="l", rows_read=5, rows=3,
        quarantined={"blank": 2}, content="a" * 64,
    )  # fmt: skip
    assert "Text from the column t, labels from l." in write(tmp_path, RunReport(source="x.csv", table=table)).text


def test_what_more_time_and_size_would_buy_is_said(tmp_path: Path, run: RunReport) -> None:
    assert run.selection
    fast = next(one for one in run.selection.candidates if one.name == "bag")
    chosen = run.selection.model_copy(update={"chosen": fast})
    text = write(tmp_path, run.model_copy(update={"selection": chosen})).text
    assert (
        "encoder scored 5.0 points more on the validation set, at 9.00 ms a text and 0.0 MB instead of 0.10 ms" in text
    )


def test_a_model_trained_again_is_not_compared_by_its_new_rows(tmp_path: Path, run: RunReport) -> None:
    """Its score is then of the rows kept back; the others' are of all validation rows."""
    assert run.selection
    best = max(run.selection.candidates, key=lambda one: one.score)
    again = best.model_copy(update={"score": best.score - 0.1})
    chosen = run.selection.model_copy(update={"chosen": again})
    text = write(tmp_path, run.model_copy(update={"selection": chosen})).text
    assert "points more on the validation set" not in text
