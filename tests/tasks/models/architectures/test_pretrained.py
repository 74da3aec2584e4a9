import subprocess
import sys

import numpy as np
import pytest

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.manifest import parse
from bentos.text_classifier.model import TextModel
from tasks.base.settings import TrainSettings
from tasks.conversion.convert import convert
from tasks.data.rows import Rows
from tasks.learning.job import Job
from tasks.models.architectures import architectures
from tasks.models.architectures.encoder import rates
from tests.conftest import ROOT
from tests.tasks.models.pretrained.reference import make_folder
from tests.tasks.toy import make_dataset

HYPER = {
    "encoder": {"epochs": 4, "batch_size": 16, "learning_rate": 1e-2, "layer_decay": 1.0},
    "stack": {"weights": ((1.0, 0.0), (2.0, 2.0)), "c": (0.5, 1.0)},
}


@pytest.mark.parametrize(("name", "kind"), [("encoder", "xlm-roberta"), ("stack", "bert")])
def test_a_fitted_candidate_answers_alike_after_conversion(tmp_path, name, kind):
    dataset = make_dataset(tmp_path / "data")
    pretrained = make_folder(tmp_path / "e5-small", kind)
    train = TrainSettings(pretrained=str(pretrained))
    candidate = architectures()[name].fit(Job(dataset, tmp_path / "model", train, "quick", 13, hyper=HYPER[name]))
    assert candidate.score > 0.9

    converted = convert(candidate, dataset, tmp_path / "converted")
    model = TextModel.load(converted.folder)
    assert [settings.name for settings in model.manifest.encoders if hasattr(settings, "prefix")]
    wanted = np.load(candidate.folder / "validation.npy")
    np.testing.assert_allclose(model.logits(Rows(dataset.validation).texts()), wanted, atol=1e-4)


def test_a_process_that_trained_nothing_loads_what_another_has_trained(tmp_path):
    """A run that goes on after a kill takes the training as done and converts first."""
    dataset = make_dataset(tmp_path / "data", rows=60)
    train = TrainSettings(pretrained=str(make_folder(tmp_path / "weights")), epochs=1)
    candidate = architectures()["encoder"].fit(Job(dataset, tmp_path / "model", train, "quick", 13))
    loading = f"load_keras(Path({str(candidate.folder)!r}))"
    script = f"from pathlib import Path; from tasks.conversion.convert import load_keras; {loading}"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, timeout=480)


def test_a_stack_gives_several_labels(tmp_path):
    dataset = make_dataset(tmp_path / "data", "multi")
    train = TrainSettings(pretrained=str(make_folder(tmp_path / "weights")))
    candidate = architectures()["stack"].fit(Job(dataset, tmp_path / "model", train, "quick", 13))
    assert candidate.metrics["micro_f1"] > 0.9
    assert parse((candidate.folder / MANIFEST).read_bytes()).task == "multi"


def test_lower_layers_learn_more_slowly():
    found = rates(3, 0.5)
    assert found == {"block_2/": 1.0, "block_1/": 0.5, "block_0/": 0.25, "embedding/": 0.125, "logits/": 5.0}


def test_an_encoder_trains_in_mixed_precision_too(tmp_path):
    dataset = make_dataset(tmp_path / "data")
    train = TrainSettings(pretrained=str(make_folder(tmp_path / "weights")), mixed_precision="on")
    job = Job(dataset, tmp_path / "model", train, "quick", 13, hyper=HYPER["encoder"])
    assert architectures()["encoder"].fit(job).score > 0.9
