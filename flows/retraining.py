"""The stages of one retrain, in their order, with what each hands to the next."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from bentos.text_classifier.model import ModelError, TextModel
from flows.candidates import Candidates
from flows.config import RetrainConfig
from flows.console import Console
from flows.preparation import ACCEPTED_STATISTICS, EMBEDDED, Preparation
from flows.publish import percent
from flows.stages import Stages, code_content
from tasks.base.errors import GateRefused, PipelineError
from tasks.base.files import write_whole
from tasks.base.manifests import (
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
from tasks.base.settings import Budget, Effort, ServeSettings
from tasks.candidates.plan import Plan, plan
from tasks.candidates.select import select
from tasks.conversion.stages import convert_model, optimise_model
from tasks.data.personal_data import keyed_content
from tasks.deployment.deploy import deploy
from tasks.deployment.smoke import known_answers, surest_texts
from tasks.deployment.supervisor.record import read_live
from tasks.deployment.unchanged import unchanged
from tasks.release import export
from tasks.release.package import bento_model, made_of, package
from tasks.report import RunReport, model_card
from tasks.verdict.gate import gate
from tasks.watching.accepted import evaluate_model

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
        planned = self.stages.run("plan", plan, Plan.line, dataset=self.dataset, train=config.train, effort=self.effort)
        training = Candidates(self.stages, config, self.effort, planned)
        candidates, skipped = training.train(self.dataset)
        self.selection = self.stages.run(
            "select",
            select,
            lambda made: made.reason,
            candidates=candidates,
            skipped=skipped,
            dataset=self.dataset,
            train=config.train,
            budget=self.budget,
        )
        self.judged = self.selection.chosen, self.dataset
        if self._refits(planned):
            self.selection, self.dataset = training.refit(self.selection, self.dataset)

    @property
    def budget(self) -> Budget:
        """What the served model may cost, and nothing else of the configuration."""
        return Budget.model_validate(self.config.model_dump(include=set(Budget.model_fields)))

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
        config, chosen = self.config, self.selection.chosen
        self.converted = self.stages.run(
            "convert",
            convert_model,
            lambda made: "ONNX and SavedModel agree with Keras",
            candidate=chosen,
            dataset=self.dataset,
        )
        self.optimised = self.stages.run(
            "optimise",
            optimise_model,
            lambda made: f"{made.picked.name}: {made.picked.reason}",
            converted=self.converted,
            dataset=self.dataset,
            settings=config.optimise,
            budget=self.budget,
            gpu=config.serve.gpu > 0,
        )
        self.evaluation = self.stages.run(
            "evaluate",
            evaluate_model,
            lambda made: f"test accuracy {percent(made.metrics['accuracy'])}",
            picked=self.optimised.picked,
            candidate=chosen,
            dataset=self.dataset,
            judged=self.judged,
            held_out=self._held_out,
            seed=config.seed,
        )
        self.stages.console.notes([f"{name} left out: {why}" for name, why in self.evaluation.left_out.items()])
        self.verdict = self.stages.act(
            "gate",
            gate,
            lambda made: f"{made.verdict}: {'; '.join(made.reasons)}" if made.reasons else made.verdict,
            evaluation=self.evaluation,
            optimised=self.optimised,
            champion=self.champion(),
            settings=config.gate,
            budget=self.budget,
            promote_anyway=config.promote_anyway,
        )
        if self.verdict.verdict == "refused":
            raise GateRefused(
                f"the gate refuses this model: {'; '.join(self.verdict.reasons)}. The live version stays. "
                'To serve it all the same, give --promote-anyway "REASON".'
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

    def stays(self) -> bool:
        """Whether the live version is this very model already, served as is asked for: nothing is to be deployed."""
        config = self.config
        found = unchanged(made_of(self.lineage, self._served), config.serve, config.security, self.state)
        if found:
            self.deployment = found
        return found is not None

    @property
    def _served(self) -> ServeSettings:
        if self.config.serve.personal_data is not None:
            return self.config.serve
        return self.config.serve.model_copy(update={"personal_data": self.config.data.personal_data})

    def package(self) -> None:
        """Puts model, code and settings into a bento."""
        card = model_card(self.report())
        self.packaged = self.stages.act(
            "package",
            package,
            lambda made: f"{made.tag}, {made.size_bytes / 1e6:.1f} MB",
            evaluation=self.evaluation,
            serve=self._served,
            card=card,
            lineage=self.lineage,
            state=self.state,
            security=self.config.security,
        )

    def export(self) -> None:
        """Writes the model in the other forms that were asked for."""
        for kind, folder in self.exports:
            self.stages.act(
                f"export {kind}",
                export.export,
                lambda made: f"{made.path}, {made.size_bytes / 1e6:.1f} MB",
                kind=kind,
                target=folder,
                converted=self.converted,
                evaluation=self.evaluation,
            )

    def deploy(self) -> None:
        """Smoke-tests the bento on a spare port, moves the traffic, checks again."""
        known = known_answers(self.evaluation.folder, surest_texts(self.evaluation.predictions))
        why = self.verdict.reasons[0] if self.verdict.verdict == "overridden" else "a new version was trained"
        self.deployment = self.stages.act(
            "deploy",
            deploy,
            lambda made: f"{made.tag} answers on {made.url}",
            package=self.packaged,
            serve=self.config.serve,
            known=known,
            state=self.state,
            why=why,
            security=self.config.security,
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
