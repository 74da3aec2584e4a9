"""Which words made the score: Shapley values of a text's words, from the model's answers alone.

The words of a text are the players of a game whose payoff is the calibrated score of one label; a
coalition is the text with all other words deleted. The values are estimated by weighted least
squares (Kernel SHAP, Lundberg and Lee 2017): coalitions of one word and of all words but one are
all played, larger ones are drawn in complementary pairs (Covert and Lee 2021), and the weights sum
to score(text) - score(text without its words). With 2^words within the budget the values are exact.

A text of more words than the budget can tell apart is explained in two steps (Owen 1977): first
runs of neighbouring words, then the words inside the heaviest runs, each by its first-order effect
with all other words present and with all absent, scaled so that a run's words sum to its weight.

Only `encode`, `run` and `scores` of the model are used, so every architecture is explained alike.
"""

import unicodedata
from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np

from bentos.text_classifier.model import TextModel
from bentos.text_classifier.text import is_unspaced

BUDGET = 200
"""Model evaluations of one explanation when the caller does not say."""

_CHARACTERS = 4_000_000
"""Characters encoded for one explanation; the budget of a very long text shrinks to keep to it."""

_LEAST_BUDGET = 24

_BATCH = 64

Span = tuple[int, int]
Payoff = Callable[[np.ndarray], np.ndarray]
"""Coalitions, bool [coalitions, players], to scores, float64 [coalitions]."""


class ExplanationError(Exception):
    """What was asked cannot be explained; the message says why."""


class Attribution(msgspec.Struct, frozen=True):
    """What a part of the text adds to the score.

    `start` and `end` are code points of the text as it was sent; `weight` is a difference of the
    calibrated score, positive where the part speaks for the label.
    """

    start: int
    end: int
    text: str
    weight: float


