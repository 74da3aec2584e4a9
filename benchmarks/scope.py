"""Does the scope rule tell other data from the training data, at the stated rate of false alarms?

A linear model is trained on each set, its rule fitted with a part kept aside, and asked about the
test texts of every other set (far) and of classes that it was not trained on (near). AUROC is over
the rule's scores; `caught` is the share of foreign texts out of scope, `false` that of own ones.
Energy alone, the usual baseline, stands beside it.

    python -m benchmarks.scope
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.linear_model import read_set, write_linear_model
from bentos.text_classifier.scope import ScopeRule
from tasks.verdict.scope import fit_scope

SETS = ("trec6", "banking77", "sms_spam", "ag_news_40k", "thucnews_titles_45k")
NEAR = {"trec6": 2, "banking77": 20, "ag_news_40k": 1, "thucnews_titles_45k": 3}
"""Sets of which so many classes are left out of the training."""
TRAINED_ON = 20_000
ASKED = 500
RATE = 0.05
ENERGY = 2  # column of ScopeRule.signs


class Case(NamedTuple):
    name: str
    train: list[tuple[str, str]]
    own: list[str]
    foreign: dict[str, list[str]]


def cases(data: Path, sets: list[str]) -> Iterator[Case]:
    tests = {name: drawn(read_set(data, name, "test")[0], ASKED) for name in sets}
    for name in sets:
        train = list(zip(*read_set(data, name, "train"), strict=True))
        yield Case(name, train, tests[name], {other: texts for other, texts in tests.items() if other != name})
        if name in NEAR:
            yield near(data, name, train)


def near(data: Path, name: str, train: list[tuple[str, str]]) -> Case:
    unknown = set(drawn(sorted({label for _, label in train}), NEAR[name]))
    test = list(zip(*read_set(data, name, "test"), strict=True))
    known, foreign = ([text for text, label in test if (label in unknown) == other] for other in (False, True))
    seen = [row for row in train if row[1] not in unknown]
    return Case(f"{name}, some classes", seen, drawn(known, ASKED), {"its other classes": drawn(foreign, ASKED)})


def drawn(rows: list, count: int) -> list:
    return [rows[index] for index in np.random.default_rng(0).permutation(len(rows))[:count]]


def measure(case: Case, folder: Path) -> Iterator[dict[str, object]]:
    rows = drawn(case.train, TRAINED_ON)
    kept = len(rows) // 10
    train = [text for text, _ in rows[kept:]]
    model = write_linear_model(folder, train, [label for _, label in rows[kept:]], min_count=2)
    validation = [text for text, _ in rows[:kept]]
    rule = ScopeRule(fit_scope(model, train, validation, RATE))
    own = rule.signs(model.logits(case.own), case.own)
    energy_threshold = np.quantile(rule.signs(model.logits(validation), validation)[:, ENERGY], 1 - RATE)
    for name, texts in case.foreign.items():
        foreign = rule.signs(model.logits(texts), texts)
        truth = np.repeat([0, 1], [len(own), len(foreign)])
        yield {
            "trained on": case.name,
            "asked": name,
            "auroc": float(roc_auc_score(truth, rule.weigh(np.concatenate([own, foreign])))),
            "caught": float((rule.weigh(foreign) > rule.threshold).mean()),
            "false": float((rule.weigh(own) > rule.threshold).mean()),
            "energy auroc": float(roc_auc_score(truth, np.concatenate([own, foreign])[:, ENERGY])),
            "energy caught": float((foreign[:, ENERGY] > energy_threshold).mean()),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DATASETS_DIR", "../shared/datasets")))
    parser.add_argument("--json", type=Path, default=Path("data/runs/benchmarks/scope.json"))
    options = parser.parse_args()
    columns = ("auroc", "caught", "false", "energy auroc", "energy caught")
    print(f"{'trained on':34}{'asked':22}" + "".join(f"{column:>15}" for column in columns))
    results = []
    for case in cases(options.data, options.sets):
        with tempfile.TemporaryDirectory() as folder:
            for figures in measure(case, Path(folder)):
                results.append(figures)
                shown = "".join(f"{100 * float(str(figures[column])):15.1f}" for column in columns)
                print(f"{figures['trained on']:34}{figures['asked']:22}{shown}", flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
