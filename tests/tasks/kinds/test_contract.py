"""What every model structure keeps to on every kind of task, whatever the texts; and every kind, however few rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.decoding import DECODERS, decoder_of
from bentos.text_classifier.manifest import Manifest, parse
from tasks.base.manifests import Dataset
from tasks.base.settings import PrivacySettings, TrainSettings
from tasks.data.rows import Rows
from tasks.kinds.figures import measure
from tasks.kinds.registry import KINDS, outcome_of, standard_error
from tasks.learning.examples import rows_of
from tasks.learning.losses import LOSSES
from tasks.models.architectures import architectures, is_private
from tests.tasks.kinds.contract import UNSEEN, WRITTEN, Trained, agrees, answers, explains, make_dataset, train
from tests.tasks.models.pretrained.reference import make_folder

CASES = {
    "one row": ["the soup was new"],
    "ragged lengths": ["goal", "the soup was very new " * 12, "we match a league", "of " * 60],
    "empty text": ["", "  \n", "a cell"],
    "unseen characters": [UNSEEN, f"the {UNSEEN} soup", "\ud800 \x00 good"],
}
MANY = [f"class{number}" for number in range(300)]
ANY_KIND = "lstm"
"""A structure that learns every kind."""
SLOW, SLOW_WITH_MANY = ("gru",), ("linear", "cnn", "gru", "transformer", "encoder", "stack", "private_encoder")
"""Where others stand for them: the recurrence is the LSTM's; a head of each form is trained on 300 classes."""


def _pairs() -> list[tuple[str, str]]:
    """Every structure with every kind that it can learn."""
    return [
        (name, task)
        for name, structure in architectures().items()
        for task in WRITTEN
        if structure.skip(
            Dataset.model_construct(task=task),
            TrainSettings(privacy=PrivacySettings(epsilon=5.0 if is_private(name) else None)),
        )
        is None
    ]


PAIRS = _pairs()


def _marked(slow: tuple[str, ...]) -> list[Any]:
    return [pytest.param(*pair, marks=pytest.mark.slow) if pair[0] in slow else pair for pair in PAIRS]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, bool], Trained]:
    """Trains a structure on a kind, with few or with many classes, once for all cases."""
    pretrained = make_folder(tmp_path_factory.mktemp("weights"))
    datasets: dict[tuple[str, bool], Dataset] = {}
    made: dict[tuple[str, str, bool], Trained] = {}

    def model(name: str, task: str, many: bool = False) -> Trained:
        if (task, many) not in datasets:
            classes, rows = (MANY, 3 * len(MANY)) if many else ((), 60)
            folder = tmp_path_factory.mktemp(task)
            datasets[task, many] = make_dataset(folder, task, WRITTEN[task], classes, rows)
        if (name, task, many) not in made:
            made[name, task, many] = train(name, datasets[task, many], pretrained, tmp_path_factory.mktemp(name))
        return made[name, task, many]

    return model


def test_every_kind_has_all_that_others_look_up_by_its_names() -> None:
    assert set(WRITTEN) == set(KINDS) & set(DECODERS), "a kind that is served keeps to the contract"
    for kind in KINDS.values():
        assert kind.loss in LOSSES
        assert kind.floor in architectures()
    forms = [kind.labels.found_by for kind in KINDS.values() if kind.labels.found_by]
    assert len(forms) == len(set(forms)), "one kind a form of labels"


@pytest.mark.parametrize(("name", "task"), _marked(SLOW))
def test_a_trained_structure_is_saved_as_what_was_measured(name: str, task: str, trained) -> None:
    made = trained(name, task)
    manifest = parse((made.candidate.folder / MANIFEST).read_bytes())
    assert (manifest.task, manifest.labels) == (task, KINDS[task].outputs(made.dataset.labels))
    assert set(made.candidate.metrics) == set(KINDS[task].compared_by)
    wanted = np.load(made.candidate.folder / "validation.npy")
    np.testing.assert_allclose(made.model.logits(Rows(made.dataset.validation).texts()), wanted, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("name", "task"), _marked(SLOW))
def test_a_structure_agrees_answers_and_explains(name: str, task: str, case: str, trained) -> None:
    made = trained(name, task)
    agrees(made, CASES[case])
    answers(made, CASES[case])
    explains(made, CASES[case])


@pytest.mark.parametrize(("name", "task"), _marked(SLOW_WITH_MANY))
def test_a_structure_learns_300_classes(name: str, task: str, trained) -> None:
    made = trained(name, task, many=True)
    assert made.dataset.labels == sorted(MANY)
    texts = ["the class7 was new", ""]
    agrees(made, texts)
    answers(made, texts)
    explains(made, texts[:1])


@pytest.mark.parametrize("rows", [1, 2, None], ids=["one row", "two rows", "all rows"])
@pytest.mark.parametrize("many", [False, True], ids=["few classes", "300 classes"])
@pytest.mark.parametrize("task", WRITTEN)
def test_a_kind_judges_and_calibrates_however_few_the_rows(task: str, many: bool, rows: int | None, trained) -> None:
    kind = KINDS[task]
    made = trained(ANY_KIND, task, many)
    texts, targets = rows_of(made.dataset, "validation", made.model.encoders)
    logits, targets = made.model.logits(texts)[:rows], targets[:rows]
    metrics = kind.metrics(logits, targets)
    assert set(metrics) == set(kind.compared_by)
    assert all(0.0 <= value <= 1.0 for value in metrics.values())
    assert 0.0 <= standard_error(kind.metric, logits, targets, kind, 0, rounds=5) <= 0.5

    temperature, exponent = kind.power(logits, targets) if kind.power else (kind.temperature(logits, targets), 1.0)
    thresholds = kind.thresholds(logits, targets, temperature) if kind.thresholds else None
    assert temperature > 0.0
    assert thresholds is None or len(thresholds) == len(made.dataset.labels)
    manifest = Manifest(
        task=task,
        labels=kind.outputs(made.dataset.labels),
        encoders=[],
        temperature=temperature,
        exponent=exponent,
        thresholds=thresholds,
    )
    scores = decoder_of(manifest).scores(logits, manifest)
    assert ((scores >= 0.0) & (scores <= 1.0)).all()
    measured = measure(outcome_of(logits, targets, manifest), 0, kind.figures, rounds=5)
    assert set(kind.figures) < set(measured.figures)
    assert all(np.isfinite([one.low, one.value, one.high]).all() for one in measured.figures.values())
    assert len(measured.per_label) == len(made.dataset.labels)