def explain(
    model: TextModel, text: str, label: str | None = None, budget: int = BUDGET, seed: int = 0
) -> list[Attribution]:
    """What each word of `text` adds to the score of `label` (the best one when None), in text order.

    A word is a run of letters and digits, a run of other marks, or one character of a script written
    without spaces; long texts may give runs of words. `budget` bounds the model evaluations. The
    weights sum to score(text) - score(text without its words); a text without words gives none.

    Raises:
        ExplanationError: an unknown label, or a tagging model.
    """
    manifest = model.manifest
    if manifest.task == "tagging":
        raise ExplanationError("explanations are for models that label whole texts; this one tags parts of them")
    if label is not None and label not in manifest.labels:
        raise ExplanationError(f"label {label!r} is not one of the model's labels")
    words = segments(text)
    if not words:
        return []
    budget = max(_LEAST_BUDGET, min(budget, _CHARACTERS // len(text)))
    if label is None:
        target = int(model.logits([text])[0].argmax())
        budget -= 1
    else:
        target = manifest.labels.index(label)

    def payoff(coalitions: np.ndarray) -> np.ndarray:
        texts = [_keep(text, words, row) for row in coalitions.tolist()]
        return model.scores(model.logits(texts, batch=_BATCH))[:, target].astype(np.float64)

    generator = np.random.default_rng(seed)
    if 3 * len(words) <= budget:
        parts, weights = words, shapley(payoff, len(words), budget, generator)
    else:
        parts, weights = _hierarchical(payoff, words, budget, generator)
    return [
        Attribution(start, end, text[start:end], float(weight))
        for (start, end), weight in zip(parts, weights, strict=True)
    ]


def segments(text: str) -> list[Span]:
    """Start and end of each word of `text`, in its own code points.

    Combining marks belong to the character before them; marks that cleaning removes, such as a
    zero-width space, divide no word and make none.
    """
    spans: list[list[int]] = []
    last = "space"
    for index, character in enumerate(text):
        kind = _kind(character)
        if character in "'’" and last == "word" and text[index + 1 : index + 2].isalnum():
            kind = "word"
        if kind == "invisible":
            continue
        if last != "space" and (kind == "mark" or (kind == last and kind != "unspaced")):
            spans[-1][1] = index + 1
            continue
        if kind != "space":
            spans.append([index, index + 1])
        last = kind
    return [(start, end) for start, end in spans]


def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    if is_unspaced(character):
        return "unspaced"
    if character.isalnum() or character == "_":
        return "word"
    category = unicodedata.category(character)
    if category in ("Cf", "Cc"):
        return "invisible"
    return "mark" if category[0] == "M" else "symbol"


def _keep(text: str, words: list[Span], kept: list[bool]) -> str:
    """`text` with only the kept words; a space stands for a deleted one, nothing for an unspaced character."""
    pieces = []
    end = 0
    for (start, stop), keep in zip(words, kept, strict=True):
        pieces.append(text[end:start])
        if keep:
            pieces.append(text[start:stop])
        elif not is_unspaced(text[start]):
            pieces.append(" ")
        end = stop
    pieces.append(text[end:])
    return "".join(pieces)


def shapley(payoff: Payoff, players: int, budget: int, generator: np.random.Generator) -> np.ndarray:
    """Shapley values, float64 [players], from at most `budget` (at least 2 x players + 2) coalitions.

    They sum to payoff(all players) - payoff(none), exactly.
    """
    coalitions, weights = _coalitions(players, budget - 2, generator)
    ends = np.array([[False] * players, [True] * players])
    payoffs = payoff(np.concatenate([ends, coalitions]))
    nothing, everything = payoffs[:2]
    total = everything - nothing
    if players == 1:
        return np.array([total])
    present = coalitions.astype(np.float64)
    weighted = present.T * weights
    # Least squares under one linear constraint, by its Lagrange multiplier.
    solved = np.linalg.solve(
        weighted @ present, np.stack([weighted @ (payoffs[2:] - nothing), np.ones(players)], axis=1)
    )
    free, direction = solved.T
    return free + direction * (total - free.sum()) / direction.sum()


def _coalitions(players: int, budget: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coalitions, bool [coalitions, players], and their Shapley kernel weights; neither empty nor full."""
    if players == 1:
        return np.zeros((0, 1), bool), np.zeros(0)
    sizes = np.arange(1, players)
    mass = (players - 1) / (sizes * (players - sizes))
    if 2**players - 2 <= budget:
        codes = np.arange(1, 2**players - 1)
        everyone = (codes[:, None] >> np.arange(players)) & 1 == 1
        size = everyone.sum(axis=1)
        return everyone, (mass / np.bincount(size, minlength=players)[1:])[size - 1]
    alone = np.eye(players, dtype=bool)
    pairs = max((budget - 2 * players) // 2, 0)
    share = mass[1:-1] / mass[1:-1].sum()
    drawn = generator.choice(sizes[1:-1], size=pairs, p=share)
    ranks = generator.random((pairs, players)).argsort(axis=1).argsort(axis=1)
    some = ranks < drawn[:, None]
    weights = np.concatenate(
        [np.full(2 * players, mass[0] / players), np.full(2 * pairs, mass[1:-1].sum() / max(2 * pairs, 1))]
    )
    return np.concatenate([alone, ~alone, some, ~some]), weights


def _hierarchical(
    payoff: Payoff, words: list[Span], budget: int, generator: np.random.Generator
) -> tuple[list[Span], list[float]]:
    """Runs of words, the heaviest divided into their words while the budget lasts."""
    runs = min(max(budget // 8, 4), len(words))
    edges = np.linspace(0, len(words), runs + 1).round().astype(int)
    of_run = np.repeat(np.arange(runs), np.diff(edges))
    weights = shapley(lambda coalitions: payoff(coalitions[:, of_run]), runs, budget // 2, generator)
    spent = budget // 2 + 2
    inside: dict[int, np.ndarray] = {}
    chosen: list[int] = []
    for run in np.argsort(-np.abs(weights)).tolist():
        cost = 2 * int(edges[run + 1] - edges[run])
        if spent + cost > budget:
            break
        spent += cost
        chosen.append(run)
    singles = np.concatenate([np.arange(edges[run], edges[run + 1]) for run in chosen] or [np.zeros(0, int)])
    if len(singles):
        alone = np.zeros((len(singles), len(words)), bool)
        alone[np.arange(len(singles)), singles] = True
        played = payoff(
            np.concatenate([alone, ~alone, np.zeros((1, len(words)), bool), np.ones((1, len(words)), bool)])
        )
        effect = (played[: len(singles)] - played[-2] + played[-1] - played[len(singles) : -2]) / 2
        for run in chosen:
            members = effect[(singles >= edges[run]) & (singles < edges[run + 1])]
            inside[run] = members + (weights[run] - members.sum()) / len(members)
    parts: list[Span] = []
    values: list[float] = []
    for run, (first, last) in enumerate(pairwise(edges.tolist())):
        if run in inside:
            parts.extend(words[first:last])
            values.extend(inside[run].tolist())
        else:
            parts.append((words[first][0], words[last - 1][1]))
            values.append(float(weights[run]))
    return parts, values
