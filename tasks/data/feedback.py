"""Feedback from users becomes training rows of the next retrain: checked, limited, and never judged by.

Whoever may send feedback can try to poison the model. A client is heard so often a day; a text counts once,
by the majority of the clients that speak of it; all together, and one client alone, are a bounded share of
the training rows; nothing replaces a label of the accepted data; and no row joins the validation or test
part, so that the gate judges by data that feedback cannot reach.
"""

from datetime import datetime
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bentos.serving.records.personal_data import Redactor
from bentos.text_classifier.feedback import FeedbackRecord
from tasks.base.manifests import Dataset, content_of
from tasks.base.settings import FeedbackSettings
from tasks.base.workspace import engine, literal, scratch_folder
from tasks.data.folding import add_fold, fold_expression
from tasks.data.personal_data import REASON
from tasks.data.prediction_log import read_feedback
from tasks.data.quarantine import write_quarantine
from tasks.kinds.kind import Feedback, Labels
from tasks.kinds.registry import KINDS

SOURCE = "feedback"

_MOST_CHARACTERS = 100_000
_SCHEMA = pa.schema(
    [("line", pa.int64()), ("time", pa.float64()), ("text", pa.string()), ("names", pa.list_(pa.string())),
     ("client", pa.string())]
)  # fmt: skip


def add_feedback(
    dataset: Dataset,
    records: Path,
    settings: FeedbackSettings,
    folder: Path,
    personal: Redactor | None = None,
    memory: str = "1GB",
) -> Dataset:
    """The data set with the usable feedback among its training rows; itself when there is none.

    `folder`/train.parquet has the rows of both, those of feedback with `settings.weight` and `source`
    "feedback"; `folder`/feedback.csv names what was set aside and why. Notes of the data set count both.
    Texts pass through `personal` as those of the source did: they may have been recorded under another policy.
    """
    read = list(read_feedback(records))
    allowed = read if personal is None else _redacted(read, personal)
    given = _table(allowed)
    labels = KINDS[dataset.task].labels
    if not (settings.use and given.num_rows and labels.feedback):
        return dataset
    with scratch_folder(folder) as scratch, engine(scratch, memory) as duck:
        add_fold(duck)
        duck.register("given", given)
        duck.read_parquet(str(dataset.train)).create_view("train")
        _judge(duck, dataset, labels, labels.feedback, settings)
        _limit(duck, settings, int(settings.share * dataset.rows["train"]))
        reasons = dict(
            duck.execute("SELECT reason, count(*) FROM limited WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1")
            .fetchall()
        )  # fmt: skip
        if len(allowed) < len(read):
            reasons[REASON] = len(read) - len(allowed)
        aside = f"SELECT {literal(SOURCE)} AS source, line, reason, text FROM limited WHERE reason IS NOT NULL"
        write_quarantine(duck, aside, scratch / "feedback.csv")
        (scratch / "feedback.csv").replace(folder / "feedback.csv")
        added = _count(duck, "limited WHERE reason IS NULL")
        notes = [*dataset.notes, _note(added, reasons)]
        if not added:
            return dataset.model_copy(update={"notes": notes})
        _write(duck, labels.target, settings.weight, scratch / "train.parquet")
        (scratch / "train.parquet").replace(folder / "train.parquet")
    train = folder / "train.parquet"
    rows = dataset.rows | {"train": pq.read_metadata(train).num_rows}
    content = content_of(dataset.content, train)
    return dataset.model_copy(update={"train": train, "rows": rows, "notes": notes, "content": content})


def _redacted(read: list[FeedbackRecord], personal: Redactor) -> list[FeedbackRecord]:
    texts = [personal(record.text) for record in read]
    return [
        msgspec.structs.replace(record, text=text) for record, text in zip(read, texts, strict=True) if text is not None
    ]


def feedback_since(records: Path, moment: datetime) -> list[FeedbackRecord]:
    """The feedback that came after `moment`, in the order of its time."""
    later = [record for record in read_feedback(records) if record.time > moment.timestamp()]
    return sorted(later, key=lambda record: record.time)


