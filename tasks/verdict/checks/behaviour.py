"""Whether texts that a person chose keep their label."""

import csv
from collections.abc import Iterator
from pathlib import Path

from tasks.base.errors import InputError
from tasks.base.machine import open_model
from tasks.verdict.checks import Case, Check, Question, answers_of, comparable, register


def _ask(case: Case) -> Iterator[Check]:
    if case.settings.behaviour is None:
        return
    rows = read_cases(case.settings.behaviour)
    own_answers = answers_of(open_model(case.evaluation.folder), [text for text, _ in rows])
    missed = [
        f"{text[:60]!r} is {own!r}, not {wanted!r}"
        for (text, wanted), own in zip(rows, own_answers, strict=True)
        if own != comparable(wanted.split("|") if "|" in wanted else wanted) and own != wanted
    ]
    found = f"{len(missed)} of {len(rows)} changed: " + "; ".join(missed[:5]) if missed else f"all {len(rows)} kept"
    yield Check("behaviour cases", not missed, found, "every text keeps its label", figure=float(len(missed)))


def read_cases(path: Path) -> list[tuple[str, str]]:
    """Texts with the label that they must keep, from a CSV with the columns text and label.

    Raises:
        InputError: the file cannot be read, lacks a column or has a row without a text or label.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = {"text", "label"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(
                    f"{path}: the behaviour cases need the columns text and label; {sorted(missing)[0]} is missing"
                )
            rows = []
            for row in reader:
                if not row["text"] or not row["label"]:
                    raise InputError(f"{path}, line {reader.line_num}: a behaviour case needs a text and a label")
                rows.append((row["text"], row["label"]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: the behaviour cases cannot be read: {error}") from error
    return rows


register(Question("behaviour", 50, _ask))
