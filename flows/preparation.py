"""The data of one retrain, until it is ready to be trained on."""

from functools import cached_property
from pathlib import Path

from bentos.serving.records.personal_data import Redactor
from flows.config import RetrainConfig
from flows.console import Console
from flows.stages import Stages
from tasks.base.manifests import Checked, Dataset, Table
from tasks.data.feedback import add_feedback
from tasks.data.ingest import ingest
from tasks.data.personal_data import redactor
from tasks.data.preprocess import preprocess
from tasks.data.sources import shown
from tasks.data.validate import validate

EMBEDDED = "docstrings"
EMBEDDED_ROWS = 8000
ACCEPTED_STATISTICS = "accepted_statistics.json"


class Preparation:
    """Reads, checks and divides the data, each as a stage; `tables` and `checked` are the results by part.

    The training source is the part "", own sources are "validation" and "test".
    """

    def __init__(self, config: RetrainConfig, state: Path, stages: Stages, console: Console) -> None:
        self.config = config
        self.state = state
        self.stages = stages
        self.console = console
        self.tables: dict[str, Table] = {}
        self.checked: dict[str, Checked] = {}

    def run(self) -> Dataset:
        """The data set, with the feedback that people have sent among its training rows."""
        config = self.config
        sources = {"": config.source, "validation": config.validation_source, "test": config.test_source}
        for part, source in sources.items():
            if source is not None:
                self._read(part, source)
        dataset = self.stages.run(
            "preprocess",
            preprocess,
            lambda made: (
                f"{made.rows['train']:,} training, {made.rows['validation']:,} validation and "
                f"{made.rows['test']:,} test rows; "
                f"{len(made.labels)} classes, {made.profile.language}, at most {made.max_length} tokens"
            ),
            checked=self.checked[""],
            validation=self.checked.get("validation"),
            test=self.checked.get("test"),
            data=config.data,
            train=config.train,
            seed=config.seed,
        )
        self.console.notes(dataset.notes)
        return self._with_feedback(dataset)

    def _with_feedback(self, dataset: Dataset) -> Dataset:
        records = self.state / "records"
        if not any(records.glob("feedback-*.jsonl")):
            return dataset
        joined = self.stages.act(
            "feedback",
            add_feedback,
            lambda made: f"{made.rows['train']:,} training rows",
            dataset=dataset,
            records=records,
            settings=self.config.feedback,
            personal=self._personal,
        )
        self.console.notes(joined.notes[-1:])
        return joined

    @cached_property
    def _personal(self) -> Redactor | None:
        # Once for all stages: a model that finds names takes seconds to load.
        return redactor(self.config.data.personal_data, self.state, self.config.data.person_names)

    def _read(self, part: str, source: str) -> None:
        config = self.config
        settings = config.of_source(source)
        if part:
            # An own part is read whole, and exactly as the training source was understood.
            first = self.tables[""]
            settings = settings.model_copy(
                update={
                    "rows": None,
                    "task": first.task,
                    "text_column": first.text_column,
                    "label_column": first.label_column,
                    "label_separator": first.label_separator,
                }
            )
        elif source == EMBEDDED and config.rows is None:
            settings = settings.model_copy(update={"rows": EMBEDDED_ROWS})
        table = self.stages.act(
            f"ingest {part}".strip(),
            ingest,
            lambda made: f"{made.rows:,} rows of {shown(source)}" + _set_aside(made.quarantined),
            settings=settings,
            seed=config.seed,
            personal=self._personal,
        )
        self.console.notes(table.notes)
        accepted = self.state / ACCEPTED_STATISTICS
        history = accepted if not part and accepted.exists() else None
        checked = self.stages.run(
            f"validate {part}".strip(),
            validate,
            lambda made: (
                f"{made.rows:,} rows in {len(made.classes)} classes; {made.duplicates:,} duplicates, "
                f"{made.conflicts:,} conflicts" + _set_aside(made.quarantined)
            ),
            table=table,
            settings=config.data,
            history=history,
            trained_on=not part,
        )
        self.console.notes(checked.notes)
        self.tables[part] = table
        self.checked[part] = checked


def _set_aside(quarantined: dict[str, int]) -> str:
    total = sum(quarantined.values())
    return f"; {total:,} set aside ({', '.join(quarantined)})" if total else ""
