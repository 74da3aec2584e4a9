"""How good is every candidate, beside scikit-learn's SVM and fastText on the same rows?

`python -m benchmarks.accuracy --sets trec6 banking77 --effort standard` runs the product's own stages on
the official splits and prints a table of test figures; results.json in `--folder` holds them, and a second
call goes on where the first was stopped. The test parts are read once a candidate, at the end.
With `--epsilon 8` the candidates are those that keep a privacy budget. The student is taught by the best of the others;
how much of that one's lead it keeps over the best structure of a student trained alone stands below the table. With
`--rows 1000 --unlabelled` all other training texts are given to it without their labels.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.references import Reference, fasttext, figures, support_vectors
from flows.candidates import STUDENT_SHARE
from tasks.architectures import Job
from tasks.convert import convert
from tasks.distillation import STRUCTURES, student
from tasks.ensemble import ensemble, members
from tasks.evaluate import evaluate
from tasks.ingest import ingest
from tasks.manifests import Candidate, Checked, Dataset, Evaluation, Selection, Variant
from tasks.optimise import optimise
from tasks.plan import DERIVED, ENSEMBLE, STUDENT, Plan, plan
from tasks.preprocess import preprocess
from tasks.select import select
from tasks.settings import (
    Budget,
    DataSettings,
    Effort,
    OptimiseSettings,
    PrivacySettings,
    SourceSettings,
    TrainSettings,
)
from tasks.train import train
from tasks.validate import validate

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
    """The product's models of one set, each trained once: an earlier call's are taken from `folder`.

    None is trained again with the validation rows, as a retrain would do with the chosen one.
    """

    dataset: Dataset
    settings: TrainSettings
    effort: Effort
    planned: Plan
    folder: Path

    def trained(self, name: str) -> Candidate | None:
        """The model of that name; of an average that no members are better for, None."""
        file = made(self.folder / name) / "candidate.json"
        if not file.exists():
            started = time.perf_counter()
            found = self._make(name)
            if found is None:
                return None
            file.write_text(found.model_copy(update={"seconds": time.perf_counter() - started}).model_dump_json())
        return Candidate.model_validate_json(file.read_text())

    def figures(self, name: str) -> dict[str, Any]:
        """What would be served of the model, judged on the test part."""
        trained = self.trained(name)
        if trained is None:
            return {"skipped": "no average of candidates is better than the best of them alone"}
        picked, judged = served(trained, self.dataset, self.folder / name)
        return {
            "accuracy": judged.metrics["accuracy"].value,
            "macro_f1": judged.metrics["macro_f1"].value,
            "calibration": judged.calibration["after"]["error"],
            "validation": trained.score,
            "seconds": trained.seconds,
            "megabytes": picked.size_bytes / 1e6,
            "texts_per_second": max(picked.throughput.values()),
            "settings": trained.settings | {"variant": picked.name},
        }

    def selection(self) -> Selection:
        """The choice among the models that were trained."""
        return select(self._all(), {}, self.dataset, self.settings, Budget())

    def _all(self) -> list[Candidate]:
        files = sorted(self.folder.glob("*/candidate.json"))
        return [Candidate.model_validate_json(file.read_text()) for file in files]

    def _make(self, name: str) -> Candidate | None:
        hyper = {"seconds": self.planned.allowed.get(name)}
        job = Job(self.dataset, made(self.folder / name / "candidate"), self.settings, self.effort, SEED, hyper)
        if name == ENSEMBLE:
            chosen = members([one for one in self._all() if one.name != STUDENT], self.dataset, self.settings, Budget())
            return ensemble(job, chosen) if len(chosen) > 1 else None
        if name == STUDENT:
            seconds = STUDENT_SHARE * self.planned.budget
            teacher = max((one for one in self._all() if one.name != STUDENT), key=lambda one: one.score)
            return student(replace(job, hyper={"seconds": seconds}), teacher, seconds)
        return train(name, job)


def served(trained: Candidate, dataset: Dataset, folder: Path) -> tuple[Variant, Evaluation]:
    """The variant that would be served, and how it does on the test part."""
    converted = convert(trained, dataset, folder / "converted")
    picked = optimise(converted, dataset, OptimiseSettings(), Budget(), folder / "optimised", gpu=False).picked
    return picked, evaluate(picked, trained, dataset, SEED, made(folder / "evaluated"))


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


def summary(results: dict[str, dict[str, Any]], selection: Selection) -> list[str]:
    """Which model of a set was chosen and why; and what share of the gap its student closes, at what speed."""
    found = {key.split("/")[1]: result for key, result in results.items()}
    lines = [selection.reason]
    alone = max((found[name] for name in STRUCTURES if name in found), key=lambda one: one["validation"], default=None)
    if alone and "accuracy" in found.get(STUDENT, {}):
        taught = found[STUDENT]
        teacher = found[taught["settings"]["teacher"]]
        gap = teacher["accuracy"] - alone["accuracy"]
        closed = f"{(taught['accuracy'] - alone['accuracy']) / gap:.0%} of the gap" if gap > 0 else "there is no gap"
        times = taught["texts_per_second"] / teacher["texts_per_second"]
        texts = taught["settings"]["texts"]
        lines.append(f"student, taught on {texts:,} texts: {closed}, {times:.0f} times the teacher's texts a second")
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
    sources = Path(os.environ.get("DATASETS_DIR", "../shared/datasets"))
    file = made(options.folder) / "results.json"
    results: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    privacy = PrivacySettings(epsilon=options.epsilon)
    budget = f"-epsilon-{options.epsilon:g}" if options.epsilon else ""
    for name in options.sets:
        unlabelled = str(sources / f"{name}.train.parquet") if options.unlabelled else None
        settings = TrainSettings(privacy=privacy, unlabelled=unlabelled)
        dataset = read(name, sources, options.rows, options.folder / name)
        run = f"{options.effort}-{dataset.content[:8]}{budget}{'-unlabelled' * options.unlabelled}"
        planned = plan(dataset, settings, options.effort)
        models = Models(dataset, settings, options.effort, planned, options.folder / name / run)
        derived = () if options.epsilon else DERIVED
        names = options.candidates or (*REFERENCES, *planned.names, *derived)
        for model in names:
            key = f"{name}/{model}/{run}"
            if key not in results:
                work = models.folder / model
                results[key] = reference(model, dataset, work) if model in REFERENCES else models.figures(model)
                file.write_text(json.dumps(results, indent=1))
            print(table({key: results[key]}).splitlines()[-1], flush=True)
        if set(names) - set(REFERENCES):
            of_this = {key: result for key, result in results.items() if key.endswith(run) and key.startswith(name)}
            print(*summary(of_this, models.selection()), "", sep="\n", flush=True)
    print("\n" + table(results))


if __name__ == "__main__":
    main()
