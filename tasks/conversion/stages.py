"""The stage functions of conversion; what they are made of is imported when a stage works, see `candidates.stages`."""

from pathlib import Path

from tasks.base.manifests import Candidate, Converted, Dataset, Optimised
from tasks.base.progress import Progress
from tasks.base.settings import Budget, OptimiseSettings


def convert_model(candidate: Candidate, dataset: Dataset, folder: Path) -> Converted:
    """The candidate as ONNX and SavedModel."""
    from tasks.conversion.convert import convert

    return convert(candidate, dataset, folder)


def optimise_model(
    converted: Converted,
    dataset: Dataset,
    settings: OptimiseSettings,
    budget: Budget,
    gpu: bool,
    folder: Path,
    progress: Progress,
) -> Optimised:
    """The variants of a converted model, and which of them to serve."""
    from tasks.conversion.optimise import optimise

    return optimise(converted.folder, dataset, settings, budget, folder, gpu, progress)
