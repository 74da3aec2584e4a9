"""Rows whose label looks wrong, for a person to look at; none is ever changed or removed."""

import warnings
from itertools import pairwise
from typing import Any, cast

import numpy as np
from cleanlab.filter import find_label_issues
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import KFold
from sklearn.multiclass import OneVsRestClassifier

from bentos.text_classifier.text import fold, words

MOST = 200
"""Rows that are named."""

MOST_ROWS = 20_000
"""Training rows that are looked at: the first ones, since their order is random."""

_FOLDS = 3


def rank_label_errors(
    texts: list[str], targets: np.ndarray, scores: np.ndarray, labels: list[str], part: str
) -> list[dict[str, Any]]:
    """The rows whose label confident learning (Northcutt, Jiang and Chuang 2021) doubts, worst first.

    Args:
        targets: int [rows], or 0/1 [rows, labels].
        scores: probabilities [rows, labels] by a model that was not trained on these rows.
        part: where the rows come from, for the reader.

    Returns:
        text, label, suggested, confidence in the suggested label, score of the given label, part.
    """
    truths = targets.astype(bool) if targets.ndim == 2 else np.arange(len(labels)) == targets[:, None]
    several = targets.ndim == 2
    given = [np.flatnonzero(row).tolist() for row in truths] if several else targets
    scores = scores.astype(np.float64)
    if len(texts) < 2 or truths.any(axis=0).sum() < 2:
        return []
    with warnings.catch_warnings():
        # It warns of classes with few rows, which the report shows anyway, and of its own coming changes.
        warnings.simplefilter("ignore")
        found = find_label_issues(
            given, scores, return_indices_ranked_by="self_confidence", multi_label=several, n_jobs=1
        )
    entries = []
    for row in found.tolist()[:MOST]:
        suggested = np.flatnonzero(scores[row] >= 0.5) if several else np.array([scores[row].argmax()])
        entries.append(
            {
                "text": texts[row],
                "label": _names(labels, np.flatnonzero(truths[row])),
                "suggested": _names(labels, suggested),
                "confidence": float(scores[row, suggested].min()) if len(suggested) else 0.0,
                "label_score": float(scores[row, truths[row]].min()) if truths[row].any() else 0.0,
                "part": part,
            }
        )
    return entries


def cross_validated_scores(texts: list[str], targets: np.ndarray, labels: int, seed: int) -> np.ndarray:
    """Probabilities [rows, labels] of each row by a linear model of word pairs trained on the other folds."""
    truths = targets.astype(int) if targets.ndim == 2 else (np.arange(labels) == targets[:, None]).astype(int)
    bags = TfidfVectorizer(analyzer=cast(Any, _grams), sublinear_tf=True, min_df=2 if len(texts) > 1000 else 1)
    features = bags.fit_transform(texts)
    scores = np.zeros(truths.shape)
    for train, rest in KFold(min(_FOLDS, len(texts)), shuffle=True, random_state=seed).split(texts):
        model = OneVsRestClassifier(
            SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=20, tol=1e-3, random_state=seed)
        )
        # A label without a row in these folds cannot be learned from them, and gets no probability.
        known = np.flatnonzero(truths[train].any(axis=0) & ~truths[train].all(axis=0))
        if len(known):
            scores[np.ix_(rest, known)] = model.fit(features[train], truths[train][:, known]).predict_proba(
                features[rest]
            )
    return scores if targets.ndim == 2 else scores / np.maximum(scores.sum(axis=1, keepdims=True), 1e-12)


def _grams(text: str) -> list[str]:
    tokens = words(fold(text))
    return [*tokens, *(f"{first} {second}" for first, second in pairwise(tokens))]


def _names(labels: list[str], chosen: np.ndarray) -> str:
    return ", ".join(labels[index] for index in chosen.tolist())
