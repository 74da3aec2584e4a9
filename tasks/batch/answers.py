"""What is answered for one chunk of rows, by the predictor that the service uses too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import inspect

from bentos.serving.model_folder import MANIFEST, ModelError, reader
from bentos.text_classifier.decoding import Options, Prediction, decoder_of
from bentos.text_classifier.manifest import Manifest, parse
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.predictor import Predictor
from tasks.base.errors import InputError
from tasks.base.settings import BatchSettings
from tasks.data.sealed_files import sealing_key, written_whole

_PLAIN: dict[type[inspect.Type], pa.DataType] = {
    inspect.StrType: pa.string(),
    inspect.FloatType: pa.float32(),
    inspect.IntType: pa.int32(),
    inspect.BoolType: pa.bool_(),
}


def answer_schema(manifest: Manifest, extra: Sequence[str]) -> pa.Schema:
    """The columns of the output: an answer's fields but the service's `id`, and `spans` of kinds that give them."""
    left_out = {"id", "spans"} - {decoder_of(manifest).answer}
    fields = cast(inspect.StructType, inspect.type_info(Prediction)).fields
    answered = {field.name: _column(field.type) for field in fields if field.name not in left_out}
    return pa.schema(
        [
            ("source", pa.string()),
            ("line", pa.int64()),
            *((name, pa.string()) for name in extra),
            ("text", pa.large_string()),
            *answered.items(),
            ("error", pa.string()),
        ],
        metadata={"model": f"{manifest.name}:{manifest.version}"},
    )


def _column(kind: inspect.Type) -> pa.DataType:
    """How a field of an answer is stored; empty where it may be missing."""
    if isinstance(kind, inspect.UnionType):
        return _column(next(one for one in kind.types if not isinstance(one, inspect.NoneType)))
    if isinstance(kind, inspect.ListType):
        return pa.list_(_column(kind.item_type))
    if isinstance(kind, inspect.StructType):
        return pa.struct([(field.name, _column(field.type)) for field in kind.fields])
    return _PLAIN[type(kind)]


def read_manifest(model: Path, key: str | None = None) -> Manifest:
    """The manifest of a model folder, by `key` if it is sealed.

    Raises:
        InputError: there is none, it cannot be opened, or it is of a kind that is not known here.
    """
    try:
        manifest = parse(reader(model, key)(MANIFEST))
        decoder_of(manifest)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise InputError(f"{model} is no model folder that can be used: {error}") from error
    return manifest


class Answerer:
    """A model folder opened for batches.

    Args:
        key: source of the key of a sealed one.

    Raises:
        InputError: the folder cannot be opened.
    """

    def __init__(self, model: Path, settings: BatchSettings, threads: int, key: str | None = None) -> None:
        try:
            self.model = TextModel.load(model, threads=threads, key=key)
        except ModelError as error:
            raise InputError(f"{model}: {error}") from error
        manifest = self.model.manifest
        self.settings = settings
        top_k = settings.top_k or self.model.decoder.top_k(manifest)
        self.options = Options(top_k, settings.threshold, frozenset(settings.labels) or None)
        self._predictor = Predictor(self.model)
        self._key = sealing_key(settings.seal) if settings.seal else None

    def write(self, chunk: pa.Table, part: Path) -> None:
        """Writes the chunk's rows with their answers to `part`, whole or not at all; sealed by `settings.seal`."""
        with written_whole(part, self._key) as sink:
            pq.write_table(self.answer(chunk), sink, compression="zstd", compression_level=1)

    def answer(self, chunk: pa.Table) -> pa.Table:
        """A row an answer or an error, in order."""
        texts = chunk.column("text").to_pylist()
        reasons = chunk.column("reason").to_pylist()
        answers: list[Prediction | str] = [
            reason or self._refusal(text) for text, reason in zip(texts, reasons, strict=True)
        ]
        # Texts of like length run together, since each batch is padded to its longest.
        order = sorted((row for row, wrong in enumerate(answers) if not wrong), key=lambda row: len(texts[row]))
        for start in range(0, len(order), self.settings.batch_size):
            rows = order[start : start + self.settings.batch_size]
            found = self._predictor.infer([texts[row] for row in rows], [self.options] * len(rows))
            for row, answer in zip(rows, found, strict=True):
                answers[row] = f"the model failed: {answer}" if isinstance(answer, Exception) else answer
        return self._table(chunk, answers)

    def _refusal(self, text: str | None) -> str:
        """Why the text is not predicted; empty when it is."""
        most = self.settings.max_text_characters
        if text is None:
            return "no text"
        return f"{len(text):,} characters; at most {most:,} can be classified" if len(text) > most else ""

    def _table(self, chunk: pa.Table, answers: list[Prediction | str]) -> pa.Table:
        extra = [name for name in chunk.column_names if name not in ("source", "line", "text", "reason")]
        schema = answer_schema(self.model.manifest, extra)
        made = [answer if isinstance(answer, Prediction) else None for answer in answers]
        errors = [answer if isinstance(answer, str) else None for answer in answers]
        columns = [
            chunk.column(field.name)
            if field.name in chunk.column_names
            else pa.array(errors if field.name == "error" else _values(made, field.name), field.type)
            for field in schema
        ]
        return pa.Table.from_arrays(columns, schema=schema)


def _values(answers: list[Prediction | None], name: str) -> list[Any]:
    """One field of every answer, as Arrow takes it."""
    return [msgspec.to_builtins(getattr(answer, name)) if answer else None for answer in answers]
