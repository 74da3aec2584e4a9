"""What a text classifier reads at start beside what every service does."""

from bentos.serving.settings import ServiceSettings


class Settings(ServiceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How texts are labelled, explained and recorded."""

    max_batch: int = 64
    """Texts run together."""
    max_texts: int = 1024
    """Texts a request."""
    max_text_characters: int = 100_000
    """Length of a text, as in training."""
    max_explained: int = 16
    """Texts of a request that asks for explanations."""
    explain_budget: int = 200
    """Most model evaluations of one explanation."""
    prediction_share: float = 1.0
    """Share of the predictions that are recorded, from 0 to 1, as far as burst and rate allow."""
    prediction_burst: int = 2000
    """Predictions recorded one after the other, before the rate holds."""
    prediction_rate: float = 20.0
    """Predictions recorded a second after that."""
    store_texts: bool = False
    """Record predictions with their text; with a keyed hash and statistics of it alone when not set."""
