"""The prediction log keeps what drift detection needs, no text unless asked, and never more than it may."""

import stat
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bentos.text_classifier.decoding import Options, Prediction
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.prediction_log import (
    SKETCH,
    PredictionLog,
    PredictionRecord,
    Thinning,
    observe,
    script,
    unpacked,
)
from bentos.text_classifier.scope import ScopeRule
from bentos.text_classifier.settings import Settings
from tasks.verdict.scope import fit_scope
from tests.bentos.text_classifier.model_folder import grams_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return TextModel.load(grams_folder(tmp_path_factory.mktemp("model")))


def recorded(folder: Path, model: TextModel, texts: list[str], **settings: object) -> list[PredictionRecord]:
    log = PredictionLog(folder, model, "v1", Settings(**settings))  # type: ignore[arg-type]
    for number, text in enumerate(texts):
        log.add([text], [Prediction(label="food", score=0.75, id=str(number), in_scope=True)], "10.0.0.7", Options())
    log.close()
    lines = b"".join(file.read_bytes() for file in sorted(folder.glob("predictions-*.jsonl"))).splitlines()
    return [msgspec.json.decode(line, type=PredictionRecord) for line in lines]


def test_a_record_holds_the_answer_and_statistics_but_no_text(tmp_path: Path, model: TextModel) -> None:
    (record,) = recorded(tmp_path, model, ["Bread  and soup"])
    assert (record.label, record.score, record.in_scope, record.version) == ("food", 0.75, True, "v1")
    assert (record.characters, record.words, record.script, record.text) == (15, 3, "LATIN", None)
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"soup" not in written
    assert b"10.0.0.7" not in written


def test_the_text_is_kept_where_the_setting_says_so(tmp_path: Path, model: TextModel) -> None:
    (record,) = recorded(tmp_path, model, ["Bread and soup"], store_texts=True)
    assert record.text == "Bread and soup"


def test_equal_texts_have_equal_hashes_under_a_key_of_the_folder(tmp_path: Path, model: TextModel) -> None:
    first, second, other = recorded(tmp_path / "a", model, ["Bread", " bread", "soup"])
    assert first.hash == second.hash != other.hash
    (elsewhere,) = recorded(tmp_path / "b", model, ["Bread"])
    assert elsewhere.hash != first.hash
    assert elsewhere.client != first.client
    assert stat.S_IMODE((tmp_path / "a" / "records.key").stat().st_mode) == 0o600
    (again,) = recorded(tmp_path / "a", model, ["bread"])[-1:]
    assert again.hash == first.hash


def test_beyond_a_burst_the_rate_holds(tmp_path: Path, model: TextModel) -> None:
    records = recorded(tmp_path, model, ["soup"] * 500, prediction_burst=100, prediction_rate=0.001)
    assert len(records) == 100


@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 1.0])
def test_a_share_is_taken_evenly(share: float) -> None:
    thinning = Thinning(share)
    taken = [thinning.takes() for _ in range(1000)]
    assert abs(sum(taken) - 1000 * share) <= 1
    assert abs(sum(taken[:100]) - 100 * share) <= 1


def test_rarity_and_unknown_share_grow_with_novelty(model: TextModel) -> None:
    known = [f"a soup of {word} with bread and sugar" for word in ("peas", "beans", "leek", "rice")] * 5
    rule = ScopeRule(fit_scope(model, known, known))
    seen, new = observe(["a soup of peas with bread and sugar", "die Suppe ist kalt geworden"], rule)
    assert seen.unknown is not None and new.unknown is not None  # noqa: PT018
    assert seen.rarity is not None and new.rarity is not None  # noqa: PT018
    assert seen.unknown < 0.01 < 0.5 < new.unknown <= 1
    assert seen.rarity < new.rarity


def test_a_sketch_does_not_depend_on_the_batch_and_keeps_likeness() -> None:
    texts = [
        "",
        "the match was lost in the last minute",
        "the match was won in the last minute",
        "苹果很好吃",
        "x" * 9000,
    ]
    together = unpacked([each.sketch for each in observe(texts, None)])
    alone = np.concatenate([unpacked([observe([text], None)[0].sketch]) for text in texts])
    assert np.array_equal(together, alone)
    assert together.shape == (5, 2 * SKETCH)
    near, far = together[1] @ together[2], together[1] @ together[3]
    assert near > 1.0 > 0.3 > abs(far)


@pytest.mark.parametrize(
    ("text", "name"),
    [("Grüße 12", "LATIN"), ("苹果 ok", "CJK"), ("привет", "CYRILLIC"), ("", "NONE"), ("12 !", "NONE")],
)
def test_the_script_of_a_text(text: str, name: str) -> None:
    assert script(text) == name
