"""Preprocess: labels to targets, rows to a training, a validation and a test set, and a profile of the texts."""

from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from tasks.base.errors import InputError
from tasks.base.manifests import Checked, Dataset, content_of
from tasks.base.settings import DataSettings, TrainSettings
from tasks.base.workspace import engine, literal, scratch_folder
from tasks.data.profile import length_for, profile_of
from tasks.data.rows import Rows
from tasks.data.statistics import alike, listed, near_equal_names
from tasks.kinds.kind import Kind
from tasks.kinds.registry import KINDS

_FOLDS = 5
_FEW_ROWS = 2_000


def preprocess(
    checked: Checked,
    validation: Checked | None,
    test: Checked | None,
    data: DataSettings,
    train: TrainSettings,
    seed: int,
    folder: Path,
) -> Dataset:
    """Writes train.parquet, validation.parquet and test.parquet into `folder`.

    A text's group and `seed` alone decide its part and its place there, within its class: the order of the
    rows in the source changes nothing, and equal texts never stand on two sides. An own validation or test
    table is used whole, copies included; training rows whose text stands there are left out.

    Raises:
        InputError: fewer than two classes are left, or a part is empty.
    """
    kind = KINDS[checked.task]
    own = {name: part for name, part in (("validation", validation), ("test", test)) if part is not None}
    notes: list[str] = []
    with scratch_folder(folder) as scratch, engine(scratch, data.memory) as duck:
        _gather(duck, checked, own, notes)
        sizes = _classes(duck, kind, data, notes)
        _divide(duck, kind, [name for name in ("test", "validation") if name not in own], data, seed)
        names = ["train", "validation", "test"]
        rows = {name: _write(duck, name, name in own, kind, seed, scratch, notes) for name in names}
        for name in own:
            _check_known(duck, name, kind, sizes, notes)
        if empty := [name for name in names if rows[name] == 0]:
            raise InputError(f"No row is left for the {empty[0]} set; give more rows or a larger share.")
        for name in names:
            (scratch / f"{name}.parquet").replace(folder / f"{name}.parquet")
    paths = {name: folder / f"{name}.parquet" for name in names}
    texts = Rows(paths["train"])
    max_length = train.max_length or length_for(texts)
    folds = train.folds if train.folds is not None else _FOLDS * (rows["train"] < _FEW_ROWS and validation is None)
    folds *= kind.pooled
    return Dataset(
        task=checked.task,
        labels=sorted(sizes),
        train=paths["train"],
        validation=paths["validation"],
        test=paths["test"],
        rows=rows,
        profile=profile_of(texts, list(sizes.values())),
        max_length=max_length,
        folds=folds,
        notes=notes,
        content=content_of(*paths.values(), sorted(sizes), max_length, folds),
    )


def _gather(duck: duckdb.DuckDBPyConnection, checked: Checked, own: dict[str, Checked], notes: list[str]) -> None:
    """Views `own_validation`, `own_test`; view `rows`: what may be divided, without texts of the own parts."""
    held = []
    for name, part in own.items():
        duck.read_parquet(str(part.path)).create_view(f"own_{name}")
        held.append(f'SELECT "group" FROM own_{name}')
    duck.read_parquet(str(checked.path)).filter("kept").create_view("kept")
    if not held:
        duck.execute("CREATE VIEW rows AS SELECT * FROM kept")
        return
    duck.execute(f"CREATE TABLE held AS SELECT DISTINCT * FROM ({' UNION ALL '.join(held)})")
    duck.execute('CREATE VIEW rows AS SELECT * FROM kept ANTI JOIN held USING ("group")')
    for name in own:
        if common := _count(duck, f'kept SEMI JOIN own_{name} USING ("group")'):
            rows, texts = _count(duck, "kept"), _count(duck, f"""(SELECT DISTINCT "group" FROM own_{name})""")
            if common == rows:
                raise InputError(
                    f"Every training text also stands in the {name} source, so that none is left to train on. "
                    f"Is it the same file? Leave --{name}-source out to split the rows of --source."
                )
            all_of_them = (
                f"every text of the {name} source stands in the training source too: " if common >= texts else ""
            )
            notes.append(
                f"{all_of_them}{common:,} training texts also stand in the {name} source; "
                "they were left out of training"
            )


