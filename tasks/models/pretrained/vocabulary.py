"""Fewer pieces for an encoder of a hundred languages: a data set is written in one or two.

The word table of multilingual E5-small holds 96 of its 118 million weights. Pieces that no text needs are left out
of the tokenizer and the table alike; what is left keeps its order, so that texts are cut as before.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from tokenizers import Tokenizer

from tasks.data.profile import script_of

PIECES = 50_000
"""Pieces kept, more only where the texts have more: what new texts may need beside what the old ones had."""

_BATCH = 5_000


@dataclass(frozen=True)
class Reduced:
    """A tokenizer.json with fewer pieces, and for each, int64 [pieces], the id that it had."""

    tokenizer_file: bytes
    rows: np.ndarray


def reduced(tokenizer_file: bytes, texts: Iterable[str]) -> Reduced | None:
    """The tokenizer with every piece that occurs in `texts` and the most frequent others of their scripts.

    None for a tokenizer other than SentencePiece's unigram (Kudo 2018), which alone says how frequent a piece is,
    and for one that has few pieces.
    """
    description = json.loads(tokenizer_file)
    model = description["model"]
    if model.get("type") != "Unigram" or len(model["vocab"]) <= PIECES:
        return None
    marks = {mark["id"] for mark in description["added_tokens"]} | {model["unk_id"]}
    seen = _seen(tokenizer_file, texts)
    scripts = {script_of(letter) for piece in seen - marks for letter in model["vocab"][piece][0] if letter.isalpha()}
    others = [
        place
        for place, (piece, _) in enumerate(model["vocab"])
        if place not in seen and place not in marks and _written_in(piece, scripts)
    ]
    others.sort(key=lambda place: -model["vocab"][place][1])
    # A mark may have an id behind the pieces, with a row of its own.
    rows = sorted(marks | seen | set(others[: max(PIECES - len(seen), 0)]))
    places = {old: new for new, old in enumerate(rows)}
    model["vocab"] = [model["vocab"][row] for row in rows if row < len(model["vocab"])]
    model["unk_id"] = places[model["unk_id"]]
    for mark in description["added_tokens"]:
        mark["id"] = places[mark["id"]]
    for mark in _template_marks(description):
        mark["ids"] = [places[one] for one in mark["ids"]]
    return Reduced(json.dumps(description, ensure_ascii=False).encode(), np.array(rows))


def _seen(tokenizer_file: bytes, texts: Iterable[str]) -> set[int]:
    tokenizer = Tokenizer.from_buffer(tokenizer_file)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    seen: set[int] = set()
    remaining = iter(texts)
    while batch := list(islice(remaining, _BATCH)):
        for one in tokenizer.encode_batch_fast(batch):
            seen.update(one.ids)
    return seen


def _written_in(piece: str, scripts: set[str]) -> bool:
    return all(not letter.isalpha() or script_of(letter) in scripts for letter in piece)


def _template_marks(description: dict) -> Iterator[dict]:
    """The marks that the post-processor puts around a text, wherever it stands in a sequence of them."""
    processor = description.get("post_processor") or {}
    for one in (processor, *processor.get("processors", ())):
        yield from one.get("special_tokens", {}).values() if isinstance(one.get("special_tokens"), dict) else ()
