import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tasks.models.pretrained import vocabulary
from tasks.models.pretrained.folder import open_folder
from tasks.models.pretrained.vocabulary import reduced
from tests.tasks.models.pretrained.embedding import embedder
from tests.tasks.models.pretrained.reference import make_folder

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁cat", "▁кот", "▁dog", "▁", "c", "к", "d", "<mask>"]


@pytest.fixture
def tokenizer_file(monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(vocabulary, "PIECES", 4)
    scores = [0.0] * 4 + [-float(place) for place in range(len(PIECES) - 4)]
    tokenizer = Tokenizer(models.Unigram(list(zip(PIECES, scores, strict=True)), 3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return tokenizer.to_str().encode()


def test_pieces_of_the_texts_and_the_likeliest_of_their_script_stay(tokenizer_file: bytes) -> None:
    found = reduced(tokenizer_file, ["cat"])
    assert found is not None
    kept = [PIECES[row] for row in found.rows]
    assert kept == ["<s>", "<pad>", "</s>", "<unk>", "▁cat", "▁dog", "<mask>"]


def test_texts_are_cut_as_before_and_their_ids_name_the_same_rows(tokenizer_file: bytes) -> None:
    found = reduced(tokenizer_file, ["cat dog"])
    assert found is not None
    before, after = Tokenizer.from_buffer(tokenizer_file), Tokenizer.from_buffer(found.tokenizer_file)
    for text in ("cat dog", "dog", "", "кот"):
        old, new = before.encode(text), after.encode(text)
        if text != "кот":
            assert old.tokens == new.tokens
            assert old.ids == found.rows[new.ids].tolist()
    assert after.encode("кот").ids[-2] == after.token_to_id("<unk>")


def test_a_tokenizer_of_another_kind_or_of_few_pieces_is_left_alone(
    tokenizer_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Tokenizer(models.WordLevel({"<unk>": 0, "cat": 1}, unk_token="<unk>"))
    assert reduced(other.to_str().encode(), ["cat"]) is None
    monkeypatch.setattr(vocabulary, "PIECES", 50)
    assert reduced(tokenizer_file, ["cat"]) is None


def test_a_reduced_encoder_gives_the_same_vectors(tokenizer_file: bytes, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "weights", vocab_size=len(PIECES), pad_token_id=1)
    (folder / "tokenizer.json").write_bytes(tokenizer_file)
    weights = load_file(folder / "model.safetensors")
    words = "embeddings.word_embeddings.weight"
    save_file(weights | {words: weights[words][: len(PIECES)]}, folder / "model.safetensors")
    whole = open_folder(folder)
    small = whole.reduced_to(["cat dog"])
    assert small.shape.vocabulary == 7
    assert json.loads(small.tokenizer_file)["model"]["type"] == "Unigram"
    vectors = []
    for pretrained in (whole, small):
        model, encoder = embedder(pretrained)
        vectors.append(np.asarray(model(encoder.encode(["cat", "dog cat", "cat cat dog"]))))
    np.testing.assert_allclose(*vectors, atol=1e-6)
