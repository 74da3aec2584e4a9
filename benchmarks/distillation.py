"""How much of a slow teacher's lead does its fast student keep?

`python -m benchmarks.distillation --sets trec6 banking77` trains the teacher (the fine-tuned encoder), the structures
of students alone (the better on the validation part counts) and the student on the official training part, and judges
what would be served of each on the test part. With `--labelled 0.25` only so many of the training rows have a label,
and the texts of the others are given to the student as unlabelled ones. Speed: one thread, tokenising included.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.accuracy import SEED, made, read, served
from tasks.architectures import Job
from tasks.distillation import STRUCTURES, student
from tasks.manifests import Candidate, Dataset
from tasks.plan import SECONDS
from tasks.settings import TrainSettings
from tasks.train import train

TEACHER = "encoder"


def measure(name: str, sources: Path, labelled: float, seconds: float | None, folder: Path) -> dict[str, Any]:
    """Accuracy and speed of teacher, student alone and student, and the share of the gap that the student closes."""
    rows = round(labelled * pq.read_metadata(sources / f"{name}.train.parquet").num_rows)
    dataset = read(name, sources, rows if labelled < 1 else None, folder)
    unlabelled = str(sources / f"{name}.train.parquet") if labelled < 1 else None
    settings = TrainSettings(unlabelled=unlabelled)

    def job(role: str) -> Job:
        return Job(dataset, made(folder / role), settings, "standard", SEED)

    teacher = train(TEACHER, job("teacher"))
    taught = student(job("student"), teacher, seconds or SECONDS["standard"])
    alone = max((train(name, job(f"alone_{name}")) for name in STRUCTURES), key=lambda one: one.score)
    found = {
        "teacher": figures(teacher, dataset, folder / "teacher"),
        "alone": figures(alone, dataset, folder / "alone"),
        "student": figures(taught, dataset, folder / "student"),
    }
    accuracy = {role: one["accuracy"] for role, one in found.items()}
    return found | {
        "labelled": dataset.rows["train"] + dataset.rows["validation"],
        "taught": taught.settings["texts"],
        "closed": (accuracy["student"] - accuracy["alone"]) / (accuracy["teacher"] - accuracy["alone"]),
        "times": found["student"]["texts_per_second"] / found["teacher"]["texts_per_second"],
    }


def figures(candidate: Candidate, dataset: Dataset, folder: Path) -> dict[str, float]:
    """Test accuracy, validation score and texts a second of the variant that would be served."""
    picked, judged = served(candidate, dataset, folder)
    return {
        "accuracy": judged.metrics["accuracy"].value,
        "validation": candidate.score,
        "texts_per_second": max(picked.throughput.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["trec6", "banking77", "ag_news_40k"])
    parser.add_argument("--labelled", type=float, default=1.0, help="share of the training rows that have a label")
    parser.add_argument("--seconds", type=float, help="that the teacher may answer; those of effort standard otherwise")
    parser.add_argument("--folder", type=Path, default=Path("data/benchmarks/distillation"))
    options = parser.parse_args()
    sources = Path(os.environ.get("DATASETS_DIR", "../shared/datasets"))
    print("| set | labelled | taught | alone | student | teacher | gap closed | times the teacher's texts/s |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.sets:
        folder = made(options.folder / f"{name}-{options.labelled:g}")
        found = measure(name, sources, options.labelled, options.seconds, folder)
        (folder / "result.json").write_text(json.dumps(found, indent=1))
        accuracies = " | ".join(f"{100 * found[role]['accuracy']:.1f}" for role in ("alone", "student", "teacher"))
        print(
            f"| {name} | {found['labelled']:,} | {found['taught']:,} | {accuracies} | "
            f"{100 * found['closed']:.0f} % | {found['times']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
