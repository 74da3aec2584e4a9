"""McNemar's exact test: which of two is right more often on the same rows."""

from scipy.stats import binomtest


def better(wins: int, losses: int) -> float:
    """p-value of 'no better' from the rows where only one of two is right; one-sided."""
    return float(binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue) if wins + losses else 1.0
