"""How often drift is found, and how often falsely: `python -m benchmarks.drift [--rounds N]`.

For every base data set a linear model is trained on 70 % of its training file; 25 % more are the reference
and the pool of unchanged traffic. A row of the table is a mix: so many live rows, of which a share comes from
another data set. `--same ROUNDS` instead looks at 100,000 live rows of the reference's own distribution (all
training files, mixed), through records on disk as the service writes them. Nothing here reads a test file.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bentos.text_classifier.model import TextModel
from bentos.text_classifier.prediction_log import KIND, PredictionRecord, named_label, observe
from bentos.text_classifier.scope import ScopeRule
from tasks.base.manifests import Checked, Dataset
from tasks.base.settings import DataSettings, TrainSettings, WatchSettings
from tasks.base.workspace import engine
from tasks.conversion.convert import convert
from tasks.data.folding import add_fold, fold_expression
from tasks.data.preprocess import preprocess
from tasks.learning.job import Job
from tasks.models.architectures import architectures
from tasks.verdict.calibrate import calibrate
from tasks.watching.drift import monitor
from tasks.watching.drift.permutation import corrected_p_values
from tasks.watching.drift.reference import MOST_ROWS, SCHEMA
from tasks.watching.drift.statistics import statistics
from tests.conftest import datasets_folder

MOST_TRAINING_ROWS = 16_000
SAME_ROWS = 100_000
MIXES = (
    ("banking77", "trec6"), ("banking77", "sms_spam"), ("trec6", "banking77"), ("sms_spam", "trec6"),
    ("ag_news_40k", "trec6"), ("ag_news_40k", "sms_spam"),
)  # fmt: skip


def split(name: str, folder: Path, seed: int) -> Dataset:
    """The data set's training file, divided by the product's own stage; validation and test are one quarter."""
    path = folder / "checked.parquet"
    with engine(folder, "1GB") as duck:
        add_fold(duck)
        duck.execute(
            f"""COPY (SELECT text, label, '{name}' AS source, row_number() OVER () AS line, true AS kept,
                CAST(md5_number_lower({fold_expression("text")}) >> 1 AS BIGINT) AS "group"
                FROM read_parquet('{datasets_folder() / name}.train.parquet')
                QUALIFY row_number() OVER (PARTITION BY {fold_expression("text")}) = 1
                ORDER BY md5(text) LIMIT {MOST_TRAINING_ROWS}) TO '{path}' (FORMAT parquet)"""
        )
    rows = pq.read_metadata(path).num_rows
    checked = Checked(path=path, task="single", rows=rows, classes={}, content=name)
    data = DataSettings(validation_share=0.1, test_share=0.2)
    return preprocess(checked, None, None, data, TrainSettings(folds=0), seed, folder)


def trained(dataset: Dataset, folder: Path, seed: int) -> TextModel:
    """A calibrated linear model of the data set."""
    job = Job(dataset, folder / "candidate", TrainSettings(folds=0), "quick", seed)
    job.folder.mkdir()
    candidate = architectures()["linear"].fit(job)
    converted = convert(candidate, dataset, folder / "converted")
    served, _ = calibrate(converted.folder, dataset, folder / "served")
    return TextModel.load(served)


def seen(model: TextModel, texts: list[str]) -> pa.Table:
    """The texts as records hold them."""
    assert model.manifest.scope
    rule = ScopeRule(model.manifest.scope)
    rows = []
    for start in range(0, len(texts), 64):
        some = texts[start : start + 64]
        for one, answer in zip(observe(some, rule), model.predict(some), strict=True):
            rows.append(
                msgspec.structs.asdict(one)
                | {"label": named_label(answer), "score": answer.score, "in_scope": answer.in_scope, "correct": None}
            )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def texts_of(path: Path, most: int = 10_000) -> list[str]:
    return pq.read_table(path, columns=["text"]).column(0).to_pylist()[:most]


def alarms(reference: pa.Table, live: pa.Table, alpha: float, seed: int) -> set[str]:
    """The statistics that raise an alarm, as `monitor` judges."""
    both = statistics(pa.concat_tables([reference, live]).drop_columns("correct"))
    found = corrected_p_values(both, reference.num_rows, alpha, seed)
    return {name for name, (_, corrected) in found.items() if corrected <= alpha}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--alpha", type=float, default=0.001)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.05, 0.1])
    parser.add_argument("--base", nargs="+", default=sorted({base for base, _ in MIXES}))
    parser.add_argument("--same", type=int, metavar="ROUNDS", help="only this: no alarm where nothing has changed?")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = same_distribution(options.same, options.alpha) if options.same else shifts(options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))


def shifts(options: argparse.Namespace) -> list[dict[str, object]]:
    """The table of mixes."""
    results = []
    print(f"{'base':<14}{'other':<14}{'share':>6}{'found':>8}   alarms by statistic")
    for base in options.base:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            dataset = split(base, folder, 1)
            model = trained(dataset, folder, 1)
            held = seen(model, texts_of(dataset.validation) + texts_of(dataset.test))
            others = {
                other: seen(model, texts_of(datasets_folder() / f"{other}.train.parquet", 2_000))
                for of, other in MIXES
                if of == base
            }
        for other, strange in others.items():
            for share in options.shares:
                results.append(measured(base, other, share, held, strange, options))
    return results


def same_distribution(rounds: int, alpha: float) -> list[dict[str, object]]:
    """Looks of `monitor` at unchanged traffic; every round divides the rows anew into reference and live."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dataset = split("banking77", folder, 1)
        model = trained(dataset, folder, 1)
        known = set(texts_of(dataset.train))
        files = sorted(datasets_folder().glob("*.train.parquet")) + sorted(datasets_folder().glob("*.val.parquet"))
        pool = sorted({text for file in files for text in texts_of(file, 10**9)} - known)
        rows = seen(model, pool)
        print(f"{len(pool):,} different rows; {SAME_ROWS:,} live rows a round, of which {MOST_ROWS:,} are compared")
        results, random = [], np.random.default_rng(5)
        for round in range(rounds):
            order = random.permutation(len(pool))
            taken = rows.take(order[:MOST_ROWS])
            pq.write_table(
                taken.set_column(taken.column_names.index("correct"), "correct", pa.array([True] * MOST_ROWS)),
                folder / "reference.parquet",
            )
            records = folder / f"records-{round}"
            record(rows.take(order[MOST_ROWS : MOST_ROWS + SAME_ROWS]), records)
            report = monitor(folder / "reference.parquet", records, "v1", WatchSettings(alpha=alpha), seed=round)
            shutil.rmtree(records)
            smallest = min(one.corrected for one in report.statistics)
            print(f"round {round + 1:2}: {report.rows:,} rows, {report.state}, smallest p {smallest:.3f}", flush=True)
            results.append({"rows": report.rows, "state": report.state, "alarms": report.alarms, "p": smallest})
    print(f"{sum(one['state'] == 'drift' for one in results)} of {rounds} looks raised an alarm; alpha {alpha}")
    return results


