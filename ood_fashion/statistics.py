"""Intervals for the figures that are shown."""

from __future__ import annotations


def wilson_interval(successes: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a proportion (E. B. Wilson, JASA 22:209, 1927).

    Args:
        successes: how many of the n succeeded.
        n: number of trials, 1 or more.
        confidence: the interval's coverage.
    """
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
