"""Hyper-parameters: derived, set by hand, and those of one job."""

from pathlib import Path
from typing import Any

import pytest

from tasks.base.errors import InputError
from tasks.base.manifests import Dataset
from tasks.base.settings import TrainSettings
from tasks.candidates.plan import plan
from tasks.learning.job import Job
from tasks.models.architectures import architectures
from tests.tasks.toy import make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("data"), rows=60)


def job(dataset: Dataset, hyper: dict[str, dict[str, Any]], own: dict[str, Any] | None = None) -> Job:
    return Job(dataset, Path("unused"), TrainSettings(hyper=hyper), "quick", 1, own or {})


def test_what_is_set_by_hand_stands_over_what_is_derived_and_under_the_jobs_own(dataset: Dataset) -> None:
    cnn = architectures()["cnn"]
    derived = job(dataset, {}).hyper_of(cnn)
    found = job(dataset, {"cnn": {"width": 7, "epochs": 3}, "bag": {"width": 5}}, {"epochs": 2}).hyper_of(cnn)
    assert found == derived | {"width": 7, "epochs": 2}


def test_lists_become_the_tuples_that_structures_expect(dataset: Dataset) -> None:
    assert job(dataset, {"linear": {"c": [1, 2.5]}}).hyper_of(architectures()["linear"])["c"] == (1, 2.5)
    weights = job(dataset, {"stack": {"weights": [[1.0, 0.0], [2.0, 2.0]]}}).hyper_of(architectures()["stack"])
    assert weights["weights"] == ((1.0, 0.0), (2.0, 2.0))


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"cnm": {"width": 7}}, "train.hyper.cnm: no such model structure; there are bag, cnn"),
        ({"cnn": {"widht": 7}}, "train.hyper.cnn.widht: there is no such hyper-parameter; there are .*width"),
        ({"cnn": {"width": "wide"}}, "train.hyper.cnn.width: 'wide' is of another kind"),
        ({"cnn": {"width": 7.5}}, "train.hyper.cnn.width: 7.5 is of another kind"),
        ({"cnn": {"width": True}}, "train.hyper.cnn.width: True is of another kind"),
        ({"linear": {"c": ["a"]}}, r"train.hyper.linear.c: \['a'\] is of another kind"),
    ],
)
def test_a_wrong_name_or_value_is_refused_before_anything_is_trained(
    dataset: Dataset, hyper: dict[str, dict[str, Any]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        plan(dataset, TrainSettings(hyper=hyper, candidates=("cnn", "linear")), "quick", 1.0)


def test_time_set_by_hand_takes_the_place_of_the_efforts(dataset: Dataset) -> None:
    assert plan(dataset, TrainSettings(seconds=1234.0), "quick", 1.0).budget == 1234.0
    assert plan(dataset, TrainSettings(seconds=1.0), "standard", 1.0).names == ["linear"]
