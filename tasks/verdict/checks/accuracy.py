"""Whether the model is better than an answer that reads no text, and as accurate as was asked for."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from scipy.stats import binomtest

from tasks.verdict.checks import Case, Check, Question, Tested, register
from tasks.verdict.checks.mcnemar import better

MANY_ROWS = 100
"""With fewer test rows a refusal says that they are too few to tell."""


def _beats_nothing(case: Case) -> Iterator[Check]:
    yield _beats_constant(case.tested, case.settings.significance)
    yield _beats_chance(case.tested, case.settings.significance)


def _beats_constant(tested: Tested, level: float) -> Check:
    answer, count = Counter(tested.truths).most_common(1)[0]
    constant = np.array([truth == answer for truth in tested.truths])
    p_value = better(int((tested.correct & ~constant).sum()), int((constant & ~tested.correct).sum()))
    return Check(
        "better than always giving the most frequent answer",
        p_value < level,
        f"accuracy {tested.correct.mean():.1%} against {count / len(constant):.1%} when it is always {answer!r}"
        + _too_few(len(constant), p_value, level),
        f"better, p below {level:g}",
        p_value,
        float(tested.correct.mean()),
    )


def _beats_chance(tested: Tested, level: float) -> Check:
    """Against guessing each answer as often as it occurs."""
    rows = len(tested.truths)
    chance = sum((count / rows) ** 2 for count in Counter(tested.truths).values())
    p_value = float(binomtest(int(tested.correct.sum()), rows, min(chance, 1.0), alternative="greater").pvalue)
    return Check(
        "better than chance",
        p_value < level,
        f"accuracy {tested.correct.mean():.1%} against {chance:.1%} by guessing" + _too_few(rows, p_value, level),
        f"better, p below {level:g}",
        p_value,
        float(tested.correct.mean()),
    )


def _too_few(rows: int, p_value: float, level: float) -> str:
    return f", on only {rows} test rows, too few to tell" if p_value >= level and rows < MANY_ROWS else ""


def _least(case: Case) -> Iterator[Check]:
    if (least := case.settings.min_accuracy) is not None:
        found = case.evaluation.metrics["accuracy"].value
        yield Check("accuracy", found >= least, f"{found:.1%}", f"at least {least:.1%}", figure=found)


register(Question("beats nothing", 10, _beats_nothing))
register(Question("accuracy", 40, _least))
