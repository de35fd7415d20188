"""Intervals for the figures that are shown."""

from __future__ import annotations

import math


def wilson_interval(successes: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a proportion (E. B. Wilson, JASA 22:209, 1927).

    With z the normal quantile of the confidence and p = successes / n, its ends are
    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).

    Args:
        successes: how many of the n succeeded.
        n: number of trials, 1 or more.
        confidence: the interval's coverage.
    """
    from scipy.special import ndtri  # scipy.stats has the interval itself, but takes 0.7 s to import

    z, p = float(ndtri((1 + confidence) / 2)), successes / n
    centre, scale = p + z * z / (2 * n), 1 + z * z / n
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
