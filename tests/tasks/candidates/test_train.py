"""The stage that trains one candidate by its name."""

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.base.errors import InputError
from tasks.base.settings import TrainSettings
from tasks.candidates.train import train
from tasks.learning.job import Job
from tests.tasks.toy import make_dataset


def test_a_candidate_is_a_folder_with_everything_and_a_measured_cost(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", rows=120)
    hyper = {"width": 8, "characters": None}
    job = Job(
        dataset,
        tmp_path / "c",
        TrainSettings(epochs=6, learning_rate=0.05),
        "quick",
        1,
        hyper,
    )
    candidate = train("bag", job)
    assert candidate.score == candidate.metrics["accuracy"] > 0.8
    assert candidate.latency_ms is not None
    assert 0 < candidate.latency_ms < 100
    assert candidate.settings["width"] == 8
    assert len(candidate.curves["accuracy"]) == len(candidate.curves["loss"]) > 0
    logits = np.load(candidate.folder / "validation.npy")
    assert logits.dtype == np.float32
    assert logits.shape == (30, 3)
    manifest = json.loads((candidate.folder / "model.json").read_text())
    assert manifest["architecture"] == "bag"
    assert manifest["labels"] == dataset.labels
    (encoder,) = manifest["encoders"]
    assert sorted(file.name for file in candidate.folder.iterdir()) == sorted(
        ["model.json", "model.keras", "validation.npy", encoder["file"]]
    )


def test_the_same_job_gives_the_same_content(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", rows=120)
    jobs = [
        Job(dataset, tmp_path / name, TrainSettings(epochs=2), "quick", seed, {"width": 8, "characters": None})
        for name, seed in (("1", 1), ("2", 1), ("3", 2))
    ]
    first, second, other = (train("bag", job).content for job in jobs)
    assert first == second != other


def test_hyper_parameters_are_searched_on_request(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", rows=120)
    hyper = {"width": 32, "characters": None, "epochs": 2}
    candidate = train("bag", Job(dataset, tmp_path / "c", TrainSettings(), "quick", 1, hyper, trials=2))
    assert candidate.settings["trials"] == 2
    assert candidate.latency_ms
    assert np.load(candidate.folder / "validation.npy").shape == (30, 3)
    assert train("linear", Job(dataset, tmp_path / "l", TrainSettings(), "quick", 1, trials=2)).score > 0.8


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", rows=20)
    with pytest.raises(InputError, match=r"'perceptron'.*bag.*cnn.*transformer"):
        train("perceptron", Job(dataset, tmp_path / "c", TrainSettings(), "quick", 1))
