"""Stage: smaller and faster variants of the converted model, measured, and the one to serve."""

import contextlib
import logging
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.checker import MAXIMUM_PROTOBUF
from onnxruntime.quantization import QuantType, quantize_dynamic

from bentos.text_classifier.manifest import GRAPH
from bentos.text_classifier.model import CPU, TextModel
from bentos.text_classifier.predictor import by_length
from tasks.base.manifests import Dataset, Optimised, Variant, content_of
from tasks.base.progress import Progress, saying, silent, within
from tasks.base.settings import Budget, OptimiseSettings
from tasks.conversion.company import moved_by_company
from tasks.data.rows import Rows
from tasks.kinds.registry import KINDS
from tasks.learning.examples import rows_of

BASE = "float32"
BATCH_SIZES = (1, 32)
TIMED_BATCHES = 60
TIMED_SECONDS = 1.5
# Batch by batch, each model would find the caches full of another one's weights, as in no service.
TURN = 5
FEW_ROWS = 20
ALIKE = 1.10
MOST_MOVED = 0.01
"""Of a score, between a text asked alone and in a batch of 32; a variant beyond is not picked."""
MOST_FLIPPED = 1
"""Of at most 1,000 texts so many may get another answer there."""
CUDA = ("CUDAExecutionProvider", "CPUExecutionProvider")
# Not Conv: ONNX Runtime's integer convolution is slower than its float one on the CPU.
INT8_OPERATORS = ["MatMul", "Gemm", "Gather", "LSTM", "Attention"]


def optimise(
    model: Path,
    dataset: Dataset,
    settings: OptimiseSettings,
    budget: Budget,
    folder: Path,
    gpu: bool,
    progress: Progress = silent,
) -> Optimised:
    """Makes each variant of the float32 model folder `model`, measures it on the validation set and picks the one to
    serve.

    Policy: of the variants that lose no more than `settings` allow against float32, overall and in the
    recall of every class with at least 20 rows, each beyond its standard error, whose answers hardly depend on the
    other texts of a batch (`MOST_MOVED`, `MOST_FLIPPED`), and that keep to the budget, the fastest for one text is
    picked; two within 10 % of each other count as equally fast and the smaller is picked. When none keeps to the
    budget, the fastest of those that lose little is picked and its reason says so.
    """
    names = list(dict.fromkeys((BASE, *settings.variants, *(("float16",) if gpu else ()))))
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    providers = CUDA if gpu else CPU
    for number, name in enumerate(names):
        progress(0.4 * number / len(names), f"making {name}")
        shutil.copytree(model, unfinished / name)
        VARIANTS[name](unfinished / name)
    measured = measure([unfinished / name for name in names], dataset, providers, within(progress, 0.4, 1.0))
    judged = pick(measured, settings, budget, _class_rows(dataset))
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    variants = [variant.model_copy(update={"folder": folder / variant.name}) for variant in judged]
    picked = next(variant for variant in variants if variant.picked)
    return Optimised(picked=picked, variants=variants, content=content_of(picked.folder))


def _float32(folder: Path) -> None:
    """Folds constants and removes what computes nothing; fusions for one processor are left to load time."""
    path = folder / GRAPH
    if (folder / f"{GRAPH}.data").exists():
        return
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    optimised = folder / "optimised.onnx"
    options.optimized_model_filepath = str(optimised)
    onnxruntime.InferenceSession(str(path), options, providers=list(CPU))
    optimised.replace(path)


def _int8(folder: Path) -> None:
    """Weights in 8 bits, a scale a channel; activations are quantised as they come (dynamic)."""
    _float32(folder)
    path = folder / GRAPH
    external = folder / f"{GRAPH}.data"
    quantised = folder / "int8.onnx"
    with _quiet_logging():
        quantize_dynamic(
            path,
            quantised,
            op_types_to_quantize=INT8_OPERATORS,
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=external.exists(),
        )
    _replace_graph(folder, quantised)