def record(rows: pa.Table, folder: Path) -> None:
    """Writes rows as the service records predictions."""
    folder.mkdir()
    encoder = msgspec.json.Encoder()
    with (folder / f"{KIND}-1.jsonl").open("wb") as stream:
        for number, row in enumerate(rows.drop_columns("correct").to_pylist()):
            about = {"time": float(number), "id": str(number), "version": "v1", "hash": str(number), "client": "c"}
            stream.write(encoder.encode(PredictionRecord(**row, **about)) + b"\n")


def measured(
    base: str, other: str, share: float, held: pa.Table, strange: pa.Table, options: argparse.Namespace
) -> dict[str, object]:
    """One line of the table: rounds with an alarm, and by which statistic. Every round divides anew."""
    random = np.random.default_rng(5)
    counts: dict[str, int] = {}
    found = 0
    for round in range(options.rounds):
        order = random.permutation(held.num_rows)
        mixed = random.binomial(options.rows, share)
        live = pa.concat_tables(
            [held.take(order[: options.rows - mixed]), strange.take(random.permutation(strange.num_rows)[:mixed])]
        )
        reference = held.take(order[options.rows - mixed :][:MOST_ROWS])
        names = alarms(reference, live, options.alpha, round)
        found += bool(names)
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
    print(f"{base:<14}{other:<14}{share:>6.0%}{found:>5}/{options.rounds}   {told}", flush=True)
    return {
        "base": base,
        "other": other,
        "share": share,
        "rows": options.rows,
        "alpha": options.alpha,
        "held_rows": held.num_rows,
        "rounds": options.rounds,
        "found": found,
        "by": counts,
    }


if __name__ == "__main__":
    main()
