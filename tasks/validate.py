"""Validate: is the table fit to train on, and which of its rows are not?"""

from pathlib import Path

import duckdb

from tasks.errors import InputError
from tasks.folding import add_fold, fold_expression
from tasks.label_kinds import KINDS
from tasks.manifests import Checked, Table, content_of
from tasks.quarantine import by_kind, write_quarantine
from tasks.settings import DataSettings
from tasks.workspace import engine, literal, scratch_folder

_WINNER = {
    "majority": 'n = max(n) OVER same AND count(*) OVER (PARTITION BY "group", n) = 1',
    "drop": "count(*) OVER same = 1",
    "keep": "true",
}


def validate(table: Table, settings: DataSettings, folder: Path, history: Path | None = None) -> Checked:
    """Writes the usable rows to `folder`/checked.parquet: the table's columns, `group` and `kept`.

    `group` (int64) is one number for texts that `fold` equally. `kept` is true for one row of each group
    and label, as `settings.conflicts` rules between labels; training uses only these.

    Raises:
        InputError: an expectation is not met; the message names it, the column and what to do.
    """
    with scratch_folder(folder) as scratch, engine(scratch, settings.memory) as duck:
        add_fold(duck)
        kind = KINDS[table.task]
        _judge(duck, table, settings, scratch / "judged.parquet")
        quarantined = by_kind(
            dict(
                duck.execute(
                    "SELECT reason, count(*) FROM judged WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
                ).fetchall()
            )
        )
        rows = table.rows - sum(quarantined.values())
        if rows < settings.min_rows:
            raise InputError(f"{rows} usable rows are too few; at least {settings.min_rows} are needed.")
        duplicates, conflicts = _choose(duck, kind.canonical, settings)
        classes = dict(
            duck.execute(
                f"""SELECT name, count(*) FROM (SELECT unnest({kind.classes}) AS name FROM judged
                    JOIN chosen USING (row)) GROUP BY 1 ORDER BY 1"""
            ).fetchall()
        )
        duck.execute(
            f"""COPY (SELECT judged.* EXCLUDE (row, reason), chosen.row IS NOT NULL AS kept
                FROM judged LEFT JOIN chosen USING (row) WHERE reason IS NULL)
                TO {literal(scratch / "checked.parquet")} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"""
        )
        _quarantine(duck, table, scratch / "quarantine.csv")
        for name in ("quarantine.csv", "checked.parquet"):
            (scratch / name).replace(folder / name)
    return Checked(
        path=folder / "checked.parquet",
        task=table.task,
        rows=rows,
        classes=classes,
        duplicates=duplicates,
        conflicts=conflicts,
        quarantined=_added(table.quarantined, quarantined),
        quarantine=folder / "quarantine.csv",
        notes=table.notes,
        content=content_of(table.content, settings),
    )


def _judge(duck: duckdb.DuckDBPyConnection, table: Table, settings: DataSettings, path: Path) -> None:
    """View `judged`: the table with the row's number, its group, and why it cannot be used (NULL when it can)."""
    label_missing = KINDS[table.task].missing
    duck.execute(
        f"""COPY (SELECT * EXCLUDE (file_row_number, folded), file_row_number AS row,
            CAST(md5_number_lower(folded) >> 1 AS BIGINT) AS "group",
            CASE WHEN folded IS NULL OR folded = '' THEN 'blank text' WHEN {label_missing} THEN 'no label'
                 WHEN length(text) > {settings.max_text_characters}
                 THEN 'text longer than {settings.max_text_characters:,} characters' END AS reason
            FROM (SELECT *, {fold_expression("text")} AS folded
                  FROM read_parquet({literal(table.path)}, file_row_number = true)))
            TO {literal(path)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"""
    )
    duck.read_parquet(str(path)).create_view("judged")


def _choose(duck: duckdb.DuckDBPyConnection, canonical: str, settings: DataSettings) -> tuple[int, int]:
    """Table `chosen`: the rows that stand for their group and label. (rows left out as copies, texts in conflict)"""
    duck.execute(
        f"""CREATE TABLE labelled AS SELECT "group", {canonical} AS label, count(*) AS n,
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
    return int(copies), int(conflicts)


def _quarantine(duck: duckdb.DuckDBPyConnection, table: Table, path: Path) -> None:
    """Ingest's quarantine and this stage's, in one file."""
    own = "SELECT source, line, reason, text FROM judged WHERE reason IS NOT NULL"
    if table.quarantine:
        own += f" UNION ALL SELECT * FROM read_csv({literal(table.quarantine)}, header = true, all_varchar = true)"
    write_quarantine(duck, own, path)


def _added(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    return {reason: first.get(reason, 0) + second.get(reason, 0) for reason in [*first, *second]}
