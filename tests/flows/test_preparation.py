"""The data of a retrain, read and divided by real stages."""

import io
from pathlib import Path

import pytest
from prefect import flow

from flows.config import RetrainConfig
from flows.console import Console
from flows.preparation import Preparation
from flows.stages import Stages
from tasks.base.errors import InputError
from tasks.base.manifests import Dataset
from tasks.data.rows import Rows

pytestmark = pytest.mark.usefixtures("prefect_server")


def table(path: Path, start: int, rows: int) -> str:
    topics = ("water flows down", "stone lies still")
    lines = [f"{topics[n % 2]} in case {start + n},{'river' if n % 2 == 0 else 'rock'}" for n in range(rows)]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return str(path)


def prepared(state: Path, **parameters: object) -> tuple[Dataset, str]:
    said = io.StringIO()
    config = RetrainConfig.model_validate(parameters)

    @flow
    def prepare() -> Dataset:
        return Preparation(config, state, Stages(state / "stages", Console(said)), Console(said)).run()

    return prepare(), said.getvalue()


def texts(path: Path) -> set[str]:
    return set(Rows(path).texts())


def test_a_source_that_was_the_validation_set_is_the_test_set_when_it_is_given_as_that(tmp_path: Path) -> None:
    source, other = table(tmp_path / "a.csv", 0, 120), table(tmp_path / "b.csv", 1000, 30)
    first, _ = prepared(tmp_path / "state", source=source, validation_source=other)
    second, said = prepared(tmp_path / "state", source=source, test_source=other)
    assert texts(second.test) == texts(first.validation)
    assert second.content != first.content
    assert "kept" not in next(line for line in said.splitlines() if line.startswith("  preprocess"))


def test_two_sources_that_change_places_change_the_sets(tmp_path: Path) -> None:
    source, one, other = (table(tmp_path / f"{name}.csv", 1000 * start, 60) for start, name in enumerate("abc"))
    first, _ = prepared(tmp_path / "state", source=source, validation_source=one, test_source=other)
    second, _ = prepared(tmp_path / "state", source=source, validation_source=other, test_source=one)
    assert (texts(second.test), texts(second.validation)) == (texts(first.validation), texts(first.test))


def test_rows_set_aside_at_reading_are_judged_although_the_usable_rows_are_as_before(tmp_path: Path) -> None:
    source = Path(table(tmp_path / "a.csv", 0, 120))
    prepared(tmp_path / "state", source=str(source))
    with source.open("a") as stream:
        stream.write("one,two,three,four\n" * 60)
    with pytest.raises(InputError, match="33"):
        prepared(tmp_path / "state", source=str(source))
