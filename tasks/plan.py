"""Which model structures are tried on this data with this effort."""

from tasks.architectures import architectures
from tasks.errors import InputError
from tasks.manifests import Dataset
from tasks.settings import Effort, TrainSettings


def plan(dataset: Dataset, train: TrainSettings, effort: Effort) -> tuple[list[str], dict[str, str]]:
    """Names of the candidates, and of the others with the reason why each is not tried.

    Candidates that the user names are tried whatever the effort.

    Raises:
        InputError: an unknown name, or no structure fits the data.
    """
    known = architectures()
    if unknown := [name for name in train.candidates if name not in known]:
        raise InputError(f"train.candidates: no such model structure {unknown[0]!r}; there are {', '.join(known)}")
    skipped: dict[str, str] = {}
    for name, architecture in known.items():
        if train.candidates and name not in train.candidates:
            skipped[name] = "not among train.candidates"
        elif not train.candidates and effort not in architecture.efforts:
            skipped[name] = f"not tried with effort {effort}"
        elif reason := architecture.skip(dataset, train):
            skipped[name] = reason
    chosen = [name for name in train.candidates or known if name not in skipped]
    if not chosen:
        reasons = "; ".join(
            f"{name}: {reason}" for name, reason in skipped.items() if not train.candidates or name in train.candidates
        )
        raise InputError(f"no model structure fits this data ({reasons})")
    return chosen, skipped
