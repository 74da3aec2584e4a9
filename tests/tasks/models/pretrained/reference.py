"""The BERT family's encoder in float64 numpy, one text at a time, and small random folders of it."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.tasks.toy import COMMON, TOPICS

_erf = np.vectorize(math.erf)

WORDS = ["cat", "sat", "on", "mat", "dog", "ran", "far", "query", ":", *COMMON, *itertools.chain(*TOPICS.values())]


def embed(folder: Path, ids: list[int]) -> np.ndarray:
    """Mean of the last layer's vectors of one text's token ids, float64 [width]."""
    config = json.loads((folder / "config.json").read_text())
    stored = load_file(folder / "model.safetensors")
    weights = {name.removeprefix("roberta."): value.astype(np.float64) for name, value in stored.items()}
    offset = config["pad_token_id"] + 1 if config["model_type"] == "xlm-roberta" else 0
    heads = config["num_attention_heads"]
    epsilon = config["layer_norm_eps"]

    def dense(name: str, values: np.ndarray) -> np.ndarray:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, values: np.ndarray) -> np.ndarray:
        centred = values - values.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    values = weights["embeddings.word_embeddings.weight"][ids]
    values = values + weights["embeddings.position_embeddings.weight"][offset : offset + len(ids)]
    values = norm("embeddings.LayerNorm", values + weights["embeddings.token_type_embeddings.weight"][0])
    size = values.shape[1] // heads
    for number in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{number}"
        query, key, value = (dense(f"{at}.attention.self.{part}", values) for part in ("query", "key", "value"))
        mixed = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = query[:, part] @ key[:, part].T / math.sqrt(size)
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(shares / shares.sum(-1, keepdims=True) @ value[:, part])
        attended = dense(f"{at}.attention.output.dense", np.concatenate(mixed, axis=1))
        values = norm(f"{at}.attention.output.LayerNorm", values + attended)
        hidden = dense(f"{at}.intermediate.dense", values)
        hidden = hidden * 0.5 * (1.0 + _erf(hidden / math.sqrt(2.0)))
        values = norm(f"{at}.output.LayerNorm", values + dense(f"{at}.output.dense", hidden))
    return values.mean(axis=0)


def make_folder(
    folder: Path, kind: str = "bert", layers: int = 2, width: int = 16, seed: int = 0, **config: Any
) -> Path:
    """Random weights of a small `bert` or `xlm-roberta` with a word tokenizer; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    marks = ["<s>", "<pad>", "</s>", "<unk>"] if kind == "xlm-roberta" else ["<pad>", "<s>", "</s>", "<unk>"]
    vocabulary = [*marks, *WORDS]
    settings = {
        "model_type": kind,
        "vocab_size": len(vocabulary),
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 2 * width,
        "max_position_embeddings": 40,
        "pad_token_id": marks.index("<pad>"),
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu",
    }
    (folder / "config.json").write_text(json.dumps(settings | config))

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(mark, vocabulary.index(mark)) for mark in ("<s>", "</s>")]
    )
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=5)
    tokenizer.save(str(folder / "tokenizer.json"))

    weights = {
        "embeddings.word_embeddings.weight": random.normal(size=(len(vocabulary), width)),
        "embeddings.position_embeddings.weight": random.normal(size=(40, width)),
        "embeddings.token_type_embeddings.weight": random.normal(size=(1, width)),
        **_norm("embeddings.LayerNorm", width, random),
    }
    for number in range(layers):
        at = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            weights |= _dense(f"{at}.attention.self.{part}", width, width, random)
        weights |= _dense(f"{at}.attention.output.dense", width, width, random)
        weights |= _norm(f"{at}.attention.output.LayerNorm", width, random)
        weights |= _dense(f"{at}.intermediate.dense", width, 2 * width, random)
        weights |= _dense(f"{at}.output.dense", 2 * width, width, random)
        weights |= _norm(f"{at}.output.LayerNorm", width, random)
    start = "roberta." if kind == "xlm-roberta" else ""
    save_file({start + name: value.astype(np.float32) for name, value in weights.items()}, folder / "model.safetensors")
    return folder


def _dense(name: str, inputs: int, outputs: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    kernel = random.normal(scale=inputs**-0.5, size=(outputs, inputs))
    return {f"{name}.weight": kernel, f"{name}.bias": random.normal(scale=0.1, size=outputs)}


def _norm(name: str, width: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        f"{name}.weight": 1 + random.normal(scale=0.1, size=width),
        f"{name}.bias": random.normal(scale=0.1, size=width),
    }
