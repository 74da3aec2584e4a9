"""Figures and names as people write them."""

from tasks.base.manifests import Figure

_NAMES = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "weighted_f1": "weighted F1",
    "span_f1": "span F1",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "matthews": "Matthews correlation",
    "log_loss": "log loss",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "expected_calibration_error": "calibration error",
}


def metric_name(name: str) -> str:
    """A metric's name as people write it."""
    return _NAMES.get(name, name.replace("_", " "))


def percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def interval(figure: Figure) -> str:
    return f"{100 * figure.low:.1f} to {figure.high:.1%}"
