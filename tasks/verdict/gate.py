"""Stage: whether the variant that would be served is good enough to replace what is live."""

from bentos.text_classifier.model import TextModel
from tasks.base.manifests import Evaluation, Optimised, Verdict
from tasks.base.settings import Budget, GateSettings
from tasks.verdict.checks import Case, Tested, questions


def gate(
    evaluation: Evaluation,
    optimised: Optimised,
    champion: TextModel | None,
    settings: GateSettings,
    budget: Budget,
    promote_anyway: str | None,
) -> Verdict:
    """Judges the calibrated, quantised variant by the test rows; `champion` is the model that is live.

    A refusal is a verdict, not an error: the flow writes the report first. With `promote_anyway` it
    becomes `overridden`, and the reason stands among the reasons.

    Raises:
        InputError: the file of behaviour cases cannot be used.
    """
    case = Case(Tested.read(evaluation.predictions), evaluation, optimised, champion, settings, budget)
    checks = [check for question in questions() for check in question.ask(case)]
    failed = [f"{check.name}: {check.found}; wanted: {check.wanted}" for check in checks if not check.passed]
    records = [check.record() for check in checks]
    if not failed:
        return Verdict(verdict="passed", reasons=[], checks=records)
    if promote_anyway:
        return Verdict(verdict="overridden", reasons=[f"promoted anyway: {promote_anyway}", *failed], checks=records)
    return Verdict(verdict="refused", reasons=failed, checks=records)
