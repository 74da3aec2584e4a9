"""What training each model structure costs, from measured constants and the data: seconds, before a step is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.base.machine import shared_cores
from tasks.base.manifests import Dataset
from tasks.base.settings import TrainSettings
from tasks.learning.support_vectors import FOLDED_ROWS, FOLDS

if TYPE_CHECKING:
    from tasks.models.pretrained.encoder import Shape

START = 5.0
"""Seconds of the processor to trace and compile a model, save it and time its answers."""

Hyper = Mapping[str, Any]


@dataclass(frozen=True)
class Cost:
    """Processor seconds of one pass over a word, and how many passes are made; `parallel` work uses two cores.

    What `widens` is a wider model with more effort. The cost of a `pretrained` encoder is of `minilm`'s size; another's
    is in proportion to its weights of matrices.
    """

    word: float
    passes: Callable[[Dataset, Hyper], float]
    parallel: bool = True
    pretrained: bool = False
    widens: bool = False


def _epochs(dataset: Dataset, hyper: Hyper) -> float:
    return hyper.get("epochs", 10)


def _bags(dataset: Dataset, hyper: Hyper) -> float:
    """Of words and pairs alone a text has a seventh of the n-grams that it has with runs of 3 to 5 characters."""
    return hyper["epochs"] * (1.0 if hyper["characters"] else 0.15)


def _machines(dataset: Dataset, hyper: Hyper) -> float:
    """Machines that are solved, a label each: for every C, without and with characters, and again in folds."""
    rows = dataset.rows["train"]
    again = 1 + FOLDS if rows <= FOLDED_ROWS else 1
    uneven = 2 if dataset.profile.imbalance >= 10 else 1
    return len(dataset.labels) * len(hyper["c"]) * 2 * again * uneven


def _embedding(dataset: Dataset, hyper: Hyper) -> float:
    """One pass of the frozen encoder, and machines that cost about a five-hundredth of it each."""
    return 1.0 + _machines(dataset, hyper) * len(hyper.get("weights", (1,))) / 500


COSTS: dict[str, Cost] = {
    "linear": Cost(6.5e-7, _machines, parallel=False),
    "bag": Cost(1.5e-5, _bags, widens=True),
    "cnn": Cost(2.0e-5, _epochs, widens=True),
    "lstm": Cost(6.0e-5, _epochs, widens=True),
    "gru": Cost(6.0e-5, _epochs, widens=True),
    "transformer": Cost(6.0e-5, _epochs, widens=True),
    "encoder": Cost(8.0e-4, _epochs, pretrained=True),
    "stack": Cost(5.0e-4, _embedding, pretrained=True),
    "private_encoder": Cost(5.0e-4, lambda dataset, hyper: 1.2, pretrained=True),
    "private_linear": Cost(2.5e-6, lambda dataset, hyper: hyper["epochs"]),
}
"""Taken on the reference machine of `machine.py`, on 8,000 docstrings; wider models of more effort cost more. The
fine-tuned encoder's is from whole trainings on TREC-6 (8.2e-4) and AG News (5.4e-4 a word of its longer texts)."""

_UNKNOWN = Cost(1e-4, _epochs, widens=True)
_WIDER = {"quick": 1.0, "standard": 1.5, "thorough": 2.5}


def _shape(pretrained: str, dataset: Dataset) -> "Shape":
    # Imported here: it brings TensorFlow, which who plans nothing need not wait for.
    from tasks.models.pretrained.names import open_pretrained

    return open_pretrained(pretrained, dataset).shape


def _size(shape: "Shape") -> float:
    """Multiplications for a token, as multiples of what `minilm` makes."""
    return shape.layers * shape.width * (4 * shape.width + 2 * shape.hidden) / (6 * 384 * (4 * 384 + 2 * 1536))


def estimate(name: str, dataset: Dataset, hyper: Hyper, train: TrainSettings, effort: str, speed: float) -> float:
    """Seconds to train the structure called `name` once on this machine, without a bound on its time.

    Args:
        hyper: its hyper-parameters for this data.
        speed: of the machine, beside the reference one.

    Raises:
        InputError: `train.pretrained` names no encoder.
    """
    cost = COSTS.get(name, _UNKNOWN)
    if train.epochs and "epochs" in hyper:
        hyper = {**hyper, "epochs": train.epochs}
    wider = _WIDER[effort] if cost.widens else 1.0
    # A text costs a little beside its words.
    words = dataset.profile.total_tokens + 2 * dataset.rows["train"]
    size = _size(_shape(train.pretrained, dataset)) if cost.pretrained else 1.0
    work = words * cost.word * size * cost.passes(dataset, hyper) * wider
    return (START + work / (shared_cores() if cost.parallel else 1.0)) / speed
