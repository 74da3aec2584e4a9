"""How good is the chosen model where every class has only a few labelled rows?

`python -m benchmarks.few_labels --sets trec6 banking77 --rows 8` draws so many rows a class from the training
file, trains the candidates of the effort on them, chooses as a retrain does, and judges every candidate and
scikit-learn's SVM on other rows of the training file. The official test parts are not read.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.accuracy import SEED, Models, made
from benchmarks.references import figures, support_vectors
from tasks.base.machine import open_model
from tasks.base.manifests import Candidate, Dataset
from tasks.base.settings import Budget, DataSettings, SourceSettings, TrainSettings
from tasks.candidates.plan import plan
from tasks.candidates.select import select
from tasks.conversion.convert import export_graph
from tasks.data.ingest import ingest
from tasks.data.preprocess import preprocess
from tasks.data.validate import validate
from tasks.kinds.registry import KINDS
from tasks.learning.examples import rows_of

JUDGED = 2_000


def drawn(name: str, sources: Path, rows: int, seed: int, folder: Path) -> Dataset:
    """`rows` rows of each class as the source, `JUDGED` other ones as the test part."""
    table = pq.read_table(sources / f"{name}.train.parquet", columns=["text", "label"]).to_pandas()
    table = table.drop_duplicates("text").sample(frac=1.0, random_state=seed)
    chosen = table.groupby("label").head(rows)
    others = table.drop(chosen.index).head(JUDGED)
    parts = []
    for part, some in (("train", chosen), ("test", others)):
        file = made(folder) / f"{part}.parquet"
        some.to_parquet(file, index=False)
        read = ingest(SourceSettings(source=str(file), task="single"), made(folder / f"ingest_{part}"), SEED)
        parts.append(validate(read, DataSettings(), made(folder / f"validate_{part}"), trained_on=part == "train"))
    return preprocess(parts[0], None, parts[1], DataSettings(), TrainSettings(), SEED, made(folder / "split"))


def judged(candidate: Candidate, dataset: Dataset, folder: Path) -> float:
    export_graph(candidate, folder)
    texts, targets = rows_of(dataset, "test")
    return KINDS[dataset.task].metrics(open_model(folder).logits(texts), targets)["accuracy"]


def measure(dataset: Dataset, effort: Any, folder: Path) -> dict[str, Any]:
    """Accuracy of the SVM and of each candidate on the other rows, and which one would be chosen."""
    settings = TrainSettings()
    planned = plan(dataset, settings, effort)
    candidates = Models(dataset, settings, effort, planned, planned.names, folder, planned.folds).compared
    selection = select(candidates, planned.skipped, dataset, settings, Budget())
    reference = figures(dataset, support_vectors(dataset))["accuracy"]
    return {
        "rows": sum(dataset.rows[part] for part in ("train", "validation")),
        "folds": planned.folds,
        "svm": reference,
        "candidates": {one.name: judged(one, dataset, folder / f"{one.name}_onnx") for one in candidates},
        "held_out": {one.name: one.score for one in candidates},
        "chosen": selection.chosen.name,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["trec6", "banking77"])
    parser.add_argument("--rows", type=int, default=8, help="a class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--effort", choices=("quick", "standard", "thorough"), default="standard")
    parser.add_argument("--folder", type=Path, default=Path("data/benchmarks/few_labels"))
    options = parser.parse_args()
    sources = Path(os.environ.get("DATASETS_DIR", "../shared/datasets"))
    file = made(options.folder) / "results.json"
    results: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    print("| set | seed | rows | SVM | chosen | its accuracy | all candidates |\n|---|---|---|---|---|---|---|")
    gains = []
    for name in options.sets:
        for seed in options.seeds:
            key = f"{name}/{options.rows}/{options.effort}/{seed}"
            if key not in results:
                folder = options.folder / key.replace("/", "-")
                results[key] = measure(drawn(name, sources, options.rows, seed, folder), options.effort, folder)
                file.write_text(json.dumps(results, indent=1))
            found = results[key]
            accuracy = found["candidates"][found["chosen"]]
            gains.append(accuracy - found["svm"])
            each = ", ".join(f"{one} {100 * value:.1f}" for one, value in found["candidates"].items())
            print(
                f"| {name} | {seed} | {found['rows']} | {100 * found['svm']:.1f} | {found['chosen']} | "
                f"{100 * accuracy:.1f} | {each} |",
                flush=True,
            )
    print(f"\nmean gain over the SVM: {100 * np.mean(gains):.1f} points")


if __name__ == "__main__":
    main()
