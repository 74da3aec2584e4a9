"""CoNLL: a token and its tag a line, sentences parted by an empty line, tags BIO."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from tasks.base.errors import InputError
from tasks.data.sources import Reading
from tasks.data.sources.batches import Batcher
from tasks.data.sources.formats import TextFormat, register
from tasks.data.sources.opening import File, Overlong, open_text

_SUFFIXES = ("conll", "conll2003", "bio", "iob", "iob2")


def looks_tagged(file: File, start: str) -> bool:
    """Whether the file's name, or nearly every line of its beginning, says CoNLL."""
    if any(suffix in _SUFFIXES for suffix in file.suffixes):
        return True
    lines = [line.split() for line in start.splitlines()[:-1] if line.strip()]
    tags = [fields[-1] for fields in lines if len(fields) >= 2]
    return (
        len(lines) >= 3
        and len(tags) == len(lines)
        and "" in start.splitlines()[:-1]
        and all(tag == "O" or tag[:2] in ("B-", "I-") for tag in tags)
    )


def read(file: File, encoding: str, reading: Reading) -> Iterator[pa.RecordBatch]:
    """Batches of `reading.schema`: a sentence's tokens joined by a space, its tags as spans in code points.

    The token is the first field of a line, the tag the last. `line` is the sentence's first line.
    A line without a tag makes its sentence a rejected row.
    """
    batcher = Batcher(reading, file.name)
    reading.text_column, reading.label_column = "token", "tag"
    found = False
    with open_text(file, encoding, reading.longest_line) as text:
        for first, sentence in _sentences(text):
            found = True
            bad = next((offset for offset, fields in enumerate(sentence) if len(fields) < 2), None)
            if bad is not None:
                batcher.reject(first + bad, " ".join(sentence[bad]), "a token without a tag")
            else:
                tokens = [fields[0] for fields in sentence]
                batcher.add(first, " ".join(tokens), spans_of(tokens, [fields[-1] for fields in sentence]))
            if batcher.full():
                yield from batcher.flush()
    if not found:
        raise InputError(f"{file.name} holds no sentence; it needs a token and a tag a line.")
    yield from batcher.flush()


def _sentences(lines: Iterable[str]) -> Iterator[tuple[int, list[list[str]]]]:
    sentence: list[list[str]] = []
    number = 0
    for number, line in enumerate(lines, start=1):
        fields = [str(line)] if isinstance(line, Overlong) else line.lstrip("\ufeff").split()
        if fields and fields[0] != "-DOCSTART-":
            sentence.append(fields)
        elif sentence:
            yield number - len(sentence), sentence
            sentence = []
    if sentence:
        yield number - len(sentence) + 1, sentence


def spans_of(tokens: list[str], tags: list[str]) -> list[dict[str, int | str]]:
    """BIO tags of tokens joined by a space as spans {start, end, label} in code points.

    An `I-` that follows no tag of its own label begins a span, as in the CoNLL evaluation.
    """
    spans: list[dict[str, int | str]] = []
    start = 0
    open_label = ""
    for token, tag in zip(tokens, tags, strict=True):
        end = start + len(token)
        mark, _, label = tag.partition("-")
        if mark == "I" and label == open_label and label:
            spans[-1]["end"] = end
        elif mark in ("B", "I") and label:
            spans.append({"start": start, "end": end, "label": label})
        open_label = label if mark in ("B", "I") else ""
        start = end + 1
    return spans


register(TextFormat("CoNLL", 20, looks_tagged, read))
