"""The stages of one retrain, in their order, with what each hands to the next."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import pyarrow.parquet as pq

from bentos.text_classifier.model import ModelError, TextModel
from flows.candidates import Candidates
from flows.config import RetrainConfig
from flows.console import Console
from flows.preparation import ACCEPTED_STATISTICS, EMBEDDED, Preparation
from flows.publish import percent
from flows.stages import Stages, code_content
from tasks import export
from tasks.deploy import deploy
from tasks.drift import reference_statistics
from tasks.errors import GateRefused, PipelineError
from tasks.gate import gate
from tasks.manifests import (
    Candidate,
    Converted,
    Dataset,
    Deployment,
    Evaluation,
    Optimised,
    Package,
    Selection,
    Verdict,
)
from tasks.package import bento_model, package
from tasks.personal_data import keyed_content
from tasks.plan import Plan, plan
from tasks.progress import Progress, within
from tasks.report import RunReport, model_card
from tasks.select import select
from tasks.serving.record import read_live, write_whole
from tasks.settings import Budget, Effort
from tasks.smoke import known_answers

KNOWN_ROWS = 20
LIBRARIES = (
    "prefect",
    "great-expectations",
    "tensorflow",
    "keras",
    "tf2onnx",
    "onnxruntime-gpu",
    "bentoml",
    "tokenizers",
    "scikit-learn",
    "optuna",
    "duckdb",
    "pandas",
    "numpy",
)


class Retraining:
    """One run: its parameters and the result of every stage that has ended.

    Stage results lie below `state`/stages, where a later run finds them again by content.
    """

    dataset: Dataset
    selection: Selection
    judged: tuple[Candidate, Dataset]
    converted: Converted
    optimised: Optimised
    evaluation: Evaluation
    verdict: Verdict
    packaged: Package
    deployment: Deployment

    def __init__(self, config: RetrainConfig, state: Path, console: Console) -> None:
        self.config = config
        self.state = state
        self.stages = Stages(state / "stages", console)
        self.effort: Effort = config.effort or ("quick" if config.source == EMBEDDED else "standard")
        self.data = Preparation(config, state, self.stages, console)
        self.started = datetime.now(UTC)
        self.exports = export.parse(config.export)

    def prepare(self) -> None:
        """Reads, checks and divides the data."""
        self.dataset = self.data.run()

    def train(self) -> None:
        """Trains the candidates and chooses among them."""
        config = self.config
        # Kept, so that a run that died goes on with the times that were planned first.
        planned = self.stages.run(
            "plan",
            lambda folder, progress: plan(self.dataset, config.train, self.effort),
            (self.dataset, config.train, self.effort),
            Plan.line,
        )
        training = Candidates(self.stages, config, self.effort, planned)
        candidates, skipped = training.train(self.dataset)
        self.selection = self.stages.run(
            "select",
            lambda folder, progress: select(candidates, skipped, self.dataset, config.train, config),
            (self.dataset, *candidates, config.train, config.max_latency_ms, config.max_size_mb),
            lambda made: made.reason,
        )
        self.judged = self.selection.chosen, self.dataset
        if self._refits(planned):
            self.selection, self.dataset = training.refit(self.selection, self.dataset)

    def _refits(self, planned: Plan) -> bool:
        """Whether the chosen model is trained again: as the user says, else where its time and its rows allow it."""
        if self.config.train.privacy.epsilon is not None:
            # A second training would spend the privacy budget again.
            return False
        if self.config.data.refit is not None:
            return self.config.data.refit
        chosen = self.selection.chosen
        names = chosen.settings.get("members", [chosen.name])
        return self.config.validation_source is None and set(names) <= planned.seconds.keys() and planned.affords(names)

    def judge(self) -> None:
        """Converts and optimises the chosen model, evaluates the variant that would be served, asks the gate.

        Raises:
            GateRefused: the reasons, unless `promote_anyway` overrides them.
        """
        self._convert()
        self._optimise()
        self._evaluate()
        champion = self.champion()
        self.verdict = self.stages.run(
            "gate",
            lambda folder, progress: gate(
                self.evaluation,
                self.optimised,
                champion,
                self.config.gate,
                self.config,
                self.config.promote_anyway,
            ),
            (),
            lambda made: f"{made.verdict}: {'; '.join(made.reasons)}" if made.reasons else made.verdict,
            keep=False,
        )
        if self.verdict.verdict == "refused":
            raise GateRefused(
                f"the gate refuses this model: {'; '.join(self.verdict.reasons)}. The live version stays. "
                'To serve it all the same, give --promote-anyway "REASON".'
            )

    def _convert(self) -> None:
        def work(folder: Path, progress: Progress) -> Converted:
            from tasks.convert import convert

            return convert(self.selection.chosen, self.dataset, folder)

        self.converted = self.stages.run(
            "convert", work, (self.selection.chosen, self.dataset), lambda made: "ONNX and SavedModel agree with Keras"
        )

    def _optimise(self) -> None:
        config = self.config
        budget = Budget(max_latency_ms=config.max_latency_ms, max_size_mb=config.max_size_mb)

        def work(folder: Path, progress: Progress) -> Optimised:
            from tasks.optimise import optimise

            return optimise(
                self.converted.folder, self.dataset, config.optimise, budget, folder, config.serve.gpu > 0, progress
            )

        self.optimised = self.stages.run(
            "optimise",
            work,
            (self.converted, self.dataset, config.optimise, budget, config.serve.gpu),
            lambda made: f"{made.picked.name}: {made.picked.reason}",
        )

    def _evaluate(self) -> None:
        picked, chosen = self.optimised.picked, self.selection.chosen

        def work(folder: Path, progress: Progress) -> Evaluation:
            from tasks.evaluate import evaluate

            judging = within(progress, 0.0, 0.95)
            made = evaluate(picked, chosen, self.dataset, self.config.seed, folder, self.judged, judging)
            # It travels in the bento: what live traffic is compared with belongs to the version that answers.
            progress(0.95, "what live traffic is compared with")
            reference_statistics(self.dataset, made.folder, made.folder, self._held_out)
            return made

        self.evaluation = self.stages.run(
            "evaluate",
            work,
            (self.optimised, chosen, self.dataset, self.config.seed, self._held_out, *self.judged),
            lambda made: f"test accuracy {percent(made.metrics['accuracy'])}",
        )

    @property
    def _held_out(self) -> tuple[str, ...]:
        """The parts that were drawn from the source and not trained on; else the one to choose by."""
        config = self.config
        refitted = self.judged[1].content != self.dataset.content
        own = {"validation": config.validation_source or refitted, "test": config.test_source}
        return tuple(part for part, elsewhere in own.items() if not elsewhere) or ("validation",)

    def champion(self) -> TextModel | None:
        live = read_live(self.state)
        if live is None:
            return None
        version = live.version
        if not version.there:
            self.stages.console.line(
                f"  warning: the bento of the live version, {version.tag}, is gone from {version.path}: "
                "there is no model to compare the new one with"
            )
            return None
        try:
            return TextModel.load(bento_model(version.path), key=version.security.encrypt)
        except ModelError as error:
            raise PipelineError(
                f"the live version, {version.tag}, cannot be opened to compare the new model with it: {error}. "
                f"Return to an earlier one (python -m flows.rollback), or remove {version.path}: it then counts as gone"
            ) from error

    def package(self) -> None:
        """Puts model, code and settings into a bento."""
        card = model_card(self.report())
        serve = self.config.serve
        if serve.personal_data is None:
            serve = serve.model_copy(update={"personal_data": self.config.data.personal_data})
        self.packaged = self.stages.run(
            "package",
            lambda folder, progress: package(
                self.evaluation, serve, card, self.lineage, folder, self.state, self.config.security
            ),
            (self.evaluation, serve, card, self.lineage, self.config.security),
            lambda made: f"{made.tag}, {made.size_bytes / 1e6:.1f} MB",
            keep=False,
        )

    def export(self) -> None:
        """Writes the model in the other forms that were asked for."""
        for kind, folder in self.exports:
            self.stages.run(
                f"export {kind}",
                lambda _, progress, kind=kind, folder=folder: export.export(
                    kind, folder, self.converted, self.evaluation
                ),
                (),
                lambda made: f"{made.path}, {made.size_bytes / 1e6:.1f} MB",
                keep=False,
            )

    def deploy(self) -> None:
        """Smoke-tests the bento on a spare port, moves the traffic, checks again."""
        known = known_answers(self.evaluation.folder, surest_texts(self.evaluation.predictions))
        why = self.verdict.reasons[0] if self.verdict.verdict == "overridden" else "a new version was trained"
        self.deployment = self.stages.run(
            "deploy",
            lambda folder, progress: deploy(
                self.packaged, self.config.serve, known, self.state, why, self.config.security
            ),
            (),
            lambda made: f"{made.tag} answers on {made.url}",
            keep=False,
        )
        if statistics := self.data.checked[""].statistics:
            write_whole(self.state / ACCEPTED_STATISTICS, statistics.read_text("utf-8"))

    def report(self) -> RunReport:
        """What is known so far: the manifest of every stage that has ended."""
        reached = {name: getattr(self, name, None) for name in ("dataset", "selection", "converted", "optimised")}
        reached |= {name: getattr(self, name, None) for name in ("evaluation", "verdict", "deployment")}
        return RunReport(
            source=self.config.source,
            effort=self.effort,
            seed=self.config.seed,
            started=self.started,
            parameters=self.config.model_dump(mode="json"),
            code=code_content(),
            table=self.data.tables.get(""),
            checked=self.data.checked.get(""),
            package=getattr(self, "packaged", None),
            seconds=self.stages.seconds,
            versions={"python": python_version(), **{name: version(name) for name in LIBRARIES}},
            **reached,
        )

    @property
    def lineage(self) -> dict[str, str]:
        """Content hashes that tie data, code, model and bento together."""
        content = self.dataset.content
        return {
            "data": keyed_content(content, self.state) if self.config.train.privacy.epsilon is not None else content,
            "code": code_content(),
            "model": self.selection.chosen.content,
            "served": self.evaluation.content,
        }


def surest_texts(predictions: Path) -> list[str]:
    """Test texts, the surest of every answer first, to know the model by.

    Quantised arithmetic depends a little on the other texts of a batch, so a text on the border between
    two classes may turn; a sure one may not.
    """
    rows = pq.read_table(predictions, columns=["text", "predicted", "score"]).to_pandas()
    rows["rank"] = rows.groupby(rows["predicted"].map(str))["score"].rank(method="first", ascending=False)
    surest = rows.sort_values(["rank", "score"], ascending=[True, False]).head(KNOWN_ROWS)
    return surest["text"].tolist()