def _classes(duck: duckdb.DuckDBPyConnection, kind: Kind, data: DataSettings, notes: list[str]) -> dict[str, int]:
    """Rows by class of what may be divided, without the rare classes; type `class`, variables `labels`,
    `ranks`."""
    sizes: dict[str, int] = dict(
        duck.execute(
            f"SELECT name, count(*) FROM (SELECT unnest({kind.labels.classes}) AS name FROM rows) GROUP BY 1"
        ).fetchall()
    )
    rare = sorted(name for name, count in sizes.items() if count < data.min_class_rows)
    if rare:
        rule = f"fewer than {data.min_class_rows} rows: {listed(rare)}"
        if data.rare_classes == "refuse":
            raise InputError(f"Classes with {rule}. Add rows, or leave them out with --data.rare-classes drop.")
        notes.append(f"Left out, {rule}")
    kept = {name: count for name, count in sizes.items() if count >= data.min_class_rows}
    least = kind.labels.least_classes
    if len(kept) < least:
        raise InputError(f"{len(kept)} classes have {data.min_class_rows} rows or more; {least} are needed to train.")
    labels = sorted(kept)
    ranks = sorted(kept, key=lambda name: (kept[name], name))
    duck.execute("SET VARIABLE labels = ?", [labels])
    duck.execute(f"CREATE TYPE class AS ENUM ({', '.join(map(literal, labels))})")
    duck.execute("SET VARIABLE ranks = map(?, range(?))", [ranks, len(ranks)])
    return kept


def _divide(duck: duckdb.DuckDBPyConnection, kind: Kind, missing: list[str], data: DataSettings, seed: int) -> None:
    """Table `parts`: the part of every group. Within each stratum the groups are put in order of their hash; a
    missing part takes its share of them, one at least where there are three, each part about `held_out_rows` rows at
    most.

    The test set comes first: when more rows make its share smaller, no row of another set comes into it.
    """
    most = data.held_out_rows / max(_count(duck, "rows"), 1)
    shares = {"validation": min(data.validation_share, most), "test": min(data.test_share, most)}
    low, cuts = "0", []
    for name in missing:
        high = f"{low} + greatest(round({shares[name]} * n), CASE WHEN n >= 3 THEN 1 ELSE 0 END)"
        cuts.append(f"WHEN place <= {high} THEN '{name}'")
        low = high
    case = f"CASE {' '.join(cuts)} ELSE 'train' END" if cuts else "'train'"
    duck.execute(
        f"""CREATE TABLE parts AS SELECT "group", {case} AS part FROM (
            SELECT "group", count(*) OVER (PARTITION BY stratum) AS n,
                row_number() OVER (PARTITION BY stratum ORDER BY {_place(seed, "part")}, "group") AS place
            FROM (SELECT "group", min({kind.labels.stratum}) AS stratum
                FROM rows WHERE {kind.labels.known} GROUP BY 1))"""
    )


def _place(seed: int, what: str) -> str:
    """A number that `seed` and the group decide, another one for each purpose."""
    return f"""md5_number_lower("group" || {literal(f"/{what}/{seed}")})"""


def _write(
    duck: duckdb.DuckDBPyConnection, name: str, own: bool, kind: Kind, seed: int, scratch: Path, notes: list[str]
) -> int:
    rows = f"own_{name}" if own else f"""rows JOIN (SELECT "group" FROM parts WHERE part = '{name}') USING ("group")"""
    path = scratch / f"{name}.parquet"
    labels = kind.labels
    duck.execute(
        f"""COPY (SELECT * EXCLUDE (source, line, kept) REPLACE ({labels.kept} AS label), {labels.target} AS target,
                CAST(1 AS FLOAT) AS weight FROM {rows} WHERE {labels.known}
                ORDER BY {_place(seed, "order")}, text, label)
            TO {literal(path)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 50000)"""
    )
    return pq.read_metadata(path).num_rows


def _check_known(
    duck: duckdb.DuckDBPyConnection, name: str, kind: Kind, sizes: dict[str, int], notes: list[str]
) -> None:
    """Notes which classes of an own part training lacks, and which of training's they nearly equal.

    Raises:
        InputError: it lacks all of them.
    """
    of_row = kind.labels.classes
    classes = f"SELECT DISTINCT unnest({of_row}) AS name FROM own_{name} ORDER BY 1"
    found = [one for (one,) in duck.execute(classes).fetchall()]
    unknown = [one for one in found if one not in sizes]
    if not unknown:
        return
    which = f"classes that training lacks: {listed(unknown)}"
    near = [group for group in near_equal_names([*sizes, *unknown]) if not set(group).isdisjoint(unknown)]
    hint = f" Nearly equal, and yet different classes: {alike(near)}; write them alike." if near else ""
    if len(unknown) == len(found):
        raise InputError(f"All rows of the {name} source have {which}. Training has {listed(sorted(sizes))}.{hint}")
    duck.execute("SET VARIABLE unknown = ?", [unknown])
    rows = _count(duck, f"own_{name} WHERE list_has_any({of_row}, getvariable('unknown'))")
    what = "they" if kind.exclusive else "these labels"
    notes.append(f"{rows:,} rows of the {name} source have {which}; {what} were left out.{hint}")


def _count(duck: duckdb.DuckDBPyConnection, rows: str) -> int:
    return duck.execute(f"SELECT count(*) FROM {rows}").fetchall()[0][0]
