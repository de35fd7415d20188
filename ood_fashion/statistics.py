"""Intervals for the figures that are shown."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


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


def accuracy_record(hits: NDArray[np.bool_]) -> dict[str, Any]:
    """Summarise which predictions were right, bool (n,): accuracy, their number, n, and the 95% Wilson interval."""
    correct, n = int(hits.sum()), len(hits)
    return {"accuracy": correct / n, "correct": correct, "n": n, "ci95": list(wilson_interval(correct, n))}


def worst_case(hits: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which images are right under every one of the shifts: bool (shifts, n) to (n,)."""
    return np.asarray(hits.all(axis=0))


def worst_of_random(hits: NDArray[np.bool_], count: int, seed: int) -> NDArray[np.bool_]:
    """Say which images are right under each of `count` shifts, drawn anew for every image, with replacement.

    The worst of 10 random choices is an attack of Engstrom et al., ICML 2019.

    Args:
        hits: whether each image is right under each shift, (shifts, n).
        count: how many to draw.
        seed: decides which.
    """
    shifts, n = hits.shape
    drawn = np.random.default_rng(seed).integers(0, shifts, (count, n))
    return np.asarray(np.take_along_axis(hits, drawn, axis=0).all(axis=0))
