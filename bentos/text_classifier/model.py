"""A model folder opened for use: encode, run, decode. Training, parity, smoke test and service call these."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime

from bentos.text_classifier.decoding import Options, Prediction, decoder_of
from bentos.text_classifier.encoding import LOADERS, Inputs, ReadFile
from bentos.text_classifier.manifest import CARD, GRAPH, MANIFEST, SEALED, WRAPPED_KEY, parse
from bentos.text_classifier.scope import ScopeRule

CPU = ("CPUExecutionProvider",)


class ModelError(Exception):
    """A model folder that cannot be opened; the message names the file and the reason."""


class TextModel:
    """An ONNX session with the encoders before it and the decoder after it.

    Args:
        read: gives the bytes of a file of the model folder by its name.
        graph: the ONNX model, as a path (needed for external data) or as bytes.
        threads: intra-operator threads of the session.
        providers: ONNX Runtime execution providers, best first.

    Raises:
        ModelError: a file is missing or damaged, or the runtime cannot load the graph.
    """

    card: str = ""
    """The model card, Markdown; empty when the folder holds none."""

    def __init__(
        self, read: ReadFile, graph: Path | bytes, *, threads: int = 1, providers: Sequence[str] = CPU
    ) -> None:
        try:
            self.manifest = parse(read(MANIFEST))
            self.decoder = decoder_of(self.manifest)
            self.encoders = [LOADERS[type(settings)](settings, read) for settings in self.manifest.encoders]
            self._scope = ScopeRule(self.manifest.scope) if self.manifest.scope else None
        except (OSError, msgspec.MsgspecError, ValueError, KeyError) as error:
            raise ModelError(f"the model folder cannot be read: {error}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A spinning thread steals the core on which the server reads requests.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Arena growth follows every new shape and never shrinks (onnxruntime#11627).
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(
                graph if isinstance(graph, bytes) else str(graph), options, providers=list(providers)
            )
        except Exception as error:  # ONNX Runtime raises several unrelated classes of its own
            raise ModelError(f"{GRAPH} cannot be loaded: {error}") from error
        if isinstance(graph, bytes):
            # The session keeps them for a change of providers: as much memory as the model, once more.
            self.session._model_bytes = b""
        self._input_names = [entry.name for entry in self.session.get_inputs()]

    @classmethod
    def load(
        cls, folder: Path, *, threads: int = 1, providers: Sequence[str] = CPU, key: str | None = None
    ) -> "TextModel":
        """Opens the model folder at `folder`: `model.json`, `model.onnx` and the encoders' files.

        A sealed folder is opened in memory by the key that `key`, else TEXT_CLASSIFIER_KEY, names.
        """
        try:
            read, graph = reader(folder, key)
            model = cls(read, graph, threads=threads, providers=providers)
            if (folder / CARD).is_file():
                model.card = read(CARD).decode()
        except (OSError, ValueError) as error:
            raise ModelError(str(error)) from error
        return model

    def encode(self, texts: Sequence[str]) -> Inputs:
        """Named graph inputs for `texts`, each padded to the longest of them."""
        inputs: Inputs = {}
        for encoder in self.encoders:
            inputs |= encoder.encode(texts)
        return inputs

    def run(self, inputs: Inputs) -> np.ndarray:
        """Logits, float32 [texts, labels]; for tagging [texts, positions, tags]."""
        return np.asarray(self.session.run(["logits"], {name: inputs[name] for name in self._input_names})[0])

    def logits(
        self, texts: Sequence[str], batch: int = 32, told: Callable[[float], object] = lambda share: None
    ) -> np.ndarray:
        """Logits of any number of texts, batched by length so that little padding is computed.

        After each batch `told` is called with the share of the texts that are done.
        """
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        found = []
        for start in range(0, len(order), batch):
            cut = order[start : start + batch]
            found.append((cut, self.run(self.encode([texts[index] for index in cut]))))
            told((start + len(cut)) / len(order))
        return in_order(found) if found else np.zeros((0, len(self.manifest.labels)), np.float32)

    @property
    def classes(self) -> list[str]:
        """The names that stand in answers: the labels, or of a tagging model what its tags are of."""
        return self.decoder.classes(self.manifest.labels)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities in the logits' shape: softmax over labels, or sigmoid for multi-label."""
        return self.decoder.scores(logits, self.manifest)

    def decode(self, logits: np.ndarray, options: Options, texts: Sequence[str]) -> list[Prediction]:
        """One prediction a text, in order."""
        predictions = self.decoder.decode(self, logits, options, texts)
        if self._scope:
            for prediction, holds in zip(predictions, self._scope.holds(logits, texts).tolist(), strict=True):
                prediction.in_scope = holds
        return predictions

    def predict(self, texts: Sequence[str], options: Options = Options()) -> list[Prediction]:  # noqa: B008 (frozen)
        """Encode, run and decode `texts` as one batch."""
        return self.decode(self.run(self.encode(texts)), options, texts) if texts else []


def in_order(batches: Sequence[tuple[Sequence[int], np.ndarray]]) -> np.ndarray:
    """Logits of batches put at the rows that each is of; for tagging, 0 at positions that a batch lacks."""
    rows = sum(len(places) for places, _ in batches)
    width = max(logits.shape[1] for _, logits in batches)
    result = np.zeros((rows, width, *batches[0][1].shape[2:]), np.float32)
    for places, logits in batches:
        result[places, : logits.shape[1]] = logits
    return result


def reader(folder: Path, key: str | None) -> tuple[ReadFile, Path | bytes]:
    """How the folder's files are read, and its graph: a path, or the opened bytes of a sealed one.

    Raises:
        ValueError: the folder is sealed and cannot be opened by `key`, else by what TEXT_CLASSIFIER_KEY names.
    """
    manifest = folder / MANIFEST
    if manifest.is_file():
        with manifest.open("rb") as stream:
            sealed = stream.read(len(SEALED)) == SEALED
        # `model.key` counts too, since the first bytes of the manifest may have been changed.
        if sealed or (folder / WRAPPED_KEY).exists():
            # Imported here: who encrypts nothing does not pay for it.
            from bentos.text_classifier.sealing import opened

            read = opened(folder, key)
            return read, read(GRAPH)
    return lambda name: (folder / name).read_bytes(), folder / GRAPH
