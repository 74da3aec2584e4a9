"""What stands for a value: equal values have one content, others have their own, and nothing is guessed."""

from pathlib import Path

import numpy as np
import pytest

from tasks.base.manifests import Package, Record, content_of
from tasks.base.settings import Budget, TrainSettings


class Plain(Record):
    """A manifest without a content of its own."""

    path: Path
    rows: int = 1


def folder(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, content in files.items():
        (path / name).write_text(content)
    return path


def test_a_folder_s_names_and_bytes_are_told_apart(tmp_path: Path) -> None:
    folders = [
        folder(tmp_path / "one", a="", b=""),
        folder(tmp_path / "two", a="b"),
        folder(tmp_path / "three", a="b", c=""),
        folder(tmp_path / "four", b="a"),
    ]
    assert len(set(map(content_of, folders))) == 4
    assert content_of(folder(tmp_path / "five", a="b")) == content_of(folders[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1,), (True,)),
        ((1,), (1.0,)),
        ((1,), ("1",)),
        ((None,), ("None",)),
        (("ab", "c"), ("a", "bc")),
        (([1, 2], 3), ([1], [2, 3])),
        (({"a": 1},), ([["a", 1]],)),
        ((Budget(max_size_mb=1),), (Budget(max_latency_ms=1),)),
        ((b"1",), ("1",)),
    ],
)
def test_values_of_other_kinds_or_grouping_are_told_apart(one: tuple[object, ...], other: tuple[object, ...]) -> None:
    assert content_of(*one) != content_of(*other)


def test_equal_values_are_the_same_in_whatever_form_json_gives_them_back() -> None:
    assert content_of({"a": (1, 2), "b": np.float64(0.5)}) == content_of({"b": 0.5, "a": [1, 2]})
    settings = TrainSettings(candidates=("bag",), hyper={"bag": {"width": 8}})
    assert content_of(settings) == content_of(TrainSettings.model_validate_json(settings.model_dump_json()))


def test_a_manifest_counts_whole_but_for_the_paths_that_its_content_stands_for(tmp_path: Path) -> None:
    made = Package(tag="a", path=tmp_path / "one", size_bytes=1, content="c")
    assert content_of(made) == content_of(made.model_copy(update={"path": tmp_path / "other"}))
    for changed in ({"tag": "b"}, {"size_bytes": 2}, {"content": "d"}):
        assert content_of(made) != content_of(made.model_copy(update=changed))


def test_paths_that_no_content_stands_for_count_by_their_bytes(tmp_path: Path) -> None:
    for name, content in (("one", "x"), ("same", "x"), ("other", "y")):
        (tmp_path / name).write_text(content)
    one, same, other = (content_of(Plain(path=tmp_path / name)) for name in ("one", "same", "other"))
    assert one == same != other


@pytest.mark.parametrize("part", [object(), np.zeros(3), len, {1, 2}, [object()]])
def test_what_has_no_value_is_refused_and_not_guessed(part: object) -> None:
    with pytest.raises(TypeError, match="has no content"):
        content_of(part)
