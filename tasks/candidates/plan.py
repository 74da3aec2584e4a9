"""Which model structures are tried on this data with this effort, and in how much time."""

from collections.abc import Sequence

from pydantic import Field

from tasks.base.errors import InputError
from tasks.base.machine import machine_speed
from tasks.base.manifests import Dataset, Record
from tasks.base.settings import Effort, TrainSettings
from tasks.candidates.costs import estimate
from tasks.kinds.registry import KINDS
from tasks.learning.job import Architecture, hyper_of
from tasks.models.architectures import architectures, is_private

SECONDS: dict[Effort, float] = {"quick": 60.0, "standard": 600.0, "thorough": 3600.0}
"""For up to `WORDS` words of training text; more in proportion."""

WORDS = 150_000

LEAST_SHARE = 0.5
"""A candidate that would get less of the time it needs is not tried: cut short, it tells nothing of its structure."""

REFIT_SHARE = 0.1
"""Of the effort's time, in which the chosen model may be trained again although the candidates have used all of it."""

ENSEMBLE, STUDENT = "ensemble", "student"
DERIVED = (ENSEMBLE, STUDENT)
"""Candidates that are made of trained ones."""

# The floor first, then the fast one, then what gains most for its time.
_WORTH = ("linear", "bag", "stack", "encoder", "cnn", "lstm", "gru", "transformer", "private_encoder", "private_linear")


# Whose hyper-parameters are searched first: what most often is the best.
_SEARCHED = ("encoder", "cnn", "bag", "lstm", "gru", "transformer")
MOST_MEMBERS = 3
"""Of an ensemble."""

MOST_SEEDS = 3
"""Unless more are asked for; from more the mean gains little."""

MOST_TRIALS = 20
LEAST_TRIALS = 3
"""Fewer tell nothing."""


class Plan(Record):
    """What will be trained: `seconds` is the estimate for one training by name, `allowed` what it may take."""

    names: list[str]
    skipped: dict[str, str] = Field(default={}, description="structures not tried, and why")
    seconds: dict[str, float]
    allowed: dict[str, float]
    folds: int = Field(description="folds that every candidate is judged by; 0 for the validation set")
    trials: dict[str, int] = Field(default={}, description="trainings in which hyper-parameters are searched")
    derived: list[str] = Field(default=[], description="ensemble, student")
    budget: float = Field(description="seconds of the effort for this data")

    def affords(self, names: Sequence[str]) -> bool:
        """Whether there is time to train these candidates once more, when all were trained as planned."""
        left = self.budget - sum(self.seconds[name] * self.times(name) for name in self.names)
        return sum(self.seconds[name] for name in names) <= max(left, REFIT_SHARE * self.budget)

    def seeds(self, names: Sequence[str]) -> int:
        """With how many seeds these candidates can be trained, the first included.

        Time to train again what may be chosen is kept free: the dearest, or as many as an ensemble may be of.
        """
        planned = sum(self.seconds[name] * self.times(name) for name in self.names)
        dearest = sorted((self.seconds[name] for name in self.names), reverse=True)
        left = self.budget - planned - sum(dearest[: MOST_MEMBERS if ENSEMBLE in self.derived else 1])
        once = sum(self.seconds[name] * (1 + self.folds) for name in names)
        return min(1 + max(int(left / once), 0), MOST_SEEDS)

    def times(self, name: str) -> int:
        """How often a candidate is trained."""
        return self.folds + self.trials.get(name, 1)

    def line(self) -> str:
        """The estimate, as a person wants to see it beforehand."""
        each = {name: self.seconds[name] * self.times(name) for name in self.names}
        tried = {name: f" in {self.trials[name]} trials" if name in self.trials else "" for name in self.names}
        parts = ", ".join(f"{name} {_words(seconds)}{tried[name]}" for name, seconds in each.items())
        folds = f", each {1 + self.folds} times ({self.folds} folds and all rows)" if self.folds else ""
        return f"about {_words(sum(each.values()))} to train{folds}: {parts}"


