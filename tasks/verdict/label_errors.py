"""Rows whose label looks wrong, for a person to look at; none is ever changed or removed."""

import warnings
from collections import Counter
from itertools import pairwise
from typing import Any, cast

import numpy as np
from cleanlab.filter import find_label_issues
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import KFold
from sklearn.multiclass import OneVsRestClassifier

from bentos.text_classifier.text import fold, words
from tasks.base.optional import NoResult

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

    Raises:
        NoResult: no label is given to some of the rows and not to others.
    """
    truths = targets.astype(bool) if targets.ndim == 2 else np.arange(len(labels)) == targets[:, None]
    several = targets.ndim == 2
    scores = scores.astype(np.float64)
    # What every row has, or none, cannot be doubted by comparing rows.
    compared = truths.any(axis=0) & ~truths.all(axis=0)
    if not compared.any():
        raise NoResult(f"all {len(texts):,} rows have the same label" + ("s" if several else ""))
    given: Any = targets
    likely = scores
    if several:
        given, likely = [np.flatnonzero(row).tolist() for row in truths[:, compared]], scores[:, compared]
        if compared.sum() == 1:
            # Whether they have the one label or not is one of two classes.
            given, likely = truths[:, compared].ravel().astype(int), np.hstack([1 - likely, likely])
    with warnings.catch_warnings():
        # It warns of classes with few rows, which the report shows anyway, and of its own coming changes.
        warnings.simplefilter("ignore")
        found = find_label_issues(
            given,
            likely,
            return_indices_ranked_by="self_confidence",
            multi_label=several and compared.sum() > 1,
            n_jobs=1,
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
    """Probabilities [rows, labels] of each row by a linear model of word pairs trained on the other folds.

    Raises:
        NoResult: there are no other rows to learn from, or no words in common to learn by.
    """
    if len(texts) < 2:
        raise NoResult("there is one row only")
    grams, least = [_grams(text) for text in texts], 2 if len(texts) > 1000 else 1
    if max(Counter(gram for own in grams for gram in set(own)).values(), default=0) < least:
        raise NoResult("the texts have no words in common" if least > 1 else "the texts have no words")
    truths = targets.astype(int) if targets.ndim == 2 else (np.arange(labels) == targets[:, None]).astype(int)
    # The grams are cut already.
    bags = TfidfVectorizer(analyzer=cast(Any, list), sublinear_tf=True, min_df=least)
    features = bags.fit_transform(grams)
    scores = np.zeros(truths.shape)
    for train, rest in KFold(min(_FOLDS, len(texts)), shuffle=True, random_state=seed).split(texts):
        model = OneVsRestClassifier(
            SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=20, tol=1e-3, random_state=seed)
        )
        # A label without a row in these folds cannot be learned from them, and gets no probability.
        known = np.flatnonzero(truths[train].any(axis=0) & ~truths[train].all(axis=0))
        if len(known):
            found = model.fit(features[train], truths[train][:, known]).predict_proba(features[rest])
            # Of one label alone it gives the probability of its absence, too.
            scores[np.ix_(rest, known)] = found[:, -len(known) :]
    return scores if targets.ndim == 2 else scores / np.maximum(scores.sum(axis=1, keepdims=True), 1e-12)


def _grams(text: str) -> list[str]:
    tokens = words(fold(text))
    return [*tokens, *(f"{first} {second}" for first, second in pairwise(tokens))]


def _names(labels: list[str], chosen: np.ndarray) -> str:
    return ", ".join(labels[index] for index in chosen.tolist())