def _judge(
    duck: duckdb.DuckDBPyConnection, dataset: Dataset, labels: Labels, feedback: Feedback, settings: FeedbackSettings
) -> None:
    """Table `judged`: every record with its group, and why it cannot be used as it stands."""
    duck.execute("SET VARIABLE labels = ?", [dataset.labels])
    duck.execute(f"CREATE TYPE class AS ENUM ({', '.join(map(literal, dataset.labels))})")
    judging = ", ".join(literal(path) for path in (dataset.validation, dataset.test))
    duck.execute(f"""CREATE TABLE judging AS SELECT DISTINCT "group" FROM read_parquet([{judging}])""")
    duck.execute(
        f"""CREATE TABLE judged AS
        WITH folded AS (SELECT *, {fold_expression("text")} AS folded, {feedback.label} AS label,
                row_number() OVER (PARTITION BY client, floor(time / 86400) ORDER BY time, line) AS place
            FROM given),
        grouped AS (SELECT *, CAST(md5_number_lower(folded) >> 1 AS BIGINT) AS "group" FROM folded),
        known AS (SELECT "group", any_value({labels.canonical}) AS accepted FROM train GROUP BY 1)
        SELECT line, time, text, client, label, grouped."group", {labels.canonical} AS canonical,
            CASE WHEN place > {settings.per_client_a_day} THEN 'more than one client may send in a day'
                WHEN folded = '' THEN 'blank text'
                WHEN length(text) > {_MOST_CHARACTERS} THEN 'text longer than {_MOST_CHARACTERS:,} characters'
                WHEN NOT list_has_all(getvariable('labels'), names) THEN 'a label that the data does not have'
                WHEN ({feedback.misfit}) IS NOT NULL THEN ({feedback.misfit})
                WHEN grouped."group" IN (FROM judging) THEN 'the text stands in a part that judges'
                WHEN accepted = {labels.canonical} THEN 'known already'
                WHEN accepted IS NOT NULL THEN 'contradicts the accepted data' END AS reason
        FROM grouped LEFT JOIN known ON grouped."group" = known."group" """
    )


def _limit(duck: duckdb.DuckDBPyConnection, settings: FeedbackSettings, most: int) -> None:
    """Table `limited`: the same, where one row stands for a text, by its clients' majority, within the shares."""
    duck.execute(
        f"""CREATE TABLE limited AS
        WITH votes AS (SELECT "group", canonical, count(DISTINCT client) AS clients FROM judged
            WHERE reason IS NULL GROUP BY 1, 2),
        winners AS (SELECT "group", canonical, clients FROM votes WINDOW same AS (PARTITION BY "group")
            QUALIFY clients = max(clients) OVER same AND count(*) OVER (PARTITION BY "group", clients) = 1),
        voted AS (SELECT judged.* REPLACE (CASE WHEN reason IS NOT NULL THEN reason
                WHEN winners.canonical IS NULL OR winners.canonical <> judged.canonical THEN 'clients disagree'
                WHEN clients < {settings.min_clients} THEN 'too few clients say so'
                WHEN row_number() OVER (PARTITION BY judged."group", judged.canonical, reason ORDER BY time, line) > 1
                THEN 'said already' END AS reason)
            FROM judged LEFT JOIN winners ON judged."group" = winners."group"),
        own AS (SELECT *, row_number() OVER (PARTITION BY client, reason ORDER BY time DESC, line DESC) AS of_client
            FROM voted),
        placed AS (SELECT *, row_number() OVER (PARTITION BY reason ORDER BY of_client, time DESC, line DESC) AS place
            FROM own)
        SELECT * EXCLUDE (of_client, place) REPLACE (CASE WHEN reason IS NOT NULL THEN reason
            WHEN of_client > {max(1, int(most * settings.client_share))} THEN 'over one client''s share of a retrain'
            WHEN place > {most} THEN 'over the share of a retrain' END AS reason) FROM placed"""
    )


def _write(duck: duckdb.DuckDBPyConnection, target: str, weight: float, path: Path) -> None:
    """Both kinds of rows in the order of a hash, so that any head of the file is a fair sample of them."""
    duck.execute(
        f"""COPY (SELECT * FROM (SELECT *, CAST(NULL AS VARCHAR) AS source FROM train UNION ALL BY NAME
                SELECT text, label, {target} AS target, CAST({weight} AS FLOAT) AS weight, "group",
                    {literal(SOURCE)} AS source FROM limited WHERE reason IS NULL)
            ORDER BY md5_number_lower("group" || '/feedback'), text)
            TO {literal(path)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 50000)"""
    )


def _table(records: list[FeedbackRecord]) -> pa.Table:
    rows = [
        {
            "line": line,
            "time": record.time,
            "text": record.text,
            "names": [record.label] if isinstance(record.label, str) else record.label,
            "client": record.client,
        }
        for line, record in enumerate(records, start=1)
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _note(added: int, reasons: dict[str, int]) -> str:
    aside = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    return f"{added:,} feedback rows joined the training rows" + (f"; set aside: {aside}" if aside else "")


def _count(duck: duckdb.DuckDBPyConnection, rows: str) -> int:
    return duck.execute(f"SELECT count(*) FROM {rows}").fetchall()[0][0]