def check_names(train: TrainSettings) -> None:
    """Refuses what no data could be planned with.

    Raises:
        InputError: an unknown name, or trials were asked for together with folds.
    """
    # They bring TensorFlow, which who names none need not wait for.
    known = architectures() if train.candidates or train.hyper else {}
    if unknown := [name for name in train.candidates if name not in (*known, *DERIVED)]:
        names = ", ".join((*known, *DERIVED))
        raise InputError(f"train.candidates: no such model structure {unknown[0]!r}; there are {names}")
    if unknown := [name for name in train.hyper if name not in known]:
        raise InputError(f"train.hyper.{unknown[0]}: no such model structure; there are {', '.join(known)}")
    metrics = sorted({name for kind in KINDS.values() for name in kind.compared_by})
    if train.metric and train.metric not in metrics:
        raise InputError(f"train.metric: no kind of task has {train.metric!r}; there are {', '.join(metrics)}")
    if train.trials and train.folds:
        raise InputError("train.trials: a search is judged by the validation set, not by folds: leave train.folds out")


def plan(dataset: Dataset, train: TrainSettings, effort: Effort, speed: float | None = None) -> Plan:
    """The candidates that fit the data and the effort's time, the most promising first.

    Candidates that the user names are tried whatever the effort and their time. Folds are used as far as
    the candidates' time allows, at least two or none; a number that the user gave is kept.

    Args:
        speed: of this machine; measured when not given.

    Raises:
        InputError: an unknown name, a metric of another kind of task, no structure fits the data, or trials were
            asked for together with folds.
    """
    check_names(train)
    known = architectures()
    metrics = KINDS[dataset.task].compared_by
    if train.metric and train.metric not in metrics:
        raise InputError(
            f"train.metric: {train.metric} is no metric of this kind of task ({dataset.task}); "
            f"there are {', '.join(sorted(metrics))}"
        )
    speed = machine_speed() if speed is None else speed
    budget = train.seconds or SECONDS[effort] * max(1.0, dataset.profile.total_tokens / WORDS)
    usable, skipped = _usable(known, dataset, train, effort)
    seconds = {
        name: round(estimate(name, dataset, hyper_of(known[name], dataset, train, effort), train, effort, speed), 1)
        for name in usable
    }
    if train.candidates:
        names = usable
    elif train.privacy.epsilon is not None:
        names = _private(usable, seconds, budget, skipped)
    else:
        names = _fitting(usable, seconds, budget, skipped)
    if not names:
        wanted = {name: why for name, why in skipped.items() if not train.candidates or name in train.candidates}
        reasons = "; ".join(f"{name}: {why}" for name, why in wanted.items())
        raise InputError(f"no model structure fits this data ({reasons})")
    folds = _folds(dataset, train, sum(seconds[name] for name in names), budget)
    return Plan(
        names=names,
        skipped=skipped,
        seconds={name: seconds[name] for name in names},
        allowed=_allowed(names, seconds, budget),
        folds=folds,
        trials=_trials(names, seconds, budget, train, effort) if folds == 0 else {},
        derived=_derived(dataset, names, train, effort, folds),
        budget=budget,
    )


def _usable(
    known: dict[str, Architecture], dataset: Dataset, train: TrainSettings, effort: Effort
) -> tuple[list[str], dict[str, str]]:
    floor = KINDS[dataset.task].floor
    skipped: dict[str, str] = {}
    for name, architecture in known.items():
        if train.candidates and name not in train.candidates:
            skipped[name] = "not among train.candidates"
        elif train.privacy.epsilon is not None and not is_private(name):
            skipped[name] = "its training is not private"
        elif not train.candidates and effort not in architecture.efforts and name != floor:
            skipped[name] = f"not tried with effort {effort}"
        elif reason := architecture.skip(dataset, train):
            skipped[name] = reason
    order = train.candidates or sorted(known, key=lambda name: (_place(name, _WORTH), name))
    return [name for name in order if name in known and name not in skipped], skipped


