import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tasks.base.errors import InputError
from tasks.models.pretrained.folder import open_folder
from tests.tasks.models.pretrained.embedding import TEXTS, cosines, embedder, embeddings
from tests.tasks.models.pretrained.reference import make_folder


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_embeddings_agree_with_a_float64_reference(tmp_path, kind):
    folder = make_folder(tmp_path / "weights", kind)
    found, wanted = embeddings(open_folder(folder), folder, TEXTS)
    assert cosines(found, wanted).min() > 0.99999
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_padding_and_truncation_of_the_tokenizer_file_do_not_count(tmp_path):
    pretrained = open_folder(make_folder(tmp_path / "weights"))
    encoder = pretrained.token_encoder(32)
    assert encoder.encode([TEXTS[0]])[encoder.settings.name].shape == (1, 8)


def test_the_tokenizer_says_which_id_is_padding(tmp_path):
    """Multilingual E5's config.json says 0, which is the mark that begins every text."""
    folder = make_folder(tmp_path / "weights", "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": 1}))
    assert open_folder(folder).shape.pad_id == 0


def test_texts_are_cut_to_the_positions_that_the_encoder_has(tmp_path):
    pretrained = open_folder(make_folder(tmp_path / "weights", "xlm-roberta"))
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
    assert open_folder(make_folder(tmp_path / name, "xlm-roberta")).prefix == prefix


def test_a_default_prompt_is_the_prefix(tmp_path):
    folder = make_folder(tmp_path / "weights")
    prompts = {"prompts": {"query": "search: "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    pretrained = open_folder(folder)
    assert pretrained.prefix == "search: "
    assert pretrained.token_encoder(32).settings.prefix == "search: "


def test_pooling_is_as_the_folder_says(tmp_path):
    folder = make_folder(tmp_path / "weights")
    assert open_folder(folder).pooling == "mean"
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert open_folder(folder).pooling == "first"


def test_sharded_weights_are_read(tmp_path):
    folder = make_folder(tmp_path / "weights")
    whole = open_folder(folder)
    expected, _ = embeddings(whole, folder, TEXTS)
    weights = load_file(folder / "model.safetensors")
    parts = {"one.safetensors": list(weights)[::2], "two.safetensors": list(weights)[1::2]}
    for file, names in parts.items():
        save_file({name: weights[name] for name in names}, folder / file)
    index = {name: file for file, names in parts.items() for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "model.safetensors").unlink()
    model, encoder = embedder(open_folder(folder))
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
        embedder(open_folder(folder))
