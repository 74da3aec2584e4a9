"""Whether the model finds enough of every class."""

from collections.abc import Iterator

from tasks.verdict.checks import Case, Check, Question, register

FEW_ROWS = 20
"""A class with fewer test rows is not held to the recall floor: its recall is mostly chance."""


def _ask(case: Case) -> Iterator[Check]:
    floor = case.settings.min_recall
    counted = {name: row["recall"] for name, row in case.evaluation.per_class.items() if row["support"] >= FEW_ROWS}
    if not counted:
        return
    lowest = min(counted, key=lambda name: counted[name])
    below = [f"{name!r} {recall:.1%}" for name, recall in counted.items() if recall < floor]
    found = f"below it: {', '.join(below)}" if below else f"lowest {counted[lowest]:.1%}, {lowest!r}"
    wanted = f"at least {floor:.0%} of every class with {FEW_ROWS} test rows or more"
    yield Check("recall of every class", not below, found, wanted, figure=counted[lowest])


register(Question("recall", 30, _ask))