def _place(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)


def _fitting(usable: Sequence[str], seconds: dict[str, float], budget: float, skipped: dict[str, str]) -> list[str]:
    """The candidates that find time, in their order; the first one always.

    Before a cheaper one is taken, time to train the dearest again with all rows is kept free where there is so much:
    that gains more than a structure of less worth.
    """
    names: list[str] = []
    left = budget
    for name in usable:
        dearest = max((seconds[one] for one in names), default=0.0)
        kept = dearest if seconds[name] < dearest <= left else 0.0
        free, least = left - kept, seconds[name] * (1.0 if kept else LEAST_SHARE)
        if names and free < least:
            skipped[name] = (
                f"it needs about {_words(seconds[name])}; {_words(max(free, 0.0))} of the effort's {_words(budget)} "
                "are left for it"
            )
            continue
        names.append(name)
        left -= seconds[name]
    return names


def _private(usable: Sequence[str], seconds: dict[str, float], budget: float, skipped: dict[str, str]) -> list[str]:
    """The first candidate that finds time, else the last: each training would take a share of the privacy budget."""
    chosen = next((name for name in usable if seconds[name] <= budget), usable[-1] if usable else None)
    for name in usable:
        if name != chosen:
            late = seconds[name] > budget
            skipped[name] = (
                f"it needs about {_words(seconds[name])}; the effort's {_words(budget)} are too few"
                if late
                else "the privacy budget is spent on one model"
            )
    return [chosen] if chosen else []


def _allowed(names: Sequence[str], seconds: dict[str, float], budget: float) -> dict[str, float]:
    """Twice the estimate, which is rough, but no more than the others leave."""
    allowed = {}
    left = budget
    for name in names:
        allowed[name] = round(max(min(2.0 * seconds[name], left), LEAST_SHARE * seconds[name]), 1)
        left = max(left - seconds[name], 0.0)
    return allowed


def _folds(dataset: Dataset, train: TrainSettings, once: float, budget: float) -> int:
    if train.privacy.epsilon is not None:
        return 0
    if train.trials:
        return 0
    if train.folds is not None:
        return dataset.folds
    affordable = min(int(budget / once) - 1, dataset.folds)
    return affordable if affordable >= 2 else 0


def _trials(
    names: Sequence[str], seconds: dict[str, float], budget: float, train: TrainSettings, effort: Effort
) -> dict[str, int]:
    """Trainings for a search by candidate, of those that have something to search.

    When not set, they share what thorough effort leaves beside one training of each and one of the dearest again.
    """
    known = architectures()
    searched = sorted((name for name in names if known[name].space), key=lambda name: _place(name, _SEARCHED))
    if train.trials is not None:
        return dict.fromkeys(searched, train.trials) if train.trials else {}
    left = budget - sum(seconds[name] for name in names) - max(seconds[name] for name in names)
    trials = {}
    for name in searched if effort == "thorough" else []:
        count = min(int(left / seconds[name]) + 1, MOST_TRIALS)
        if count >= LEAST_TRIALS:
            trials[name] = count
            left -= (count - 1) * seconds[name]
    return trials


def _derived(dataset: Dataset, names: Sequence[str], train: TrainSettings, effort: Effort, folds: int) -> list[str]:
    if train.privacy.epsilon is not None or not KINDS[dataset.task].pooled:
        # A student would learn from the training rows outside of the privacy budget; what models answer at
        # positions of different tokenisers cannot be averaged.
        return []
    if train.candidates:
        return [name for name in DERIVED if name in train.candidates]
    derived = [ENSEMBLE] if effort != "quick" and len(names) > 1 else []
    # A student would need a teacher for every fold to be judged by folds.
    if folds == 0 and (effort == "thorough" or train.unlabelled is not None):
        derived.append(STUDENT)
    return derived


def _words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
