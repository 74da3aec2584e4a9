"""A finished run for the tests of the report: nasty labels and texts, every stage present."""

from pathlib import Path

from tasks.base.manifests import Checked, Converted, Deployment, Package, Table
from tasks.base.settings import Budget, GateSettings, TrainSettings
from tasks.candidates.select import select
from tasks.report import RunReport
from tasks.verdict.evaluate import evaluate
from tasks.verdict.gate import gate
from tests.bentos.text_classifier.model_folder import grams_folder
from tests.tasks.judged import candidate, dataset, optimised, variant

EVIL = "<script>alert('x')</script>"
NAMES = [EVIL, "a | b & **c**", "=cmd()"]
WORDS = dict(zip(NAMES, (["atom", "cell"], ["goal", "match"], ["bread", "soup"]), strict=True))


def made(folder: Path, promote_anyway: str | None = None, test_rows: int = 150) -> RunReport:
    """A run that ended well, of three classes whose names are an attack each."""

    def part(count: int, shift: int) -> tuple[list[str], list[str]]:
        truths = [NAMES[row % 3] for row in range(count)]
        wrong = {row for row in range(count) if row % 11 == shift}
        texts = [f"{WORDS[name][row % 2]} <img src=x onerror=alert({row})>" for row, name in enumerate(truths)]
        return texts, [NAMES[(row + 1) % 3] if row in wrong else name for row, name in enumerate(truths)]

    parts = {"train": part(300, 1), "validation": part(150, 2), "test": part(test_rows, 3)}
    data = dataset(folder / "data", parts, NAMES)
    picked = variant(grams_folder(folder / "model", words=WORDS))
    smaller = variant(picked.folder, name="int8", picked=False, reason="it loses <b>2</b> points")
    candidates = [
        candidate(folder / "bag", "bag", score=0.90, latency_ms=0.1, curves={"loss": [2, 1], "accuracy": [0.5, 0.9]}),
        candidate(folder / "encoder", "encoder", score=0.95, latency_ms=9.0),
    ]
    (folder / "evaluate").mkdir()
    evaluation = evaluate(picked, candidates[1], data, 13, folder / "evaluate")
    quarantine = folder / "quarantine.csv"
    quarantine.write_text(f'source,line,reason,excerpt\nrows.csv,7,blank text,"{EVIL}"\n')
    made_of = optimised(picked)
    return RunReport(
        source=f"{EVIL}.csv",
        seed=13,
        code="c0de" * 16,
        parameters={"source": EVIL},
        table=Table(
            path=folder / "table.parquet",
            task="single",
            text_column="text",
            label_column="label",
            rows_read=610,
            rows=600,
            quarantined={"blank text": 10},
            content="1" * 64,
        ),
        checked=Checked(
            path=folder / "checked.parquet",
            task="single",
            rows=600,
            classes=dict.fromkeys(NAMES, 200),
            expectations=[
                {"rule": "enough rows", "success": True, "message": ""},
                {"rule": "usual lengths", "success": False, "message": "texts are <i>longer</i>"},
            ],
            duplicates=4,
            conflicts=2,
            near_equal_classes=[[EVIL, EVIL.upper()]],
            quarantined={"blank text": 10},
            quarantine=quarantine,
            content="2" * 64,
        ),
        dataset=data,
        selection=select(candidates, {"rnn": "too <i>slow</i>"}, data, TrainSettings(), Budget()),
        converted=Converted(folder=picked.folder, saved_model=folder, parity={"texts": 1000}, content="3" * 64),
        optimised=made_of.model_copy(update={"variants": [picked, smaller]}),
        evaluation=evaluation,
        verdict=gate(evaluation, made_of, None, GateSettings(), Budget(), promote_anyway),
        package=Package(tag="text_classifier:v1", path=folder, size_bytes=1234, content="4" * 64),
        deployment=Deployment(
            tag="text_classifier:v1",
            url="http://127.0.0.1:3000",
            state="live",
            smoke=[{"name": "contract", "passed": True}],
            content="5" * 64,
        ),
        seconds={"ingest": 0.5, "train": 12.0},
        versions={"numpy": "2.4.6"},
    )
