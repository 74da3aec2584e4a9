"""Which words made the score, from the model's answers alone.

Every word of a text is deleted by itself (occlusion, Li et al. 2016) and, where the budget allows,
left by itself; the two effects, weighted, are a first estimate of what the word adds to the score.
What is left of the budget refines it: the text is cut into two complementary random halves of
every size, and a ridge regression of the difference of their scores on who is in which half moves
the estimate as far as the evidence goes (a least square value, Ruiz et al. 1998, from paired samples
as in Covert and Lee 2021, shrunk towards the first estimate). Pairs cancel what words do jointly, and
the shrinkage lets a budget of a few evaluations a word beat both plain Shapley sampling and LIME.

The weights are scaled to sum to score(text) - score(text without its words).

A text of more words than the budget can tell apart is explained in two steps: runs of neighbouring
words first, then the words inside the heaviest runs (the idea of Owen's value, 1977).

Only `encode`, `run` and `scores` of the model are used, so every architecture is explained alike.
"""

import unicodedata
from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np

from bentos.text_classifier.model import TextModel
from bentos.text_classifier.text import holds_unspaced

BUDGET = 200
"""Model evaluations of one explanation when the caller does not say."""

_CHARACTERS = 4_000_000
"""Characters encoded for one explanation; the budget of a very long text shrinks to keep to it."""

_LEAST_BUDGET = 20

_BATCH = 64

_ALONE = 0.25
"""Weight of the effect that a word has alone; the rest is of what its deletion does to the whole text."""

_PRIOR = 30.0
"""How many pairs of halves the first estimate outweighs."""

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
        ExplanationError: an unknown label, or a model whose answers are not about whole texts.
    """
    manifest = model.manifest
    if not model.decoder.about_texts:
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
        texts = [keep(text, words, row) for row in coalitions.tolist()]
        return model.scores(model.logits(texts, batch=_BATCH))[:, target].astype(np.float64)

    generator = np.random.default_rng(seed)
    if 4 * len(words) <= 3 * budget:
        parts, weights = words, contributions(payoff, len(words), budget, generator)
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
    if holds_unspaced(character):
        return "unspaced"
    if character.isalnum() or character == "_":
        return "word"
    category = unicodedata.category(character)
    if category in ("Cf", "Cc"):
        return "invisible"
    return "mark" if category[0] == "M" else "symbol"


def keep(text: str, words: list[Span], kept: list[bool]) -> str:
    """`text` with only the kept words; a space stands for a deleted one, nothing for an unspaced character."""
    pieces = []
    end = 0
    for (start, stop), keep in zip(words, kept, strict=True):
        pieces.append(text[end:start])
        if keep:
            pieces.append(text[start:stop])
        elif not holds_unspaced(text[start]):
            pieces.append(" ")
        end = stop
    pieces.append(text[end:])
    return "".join(pieces)


def contributions(payoff: Payoff, players: int, budget: int, generator: np.random.Generator) -> np.ndarray:
    """What each player adds, float64 [players], from at most `budget` (at least players + 2) coalitions.

    They sum to payoff(all players) - payoff(none).
    """
    alone = np.eye(players, dtype=bool)
    ends = np.array([[False], [True]]).repeat(players, axis=1)
    budget -= 2 + players
    singles = alone if budget >= players else alone[:0]
    halves = _halves(players, max(budget - len(singles), 0) // 2, generator)
    nothing, everything, without, only, here, there = _play(
        payoff, ends[:1], ends[1:], ~alone, singles, halves, ~halves
    )
    first = everything - without
    if len(only):
        first = (1.0 - _ALONE) * first + _ALONE * (only - nothing)
    sides = np.where(halves, 1.0, -1.0)
    surprise = sides.T @ (here - there - sides @ first)
    refined = first + np.linalg.solve(sides.T @ sides + _PRIOR * np.eye(players), surprise)
    return _scaled(refined, float(everything[0] - nothing[0]))


def _halves(players: int, pairs: int, generator: np.random.Generator) -> np.ndarray:
    """Random coalitions, bool [pairs, players], of every size but the smallest and the largest alike."""
    if players < 4:
        return np.zeros((0, players), bool)
    sizes = generator.integers(2, players - 1, size=(pairs, 1))
    return generator.random((pairs, players)).argsort(axis=1).argsort(axis=1) < sizes


def _play(payoff: Payoff, *coalitions: np.ndarray) -> list[np.ndarray]:
    """The payoffs of each group of coalitions; equal ones are played once."""
    different, places = np.unique(np.concatenate(coalitions), axis=0, return_inverse=True)
    payoffs = payoff(different)[places.ravel()]
    return np.split(payoffs, np.cumsum([len(group) for group in coalitions])[:-1])


def _scaled(weights: np.ndarray, total: float) -> np.ndarray:
    """`weights` with the sum `total`: those of its sign are scaled, so that none changes its own."""
    same = weights > 0 if total > 0 else weights < 0
    theirs = weights[same].sum()
    wanted = total - weights[~same].sum()
    # Noise is not blown up to the size of the score: what no word claims is everybody's.
    if abs(theirs) < 0.01 * abs(wanted):
        return weights + (total - weights.sum()) / len(weights)
    return np.where(same, weights * (wanted / theirs), weights) if theirs else weights


def _hierarchical(
    payoff: Payoff, words: list[Span], budget: int, generator: np.random.Generator
) -> tuple[list[Span], list[float]]:
    """Runs of words, the heaviest divided into their words while the budget lasts."""
    runs = max(budget // 8, 3)
    edges = np.linspace(0, len(words), runs + 1).round().astype(int)
    of_run = np.repeat(np.arange(runs), np.diff(edges))
    weights = contributions(lambda coalitions: payoff(coalitions[:, of_run]), runs, budget // 2, generator)
    inside = _inside(payoff, weights, edges, budget - budget // 2)
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


def _inside(payoff: Payoff, weights: np.ndarray, edges: np.ndarray, budget: int) -> dict[int, np.ndarray]:
    """The weights of the words in as many of the heaviest runs as the budget can divide."""
    sizes = np.diff(edges)
    order = np.argsort(-np.abs(weights))
    chosen = order[(2 * sizes[order]).cumsum() + 2 <= budget].tolist()
    if not chosen:
        return {}
    players = int(edges[-1])
    ends = np.array([[False], [True]]).repeat(players, axis=1)
    members = np.flatnonzero(np.isin(np.repeat(np.arange(len(sizes)), sizes), chosen))
    alone = np.zeros((len(members), players), bool)
    alone[np.arange(len(members)), members] = True
    nothing, everything, only, without = _play(payoff, ends[:1], ends[1:], alone, ~alone)
    effects = (1.0 - _ALONE) * (everything - without) + _ALONE * (only - nothing)
    return {
        run: _scaled(effects[(members >= edges[run]) & (members < edges[run + 1])], float(weights[run]))
        for run in chosen
    }
