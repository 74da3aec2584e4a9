"""What the tags of a text's positions mean: entities in the BIO scheme (Ramshaw and Marcus 1995)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Entities(NamedTuple):
    """int64 [entities], by row and place: the row, the first and the last position, and the place of the class."""

    row: np.ndarray
    first: np.ndarray
    last: np.ndarray
    label: np.ndarray


def tag_names(classes: Sequence[str]) -> list[str]:
    """The tags in the order of a model's logits: O, then B and I of each class."""
    return ["O", *(f"{place}-{name}" for name in classes for place in "BI")]


def class_names(tags: Sequence[str]) -> list[str]:
    """The classes of such tags, in order."""
    return [tag[2:] for tag in tags[1::2]]


def entities(tags: np.ndarray) -> Entities:
    """The entities in int tags [rows, positions]; an I that continues none of its class begins one."""
    classes = (tags + 1) // 2
    before = np.pad(classes, ((0, 0), (1, 0)))[:, :-1]
    after = np.pad(classes, ((0, 0), (0, 1)))[:, 1:]
    begins = (classes > 0) & ((tags % 2 == 1) | (classes != before))
    ends = (classes > 0) & (np.pad(begins, ((0, 0), (0, 1)))[:, 1:] | (classes != after))
    row, first = np.nonzero(begins)
    return Entities(row, first, np.nonzero(ends)[1], classes[row, first] - 1)
