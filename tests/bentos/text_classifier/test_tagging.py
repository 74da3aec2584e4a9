"""Which entities tags mean."""

import numpy as np

from bentos.text_classifier.tagging import class_names, entities, tag_names

TAGS = tag_names(["person", "place"])


def found(*rows: str) -> list[tuple[int, int, int, str]]:
    """(row, first, last, class) of rows of tags, parted by spaces."""
    tags = np.array([[TAGS.index(tag) for tag in row.split()] for row in rows])
    names = class_names(TAGS)
    return [(row, first, last, names[label]) for row, first, last, label in zip(*entities(tags), strict=True)]


def test_tags_and_classes_name_each_other():
    assert TAGS == ["O", "B-person", "I-person", "B-place", "I-place"]
    assert class_names(TAGS) == ["person", "place"]


def test_an_entity_lasts_as_long_as_its_class_continues():
    assert found("O B-person I-person O B-place") == [(0, 1, 2, "person"), (0, 4, 4, "place")]


def test_neighbours_of_one_class_are_parted_by_the_beginning_of_the_second():
    assert found("B-person B-person I-person") == [(0, 0, 0, "person"), (0, 1, 2, "person")]


def test_a_continuation_without_a_beginning_begins_an_entity():
    assert found("I-place I-place O I-person") == [(0, 0, 1, "place"), (0, 3, 3, "person")]
    assert found("B-person I-place") == [(0, 0, 0, "person"), (0, 1, 1, "place")]


def test_entities_do_not_run_from_one_text_into_the_next():
    assert found("O B-place", "I-place O") == [(0, 1, 1, "place"), (1, 0, 0, "place")]
