import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bentos.serving.records.personal_data import Redactor
from tasks.base.manifests import Candidate
from tasks.base.settings import OptimiseSettings, TrainSettings
from tasks.candidates import distillation
from tasks.candidates.distillation import student, taught
from tasks.candidates.train import train
from tasks.data.rows import Rows
from tasks.data.sealed_files import seal_file
from tasks.data.unlabelled import read_unlabelled
from tasks.learning.job import Job
from tests.tasks.keys import key_file
from tests.tasks.toy import make_dataset


@pytest.mark.slow
@pytest.mark.parametrize("task", ["single", "multi"])
def test_a_student_learns_from_its_teacher_and_from_unlabelled_texts(tmp_path: Path, task: str) -> None:
    data = make_dataset(tmp_path / "data", task, rows=90)
    (tmp_path / "more.csv").write_text("text\n" + "the oven and the soup\nproton of the orbit\n" * 20)
    job = Job(data, tmp_path, TrainSettings(unlabelled=str(tmp_path / "more.csv"), epochs=4), "quick", 13)
    teacher = train("linear", replace(job, folder=tmp_path / "teacher"))
    (tmp_path / "student").mkdir()
    told: list[float] = []
    work = replace(job, folder=tmp_path / "student", progress=lambda share, text: told.append(share))
    made = student(work, teacher, seconds=5.0)
    assert told == sorted(told)
    assert told[-1] > 0.7
    assert (made.name, made.settings["teacher"]) == ("student", "linear")
    assert made.settings["texts"] > 90 + 40
    assert made.score > 0.7
    assert made.folder == tmp_path / "student" / made.settings["structure"]
    assert [one.name for one in (tmp_path / "student").iterdir() if one.is_dir()] == [made.settings["structure"]]
    assert not (tmp_path / "student" / "taught.parquet").exists()


@pytest.mark.parametrize("task", ["single", "multi"])
def test_targets_are_the_probabilities_of_the_teacher(
    tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distillation, "_CHUNK", 25)
    data = make_dataset(tmp_path / "data", task, rows=60)
    job = Job(data, tmp_path, TrainSettings(), "quick", 13)
    teacher = train("linear", replace(job, folder=tmp_path / "linear"))
    texts = Rows(data.train).texts()
    with distillation._answering(job, teacher, OptimiseSettings()) as (model, latency_ms):
        made = taught(job, teacher, model, texts)
    assert latency_ms > 0
    rows = Rows(made.train)
    targets = rows.targets()
    assert (rows.texts(), targets.dtype, made.rows["train"]) == (texts, np.float32, 60)
    assert ((targets >= 0) & (targets <= 1)).all()
    wanted = Rows(data.train).targets()
    assert ((targets > 0.5) == (np.eye(3)[wanted] if task == "single" else wanted)).mean() > 0.9


def test_unlabelled_texts_follow_the_policy_of_personal_data_and_may_be_sealed(tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("text\nsoup for ann@mail.example\nwarm bread\n")
    key = key_file(tmp_path / "key")
    seal_file(tmp_path / "more.csv", tmp_path / "more.csv.sealed", key)
    source = str(tmp_path / "more.csv.sealed")
    contents = set()
    for personal, wanted in (
        (Redactor("mask"), ["soup for [email]", "warm bread"]),
        (Redactor("drop"), ["warm bread"]),
        (None, ["soup for ann@mail.example", "warm bread"]),
    ):
        made = read_unlabelled(source, tmp_path, personal, key)
        assert (made.texts(), made.rows) == (wanted, len(wanted))
        contents.add(made.content)
    assert len(contents) == 3


def test_unlabelled_texts_that_stand_in_the_data_set_are_left_out(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", "single", rows=30)
    known = Rows(data.test).texts()[0]
    assert distillation._unknown([known.upper(), "warm bread"], data) == ["warm bread"]


def test_made_up_texts_hold_words_of_the_texts_and_are_the_same_each_time() -> None:
    texts = ["the bread in the oven is warm", "a proton and a cell"]
    made = list(distillation._made_up(texts, 50, seed=3))
    assert len(set(made)) > 20
    assert {word for text in made for word in text.split()} <= {word for text in texts for word in text.split()}
    assert made == list(distillation._made_up(texts, 50, seed=3))


def test_every_other_text_is_the_beginning_of_one_and_the_end_of_another() -> None:
    texts = ["a b c d e f", "u v w x y z"]
    made = list(distillation._made_up(texts, 200, seed=3))[1::2]
    joined = [text for text in made if set("abcdef") & set(text.split()) and set("uvwxyz") & set(text.split())]
    assert len(joined) > 20
    assert all(text.strip() for text in made)
    for text in joined:
        first = [word for word in text.split() if word in "abcdef"]
        last = [word for word in text.split() if word in "uvwxyz"]
        assert (" ".join(first) in texts[0], " ".join(last) in texts[1]) == (True, True)


def test_texts_with_and_without_spaces_are_not_joined() -> None:
    made = list(distillation._made_up(["one two three", "今天天气很好我们去公园"], 100, seed=3))[1::2]
    assert not [text for text in made if any(letter in text for letter in "今天气很好我们去公园") and " " in text]


def test_texts_without_spaces_are_made_up_of_characters() -> None:
    made = list(distillation._made_up(["今天天气很好我们去公园"], 20, seed=3))
    assert all(" " not in text for text in made)
    assert len(set(made)) > 10


def test_a_teacher_without_time_answers_fewer_texts() -> None:
    assert list(distillation._made_up(["a b c"], 0, seed=3)) == []


@pytest.mark.parametrize("better", ["bag", "cnn"])
def test_the_better_of_the_taught_is_kept_and_what_is_set_by_hand_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, better: str
) -> None:
    data = make_dataset(tmp_path / "data", rows=60)
    job = Job(data, tmp_path, TrainSettings(hyper={"cnn": {"dropout": 0.4}}), "quick", 13)
    teacher = train("linear", replace(job, folder=tmp_path / "teacher"))
    taught = {}

    class Pupil:
        def __init__(self, name: str) -> None:
            self.name = name

        def fit(self, job: Job) -> Candidate:
            taught[self.name] = job.hyper
            made = teacher.model_copy(update={"name": self.name, "folder": job.folder, "score": 0.5})
            shutil.copytree(teacher.folder, job.folder, dirs_exist_ok=True)
            return made.model_copy(update={"score": 0.9}) if self.name == better else made

    monkeypatch.setattr(distillation, "architectures", lambda: {name: Pupil(name) for name in ("bag", "cnn")})
    (tmp_path / "student").mkdir()
    made = student(replace(job, folder=tmp_path / "student", hyper={"seconds": 9.0}), teacher, seconds=1.0)
    assert (made.settings["structure"], made.score) == (better, 0.9)
    assert taught == {"bag": {"seconds": 9.0}, "cnn": {"seconds": 9.0, "epochs": 20, "batch_size": 64}}
