"""Which columns hold the text and the label."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.base.errors import InputError
from tasks.base.settings import SourceSettings

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


@dataclass(frozen=True)
class Columns:
    """Positions of the columns that are kept, in the source's order of columns."""

    names: tuple[str, ...]
    text: int
    label: int
    extra: tuple[int, ...]

    @property
    def text_name(self) -> str:
        return self.names[self.text]

    @property
    def label_name(self) -> str:
        return self.names[self.label]


def find_columns(
    names: Sequence[str], settings: SourceSettings, where: str, labelled: bool = True, hint: str = ""
) -> Columns:
    """The text, label and extra columns among `names`; when not `labelled`, the text stands in for the label.

    A name given by the user must stand there once, exactly or without differences of case and outer
    white space. Names not given are looked for among the usual ones; of two columns the one that is left is taken.
    `hint` ends the message of a column that cannot be told.

    Raises:
        InputError: a column is missing or stands twice; the message lists the columns of `where`.
    """
    text = _given(names, settings.text_column, where) if settings.text_column else _usual(names, TEXT_NAMES, where)
    extra = tuple(_given(names, name, where) for name in settings.extra_columns)
    if not labelled:
        text = 0 if text is None and len(names) == 1 else text
        if text is None:
            raise InputError(
                f"{where}: no column looks like the text. {listed(names)} Name it with --text-column.{hint}"
            )
        return Columns(tuple(names), text, text, extra)
    label = _given(names, settings.label_column, where) if settings.label_column else _usual(names, LABEL_NAMES, where)
    if len(names) == 2 and (text is None) != (label is None):
        text, label = (1 - label, label) if label is not None else (text, 1 - (text or 0))
    if text is None:
        raise InputError(f"{where}: no column looks like the text. {listed(names)} Name it with --text-column.{hint}")
    if label is None:
        raise InputError(f"{where}: no column looks like the label. {listed(names)} Name it with --label-column.{hint}")
    if text == label:
        raise InputError(f"{where}: column {names[text]!r} cannot be both text and label; name another column.")
    return Columns(tuple(names), text, label, extra)


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
