"""The split: nothing leaks, and only texts and seed decide it."""

import json
import os
import random
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from bentos.text_classifier.text import fold, words
from tasks.base.errors import InputError
from tasks.base.manifests import Checked, Dataset
from tasks.base.settings import DataSettings, SourceSettings, TrainSettings
from tasks.data import expectations
from tasks.data.ingest import ingest
from tasks.data.preprocess import preprocess
from tasks.data.profile import language_of, language_shares, script_of
from tasks.data.rows import Rows
from tasks.data.validate import validate

DATASETS = Path(os.environ.get("DATASETS_DIR", "../shared/datasets"))
ENTRIES = [{"text": f"the text of number {n} is here", "label": f"class {n % 4}"} for n in range(400)]


@pytest.fixture(autouse=True)
def without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing the Data Docs, which no test here reads, takes half the time of a validation."""
    monkeypatch.setattr(expectations, "_build_site", lambda context, site: None)


def checked_from(source: Path | str, folder: Path, trained_on: bool = True, **settings: Any) -> Checked:
    table = ingest(SourceSettings(source=str(source), **settings), folder / "table", 13)
    return validate(table, DataSettings(), folder / "checked", trained_on=trained_on)


def checked(entries: list[dict[str, Any]], folder: Path, **settings: Any) -> Checked:
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, entries)))
    return checked_from(folder / "rows.jsonl", folder, **settings)


def split(entries: list[dict[str, Any]], folder: Path, seed: int = 13, **settings: Any) -> Dataset:
    return preprocess(
        checked(entries, folder, **settings), None, None, DataSettings(), TrainSettings(), seed, folder / "split"
    )


def parts(dataset: Dataset) -> dict[str, list[str]]:
    return {name: Rows(getattr(dataset, name)).texts() for name in ("train", "validation", "test")}


def test_split_is_stratified_and_loses_nothing(tmp_path: Path) -> None:
    dataset = split(ENTRIES, tmp_path)
    assert dataset.rows == {"train": 300, "validation": 40, "test": 60}
    assert dataset.labels == ["class 0", "class 1", "class 2", "class 3"]
    assert np.bincount(Rows(dataset.test).targets()).tolist() == [15, 15, 15, 15]
    assert sorted(chain(*parts(dataset).values())) == sorted(entry["text"] for entry in ENTRIES)
    train = Rows(dataset.train)
    assert train.targets().dtype == np.int32
    assert [dataset.labels[target] for target in train.targets()] == train.labels()
    assert train.weights().dtype == np.float32


def test_of_many_rows_no_more_are_held_out_than_figures_need(tmp_path: Path) -> None:
    data = DataSettings(held_out_rows=20)
    dataset = preprocess(checked(ENTRIES, tmp_path), None, None, data, TrainSettings(), 13, tmp_path / "split")
    assert dataset.rows == {"train": 360, "validation": 20, "test": 20}


@pytest.mark.parametrize("task", ["single", "multi"])
def test_no_row_of_another_part_comes_into_the_test_part_when_it_takes_a_smaller_share(
    tmp_path: Path, task: str
) -> None:
    entries = [
        {
            "text": f"number {n // 2}{'!' * (n % 2)}",
            "label": [f"class {n % 7}"] if task == "multi" else f"class {n % 7}",
        }
        for n in range(1200)
    ]
    data = DataSettings(held_out_rows=90)
    found = [
        parts(preprocess(checked(rows, tmp_path / name), None, None, data, TrainSettings(), 13, tmp_path / name))
        for name, rows in (("few", entries[:600]), ("many", entries))
    ]
    before = {text for texts in found[0].values() for text in texts}
    assert 80 <= len(found[1]["test"]) <= 100
    assert 20 <= len(before & set(found[1]["test"])) < len(found[0]["test"])
    assert before & set(found[1]["test"]) <= set(found[0]["test"])


def test_any_head_of_a_part_is_a_fair_sample(tmp_path: Path) -> None:
    rare = [{"text": f"rare {kind} {n}", "label": f"rare {kind}"} for kind in range(60) for n in range(4)]
    dataset = split(
        [*ENTRIES, *ENTRIES, *({"text": f"more {n}", "label": "class 0"} for n in range(1000)), *rare], tmp_path
    )
    labels = Rows(dataset.train).labels()
    few = [label.startswith("rare") for label in labels]
    assert sum(few[: len(few) // 3]) == pytest.approx(sum(few) / 3, rel=0.3)


def test_shuffled_source_gives_the_same_files(tmp_path: Path) -> None:
    shuffled = random.Random(1).sample(ENTRIES, len(ENTRIES))
    first, second = split(ENTRIES, tmp_path / "a"), split(shuffled, tmp_path / "b")
    assert parts(first) == parts(second)
    assert first.labels == second.labels
    assert first.content == second.content
    assert parts(split(ENTRIES, tmp_path / "c", seed=14)) != parts(first)


def test_source_sorted_by_label_is_mixed(tmp_path: Path) -> None:
    dataset = split(sorted(ENTRIES, key=lambda entry: entry["label"]), tmp_path)
    assert len(set(Rows(dataset.train).targets()[:60].tolist())) == 4


def test_a_class_of_three_rows_stands_in_every_part(tmp_path: Path) -> None:
    dataset = split([*ENTRIES, *({"text": f"rare {n}", "label": "rare"} for n in range(3))], tmp_path)
    rare = dataset.labels.index("rare")
    assert [int((Rows(getattr(dataset, name)).targets() == rare).sum()) for name in parts(dataset)] == [1, 1, 1]


def test_own_test_source_is_used_whole_and_never_trained_on(tmp_path: Path) -> None:
    training = checked(ENTRIES, tmp_path / "train")
    test_entries = [
        *({"text": entry["text"].upper(), "label": entry["label"]} for entry in ENTRIES[:10]),
        *({"text": "new one", "label": "class 1"} for _ in range(12)),
        {"text": "unknown class", "label": "class 9"},
    ]
    test = checked(test_entries, tmp_path / "test", trained_on=False)
    dataset = preprocess(training, None, test, DataSettings(), TrainSettings(), 13, tmp_path / "split")
    assert dataset.rows == {"train": 350, "validation": 40, "test": 22}
    seen = {text.casefold() for name in ("train", "validation") for text in parts(dataset)[name]}
    assert not seen & {text.casefold() for text in parts(dataset)["test"]}
    assert dataset.notes == [
        "10 training texts also stand in the test source; they were left out of training",
        "1 rows of the test source have classes that training lacks: 'class 9'; they were left out.",
    ]


def test_a_test_source_that_is_the_training_source_is_named_so(tmp_path: Path) -> None:
    training, test = checked(ENTRIES, tmp_path / "train"), checked(ENTRIES, tmp_path / "test", trained_on=False)
    with pytest.raises(InputError, match=r"^Every training text also stands in the test source.* Leave --test-"):
        preprocess(training, None, test, DataSettings(), TrainSettings(), 13, tmp_path / "split")


def test_a_test_source_taken_from_the_training_source_is_said(tmp_path: Path) -> None:
    training, test = checked(ENTRIES, tmp_path / "train"), checked(ENTRIES[:40], tmp_path / "test", trained_on=False)
    dataset = preprocess(training, None, test, DataSettings(), TrainSettings(), 13, tmp_path / "split")
    assert dataset.notes == [
        "every text of the test source stands in the training source too: "
        "40 training texts also stand in the test source; they were left out of training"
    ]


@pytest.mark.parametrize("task", ["single", "multi"])
def test_classes_that_training_lacks_are_named_with_what_they_nearly_equal(tmp_path: Path, task: str) -> None:
    def entries(names: list[str], where: str) -> list[dict[str, Any]]:
        wrap = (lambda name: [name, "all"]) if task == "multi" else (lambda name: name)
        return [{"text": f"{where} {n}", "label": wrap(names[n % len(names)])} for n in range(60)]

    training = checked(entries(["0", "1", "caf\u00e9"], "train"), tmp_path / "train", task=task)
    other = entries(["1.0", "cafe\u0301", "odd", "0"], "test")
    test = checked(other, tmp_path / "test", trained_on=False, task=task)
    dataset = preprocess(training, None, test, DataSettings(), TrainSettings(), 13, tmp_path / "split")
    assert dataset.notes == [
        "45 rows of the test source have classes that training lacks: '1.0', 'cafe\u0301', 'odd'; "
        f"{'they' if task == 'single' else 'these labels'} were left out. Nearly equal, and yet different classes: "
        "'1' and '1.0'; 'cafe\\u0301' and 'café'; write them alike."
    ]


def test_a_test_source_with_none_of_the_classes_says_so(tmp_path: Path) -> None:
    training = checked([{**entry, "label": entry["label"][-1]} for entry in ENTRIES], tmp_path / "train")
    other = [{"text": f"new {n}", "label": f"{n % 4}.0"} for n in range(40)]
    test = checked(other, tmp_path / "test", trained_on=False)
    with pytest.raises(
        InputError,
        match=r"^All rows of the test source have classes that training lacks: '0\.0', .*\. Training has '0', '1', "
        r"'2', '3'\. Nearly equal, and yet different classes: '0' and '0\.0'; ",
    ):
        preprocess(training, None, test, DataSettings(), TrainSettings(), 13, tmp_path / "split")


def test_folds_by_size(tmp_path: Path) -> None:
    data = checked(ENTRIES, tmp_path)
    own = checked(ENTRIES[:40], tmp_path / "own")

    def folds(validation: Checked | None, train: TrainSettings) -> int:
        return preprocess(data, validation, None, DataSettings(), train, 13, tmp_path / "split").folds

    assert folds(None, TrainSettings()) == 5
    assert folds(own, TrainSettings()) == 0
    assert folds(None, TrainSettings(folds=3)) == 3
    assert folds(None, TrainSettings(folds=0)) == 0


def test_multi_label_targets(tmp_path: Path) -> None:
    names = ["x", "y", "z"]
    entries = [
        {"text": f"text {n}", "label": [name for place, name in enumerate(names) if n >> place & 1]} for n in range(80)
    ]
    dataset = split(entries, tmp_path)
    rows = Rows(dataset.train)
    assert dataset.labels == names
    assert rows.targets().shape == (dataset.rows["train"], 3)
    assert rows.targets().dtype == np.int8
    for label, target in zip(rows.labels(), rows.targets(), strict=True):
        assert label == [name for name, there in zip(names, target, strict=True) if there]
    batch = next(rows.batches(16))
    assert batch["targets"].tolist() == rows.targets()[:16].tolist()


def test_tagging_rows_keep_their_spans(tmp_path: Path) -> None:
    entries = [
        {"text": f"Anna saw Bob {n}", "spans": [{"start": 0, "end": 4, "label": "PER"}] * (n % 3 > 0)}
        for n in range(60)
    ]
    dataset = split(entries, tmp_path)
    assert (dataset.task, dataset.labels) == ("tagging", ["PER"])
    for text, spans in zip(parts(dataset)["test"], Rows(dataset.test).labels(), strict=True):
        assert [text[span["start"] : span["end"]] for span in spans] in (["Anna"], [])


def test_extra_columns_come_along(tmp_path: Path) -> None:
    entries = [entry | {"shop": f"s{n % 3}"} for n, entry in enumerate(ENTRIES)]
    dataset = split(entries, tmp_path, extra_columns=("shop",))
    assert set(Rows(dataset.test).column("shop")) == {"s0", "s1", "s2"}
    assert pq.read_schema(dataset.train).names == ["text", "label", "shop", "group", "target", "weight"]


def test_batches_stream_all_rows_in_order(tmp_path: Path) -> None:
    rows = Rows(split(ENTRIES, tmp_path).train)
    batches = list(rows.batches(64))
    assert [len(batch["texts"]) for batch in batches] == [64, 64, 64, 64, 44]
    assert list(chain(*(batch["texts"] for batch in batches))) == rows.texts()
    assert np.concatenate([batch["targets"] for batch in batches]).tolist() == rows.targets().tolist()


def test_profile(tmp_path: Path) -> None:
    profile = split(ENTRIES, tmp_path).profile
    assert profile.language == "en"
    assert profile.scripts == {"Latin": 1.0}
    assert profile.tokens["1.0"] == 7
    assert profile.total_tokens == 7 * 300
    assert profile.imbalance == 1.0


@pytest.mark.parametrize(("letter", "script"), [("é", "Latin"), ("好", "Han"), ("ж", "Cyrillic"), ("ก", "Thai")])
def test_scripts(letter: str, script: str) -> None:
    assert script_of(letter) == script


GERMAN = ["das ist der beste Film den ich in diesem Jahr gesehen habe", "er war nicht zu lang", "sehr gut"]
ENGLISH = ["what is the capital of France", "Nice film", "I like it very much", "where is my card", "Wall Street up"]
CHINESE = ["这部电影非常好看", "我不喜欢这个iPhone手机", "音乐太吵了"]
JAPANESE = ["とても良い映画でした", "音楽がうるさかった", "東京", "アメリカ"]


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (GERMAN, "Latin"),
        (ENGLISH, "en"),
        (CHINESE, "zh"),
        (JAPANESE, "ja"),
        (["очень хороший фильм"], "Cyrillic"),
        (["12 !", ""], "none"),
        ([], "none"),
        # Letters say English here: a Chinese text has a fifth of them.
        ([*ENGLISH * 4, *CHINESE * 5], "en+zh"),
        ([*ENGLISH * 19, *CHINESE], "en"),
        ([*ENGLISH * 3, *CHINESE], "en+zh"),
        ([*ENGLISH, *GERMAN * 2], "Latin+en"),
        ([*ENGLISH * 4, "Café Müller", *GERMAN], "en+Latin"),
    ],
)
def test_language_is_a_share_of_texts(texts: list[str], language: str) -> None:
    assert language_of(language_shares([words(fold(text)) for text in texts])) == language


@pytest.mark.datasets
@pytest.mark.parametrize(
    ("name", "classes", "language", "own_validation"),
    [
        ("trec6", 6, "en", False),
        ("sms_spam", 2, "en", False),
        ("banking77", 77, "en", False),
        ("ag_news_40k", 4, "en", False),
        ("thucnews_titles_45k", 10, "zh", True),
    ],
)
def test_shared_sets_go_through(tmp_path: Path, name: str, classes: int, language: str, own_validation: bool) -> None:
    if not (DATASETS / f"{name}.train.parquet").exists():
        pytest.skip(f"{DATASETS} holds no {name}")
    found = {
        part: checked_from(DATASETS / f"{name}.{part}.parquet", tmp_path / part)
        for part in ("train", "test", *(["val"] * own_validation))
    }
    dataset = preprocess(
        found["train"], found.get("val"), found["test"], DataSettings(), TrainSettings(), 13, tmp_path / "split"
    )
    assert len(dataset.labels) == classes
    assert dataset.profile.language == language
    assert dataset.rows["test"] == pq.read_metadata(DATASETS / f"{name}.test.parquet").num_rows
