"""Do the explanations name the words that the score hangs on?

Words are deleted from a text, those with the largest weight first (deletion: the sooner the score
falls, the better), or put into an empty text in that order (insertion: the sooner it rises, the
better). The figure is the mean score over the curve, for the label that the model gives the whole
text. Compared at an equal number of model evaluations with LIME (Ribeiro et al. 2016: words deleted
at random, a ridge regression weighted by cosine distance; no gradients) and with a random order.

    python -m benchmarks.explain --sets trec6 ag_news_40k thucnews_titles_45k
    python -m benchmarks.explain --sets trec6 --models path/to/a/model/folder

Without `--models` a linear model is trained on each set's training part.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge

from benchmarks.linear_model import read_set, write_linear_model
from bentos.text_classifier.explain import Span, explain, keep, segments
from bentos.text_classifier.model import TextModel

SETS = ("trec6", "ag_news_40k")
TRAINED_ON = 20_000
STEPS = 20
KERNEL_WIDTH = 25.0

Method = Callable[[TextModel, str, list[Span], int, int], np.ndarray]
"""Model, text, its words, index of the label, budget and the text's number to a weight for each word."""


def ours(model: TextModel, text: str, words: list[Span], target: int, budget: int) -> np.ndarray:
    weights = np.zeros(len(words))
    for part in explain(model, text, model.manifest.labels[target], budget):
        inside = [index for index, (start, end) in enumerate(words) if part.start <= start and end <= part.end]
        weights[inside] = part.weight / len(inside)
    return weights


def lime(model: TextModel, text: str, words: list[Span], target: int, budget: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    present = np.ones((budget, len(words)), bool)
    for row in present[1:]:
        row[generator.choice(len(words), generator.integers(1, len(words) + 1), replace=False)] = False
    scores = score(model, text, words, present, target)
    distance = 100.0 * (1.0 - np.sqrt(present.mean(axis=1)))
    kernel = np.sqrt(np.exp(-((distance / KERNEL_WIDTH) ** 2)))
    return Ridge(alpha=1.0).fit(present, scores, sample_weight=kernel).coef_


def at_random(model: TextModel, text: str, words: list[Span], target: int, budget: int) -> np.ndarray:
    return np.random.default_rng(len(text)).random(len(words))


METHODS: dict[str, Method] = {"ours": ours, "LIME": lime, "random": at_random}


def score(model: TextModel, text: str, words: list[Span], present: np.ndarray, target: int) -> np.ndarray:
    """The label's score of the text with only the words present in each row, float64 [rows]."""
    texts = [keep(text, words, row) for row in present.tolist()]
    return model.scores(model.logits(texts, batch=64))[:, target].astype(np.float64)


def curves(model: TextModel, text: str, words: list[Span], weights: np.ndarray, target: int) -> tuple[float, float]:
    """Mean score while words are deleted, and while they are inserted, the heaviest first."""
    rank = np.argsort(np.argsort(-weights, kind="stable"), kind="stable")
    steps = np.unique(np.linspace(0, len(words), min(STEPS, len(words)) + 1).round().astype(int))
    first = rank < steps[:, None]
    scores = score(model, text, words, np.concatenate([~first, first]), target)
    deletion, insertion = np.split(scores, 2)
    share = steps / len(words)
    return float(np.trapezoid(deletion, share)), float(np.trapezoid(insertion, share))


def measure(model: TextModel, texts: list[str], budget: int) -> dict[str, dict[str, float]]:
    """Figures by method: means over the texts, and for all but ours the difference's z score."""
    found: dict[str, np.ndarray] = {}
    seconds: dict[str, float] = {}
    for name, method in METHODS.items():
        rows = []
        seconds[name] = 0.0
        for text in texts:
            words = segments(text)
            target = int(model.logits([text])[0].argmax())
            began = time.perf_counter()
            weights = method(model, text, words, target, budget)
            seconds[name] += time.perf_counter() - began
            rows.append(curves(model, text, words, weights, target))
        found[name] = np.array(rows)
    figures = {}
    for name, rows in found.items():
        gain = (rows - found["ours"]) * [1, -1]
        error = gain.std(axis=0) / np.sqrt(len(rows))
        deletion_z, insertion_z = np.divide(gain.mean(axis=0), error, out=np.zeros(2), where=error > 0)
        figures[name] = {
            "deletion": float(rows[:, 0].mean()),
            "insertion": float(rows[:, 1].mean()),
            "ours_better_deletion_z": float(deletion_z),
            "ours_better_insertion_z": float(insertion_z),
            "ms": 1000 * seconds[name] / len(rows),
        }
    return figures


def linear(folder: Path, name: str, into: Path) -> TextModel:
    texts, labels = read_set(folder, name, "train")
    chosen = np.random.default_rng(0).permutation(len(texts))[:TRAINED_ON]
    return write_linear_model(into / name, [texts[i] for i in chosen], [labels[i] for i in chosen], min_count=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--models", nargs="+", type=Path, help="a model folder for each set")
    parser.add_argument("--texts", type=int, default=200, help="test texts of each set")
    parser.add_argument("--budgets", nargs="+", type=int, default=[50, 200])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DATASETS_DIR", "../shared/datasets")))
    parser.add_argument("--json", type=Path, default=Path("data/runs/benchmarks/explain.json"))
    options = parser.parse_args()
    results = []
    print(f"{'set':22}{'budget':>7}  {'method':8}{'deletion':>9}{'insertion':>10}{'z del.':>8}{'z ins.':>8}{'ms':>8}")
    with tempfile.TemporaryDirectory() as scratch:
        for index, name in enumerate(options.sets):
            model = (
                TextModel.load(options.models[index]) if options.models else linear(options.data, name, Path(scratch))
            )
            texts = read_set(options.data, name, "test")[0]
            chosen = np.random.default_rng(1).permutation(len(texts))
            texts = [text for text in (texts[i] for i in chosen) if len(segments(text)) > 1][: options.texts]
            for budget in options.budgets:
                for method, figures in measure(model, texts, budget).items():
                    results.append({"set": name, "budget": budget, "method": method, "texts": len(texts), **figures})
                    print(
                        f"{name:22}{budget:7}  {method:8}{figures['deletion']:9.4f}{figures['insertion']:10.4f}"
                        f"{figures['ours_better_deletion_z']:8.1f}{figures['ours_better_insertion_z']:8.1f}"
                        f"{figures['ms']:8.1f}"
                    )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
