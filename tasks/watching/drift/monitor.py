"""Compares what the live version was asked with what it was accepted on."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from bentos.text_classifier.prediction_log import PredictionRecord
from tasks.base.settings import WatchSettings
from tasks.data.prediction_log import read_feedback, read_predictions
from tasks.watching.drift.accuracy import accepted_accuracy, estimated_accuracy, feedback_accuracy
from tasks.watching.drift.permutation import corrected_p_values
from tasks.watching.drift.reference import MOST_ROWS, SCHEMA, read_reference
from tasks.watching.drift.report import Distribution, DriftReport, StatisticResult
from tasks.watching.drift.statistics import statistics


def monitor(
    reference: Path,
    records: Path,
    version: str,
    settings: WatchSettings,
    since: datetime | None = None,
    until: datetime | None = None,
    seed: int = 13,
    key: str | None = None,
) -> DriftReport:
    """One look at the predictions of `version` recorded in `records` between `since` and `until`.

    Equal texts count once, as they do in the data that the version was accepted on. Of more than `MOST_ROWS`
    different ones that many are drawn. The chance of an alarm is `settings.alpha` for each look at unchanged
    traffic: of hourly looks at 0.001 one in 42 days raises a false one.

    Args:
        reference: the file that `reference_statistics` wrote.
        key: source of the key of the sealed model folder that it lies in.

    Raises:
        InputError: the reference cannot be read.
    """
    accepted = read_reference(reference, key)
    taken = [record for record in read_predictions(records) if _within(record.time, since, until)]
    own = [record for record in taken if record.version == version]
    different = list({record.hash: record for record in own}.values())
    report = DriftReport(
        state="too few",
        version=version,
        alpha=settings.alpha,
        rows=len(own),
        compared=min(len(different), MOST_ROWS),
        reference_rows=accepted.num_rows,
        since=_moment(min((record.time for record in own), default=None)),
        until=_moment(max((record.time for record in own), default=None)),
        accepted_accuracy=accepted_accuracy(accepted),
    ).model_copy(update=_told(records, taken, since, until))
    if len(different) < settings.min_rows:
        return report
    if len(different) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(different), MOST_ROWS, replace=False))
        different = [different[index] for index in chosen]
    live = _table(different)
    results = _results(accepted, live, settings.alpha, seed)
    return report.model_copy(
        update={
            "state": "drift" if any(result.alarm for result in results) else "steady",
            "statistics": results,
            "labels": _label_shares(accepted, live),
            "distributions": _distributions(accepted, live),
            "estimated_accuracy": estimated_accuracy(accepted, live),
        }
    )


def _results(accepted: pa.Table, live: pa.Table, alpha: float, seed: int) -> list[StatisticResult]:
    both = statistics(pa.concat_tables([accepted.drop_columns("correct"), live.drop_columns("correct")]))
    found = corrected_p_values(both, accepted.num_rows, alpha, seed)
    return [
        StatisticResult(
            name=name,
            reference=_shown(name, accepted),
            live=_shown(name, live),
            p=p,
            corrected=corrected,
            alarm=corrected <= alpha,
        )
        for name, (p, corrected) in found.items()
    ]


_BARS = 30
_SHOWN = {"length": "characters", "rarity": "rarity", "unknown": "unknown", "confidence": "score"}


def _shown(name: str, rows: pa.Table) -> float | None:
    """A mean or share by which a person sees the difference, where one number shows it."""
    if name == "out of scope":
        return float(1.0 - rows.column("in_scope").to_numpy().astype(float).mean())
    return float(rows.column(_SHOWN[name]).to_numpy().mean()) if name in _SHOWN else None


def _label_shares(accepted: pa.Table, live: pa.Table) -> dict[str, tuple[float, float]]:
    counts = [Counter(str(label) for label in rows.column("label").to_pylist()) for rows in (accepted, live)]
    totals = [max(counter.total(), 1) for counter in counts]
    names = sorted(set(counts[0]) | set(counts[1]), key=lambda name: -counts[0][name])
    return {name: (counts[0][name] / totals[0], counts[1][name] / totals[1]) for name in names}


def _distributions(accepted: pa.Table, live: pa.Table) -> dict[str, Distribution]:
    found = {}
    for name in ("characters", "score", "rarity", "unknown"):
        columns = [rows.column(name) for rows in (accepted, live)]
        if any(column.null_count for column in columns):
            continue
        values = [column.to_numpy() for column in columns]
        both = np.concatenate(values)
        # The longest of texts would leave all others in one bar.
        edges = np.histogram_bin_edges(both, _BARS, (both.min(), np.quantile(both, 0.995)))
        shares = [np.histogram(np.minimum(each, edges[-1]), edges)[0] / len(each) for each in values]
        found[name] = Distribution(edges=edges.tolist(), reference=shares[0].tolist(), live=shares[1].tolist())
    return found


def _told(
    records: Path, taken: list[PredictionRecord], since: datetime | None, until: datetime | None
) -> dict[str, object]:
    feedback = [record for record in read_feedback(records) if _within(record.time, since, until)]
    answers = {record.id: _answer(record) for record in taken}
    known = {id: answer for id, answer in answers.items() if answer is not None}
    return {"feedback": len(feedback), "feedback_accuracy": feedback_accuracy(feedback, known)}


def _answer(record: PredictionRecord) -> set[str] | None:
    """All labels that were answered; None where the record has a part of them, or none."""
    if record.labels is msgspec.UNSET:
        return None if record.label is None else {record.label}
    return None if record.labels is None else set(record.labels)


def _table(records: list[PredictionRecord]) -> pa.Table:
    rows = [msgspec.structs.asdict(record) for record in records]
    return pa.Table.from_pylist([{name: row.get(name) for name in SCHEMA.names} for row in rows], schema=SCHEMA)


def _within(time: float, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or time >= since.timestamp()) and (until is None or time < until.timestamp())


def _moment(time: float | None) -> datetime | None:
    return None if time is None else datetime.fromtimestamp(time, UTC)
