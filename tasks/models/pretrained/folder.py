"""Folders in Hugging Face's format: config.json, safetensors and tokenizer.json."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from tasks.base.errors import InputError
from tasks.models.pretrained.encoder import ACTIVATIONS, Read, Shape
from tasks.models.pretrained.model import Pretrained

# Model types whose positions count from the pad id and one more.
_OFFSET_TYPES = ("roberta", "xlm-roberta", "camembert")
_TYPES = ("bert", *_OFFSET_TYPES)
_E5 = re.compile(r"(?:^|[-_/])e5[-_](?!.*instruct)", re.IGNORECASE)


def open_folder(path: Path) -> Pretrained:
    """The encoder in a folder.

    Raises:
        InputError: a file is missing or cannot be read, or the structure is not of the BERT family.
    """
    config = _json(path / "config.json")
    kind = config.get("model_type", "bert")
    if kind not in _TYPES:
        raise InputError(f"train.pretrained: {path} holds a {kind!r} model; {', '.join(_TYPES)} can be read")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(f"train.pretrained: {path} has {config['position_embedding_type']} positions, not absolute")
    activation = config.get("hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        raise InputError(f"train.pretrained: {path} needs activation {activation!r}; known: {', '.join(ACTIVATIONS)}")
    tokenizer_file = _tokenizer(path)
    configured = int(config.get("pad_token_id") or 0)
    try:
        shape = Shape(
            vocabulary=config["vocab_size"],
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            hidden=config["intermediate_size"],
            positions=config["max_position_embeddings"],
            position_offset=configured + 1 if kind in _OFFSET_TYPES else 0,
            pad_id=_pad_id(tokenizer_file, configured),
            epsilon=config.get("layer_norm_eps", 1e-12),
            activation=activation,
        )
    except KeyError as error:
        raise InputError(f"train.pretrained: {path / 'config.json'} does not say {error}") from error

    def reading() -> contextlib.AbstractContextManager[Read]:
        return _reading(path)

    return Pretrained(str(path), shape, _prefix(path, config), _pooling(path), tokenizer_file, reading)


def _tokenizer(path: Path) -> bytes:
    try:
        return (path / "tokenizer.json").read_bytes()
    except OSError as error:
        raise InputError(f"train.pretrained: {path} has no tokenizer.json") from error


def _pad_id(tokenizer_file: bytes, configured: int) -> int:
    """The tokenizer's own: multilingual E5 has 1, where its config.json says 0, the mark that begins every text."""
    tokenizer = Tokenizer.from_buffer(tokenizer_file)
    found = (tokenizer.token_to_id(mark) for mark in ("<pad>", "[PAD]"))
    return next((one for one in found if one is not None), configured)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Read]:
    with contextlib.ExitStack() as opened:
        weights: dict[str, Any] = {}
        for file in _weight_files(path):
            try:
                tensors = opened.enter_context(safe_open(file, framework="numpy"))
            except SafetensorError as error:
                raise InputError(f"train.pretrained: {file} cannot be read: {error}") from error
            for key in tensors.keys():  # noqa: SIM118  (not a dictionary)
                weights[re.sub(r"^(bert|roberta)\.", "", key)] = (tensors, key)

        def read(name: str) -> np.ndarray:
            if name not in weights:
                raise InputError(f"train.pretrained: {path} holds no weight {name!r}")
            tensors, key = weights[name]
            return tensors.get_tensor(key).astype(np.float32)

        yield read


def _weight_files(path: Path) -> list[Path]:
    single = path / "model.safetensors"
    index = path / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if index.exists():
        return [path / name for name in sorted(set(_json(index)["weight_map"].values()))]
    raise InputError(f"train.pretrained: {path} has no model.safetensors; convert the weights to that format")


def _prefix(path: Path, config: dict[str, Any]) -> str:
    """What the model was trained to read before a text: its default prompt, or `query: ` for E5."""
    file = path / "config_sentence_transformers.json"
    described = _json(file) if file.exists() else {}
    prompt = described.get("prompts", {}).get(described.get("default_prompt_name"))
    if prompt is not None:
        return prompt
    names = (path.resolve().name, config.get("_name_or_path", ""))
    return "query: " if any(_E5.search(name) for name in names) else ""


def _pooling(path: Path) -> Literal["mean", "first"]:
    file = path / "1_Pooling" / "config.json"
    return "first" if file.exists() and _json(file).get("pooling_mode_cls_token") else "mean"


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"train.pretrained: {path} is missing") from error
    except ValueError as error:
        raise InputError(f"train.pretrained: {path} is no JSON: {error}") from error
