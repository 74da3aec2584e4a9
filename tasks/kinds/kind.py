"""What a kind of task is: one object with everything in which training and judging differ between kinds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bentos.text_classifier.decoding import Prediction
from bentos.text_classifier.encoding import Encoder
from bentos.text_classifier.manifest import Manifest
from tasks.kinds.figures import Outcome


@dataclass(frozen=True)
class Feedback:
    """How answers that people put right become labels: SQL over `names`, the list of labels that a client gave."""

    label: str
    misfit: str = "NULL"
    """Why the names make no label; NULL when they do."""


@dataclass(frozen=True)
class Labels:
    """How labels are read, in DuckDB's SQL over column `label` (and, where a table was just read, `form`)."""

    typed: str
    """The label in the type that `manifests.Table` states; `$separator` cuts a text of several labels."""
    misfit: str
    """Why a row's label is of another kind; NULL when it is not."""
    missing: str
    """Whether a typed label is missing."""
    classes: str
    """The class names of a typed label, as a list."""
    canonical: str
    """A text that is equal for equal typed labels."""
    stratum: str
    """The class by which a row is stratified; variable `ranks` maps a class to its place, the rarest first."""
    target: str
    """The target that training learns; type `class` enumerates the class names, variable `labels` lists them."""
    known: str
    """Whether a row can be used with the classes in `labels`."""
    kept: str
    """The label without classes that are not in `labels`."""
    found_by: Literal["names", "list", "spans"] | None = None
    """The form of labels that means this kind where none is named (see `Reading.schema`); one kind a form."""
    separable: bool = False
    """Whether one text may hold several labels with a separator between them."""
    placed: bool = False
    """Whether labels point to places in the text, which must then not be changed."""
    feedback: Feedback | None = None
    """None where people cannot put an answer right."""
    least_classes: int = 2
    """Fewer leave nothing to learn."""


@dataclass(frozen=True)
class Kind:
    """A kind of task. What a service does with a model of this kind is the decoder's of the same name.

    `loss` names one of `learning.losses`. `metrics` takes logits and targets of the same rows and gives fractions by
    name, quickly: those of `compared_by`, by which candidates can be compared, the usual one first.
    `outcome` takes probabilities, targets and manifest for the full figures of a test part, of which
    `figures` names those that mean something here. `temperature` takes logits and targets, `thresholds`
    those and the temperature, to calibrate what is served; where there is `power`, it gives temperature and exponent.

    `outputs` names a model's outputs, of the class names. `align` brings the targets of texts into the form that
    a model with these encoders learns; `counts` then gives the weighted examples of each output. `names` are the
    classes of a data set's label, `answer` is a prediction in the form of such a label, with its score.
    Models that are `pooled` give one answer a text, so that their scores can be pooled whatever their tokenisers.
    In `exclusive` kinds a text has one class: a wrong one stands for a missed one, and classes are balanced by the
    weights of their texts; in others the loss balances.
    `floor` is the structure that is tried with every effort. `intended` ends the model card's sentence "Gives
    texts ..."; `{labels}` stands for their number.
    """

    labels: Labels
    loss: str
    compared_by: tuple[str, ...]
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]]
    outcome: Callable[[np.ndarray, np.ndarray, Manifest], Outcome]
    figures: tuple[str, ...]
    temperature: Callable[[np.ndarray, np.ndarray], float]
    intended: str
    thresholds: Callable[[np.ndarray, np.ndarray, float], list[float]] | None = None
    power: Callable[[np.ndarray, np.ndarray], tuple[float, float]] | None = None
    outputs: Callable[[list[str]], list[str]] = list
    align: Callable[[Sequence[str], np.ndarray, Sequence[Encoder], list[str]], np.ndarray] = (
        lambda texts, targets, encoders, classes: targets
    )
    # Probabilities, [rows, outputs], are a student's targets whatever the kind.
    counts: Callable[[np.ndarray, np.ndarray, int], np.ndarray] = lambda targets, weights, outputs: (
        weights @ targets if targets.ndim > 1 else np.bincount(targets, weights, outputs)
    )
    names: Callable[[Any], list[str]] = lambda label: [label]
    answer: Callable[[Prediction], tuple[Any, float]] = lambda one: (one.label, one.score or 0.0)
    pooled: bool = True
    exclusive: bool = True
    floor: str = "linear"

    @property
    def metric(self) -> str:
        """What candidates are compared by when nothing else is asked for."""
        return self.compared_by[0]


LEAST = 1e-12
"""Of a probability inside a logarithm."""

RAREST = "coalesce(list_min(list_transform({classes}, lambda name: (getvariable('ranks')[name], name)))[2], '')"
"""`Labels.stratum` of labels with any number of `classes`: the rarest of them."""
