import numpy as np
import pyarrow as pa
import pytest

from tasks.base.optional import NoResult
from tasks.verdict.slices import slices


def test_a_weaker_kind_of_text_is_found_and_the_others_are_not_blamed() -> None:
    generator = np.random.default_rng(0)
    city = ["Rome", "Oslo", "Lima", "Bern"] * 250
    right = np.array([generator.random() < (0.6 if name == "Oslo" else 0.9) for name in city])
    found = slices(["some text"] * 1000, right, pa.table({"city": city}))
    assert {one["value"]: one["lower"] for one in found} == {"Rome": False, "Oslo": True, "Lima": False, "Bern": False}


def test_chance_alone_is_rarely_called_lower() -> None:
    generator = np.random.default_rng(0)
    texts = ["x" * int(length) for length in generator.integers(5, 200, 400)]
    alarms = sum(
        any(one["lower"] for one in slices(texts, generator.random(400) < 0.8, pa.table({}))) for _ in range(100)
    )
    assert alarms <= 12  # 5 % are stated; more than 12 of 100 have p < 0.003


def test_lengths_are_quarters_in_order() -> None:
    texts = ["x" * length for length in range(1, 101)]
    found = slices(texts, np.ones(100, bool), pa.table({}))
    assert [one["value"] for one in found] == [f"{n}–{n + 24} characters" for n in (1, 26, 51, 76)]
    assert [one["rows"] for one in found] == [25] * 4


def test_scripts_are_told_apart_and_a_single_one_is_no_slice() -> None:
    found = slices(["hello there"] * 10 + ["你好世界啊呀喂"] * 10 + ["123"] * 10, np.ones(30, bool), pa.table({}))
    assert {one["value"] for one in found if one["slice"] == "script"} == {"Latin", "Han", "none"}
    with pytest.raises(NoResult, match="no two kinds of text with 5 rows each"):
        slices(["same"] * 20, np.ones(20, bool), pa.table({}))


def test_extra_columns_of_any_type_are_sliced() -> None:
    extra = pa.table({"stars": [1, 2, None, 2] * 10, "price": [index / 7 for index in range(40)]})
    found = slices(["same"] * 40, np.ones(40, bool), extra)
    assert {one["value"] for one in found if one["slice"] == "stars"} == {"1", "2", "(empty)"}
    assert len([one for one in found if one["slice"] == "price"]) == 4


def test_numbers_are_sliced_by_ranges_as_ingest_gives_them_which_is_as_text() -> None:
    extra = pa.table({"price": [str(index / 4) for index in range(40)] + [None] * 5 + [""]})
    found = slices(["same"] * 46, np.ones(46, bool), extra)
    assert {one["value"]: one["rows"] for one in found} == {
        "0–2.25": 10,
        "2.5–4.75": 10,
        "5–7.25": 10,
        "7.5–9.75": 10,
        "(empty)": 6,
    }


def test_a_column_of_which_one_value_is_no_number_keeps_its_values() -> None:
    extra = pa.table({"size": [str(index % 30) for index in range(300)] + ["nan"] * 20})
    found = slices(["same"] * 320, np.ones(320, bool), extra)
    assert {"0", "nan", "other"} <= {one["value"] for one in found}


def test_many_values_are_gathered_under_other() -> None:
    names = [f"user {index}" for index in range(100) for _ in range(6)]
    found = slices(["same"] * 600, np.ones(600, bool), pa.table({"user": names}))
    assert len(found) == 21
    assert found[0] == {
        "slice": "user",
        "value": "other",
        "rows": 480,
        "accuracy": found[0]["accuracy"],
        "lower": False,
    }
