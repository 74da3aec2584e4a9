"""Validate: is the table fit to train on, and which of its rows are not?"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb

from tasks.base.errors import InputError
from tasks.base.manifests import Checked, Table, content_of
from tasks.base.settings import DataSettings
from tasks.base.workspace import engine, literal, scratch_folder
from tasks.data.expectations import Outcome, run_suite
from tasks.data.folding import add_fold, fold_expression
from tasks.data.quarantine import by_kind, write_quarantine
from tasks.data.statistics import gather_facts, read_statistics
from tasks.kinds.kind import Kind
from tasks.kinds.registry import KINDS

_WINNER = {
    "majority": 'n = max(n) OVER same AND count(*) OVER (PARTITION BY "group", n) = 1',
    "drop": "count(*) OVER same = 1",
    "keep": "count(*) OVER same > 0",
}


def validate(
    table: Table, settings: DataSettings, folder: Path, history: Path | None = None, trained_on: bool = True
) -> Checked:
    """Writes the usable rows to `folder`/checked.parquet: the table's columns, `group` and `kept`.

    `group` (int64) is one number for texts that `fold` equally. `kept` is true for one row of each group
    and label, as `settings.conflicts` rules between labels; training uses only these. Bad rows go to
    quarantine.csv, the Data Docs to data_docs/, and what the next table is compared with to statistics.json;
    `history` is that file of the version that is live. An own validation or test table (not `trained_on`)
    may be small and of one class.

    Raises:
        InputError: an expectation is not met; the message names the column, the limit and what to do. The
            quarantine and the Data Docs are written all the same.
    """
    kind = KINDS[table.task]
    if not trained_on:
        settings = settings.model_copy(update={"min_rows": 1, "min_class_rows": 1})
        kind = replace(kind, labels=replace(kind.labels, least_classes=1))
    last = read_statistics(history) if history and not settings.accept_changes else None
    with scratch_folder(folder) as scratch, engine(scratch, settings.memory) as duck:
        add_fold(duck)
        quarantined = _judge(duck, table, kind, settings, scratch / "judged.parquet")
        duplicates, conflicts = _choose(duck, kind, settings)
        _write_quarantine(duck, table, scratch / "quarantine.csv")
        (scratch / "quarantine.csv").replace(folder / "quarantine.csv")
        all_quarantined = _added(table.quarantined, quarantined)
        bad = _bad_share(table, sum(quarantined.values()))
        facts = gather_facts(duck, kind, settings, bad, last)
        words = facts.words | {
            "text": table.text_column,
            "label": table.label_column,
            "read": table.rows_read,
            "worst": next(iter(all_quarantined), "none"),
        }
        outcomes = run_suite(facts.frames, parameters_of(kind, settings), words, folder / "data_docs")
        _stop_where_needed(outcomes, folder)
        duck.execute(
            f"""COPY (SELECT judged.* EXCLUDE (row, reason, characters), chosen.row IS NOT NULL AS kept
                FROM judged LEFT JOIN chosen USING (row) WHERE reason IS NULL)
                TO {literal(scratch / "checked.parquet")} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"""
        )
        (folder / "statistics.json").write_text(facts.statistics.model_dump_json(indent=2), "utf-8")
        (scratch / "checked.parquet").replace(folder / "checked.parquet")
    return Checked(
        path=folder / "checked.parquet",
        task=table.task,
        rows=table.rows - sum(quarantined.values()),
        classes=facts.statistics.classes,
        duplicates=duplicates,
        conflicts=conflicts,
        near_equal_classes=facts.near_equal,
        quarantined=all_quarantined,
        quarantine=folder / "quarantine.csv",
        expectations=[asdict(outcome) for outcome in outcomes],
        data_docs=folder / "data_docs" / "index.html",
        statistics=folder / "statistics.json",
        notes=[*table.notes, *(outcome.message for outcome in outcomes if outcome.message)],
        content=content_of(table.content, settings),
    )


def _judge(
    duck: duckdb.DuckDBPyConnection, table: Table, kind: Kind, settings: DataSettings, path: Path
) -> dict[str, int]:
    """View `judged`: the table with the row's number, its group, the folded text's length, and why it cannot be used
    (NULL when it can). Rows by reason."""
    duck.execute(
        f"""COPY (SELECT * EXCLUDE (file_row_number, folded), file_row_number AS row,
            CAST(md5_number_lower(folded) >> 1 AS BIGINT) AS "group",
            CASE WHEN folded IS NULL OR folded = '' THEN 0 ELSE CAST(length(text) AS INTEGER) END AS characters,
            CASE WHEN characters = 0 THEN 'blank text' WHEN {kind.labels.missing} THEN 'no label'
                 WHEN characters > {settings.max_text_characters}
                 THEN 'text longer than {settings.max_text_characters:,} characters' END AS reason
            FROM (SELECT *, CASE WHEN length(text) > {settings.max_text_characters} THEN left(text, 100)
                      ELSE {fold_expression("text")} END AS folded
                  FROM read_parquet({literal(table.path)}, file_row_number = true)))
            TO {literal(path)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"""
    )
    duck.read_parquet(str(path)).create_view("judged")
    reasons = "SELECT reason, count(*) FROM judged WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    return by_kind(dict(duck.execute(reasons).fetchall()))


def _choose(duck: duckdb.DuckDBPyConnection, kind: Kind, settings: DataSettings) -> tuple[int, int]:
    """Table `chosen`: the rows that stand for their group and label. (rows left out as copies, texts in conflict)"""
    duck.execute(
        f"""CREATE TABLE labelled AS SELECT "group", {kind.labels.canonical} AS label, count(*) AS n,
            arg_min(row, md5_number_lower(text)) AS row FROM judged WHERE reason IS NULL GROUP BY 1, 2"""
    )
    duck.execute(
        f"""CREATE TABLE chosen AS SELECT row FROM labelled
            WINDOW same AS (PARTITION BY "group") QUALIFY {_WINNER[settings.conflicts]}"""
    )
    copies, conflicts = duck.execute(
        """SELECT coalesce(sum(n) - count(*), 0), (SELECT count(*) FROM
           (SELECT 1 FROM labelled GROUP BY "group" HAVING count(*) > 1)) FROM labelled"""
    ).fetchall()[0]
    duck.execute("DROP TABLE labelled")
    return int(copies), int(conflicts)


def parameters_of(kind: Kind, settings: DataSettings) -> dict[str, Any]:
    """The suite's `$PARAMETER`s, and the limits that its messages name."""
    return {
        "min_rows": settings.min_rows,
        "filled_share": 1 - settings.blank_share,
        "blank_share": settings.blank_share,
        "labelled_share": 1 - settings.quarantine_share,
        "usable_share": 1 - settings.quarantine_share,
        "quarantine_share": settings.quarantine_share,
        "max_text_characters": settings.max_text_characters,
        "least_classes": kind.labels.least_classes,
        "min_class_rows": settings.min_class_rows,
    }


def _bad_share(table: Table, own: int) -> float:
    """Share of bad rows, ingest's included; the table may be a draw of what ingest read."""
    unread = sum(table.quarantined.values()) / max(1, table.rows_read)
    return 1 - (1 - unread) * (1 - own / max(1, table.rows))


def _stop_where_needed(outcomes: list[Outcome], folder: Path) -> None:
    broken = [outcome for outcome in outcomes if outcome.stops and not outcome.success]
    if broken:
        more = f" ({len(broken) - 1} more rules are broken.)" if broken[1:] else ""
        raise InputError(
            f"The data is not fit to train on (rule '{broken[0].rule}'): {broken[0].message}{more} "
            f"The bad rows: {folder / 'quarantine.csv'}"
        )


def _write_quarantine(duck: duckdb.DuckDBPyConnection, table: Table, path: Path) -> None:
    """Ingest's quarantine and this stage's, in one file."""
    own = "SELECT source, line, reason, text FROM judged WHERE reason IS NOT NULL"
    if table.quarantine:
        earlier = f"read_csv({literal(table.quarantine)}, header = true, all_varchar = true)"
        own += f" UNION ALL SELECT source, CAST(line AS BIGINT), reason, excerpt FROM {earlier}"
    write_quarantine(duck, own, path)


def _added(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    return {reason: first.get(reason, 0) + second.get(reason, 0) for reason in {**first, **second}}
