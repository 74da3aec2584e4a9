from typing import Any

import numpy as np

from bentos.text_classifier.encoding import LOADERS, HashedGramEncoder
from bentos.text_classifier.manifest import HashedGramSettings, Manifest, dump, parse


def encoder(buckets: int = 1 << 16, **sizes: Any) -> HashedGramEncoder:
    return HashedGramEncoder(HashedGramSettings("hashed", buckets, **sizes))


def test_ids_are_the_same_everywhere_and_stay_within_the_buckets():
    ids = encoder(characters=(1, 3)).encode(["Ein Tor in der letzten Minute", "一分钟"])["hashed"]
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(encoder(100, words=(1, 1)).encode(["goal soup"])["hashed"], [[59, 1]])
    few = encoder(7, characters=(1, 3)).encode(["Ein Tor in der letzten Minute"])["hashed"]
    assert set(few.ravel()) <= set(range(1, 8))


def test_every_text_has_length_one():
    texts = ["goal goal goal match", "a", "", "!!", "一分钟内的进球"]
    tried: tuple[dict[str, Any], ...] = ({}, {"characters": (2, 4)}, {"words": None, "characters": (1, 2)})
    for sizes in tried:
        _, weights, lengths = encoder(**sizes).bags(texts)
        squares = np.bincount(np.repeat(np.arange(len(texts)), lengths), weights**2, len(texts))
        np.testing.assert_allclose(squares[lengths > 0], 1.0, atol=1e-6)


def test_padding_is_zero_and_one_text_is_encoded_as_among_others():
    both = encoder().encode(["goal", "goal in the last minute"])
    alone = encoder().encode(["goal"])
    assert both["hashed"].shape == both["hashed_weights"].shape == (2, 9)
    np.testing.assert_array_equal(both["hashed"][0, 1:], 0)
    np.testing.assert_array_equal(both["hashed_weights"][0, :1], alone["hashed_weights"][0])


def test_it_needs_no_file():
    manifest = parse(dump(Manifest(labels=["a"], encoders=[encoder().settings])))

    def read(name: str) -> bytes:
        raise AssertionError(name)

    loaded = LOADERS[HashedGramSettings](manifest.encoders[0], read)
    np.testing.assert_array_equal(loaded.encode(["goal soup"])["hashed"], encoder().encode(["goal soup"])["hashed"])
