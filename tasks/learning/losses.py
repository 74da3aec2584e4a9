"""What a model is trained to lower: a loss of each example, by the names that kinds of task give."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tasks.kinds.tagging import UNTAGGED
from tasks.learning.backend import tf

Loss = Callable[[Any, Any], Any]
"""Takes targets and float32 logits, gives float32 [examples]."""


@dataclass(frozen=True)
class LossSettings:
    """`prior` is each label's share of the training examples, float32 [labels].

    `balanced` weighs presence and absence of a label, or the tags of a token, by the inverse of their frequency;
    of one label a text that is done by the weights of the examples.
    """

    form: Literal["cross_entropy", "focal", "logit_adjusted"]
    prior: np.ndarray
    smoothing: float = 0.0
    balanced: bool = False


def _softmax(settings: LossSettings) -> Loss:
    """Softmax cross-entropy against int32 [examples], or float32 [examples, labels] for soft targets.

    `focal` is Lin et al. 2017 with gamma 2; `logit_adjusted` is Menon et al. 2021 with tau 1.
    """
    labels = len(settings.prior)
    adjustment = tf.constant(np.log(np.maximum(settings.prior, 1e-6)), tf.float32)

    def loss(targets: Any, logits: Any) -> Any:
        wanted = targets if targets.dtype.is_floating else tf.one_hot(targets, labels)
        wanted = wanted * (1.0 - settings.smoothing) + settings.smoothing / labels
        if settings.form == "logit_adjusted":
            logits = logits + adjustment
        log_shares = tf.nn.log_softmax(logits)
        if settings.form == "focal":
            log_shares = log_shares * tf.square(1.0 - tf.exp(log_shares))
        return -tf.reduce_sum(wanted * log_shares, axis=-1)

    return loss


def _sigmoid(settings: LossSettings) -> Loss:
    """Mean binary cross-entropy over the labels against float32 [examples, labels]."""
    present, absent = (tf.constant(_inverse(share, 2)) for share in (settings.prior, 1.0 - settings.prior))
    prior = np.clip(settings.prior, 1e-6, 1.0 - 1e-6)
    adjustment = tf.constant(np.log(prior / (1.0 - prior)), tf.float32)

    def loss(targets: Any, logits: Any) -> Any:
        wanted = targets * (1.0 - settings.smoothing) + 0.5 * settings.smoothing
        if settings.form == "logit_adjusted":
            logits = logits + adjustment
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=wanted, logits=logits)
        if settings.form == "focal":
            losses = losses * tf.square(tf.abs(wanted - tf.sigmoid(logits)))
        if settings.balanced:
            losses = losses * (targets * present + (1.0 - targets) * absent)
        return tf.reduce_mean(losses, axis=-1)

    return loss


def _token_softmax(settings: LossSettings) -> Loss:
    """Mean of the softmax loss over a text's tokens: codes int32 [examples, positions] of `tagging.py`.

    Logits are [examples, positions, tags]; the codes may go on behind the last of them.
    """
    tags = len(settings.prior)
    share = settings.prior / max(float(settings.prior.sum()), 1e-9)
    each = _softmax(replace(settings, prior=share))
    of_tag = tf.constant(_inverse(share, int(np.count_nonzero(share))))

    def loss(targets: Any, logits: Any) -> Any:
        codes = targets[:, : tf.shape(logits)[1]]
        known = tf.cast(codes != UNTAGGED, tf.float32)
        wanted = tf.maximum(codes, 0) % tags
        losses = each(wanted, logits) * known
        if settings.balanced:
            losses = losses * tf.gather(of_tag, wanted)
        return tf.reduce_sum(losses, axis=-1) / tf.maximum(tf.reduce_sum(known, axis=-1), 1.0)

    return loss


def _inverse(shares: np.ndarray, classes: int) -> np.ndarray:
    """Weights by which `classes` classes of these shares count alike, of mean 1 over the examples (of no share: 1)."""
    inverse = 1.0 / (classes * np.where(shares > 0, shares, 1.0 / classes))
    return inverse.astype(np.float32)


LOSSES: dict[str, Callable[[LossSettings], Loss]] = {
    "softmax": _softmax,
    "sigmoid": _sigmoid,
    "token_softmax": _token_softmax,
}
