"""How good is every candidate, beside scikit-learn's SVM and fastText on the same rows?

`python -m benchmarks.accuracy --sets trec6 banking77 --effort standard` runs the product's own stages on
the official splits and prints a table of test figures; results.json in `--folder` holds them, and a second
call goes on where the first was stopped. The test parts are read once a candidate, at the end.
With `--epsilon 8` the candidates are those that keep a privacy budget.
"""

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

from benchmarks.references import Reference, fasttext, figures, support_vectors
from tasks.architectures import Job
from tasks.convert import convert
from tasks.evaluate import evaluate
from tasks.ingest import ingest
from tasks.manifests import Candidate, Checked, Dataset, Evaluation, Variant
from tasks.optimise import optimise
from tasks.plan import plan
from tasks.preprocess import preprocess
from tasks.settings import Budget, DataSettings, OptimiseSettings, PrivacySettings, SourceSettings, TrainSettings
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


def candidate(
    name: str, dataset: Dataset, settings: TrainSettings, effort: Any, seconds: float | None, folder: Path
) -> dict[str, Any]:
    """Trains, converts, optimises and evaluates one candidate; figures of the variant that would be served.

    `seconds` are what the plan allows for its training; one that was not planned takes the time it needs.
    """
    hyper = {"seconds": seconds}
    trained = train(name, Job(dataset, made(folder / "candidate"), settings, effort, SEED, hyper))
    picked, judged = served(trained, dataset, folder)
    result = {
        "accuracy": judged.metrics["accuracy"].value,
        "macro_f1": judged.metrics["macro_f1"].value,
        "calibration": judged.calibration["after"]["error"],
        "validation": trained.score,
        "seconds": trained.seconds,
        "megabytes": picked.size_bytes / 1e6,
        "texts_per_second": max(picked.throughput.values()),
        "settings": trained.settings | {"variant": picked.name},
    }
    shutil.rmtree(folder)
    return result


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--effort", choices=("quick", "standard", "thorough"), default="thorough")
    parser.add_argument("--candidates", nargs="+", help="names of architectures, svm and fasttext; all by default")
    parser.add_argument("--epsilon", type=float, help="privacy budget of the training; none by default")
    parser.add_argument("--rows", type=int, help="at most so many training rows, to try the script")
    parser.add_argument("--folder", type=Path, default=Path("data/benchmarks/accuracy"))
    options = parser.parse_args()
    sources = Path(os.environ.get("DATASETS_DIR", "../shared/datasets"))
    file = made(options.folder) / "results.json"
    results: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    settings = TrainSettings(privacy=PrivacySettings(epsilon=options.epsilon))
    budget = f"/epsilon {options.epsilon:g}" if options.epsilon else ""
    for name in options.sets:
        dataset = read(name, sources, options.rows, options.folder / name)
        planned = plan(dataset, settings, options.effort)
        for model in options.candidates or (*REFERENCES, *planned.names):
            key = f"{name}/{model}/{options.effort}/{dataset.content[:8]}{budget}"
            if key not in results:
                work = options.folder / name / model
                if model in REFERENCES:
                    results[key] = reference(model, dataset, work)
                else:
                    allowed = planned.allowed.get(model)
                    results[key] = candidate(model, dataset, settings, options.effort, allowed, work)
                file.write_text(json.dumps(results, indent=1))
            print(table({key: results[key]}).splitlines()[-1], flush=True)
    print("\n" + table(results))


if __name__ == "__main__":
    main()
