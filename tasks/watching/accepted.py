"""Stage: the served variant judged, and beside it what its live traffic will be compared with."""

from pathlib import Path

from tasks.base.manifests import Candidate, Dataset, Evaluation, Variant
from tasks.base.progress import Progress, within
from tasks.watching.drift import reference_statistics


def evaluate_model(
    picked: Variant,
    candidate: Candidate,
    dataset: Dataset,
    judged: tuple[Candidate, Dataset],
    held_out: tuple[str, ...],
    seed: int,
    folder: Path,
    progress: Progress,
) -> Evaluation:
    """The served variant on the test part, and beside it what live traffic is compared with.

    Args:
        judged: the candidate and the data set by which it was chosen.
        held_out: the parts that live traffic may be compared with.
    """
    # Imported when the stage works, see `candidates.stages`.
    from tasks.verdict.evaluate import evaluate

    made = evaluate(picked, candidate, dataset, seed, folder, judged, within(progress, 0.0, 0.95))
    # It travels in the bento: what live traffic is compared with belongs to the version that answers.
    progress(0.95, "what live traffic is compared with")
    reference_statistics(dataset, made.folder, made.folder, held_out)
    return made
