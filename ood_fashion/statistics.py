"""Intervals for the figures that are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any


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


def student_quantile(probability: float, degrees_of_freedom: int) -> float:
    """Return the quantile of Student's t distribution."""
    from scipy.special import stdtrit  # for the same reason

    return float(stdtrit(degrees_of_freedom, probability))


def summarize(values: Sequence[float], *, confidence: float = 0.95) -> dict[str, Any]:
    """Describe independent measurements of one quantity, such as one a seed.

    With n values, their mean m, their standard deviation s (n - 1 in the denominator) and t the Student quantile of the
    confidence with n - 1 degrees of freedom, the mean's interval is m -+ t s / sqrt(n), and a further single value lies
    in m -+ t s sqrt(1 + 1 / n) (the prediction interval of normal values).

    Args:
        values: 1 or more numbers.
        confidence: coverage of both intervals.

    Returns:
        The values, n, mean, sd, interval and prediction_interval; the last three are None for a single value.
    """
    n, mean = len(values), fmean(values)
    summary = {"values": list(values), "n": n, "mean": mean, "sd": None, "interval": None, "prediction_interval": None}
    if n > 1:
        summary["sd"] = sd = stdev(values)
        t = student_quantile((1 + confidence) / 2, n - 1)
        for name, half in (
            ("interval", t * sd / math.sqrt(n)),
            ("prediction_interval", t * sd * math.sqrt(1 + 1 / n)),
        ):
            summary[name] = [mean - half, mean + half]
    return summary