def _float16(folder: Path) -> None:
    """Weights and arithmetic in 16 bits, inputs and outputs as before; for GPUs."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    path = folder / GRAPH
    with _quiet_logging():
        graph = convert_float_to_float16(onnx.load(str(path)), keep_io_types=True)
    halved = folder / "float16.onnx"
    onnx.save_model(graph, str(halved))
    _replace_graph(folder, halved)


VARIANTS: dict[str, Callable[[Path], None]] = {BASE: _float32, "int8": _int8, "float16": _float16}


def _replace_graph(folder: Path, made: Path) -> None:
    """Puts the graph `made` in the folder's place of the graph, its weights inside while they fit."""
    graph = onnx.load(str(made))
    for old in (made, made.with_name(made.name + ".data"), folder / f"{GRAPH}.data"):
        old.unlink(missing_ok=True)
    large = graph.ByteSize() >= MAXIMUM_PROTOBUF
    onnx.save_model(graph, str(folder / GRAPH), save_as_external_data=large, location=f"{GRAPH}.data")


@contextlib.contextmanager
def _quiet_logging() -> Iterator[None]:
    """ONNX Runtime's tools log advice to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def measure(
    folders: Sequence[Path], dataset: Dataset, providers: Sequence[str] = CPU, progress: Progress = silent
) -> list[Variant]:
    """Variants, named as their folders: accuracy on the validation set, size, and speed on one thread.

    Speed includes the encoding. The variants take turns, so that what else the machine does meets all alike.
    """
    kind = KINDS[dataset.task]
    models = [TextModel.load(folder, providers=providers) for folder in folders]
    # Variants of one model have the same encoders.
    texts, targets = rows_of(dataset, "validation", models[0].encoders)
    progress(0.0, "timing the variants")
    seconds = {str(size): timed(models, texts, size) for size in BATCH_SIZES}
    variants = []
    for place, (folder, model) in enumerate(zip(folders, models, strict=True)):
        part = within(progress, place / len(models), (place + 1) / len(models))
        logits = model.logits(texts, told=saying(part, f"measuring {folder.name}"))
        # What the others are measured against depends on company by rounding alone.
        moved, flipped = moved_by_company(model, texts) if place else (0.0, 0)
        outcome = kind.outcome(model.scores(logits), targets, model.manifest)
        hits, actual = (np.asarray(matrix.sum(axis=0)).ravel() for matrix in (outcome.hits, outcome.actual))
        recalls = (hits / np.maximum(actual, 1.0)).tolist()
        variants.append(
            Variant(
                name=folder.name,
                folder=folder,
                size_bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
                accuracy=kind.metrics(logits, targets)[kind.metric],
                per_class_recall=dict(zip(dataset.labels, recalls, strict=True)),
                latency_ms={size: 1000.0 * each[place] for size, each in seconds.items()},
                throughput={size: int(size) / each[place] for size, each in seconds.items()},
                moved=moved,
                flipped=flipped,
            )
        )
    return variants


def timed(models: Sequence[TextModel], texts: Sequence[str], size: int) -> list[float]:
    """Each model's median seconds for `size` texts that arrive together: like those of a service, in groups of like
    length. The models take turns of a few batches."""
    starts = range(0, min(len(texts), TIMED_BATCHES * size), size)
    batches = [[texts[(start + place) % len(texts)] for place in range(size)] for start in starts]
    grouped = [[[batch[index] for index in group] for group in by_length(batch)] for batch in batches]
    seconds: list[list[float]] = [[] for _ in models]
    for model in models:
        model.run(model.encode(batches[0]))
        # A service has met most words before, and encoders remember them.
        began = time.perf_counter()
        for batch in batches:
            model.encode(batch)
            if time.perf_counter() - began > TIMED_SECONDS:
                break
    started = time.perf_counter()
    while len(seconds[0]) < TIMED_BATCHES and time.perf_counter() - started < TIMED_SECONDS * len(models):
        turn = [grouped[(len(seconds[0]) + number) % len(grouped)] for number in range(TURN)]
        for model, taken in zip(models, seconds, strict=True):
            for groups in turn:
                began = time.perf_counter()
                for group in groups:
                    model.run(model.encode(group))
                taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in seconds]


def _class_rows(dataset: Dataset) -> dict[str, float]:
    """How often each class stands in the validation set."""
    names = KINDS[dataset.task].names
    found = Counter(name for label in Rows(dataset.validation).labels() for name in names(label))
    return {name: float(found[name]) for name in dataset.labels}


def pick(
    variants: Sequence[Variant], settings: OptimiseSettings, budget: Budget, class_rows: dict[str, float]
) -> list[Variant]:
    """The variants with `picked` and `reason` filled in, by the policy that `optimise` states; float32 stands first."""
    base = variants[0]
    lossy = {variant.name: _loss(variant, base, settings, class_rows) for variant in variants}
    costly = {variant.name: _over_budget(variant, budget) for variant in variants}
    good = [variant for variant in variants if not lossy[variant.name]]
    within = [variant for variant in good if not costly[variant.name]] or good
    fastest = min(variant.latency_ms["1"] for variant in within)
    chosen = min(
        (variant for variant in within if variant.latency_ms["1"] <= ALIKE * fastest),
        key=lambda variant: variant.size_bytes,
    )
    judged = []
    for variant in variants:
        against = lossy[variant.name] or costly[variant.name]
        if variant is chosen:
            why = f"none keeps to the budget: {against}" if against else _gain(variant, variants)
        else:
            why = against or f"{chosen.name} is faster, or as fast and smaller"
        judged.append(variant.model_copy(update={"picked": variant is chosen, "reason": why}))
    return judged


def _loss(variant: Variant, base: Variant, settings: OptimiseSettings, class_rows: dict[str, float]) -> str:
    """What a variant loses beyond the limits, in words; empty when it does not."""
    if variant.moved > MOST_MOVED:
        return f"scores move by up to {variant.moved:.4f} with the other texts of a batch, more than {MOST_MOVED}"
    if variant.flipped > MOST_FLIPPED:
        return f"{variant.flipped} texts get another answer with other texts in their batch, more than {MOST_FLIPPED}"
    lost = base.accuracy - variant.accuracy
    if _certain(lost, sum(class_rows.values())) > settings.max_accuracy_loss:
        return f"loses {100 * lost:.2f} points, more than {100 * settings.max_accuracy_loss:.2f}"
    for label, recall in base.per_class_recall.items():
        lost = recall - variant.per_class_recall[label]
        if class_rows[label] >= FEW_ROWS and _certain(lost, class_rows[label]) > settings.max_recall_loss:
            return (
                f"loses {100 * lost:.1f} points of recall of {label!r}, more than {100 * settings.max_recall_loss:.1f}"
            )
    return ""


def _certain(lost: float, rows: float) -> float:
    """A lost share of the rows less its standard error: one answer of 100 that changed does not tell a loss of 1 %.

    At least as many answers changed as were lost, and their number is about Poisson's.
    """
    return lost - (max(lost, 0.0) / max(rows, 1.0)) ** 0.5


def _over_budget(variant: Variant, budget: Budget) -> str:
    latency, size = variant.latency_ms["1"], variant.size_bytes / 1e6
    if budget.max_latency_ms is not None and latency > budget.max_latency_ms:
        return f"{latency:.2f} ms a text is over the budget of {budget.max_latency_ms} ms"
    if budget.max_size_mb is not None and size > budget.max_size_mb:
        return f"{size:.1f} MB is over the budget of {budget.max_size_mb} MB"
    return ""


def _gain(chosen: Variant, variants: Sequence[Variant]) -> str:
    base = variants[0]
    if chosen is base:
        return "the only variant within the limits" if len(variants) == 1 else "no other is faster within the limits"
    faster = base.latency_ms["1"] / chosen.latency_ms["1"]
    return (
        f"{faster:.2f} times as fast as float32, {base.size_bytes / chosen.size_bytes:.2f} times smaller, "
        f"accuracy {100 * (chosen.accuracy - base.accuracy):+.2f} points, scores move by up to {chosen.moved:.4f} with"
        " the other texts of a batch"
    )
