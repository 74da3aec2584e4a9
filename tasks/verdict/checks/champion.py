"""Whether the model is worse than the live one on the same rows."""

from collections.abc import Iterator

import numpy as np

from tasks.verdict.checks import Case, Check, Question, answers_of, register
from tasks.verdict.checks.mcnemar import better


def _ask(case: Case) -> Iterator[Check]:
    """On all rows, and where the classes differ on those whose label both know."""
    champion, tested, level = case.champion, case.tested, case.settings.significance
    if champion is None:
        return
    theirs = np.array(
        [own == truth for own, truth in zip(answers_of(champion, tested.texts), tested.truths, strict=True)]
    )
    yield _not_worse("not worse than the live model", tested.correct, theirs, level)
    known = np.array([truth in champion.manifest.labels for truth in tested.truths])
    if known.any() and not known.all():
        name = "not worse than the live model on the classes that it knows"
        yield _not_worse(name, tested.correct[known], theirs[known], level)


def _not_worse(name: str, ours: np.ndarray, theirs: np.ndarray, level: float) -> Check:
    wins, losses = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    p_value = better(losses, wins)
    return Check(
        name,
        p_value >= level,
        f"accuracy {ours.mean():.1%} against {theirs.mean():.1%} on {len(ours):,} rows; "
        f"{wins:,} only this model has right, {losses:,} only the live one",
        f"not worse (p at least {level:g})",
        p_value,
        float(ours.mean() - theirs.mean()),
    )


register(Question("champion", 20, _ask))
