"""Which columns hold the text and the label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.base.errors import InputError
from tasks.data.sources import Reading
from tasks.data.sources.appearance import MARK_NAMES, holds_letters, looks_like_labels, looks_like_text

TEXT_NAMES = (
    "text", "texts", "sentence", "sentences", "content", "review", "review_text", "comment", "comment_text",
    "message", "body", "utterance", "question", "query", "document", "tweet", "post", "headline", "abstract",
    "description", "summary", "title", "input", "sms", "文本", "内容", "正文", "评论", "句子", "标题",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "class", "class_name", "category", "categories", "target", "sentiment", "intent", "topic",
    "topics", "tag", "tags", "spans", "entities", "emotion", "genre", "type", "rating", "stars", "score", "y",
    "output", "标签", "类别", "分类", "情感",
)  # fmt: skip

SAMPLE_ROWS = 500
"""First rows that tell what a column looks like."""


@dataclass(frozen=True)
class Columns:
    """Positions of the columns that are kept, in the source's order of columns.

    `mark` is where an annotator said which rows are none; None where no column says it.
    """

    names: tuple[str, ...]
    text: int
    label: int
    extra: tuple[int, ...]
    mark: int | None = None

    @property
    def chosen(self) -> tuple[int, ...]:
        """Text, label, extra columns and, where there is one, the mark: what a row's reader needs, in this order."""
        return self.text, self.label, *self.extra, *(() if self.mark is None else (self.mark,))

    @property
    def text_name(self) -> str:
        return self.names[self.text]

    @property
    def label_name(self) -> str:
        return self.names[self.label]

    @property
    def mark_name(self) -> str | None:
        """One of `MARK_NAMES`."""
        return None if self.mark is None else _plain(self.names[self.mark])


def find_columns(
    names: Sequence[str], reading: Reading, where: str, sample: Sequence[Sequence[Any]], hint: str = ""
) -> Columns:
    """The text, label and extra columns among `names`; when the reading is not labelled, the text stands in for the
    label. The reading learns the names, and what a person should know of the choice.

    A name given by the user must stand there once, exactly or without differences of case and outer
    white space. Names not given are looked for among the usual ones. Where one of the two is not found so, the only
    column that is left is taken, if its values look like it.

    Args:
        sample: first rows, each with a value for each of `names`.
        hint: ends the message of a column that cannot be told.

    Raises:
        InputError: a column is missing or stands twice; the message lists the columns of `where`.
    """
    settings = reading.settings
    text = _given(names, settings.text_column, where) if settings.text_column else _usual(names, TEXT_NAMES, where)
    extra = tuple(_given(names, name, where) for name in settings.extra_columns)
    if not reading.labelled:
        text = 0 if text is None and len(names) == 1 else text
        found = Columns(tuple(names), *_told(names, where, hint, text, text), extra)
    else:
        wanted = settings.label_column
        label = _given(names, wanted, where) if wanted else _usual(names, LABEL_NAMES, where)
        values = [[row[place] for row in sample] for place in range(len(names))]
        mark = _mark(names, (text, label, *extra))
        left = [place for place in range(len(names)) if place not in (text, label, mark, *extra)]
        if len(left) == 1 and (text is None) != (label is None):
            text, label = _taken(names, left[0], text, label, values, where, reading)
            left = []
        found = Columns(tuple(names), *_told(names, where, hint, text, label), extra, mark)
        if found.text == found.label:
            raise InputError(f"{where}: column {found.text_name!r} cannot be both text and label; name another column.")
        _note_others(found, left, values, reading)
    reading.text_column, reading.label_column = found.text_name, found.label_name
    return found


def _told(names: Sequence[str], where: str, hint: str, text: int | None, label: int | None) -> tuple[int, int]:
    """Both places, which must be known."""
    for what, place in (("text", text), ("label", label)):
        if place is None:
            raise InputError(
                f"{where}: no column looks like the {what}. {listed(names)} Name it with --{what}-column.{hint}"
            )
    assert text is not None
    assert label is not None
    return text, label


def _taken(
    names: Sequence[str],
    left: int,
    text: int | None,
    label: int | None,
    values: Sequence[Sequence[Any]],
    where: str,
    reading: Reading,
) -> tuple[int | None, int | None]:
    """Text and label, one of which is the column that is left, when it looks like it."""
    what, looks, lack = (
        ("label", looks_like_labels, "its values do not repeat")
        if label is None
        else ("text", holds_letters, "its values hold no letters")
    )
    if not looks(values[left]):
        raise InputError(
            f"{where}: no column looks like the {what}: {lack} in {names[left]!r}, the only one left. "
            f"{listed(names)} Name it with --{what}-column."
        )
    reading.note(f"column {names[left]!r} was taken for the {what}; another one is named by --{what}-column")
    return (text, left) if label is None else (left, label)


def _note_others(found: Columns, left: Sequence[int], values: Sequence[Sequence[Any]], reading: Reading) -> None:
    """Says what was not asked for by name, and might have been meant as well."""
    for place in left:
        name = found.names[place]
        if looks_like_text(values[place]):
            reading.note(
                f"column {name!r} also looks like text and is not used; the text is {found.text_name!r}, "
                "another one is named by --text-column"
            )
        elif (
            reading.settings.label_column is None
            and _plain(found.label_name) not in ("label", "labels")
            and _plain(name) in LABEL_NAMES
            and looks_like_labels(values[place])
        ):
            reading.note(
                f"column {name!r} also looks like a label and is not used; the label is {found.label_name!r}, "
                "another one is named by --label-column"
            )


def _mark(names: Sequence[str], used: Sequence[int | None]) -> int | None:
    places = (place for place, name in enumerate(names) if _plain(name) in MARK_NAMES and place not in used)
    return next(places, None)


def listed(names: Sequence[str]) -> str:
    """The columns as a sentence, long names and long lists cut."""
    shown = [repr(name if len(name) <= 40 else name[:40] + "…") for name in names[:20]]
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"Its columns are {', '.join(shown)}{more}." if shown else "It has no columns."


def _plain(name: str) -> str:
    return name.strip().strip('"').casefold().replace(" ", "_").replace("-", "_")


def _given(names: Sequence[str], wanted: str, where: str) -> int:
    for key in (str, lambda name: name.strip().casefold()):
        found = [index for index, name in enumerate(names) if key(name) == key(wanted)]
        if len(found) > 1:
            raise InputError(f"{where}: column {wanted!r} stands {len(found)} times; rename all but one.")
        if found:
            return found[0]
    raise InputError(f"{where}: column {wanted!r} is missing. {listed(names)}")


def _usual(names: Sequence[str], usual: Sequence[str], where: str) -> int | None:
    plain = [_plain(name) for name in names]
    for wanted in usual:
        if (count := plain.count(wanted)) > 1:
            raise InputError(f"{where}: column {wanted!r} stands {count} times; rename all but one.")
        if count:
            return plain.index(wanted)
    return None
