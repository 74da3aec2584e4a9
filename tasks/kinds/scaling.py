"""Turning logits into probabilities that mean what they say, fitted on rows that were not trained on."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit, log_softmax

_NARROWEST, _WIDEST = np.log(0.02), np.log(50.0)
_STEEPEST = np.log(5.0)
_LEAST_POSITIVES = 20

POWER_ROWS = 2_000
"""Below so many rows a second parameter follows chance; see docs/decisions/judging.md."""


def softmax_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature with the highest likelihood (Guo et al. 2017) of int `targets` [rows] under softmax.

    `logits`: float [rows, labels].
    """
    rows, labels = logits.shape
    if rows == 0 or labels < 2:
        return 1.0
    centred = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)

    def loss(log_temperature: float) -> float:
        likelihood = log_softmax(centred / np.exp(log_temperature), axis=1)
        return _doubted(likelihood, targets)

    return _minimum(loss)


def softmax_power(logits: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Temperature and exponent with the highest likelihood, where there are rows enough for both; else exponent 1.

    The exponent bends each logit's distance d from the largest one to ((1 + d)^exponent - 1) / exponent (Box and Cox
    1964), which the temperature then divides. Where d is small nothing is bent, so that the order of the answers stays.

    Args:
        logits: float [rows, labels].
        targets: int [rows].
    """
    rows, labels = logits.shape
    alone = softmax_temperature(logits, targets)
    if rows < POWER_ROWS or labels < 2:
        return alone, 1.0
    distances = np.log1p(logits.max(axis=1, keepdims=True) - logits.astype(np.float64))

    def loss(parameters: np.ndarray) -> float:
        temperature, exponent = np.exp(parameters)
        likelihood = log_softmax(-np.expm1(exponent * distances) / (exponent * temperature), axis=1)
        return _doubted(likelihood, targets)

    start = [np.log(alone), 0.0]
    # The first steps that it takes by itself are shares of the start: none, where that is 0.
    simplex = [start, [start[0] + 0.2, 0.0], [start[0], 0.2]]
    options = {"xatol": 1e-3, "fatol": 1e-6, "initial_simplex": simplex}
    bounds = [(-np.inf, np.inf), (-_STEEPEST, _STEEPEST)]
    found = minimize(loss, start, method="Nelder-Mead", bounds=bounds, options=options).x
    return float(np.exp(found[0])), float(np.exp(found[1]))


def sigmoid_line(margins: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Scale and shift under which the sigmoids of one-against-rest margins, divided by their sum, are most likely.

    After Platt (1999) and Zadrozny and Elkan (2002), one line for all classes, so that the order of the answers
    stays. Margins of a hinge loss say little beyond 1, which no temperature under softmax takes back.

    Args:
        margins: float [rows, labels].
        targets: int [rows].
    """
    rows, labels = margins.shape
    if rows == 0 or labels < 2:
        return 1.0, 0.0
    wide = margins.astype(np.float64)

    def loss(line: np.ndarray) -> float:
        likelihood = log_softmax(log_expit(np.exp(line[0]) * wide + line[1]), axis=1)
        return _doubted(likelihood, targets)

    bounds = [(_NARROWEST, _WIDEST), (-10.0, 10.0)]
    found = minimize(loss, [1.0, 0.0], method="L-BFGS-B", bounds=bounds).x
    return float(np.exp(found[0])), float(found[1])


def sigmoid_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The same for 0/1 `targets` [rows, labels] under independent sigmoids."""
    if logits.size == 0:
        return 1.0
    doubt = 1.0 / (len(logits) + 2.0)
    truth = targets * (1.0 - doubt) + (1.0 - targets) * doubt
    wide = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        scaled = wide / np.exp(log_temperature)
        return -float((truth * log_expit(scaled) + (1.0 - truth) * log_expit(-scaled)).mean())

    return _minimum(loss)


def f1_thresholds(logits: np.ndarray, targets: np.ndarray, temperature: float) -> list[float]:
    """For every label the score from which F1 is best; for labels with few positives the best one over all labels.

    Cuts lie halfway between neighbouring scores. The F1 of small changes of the cut is averaged, so
    that a cut is not chosen for one lucky row.
    """
    scores = expit(logits.astype(np.float64) / temperature)
    truths = targets.astype(bool)
    overall = _best_cut(scores.ravel(), truths.ravel())
    return [
        _best_cut(scores[:, label], truths[:, label]) if truths[:, label].sum() >= _LEAST_POSITIVES else overall
        for label in range(scores.shape[1])
    ]


def _doubted(likelihood: np.ndarray, targets: np.ndarray) -> float:
    """The negative mean log-likelihood of int targets [rows], of float [rows, labels].

    As in Platt (1999) the truth counts for a little less than certain, so that a few rows without an error do not make
    every later answer certain.
    """
    doubt = 1.0 / (len(targets) + 2.0)
    of_targets = np.take_along_axis(likelihood, targets[:, None], axis=1)[:, 0]
    return -float(((1.0 - doubt) * of_targets + doubt * likelihood.mean(axis=1)).mean())


def _best_cut(scores: np.ndarray, truths: np.ndarray) -> float:
    if not truths.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(truths[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    window = 1 + 2 * (len(f1) // 200)
    smooth = np.convolve(np.pad(f1, window // 2, mode="edge"), np.full(window, 1 / window), mode="valid")
    # A cut can only lie where the score changes.
    changes = np.r_[ranked[:-1] > ranked[1:], True]
    best = int(np.flatnonzero(changes)[smooth[changes].argmax()])
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float(np.clip((ranked[best] + below) / 2, 0.01, 0.99))


def _minimum(loss: Callable[[float], float]) -> float:
    found = minimize_scalar(loss, bounds=(_NARROWEST, _WIDEST), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))
