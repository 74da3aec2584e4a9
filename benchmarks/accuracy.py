"""How good is every candidate, beside scikit-learn's SVM and fastText on the same rows?

`python -m benchmarks.accuracy --sets trec6 banking77 --effort standard` trains the candidates of a plan on the official
splits, each once, and what a retrain derives from them, and prints a table of test figures. A retrain would also
search hyper-parameters, judge by folds or seeds where that is planned, and train the chosen model again with the
validation rows. results.json in `--folder` holds the figures, and a second call goes on where the first was stopped.
The test parts are read once a candidate, at the end. With `--epsilon 8` the candidates are those that keep a privacy
budget. The student is taught by the best of the others; what share of that one's lead over the best structure of a
student trained alone it keeps, and how many times as fast it is in turns with it, is printed beside the choice. With
`--rows 1000 --unlabelled` the student is given the texts of all other training rows.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.references import Reference, fasttext, figures, support_vectors
from bentos.text_classifier.model import TextModel
from flows.candidates import teaching_seconds
from tasks.base.manifests import Candidate, Checked, Dataset, Variant, content_of
from tasks.base.settings import (
    Budget,
    DataSettings,
    Effort,
    OptimiseSettings,
    PrivacySettings,
    SourceSettings,
    TrainSettings,
)
from tasks.candidates.distillation import STRUCTURES, student
from tasks.candidates.ensemble import ensemble, members
from tasks.candidates.plan import DERIVED, ENSEMBLE, STUDENT, Plan, plan
from tasks.candidates.select import select
from tasks.candidates.train import train
from tasks.conversion.convert import convert
from tasks.conversion.optimise import BATCH_SIZES, optimise, timed
from tasks.data.ingest import ingest
from tasks.data.preprocess import preprocess
from tasks.data.rows import Rows
from tasks.data.unlabelled import read_unlabelled
from tasks.data.validate import validate
from tasks.learning.job import Job
from tasks.verdict.evaluate import evaluate

SETS = ("trec6", "banking77", "sms_spam", "ag_news_40k", "thucnews_titles_45k")
REFERENCES = ("svm", "fasttext")
COLUMNS = ("accuracy", "macro_f1", "calibration", "validation", "seconds", "megabytes", "texts_per_second")
SEED = 13


def read(name: str, sources: Path, rows: int | None, folder: Path) -> Dataset:
    """The set through ingest, validate and preprocess, with its official test (and validation) part."""
    checked: dict[str, Checked] = {}
    for part in ("train", "val", "test"):
        file = sources / f"{name}.{part}.parquet"
        if not file.exists():
            continue
        settings = SourceSettings(source=str(file), task="single", rows=rows if part == "train" else None)
        table = ingest(settings, made(folder / f"ingest_{part}"), SEED)
        checked[part] = validate(table, DataSettings(), made(folder / f"validate_{part}"), trained_on=part == "train")
    if not {"train", "test"} <= checked.keys():
        raise SystemExit(f"{sources} holds no {name}.train.parquet and {name}.test.parquet; set DATASETS_DIR")
    parts = checked["train"], checked.get("val"), checked["test"]
    return preprocess(*parts, DataSettings(), TrainSettings(), SEED, made(folder / "split"))


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class Models:
    """The product's models of one set, each trained once: those of an earlier call are taken from `folder`.

    `structures` are compared with one another, by so many `folds` or by the validation part; average and student are
    made of them.
    """

    dataset: Dataset
    settings: TrainSettings
    effort: Effort
    planned: Plan
    structures: Sequence[str]
    folder: Path
    folds: int = 0

    @cached_property
    def compared(self) -> list[Candidate]:
        """The structures, and their average where one is better than the best of them."""
        found = [self.trained(name) for name in self.structures]
        return [*found, *self._average(found)]

    def trained(self, name: str) -> Candidate:
        hyper = {"seconds": self.planned.allowed.get(name)}
        return self._once(self.folder / name, hyper, lambda job: train(name, job, self.folds))

    def taught(self) -> Candidate:
        # Below thorough no student is made unless it is asked for.
        asked = self.settings.unlabelled is not None or self.effort != "thorough"
        seconds = teaching_seconds(self.planned, asked)
        folder = self.folder / f"{STUDENT}-{self.teacher.content[:8]}"
        return self._once(folder, {"seconds": seconds}, lambda job: self._student(job, seconds))

    def _student(self, job: Job, seconds: float) -> Candidate:
        if self.settings.unlabelled is None:
            return student(job, self.teacher, seconds)
        with tempfile.TemporaryDirectory() as folder:
            texts = read_unlabelled(self.settings.unlabelled, Path(folder)).texts()
        return student(job, self.teacher, seconds, unlabelled=texts)

    @property
    def teacher(self) -> Candidate:
        return max(self.compared, key=lambda one: one.score)

    def get(self, name: str) -> Candidate | None:
        """The model of that name; None for an average where none is better than the best structure."""
        if name == STUDENT:
            return self.taught()
        if name == ENSEMBLE:
            return next((one for one in self.compared if one.name == ENSEMBLE), None)
        return self.trained(name)

    def _average(self, found: list[Candidate]) -> list[Candidate]:
        chosen = members(found, self.dataset, self.settings, Budget())
        if len(chosen) < 2:
            return []
        folder = self.folder / f"{ENSEMBLE}-{content_of(*(one.content for one in chosen))[:8]}"
        return [self._once(folder, {}, lambda job: ensemble(job, chosen))]

    def _once(self, folder: Path, hyper: dict[str, Any], make: Callable[[Job], Candidate]) -> Candidate:
        file = made(folder) / "candidate.json"
        if not file.exists():
            started = time.perf_counter()
            job = Job(self.dataset, made(folder / "candidate"), self.settings, self.effort, SEED, hyper)
            found = make(job).model_copy(update={"seconds": time.perf_counter() - started})
            unfinished = file.with_suffix(".part")
            unfinished.write_text(found.model_dump_json())
            unfinished.rename(file)
        return Candidate.model_validate_json(file.read_text())


def figures_of(candidate: Candidate, dataset: Dataset) -> dict[str, Any]:
    """What would be served of the model, judged on the test part."""
    with tempfile.TemporaryDirectory() as folder:
        picked = served(candidate, dataset, Path(folder))
        judged = evaluate(picked, candidate, dataset, SEED, made(Path(folder) / "evaluated"))
    return {
        "accuracy": judged.metrics["accuracy"].value,
        "macro_f1": judged.metrics["macro_f1"].value,
        "calibration": judged.calibration["after"]["error"],
        "validation": candidate.score,
        "seconds": candidate.seconds,
        "megabytes": picked.size_bytes / 1e6,
        "texts_per_second": max(picked.throughput.values()),
        "settings": candidate.settings | {"variant": picked.name},
    }


def judged(model: str, models: Models, key: str, results: dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """The key and the figures of one model; taken from `results` or, when they are not there, put there."""
    candidate = None if model in REFERENCES else models.get(model)
    if candidate is None and model not in REFERENCES:
        return key, {"skipped": "no average of candidates is better than the best of them alone"}
    if candidate:
        key = f"{key}/{candidate.content[:8]}"
    if key not in results:
        dataset = models.dataset
        results[key] = figures_of(candidate, dataset) if candidate else reference(model, dataset, models.folder / model)
    return key, results[key]


def served(trained: Candidate, dataset: Dataset, folder: Path) -> Variant:
    """The variant that would be served."""
    converted = convert(trained, dataset, folder / "converted")
    return optimise(converted.folder, dataset, OptimiseSettings(), Budget(), folder / "optimised", gpu=False).picked


def times_as_fast(pupil: Candidate, teacher: Candidate, dataset: Dataset) -> float:
    """By how many times more texts a second than its teacher's the pupil's served variant answers, one thread each,
    measured in turns."""
    texts = list(Rows(dataset.validation).texts())
    with tempfile.TemporaryDirectory() as folder:
        variants = [served(one, dataset, Path(folder) / one.name) for one in (pupil, teacher)]
        own, teachers = timed([TextModel.load(variant.folder) for variant in variants], texts, BATCH_SIZES[-1])
    return teachers / own


def reference(name: str, dataset: Dataset, folder: Path) -> dict[str, Any]:
    found: Reference | str = support_vectors(dataset) if name == "svm" else fasttext(dataset, made(folder))
    if isinstance(found, str):
        return {"skipped": found}
    return figures(dataset, found) | {
        "seconds": found.seconds,
        "texts_per_second": found.texts_per_second,
        "settings": found.settings,
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown, a row a set and model."""
    lines = ["| set | model | " + " | ".join(COLUMNS) + " |", "|---" * (2 + len(COLUMNS)) + "|"]
    for key, result in results.items():
        name, model = key.split("/")[:2]
        if "skipped" in result:
            lines.append(f"| {name} | {model} | {result['skipped']} |" + " |" * (len(COLUMNS) - 1))
            continue
        lines.append(
            f"| {name} | {model} | " + " | ".join(_cell(column, result.get(column)) for column in COLUMNS) + " |"
        )
    return "\n".join(lines)


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return ""
    if column in ("accuracy", "macro_f1", "calibration", "validation"):
        return f"{100 * value:.2f}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def summary(found: dict[str, dict[str, Any]], models: Models) -> list[str]:
    """Which model was chosen and why; and what share of its teacher's lead a student keeps, at what speed.

    Args:
        found: figures by the model's name.
    """
    everything = [*models.compared, *([models.taught()] if STUDENT in found else [])]
    lines = [select(everything, {}, models.dataset, models.settings, Budget()).reason]
    pupils = [found[name] for name in STRUCTURES if name in found]
    alone = max(pupils, key=lambda one: one["validation"], default=None)
    taught = found.get(STUDENT)
    teacher = found.get(taught["settings"]["teacher"]) if taught else None
    if alone and taught and teacher:
        lead = teacher["accuracy"] - alone["accuracy"]
        kept = f"{(taught['accuracy'] - alone['accuracy']) / lead:.0%} of the lead" if lead > 0 else "there is no lead"
        times = times_as_fast(models.taught(), models.teacher, models.dataset)
        texts = taught["settings"]["texts"]
        lines.append(f"student, taught on {texts:,} texts: {kept}, {times:.0f} times the teacher's texts a second")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--effort", choices=("quick", "standard", "thorough"), default="thorough")
    parser.add_argument("--candidates", nargs="+", help="names of structures, ensemble, student, svm, fasttext; or all")
    parser.add_argument("--epsilon", type=float, help="privacy budget of the training; none by default")
    parser.add_argument("--rows", type=int, help="at most so many training rows")
    parser.add_argument("--unlabelled", action="store_true", help="the student gets the texts of the other rows")
    parser.add_argument("--folder", type=Path, default=Path("data/benchmarks/accuracy"))
    options = parser.parse_args()
    # texts/s are those of one thread.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sources = Path(os.environ.get("DATASETS_DIR", "../shared/datasets"))
    file = made(options.folder) / "results.json"
    results: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    privacy = PrivacySettings(epsilon=options.epsilon)
    budget = f"-epsilon-{options.epsilon:g}" if options.epsilon else ""
    shown: dict[str, dict[str, Any]] = {}
    for name in options.sets:
        unlabelled = str(sources / f"{name}.train.parquet") if options.unlabelled else None
        settings = TrainSettings(privacy=privacy, unlabelled=unlabelled)
        dataset = read(name, sources, options.rows, options.folder / name)
        run = f"{options.effort}-{dataset.content[:8]}{budget}{'-unlabelled' * options.unlabelled}"
        planned = plan(dataset, settings, options.effort)
        names = options.candidates or (*REFERENCES, *planned.names, *(() if options.epsilon else DERIVED))
        structures = [one for one in names if one not in (*REFERENCES, *DERIVED)]
        models = Models(dataset, settings, options.effort, planned, structures, options.folder / name / run)
        found: dict[str, dict[str, Any]] = {}
        for model in names:
            key, found[model] = judged(model, models, f"{name}/{model}/{run}", results)
            file.write_text(json.dumps(results, indent=1))
            shown[key] = found[model]
            print(table({key: found[model]}).splitlines()[-1], flush=True)
        if structures:
            print(*summary(found, models), "", sep="\n", flush=True)
    print("\n" + table(shown))


if __name__ == "__main__":
    main()
