"""One candidate to train, and what a model structure must offer to be trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tasks.base.errors import InputError
from tasks.base.manifests import Candidate, Dataset
from tasks.base.progress import Progress, silent
from tasks.base.settings import Effort, TrainSettings


@dataclass(frozen=True)
class Job:
    """One candidate to train.

    `folder` is the candidate's own; an interrupted training leaves its checkpoint there and goes on
    from it. `hyper` overrides the architecture's hyper-parameters; better ones are searched in `trials` trainings.
    `seed` is of the training; rows are divided into folds by `fold_seed`, or by `seed` when it is None.
    `epoch_ended` is called with the number of an epoch and its score on the validation part; what it raises ends
    the training.
    """

    dataset: Dataset
    folder: Path
    train: TrainSettings
    effort: Effort
    seed: int
    hyper: dict[str, Any] = field(default_factory=dict)
    trials: int = 0
    teacher: Path | None = None
    progress: Progress = silent
    epoch_ended: Callable[[int, float], None] = lambda epoch, score: None
    fold_seed: int | None = None

    def hyper_of(self, architecture: "Architecture") -> dict[str, Any]:
        """The hyper-parameters to train with: derived ones, over them those that the user set, then the job's own."""
        return hyper_of(architecture, self.dataset, self.train, self.effort) | self.hyper


@dataclass(frozen=True)
class Range:
    """Values of a hyper-parameter that a search tries, by their logarithm with `log`; whole ones between whole ends."""

    low: float
    high: float
    log: bool = False


class Architecture(Protocol):
    """A model structure.

    `fit` writes into the job's folder `model.keras` (inputs named as the encoders name them, one output
    `logits`), `model.json` with temperature 1, the encoders' files and `validation.npy`. `space` names the
    hyper-parameters that a search may change; a structure that chooses its own by held-out rows has none.
    """

    name: str
    efforts: tuple[Effort, ...]
    space: Mapping[str, Range]

    def skip(self, dataset: Dataset, train: TrainSettings) -> str | None:
        """Why this structure is not tried on this data; None when it is.

        Raises:
            InputError: `train` sets what cannot be, or would have no effect.
        """
        ...

    def hyper(self, dataset: Dataset, effort: Effort) -> dict[str, Any]:
        """Hyper-parameters derived from the data and the effort."""
        ...

    def fit(self, job: Job) -> Candidate: ...


def hyper_of(architecture: Architecture, dataset: Dataset, train: TrainSettings, effort: Effort) -> dict[str, Any]:
    """The architecture's derived hyper-parameters, over them those that `train.hyper` sets.

    Raises:
        InputError: `train.hyper` sets one that the architecture does not have, or to a value of another kind.
    """
    derived = architecture.hyper(dataset, effort)
    for name, value in train.hyper.get(architecture.name, {}).items():
        place = f"train.hyper.{architecture.name}.{name}"
        if name not in derived:
            raise InputError(f"{place}: there is no such hyper-parameter; there are {', '.join(derived)}")
        if not _alike(value, derived[name]):
            raise InputError(f"{place}: {value!r} is of another kind than the derived value, {derived[name]!r}")
        derived[name] = _fixed(value)
    return derived


def _fixed(value: Any) -> Any:
    return tuple(_fixed(one) for one in value) if isinstance(value, list | tuple) else value


def _alike(value: Any, derived: Any) -> bool:
    if isinstance(derived, bool) or isinstance(value, bool):
        return isinstance(derived, bool) and isinstance(value, bool)
    if isinstance(derived, tuple):
        return isinstance(value, list | tuple) and all(_alike(one, derived[0]) for one in value)
    number = (int,) if isinstance(derived, int) else (int, float)
    return isinstance(value, number if isinstance(derived, int | float) else type(derived))
