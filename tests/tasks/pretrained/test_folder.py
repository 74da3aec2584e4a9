import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tasks.architectures.layers import mask_of, mean_over
from tasks.backend import keras
from tasks.errors import InputError
from tasks.pretrained import folder as folders
from tasks.pretrained.encoder import encode_tokens
from tasks.pretrained.folder import MINILM, Pretrained
from tests.tasks.pretrained.reference import embed, make_folder

TEXTS = ["the cat sat on the mat", "a dog", "", "unknown things : the dog ran far on a new mat"]


def embedder(pretrained: Pretrained, max_length: int = 32) -> tuple[keras.Model, Any]:
    encoder = pretrained.token_encoder(max_length)
    ids = keras.Input((None,), dtype="int32", name=encoder.settings.name)
    mask = mask_of(ids, encoder.settings.pad_id)
    model = keras.Model({encoder.settings.name: ids}, mean_over(encode_tokens(pretrained.shape, ids, mask)[-1], mask))
    pretrained.load_into(model)
    return model, encoder


def embeddings(pretrained: Pretrained, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Of the Keras model in one padded batch, and of the reference one by one."""
    model, encoder = embedder(pretrained)
    ids = encoder.encode(texts)[encoder.settings.name]
    pad = encoder.settings.pad_id
    wanted = [embed(pretrained.path, [token for token in row.tolist() if token != pad]) for row in ids]
    return np.asarray(model({encoder.settings.name: ids})), np.array(wanted)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_embeddings_agree_with_a_float64_reference(tmp_path, kind):
    found, wanted = embeddings(Pretrained.open(str(make_folder(tmp_path / "weights", kind))), TEXTS)
    assert cosines(found, wanted).min() > 0.99999
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_packaged_encoder_agrees_with_a_float64_reference():
    texts = ["How do I activate my card?", "What is the capital of France ?"]
    found, wanted = embeddings(Pretrained.open(MINILM), texts)
    assert cosines(found, wanted).min() > 0.99999


def test_the_packaged_encoder_knows_what_is_alike():
    model, encoder = embedder(Pretrained.open(MINILM))
    texts = ["My card was stolen.", "Somebody took my bank card", "The orchestra played Mozart."]
    vectors = np.asarray(model(encoder.encode(texts)))
    near, far = cosines(vectors[:1], vectors[1:2])[0], cosines(vectors[:1], vectors[2:])[0]
    assert near > far + 0.3


def test_an_altered_packaged_file_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "other_package"
    make_folder(package / "model")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(folders, "MINILM_PACKAGE", "other_package")
    with pytest.raises(InputError, match="not the pinned file"):
        Pretrained.open(MINILM)


def test_padding_and_truncation_of_the_tokenizer_file_do_not_count(tmp_path):
    pretrained = Pretrained.open(str(make_folder(tmp_path / "weights")))
    encoder = pretrained.token_encoder(32)
    assert encoder.encode([TEXTS[0]])[encoder.settings.name].shape == (1, 8)


def test_texts_are_cut_to_the_positions_that_the_encoder_has(tmp_path):
    pretrained = Pretrained.open(str(make_folder(tmp_path / "weights", "xlm-roberta")))
    model, encoder = embedder(pretrained, max_length=512)
    inputs = encoder.encode(["the cat " * 100])
    assert inputs[encoder.settings.name].shape == (1, 38)
    assert np.isfinite(np.asarray(model(inputs))).all()


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("multilingual-e5-small", "query: "),
        ("e5-base-v2", "query: "),
        ("multilingual-e5-instruct", ""),
        ("m", ""),
    ],
)
def test_e5_reads_its_prefix(tmp_path, name, prefix):
    assert Pretrained.open(str(make_folder(tmp_path / name, "xlm-roberta"))).prefix == prefix


def test_a_default_prompt_is_the_prefix(tmp_path):
    folder = make_folder(tmp_path / "weights")
    prompts = {"prompts": {"query": "search: "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    pretrained = Pretrained.open(str(folder))
    assert pretrained.prefix == "search: "
    assert pretrained.token_encoder(32).settings.prefix == "search: "


def test_pooling_is_as_the_folder_says(tmp_path):
    folder = make_folder(tmp_path / "weights")
    assert Pretrained.open(str(folder)).pooling == "mean"
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert Pretrained.open(str(folder)).pooling == "first"


def test_sharded_weights_are_read(tmp_path):
    folder = make_folder(tmp_path / "weights")
    whole = Pretrained.open(str(folder))
    expected, _ = embeddings(whole, TEXTS)
    weights = load_file(folder / "model.safetensors")
    parts = {"one.safetensors": list(weights)[::2], "two.safetensors": list(weights)[1::2]}
    for file, names in parts.items():
        save_file({name: weights[name] for name in names}, folder / file)
    index = {name: file for file, names in parts.items() for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "model.safetensors").unlink()
    model, encoder = embedder(Pretrained.open(str(folder)))
    np.testing.assert_array_equal(np.asarray(model(encoder.encode(TEXTS))), expected)


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _other_structure(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "t5"}')


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x00" * 64)


def _layer_missing(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, folder / "model.safetensors")


def _other_sizes(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 24}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_config, "config.json is missing"),
        (_other_structure, "holds a 't5' model"),
        (_no_tokenizer, "no tokenizer.json"),
        (_no_weights, "no model.safetensors"),
        (_damaged, "cannot be read"),
        (_layer_missing, "no weight 'encoder.layer.1.output.dense.bias'"),
        (_other_sizes, "do not fit"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_with_the_reason(tmp_path, damage, message):
    folder = make_folder(tmp_path / "weights")
    damage(folder)
    with pytest.raises(InputError, match=message):
        embedder(Pretrained.open(str(folder)))


def test_a_name_that_is_nothing_is_refused():
    with pytest.raises(InputError, match="neither 'minilm', a folder, nor hf://"):
        Pretrained.open("no/such/folder")


def test_a_hub_that_cannot_be_reached_is_an_input_error(monkeypatch):
    def offline(*arguments: Any, **keywords: Any) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(InputError, match="hf://owner/name cannot be fetched"):
        Pretrained.open("hf://owner/name")


def test_a_hub_name_is_fetched_as_data_only(tmp_path, monkeypatch):
    asked: dict[str, Any] = {}

    def fetched(repository: str, **keywords: Any) -> str:
        asked.update(keywords, repository=repository)
        return str(make_folder(tmp_path / "weights"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    Pretrained.open("hf://owner/name@abc")
    assert (asked["repository"], asked["revision"]) == ("owner/name", "abc")
    assert not any(pattern.endswith((".py", ".bin")) for pattern in asked["allow_patterns"])
