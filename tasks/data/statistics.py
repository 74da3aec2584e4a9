"""Facts about a judged table, as the frames that the expectations are run on, and what is kept for next time."""

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
from pydantic import ValidationError

from bentos.text_classifier.text import fold, words
from tasks.base.errors import InputError
from tasks.base.manifests import Record
from tasks.base.settings import DataSettings
from tasks.data.profile import script_shares
from tasks.kinds.kind import Kind

_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?", re.ASCII)
_SAMPLE = 20_000
_NAMED = 10


class Statistics(Record):
    """What of a table is compared with the next one."""

    classes: dict[str, int]
    characters: dict[str, float]
    scripts: dict[str, float]


@dataclass(frozen=True)
class Facts:
    """`frames` for the suite, `words` for its messages, `statistics` for next time."""

    frames: dict[str, pd.DataFrame]
    words: dict[str, Any]
    statistics: Statistics
    near_equal: list[list[str]]


def read_statistics(path: Path) -> Statistics:
    """Statistics as `validate` wrote them when the live version was trained.

    Raises:
        InputError: the file is none of these.
    """
    try:
        return Statistics.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{path}: the statistics of last time cannot be read; remove or restore the file.") from error


def gather_facts(
    duck: duckdb.DuckDBPyConnection, kind: Kind, settings: DataSettings, bad_share: float, last: Statistics | None
) -> Facts:
    """Facts of view `judged` and table `chosen`; compared with `last` where there was a last time."""
    classes: dict[str, int] = dict(
        duck.execute(
            f"""SELECT name, count(*)
                FROM (SELECT unnest({kind.labels.classes}) AS name FROM judged JOIN chosen USING (row))
                GROUP BY 1 ORDER BY 1"""
        ).fetchall()
    )
    statistics = Statistics(classes=classes, characters=_characters(duck), scripts=_scripts(duck))
    vanished = sorted(set(last.classes) - set(classes)) if last else []
    near_equal = near_equal_names(list(classes))
    rare = [name for name, count in classes.items() if count < settings.min_class_rows]
    table = {
        "bad_share": bad_share,
        "usable_rows": duck.execute("SELECT count(*) FROM chosen").fetchall()[0][0],
        "classes": len(classes),
        "full_classes": len(classes) - len(rare),
        **_changes(statistics, last),
    }
    names = [*classes, *vanished]
    near = {name for group in near_equal for name in group}
    frames = {
        # Small types: at ten million rows each byte a row counts.
        "rows": duck.execute(
            f"SELECT CASE WHEN characters > 0 THEN characters END AS text_characters, "
            f"CASE WHEN NOT ({kind.labels.missing}) THEN 1::TINYINT END AS labels FROM judged"
        ).df(),
        "table": pd.DataFrame([table]),
        "classes": pd.DataFrame(
            {
                "label": pd.Series(names, dtype="str"),
                "rows": pd.Series([classes.get(name, settings.min_class_rows) for name in names], dtype="int64"),
                "vanished": pd.Series([name if name not in classes else None for name in names], dtype="object"),
                "near_equal": pd.Series([name if name in near else None for name in names], dtype="object"),
            }
        ),
    }
    said = table | {
        "vanished": listed(vanished),
        "rare": listed(rare),
        "near_equal": alike(near_equal),
        "named_classes": f"only the class {listed(list(classes))}" if len(classes) == 1 else f"{len(classes)} classes",
        "scripts": ", ".join(f"{name} {share:.0%}" for name, share in list(statistics.scripts.items())[:3]) or "none",
    }
    return Facts(frames, said, statistics, near_equal)


def near_equal_names(names: list[str]) -> list[list[str]]:
    """Groups of class names that are equal but for case, width, normal form, white space, hyphens and underscores, a
    mark at the end, or the spelling of a number (`1`, `1.0`, `01`)."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[_near_equal_key(name)].append(name)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def _near_equal_key(name: str) -> str:
    folded = fold(name)
    if _NUMBER.fullmatch(folded):
        return f"{float(folded):g}"
    return "".join(folded.replace("-", " ").replace("_", " ").strip(" .,:;!?…'\"").split()) or name


def visible(name: str) -> str:
    """A name in which what cannot be told by sight is written as its code: `cafe\\u0301`."""
    return "".join(
        letter.encode("unicode_escape").decode() if _looks_like_another(letter) else letter for letter in name
    )


def alike(groups: list[list[str]]) -> str:
    """Groups of nearly equal names as words, with what is different made visible; ten at most."""
    return "; ".join(" and ".join(f"'{visible(name)}'" for name in group) for group in groups[:_NAMED])


def _looks_like_another(letter: str) -> bool:
    if letter <= "\x7f":
        return not letter.isprintable()
    return (
        not letter.isprintable()
        or unicodedata.combining(letter) > 0
        or unicodedata.normalize("NFKC", letter) != letter
        or "\u1100" <= letter <= "\u11ff"
    )


def listed(names: list[str]) -> str:
    """The first ten names, quoted, long ones cut, and how many more there are."""
    shown = ", ".join(repr(name if len(name) <= 60 else name[:60] + "…") for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _characters(duck: duckdb.DuckDBPyConnection) -> dict[str, float]:
    found = duck.execute("SELECT quantile_cont(characters, [0.5, 0.95]) FROM judged WHERE reason IS NULL").fetchall()
    return dict(zip(("0.5", "0.95"), map(float, found[0][0] or (0, 0)), strict=True))


def _scripts(duck: duckdb.DuckDBPyConnection) -> dict[str, float]:
    sample = duck.execute(
        f'SELECT left(text, 2000) FROM judged JOIN chosen USING (row) ORDER BY "group" LIMIT {_SAMPLE}'
    ).fetchall()
    return script_shares([words(fold(text)) for (text,) in sample])


def _changes(now: Statistics, last: Statistics | None) -> dict[str, float]:
    """Lengths over the last ones, and the share of texts that moved to another script (total variation)."""
    if last is None:
        return {"median_length_change": 1.0, "long_length_change": 1.0, "script_change": 0.0}
    scripts = {*now.scripts, *last.scripts}
    moved = sum(abs(now.scripts.get(name, 0) - last.scripts.get(name, 0)) for name in scripts) / 2
    return {
        "median_length_change": now.characters["0.5"] / max(1.0, last.characters["0.5"]),
        "long_length_change": now.characters["0.95"] / max(1.0, last.characters["0.95"]),
        "script_change": moved,
    }
