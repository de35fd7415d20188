"""Intervals for the figures that are shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNIFICANCE = 0.05
"""The chance of any false conclusion among several tests that is accepted."""


def wilson_interval(successes: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a proportion (E. B. Wilson, JASA 22:209, 1927).

    With z the normal quantile of the confidence and p = successes / n, its ends are
    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n). They hold p whatever rounding does: the lower
    end is exactly 0 where nothing succeeded, the upper one exactly 1 where all did.

    Args:
        successes: how many of the n succeeded.
        n: number of trials, 1 or more.
        confidence: the interval's coverage.
    """
    from scipy.special import ndtri  # scipy.stats has the interval itself, but takes 0.7 s to import

    z, p = float(ndtri((1 + confidence) / 2)), successes / n
    centre, scale = p + z * z / (2 * n), 1 + z * z / n
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, min(p, (centre - half) / scale)), min(1.0, max(p, (centre + half) / scale))


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
    sd = stdev(values) if len(values) > 1 else None
    return {"values": list(values), **_describe(len(values), fmean(values), sd, confidence)}


def _describe(n: int, mean: float, sd: float | None, confidence: float) -> dict[str, Any]:
    summary: dict[str, Any] = {"n": n, "mean": mean, "sd": sd, "interval": None, "prediction_interval": None}
    if sd is not None:
        t = student_quantile((1 + confidence) / 2, n - 1)
        for name, half in (
            ("interval", t * sd / math.sqrt(n)),
            ("prediction_interval", t * sd * math.sqrt(1 + 1 / n)),
        ):
            summary[name] = [mean - half, mean + half]
    return summary


def summarize_correct(correct: NDArray[np.bool_]) -> dict[str, Any]:
    """Describe the accuracy of several trainings on the same images, with its two causes of variation kept apart.

    Over the seeds: `summarize` of the trainings' accuracies, on these images. Over the images: with q_i the share of
    the trainings that are right about image i, the mean accuracy m of these trainings has the standard error
    s = sd(q) / sqrt(n), and Wilson's interval with the effective number of images m (1 - m) / s^2 (L. Kish, Survey
    Sampling, 1965, section 8.2), which is n for one training, and no more than n a training.

    Args:
        correct: whether each training is right about each image, (trainings, n).

    Returns:
        accuracy (the mean), runs, n, seeds with sd and ci95 (None for one training), images with sd and ci95.
    """
    runs, n = correct.shape
    over_seeds, shares = summarize([float(row.mean()) for row in correct]), correct.mean(axis=0)
    mean, variance = float(shares.mean()), float(shares.var() / n)
    effective = min(mean * (1 - mean) / variance, runs * n) if variance else n
    return {
        "accuracy": mean,
        "runs": runs,
        "n": n,
        "seeds": {"sd": over_seeds["sd"], "ci95": over_seeds["interval"]},
        "images": {"sd": math.sqrt(variance), "ci95": list(wilson_interval(mean * effective, effective))},
    }


def compare_paired(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_], *, seed: int = 0) -> dict[str, Any]:
    """Compare two classifiers on the same images.

    Args:
        correct_a: whether A is right, (n,).
        correct_b: whether B is right about the same images, (n,).
        seed: of the bootstrap.

    Returns:
        n, only_a and only_b (images that one of them alone gets right), difference (accuracy of A minus that of B), its
        95% percentile bootstrap interval over 10,000 resamples of the images, and p, of the exact McNemar test
        (Q. McNemar, Psychometrika 12:153, 1947): two-sided binomial, of the images that only one gets right.
    """
    from scipy.stats import binomtest

    n = len(correct_a)
    only_a, only_b = int(np.sum(correct_a & ~correct_b)), int(np.sum(correct_b & ~correct_a))
    # Resampling images draws how many fall to A alone, to B alone and to neither from a multinomial distribution.
    draws = np.random.default_rng(seed).multinomial(n, [only_a / n, only_b / n, 1 - (only_a + only_b) / n], 10_000)
    interval = np.quantile((draws[:, 0] - draws[:, 1]) / n, [0.025, 0.975])
    discordant = only_a + only_b
    return {
        "n": n,
        "only_a": only_a,
        "only_b": only_b,
        "difference": (only_a - only_b) / n,
        "interval": interval.tolist(),
        "p": float(binomtest(only_a, discordant).pvalue) if discordant else 1.0,
    }


def compare_unpaired(values_a: Sequence[float], values_b: Sequence[float]) -> dict[str, Any]:
    """Compare two means of independent measurements, such as accuracies over seeds, by Welch's t test.

    Args:
        values_a: 2 or more numbers.
        values_b: 2 or more numbers.

    Returns:
        n_a, n_b, difference (mean of A minus mean of B), its 95% interval and p. Without any spread on either side
        there is nothing to judge by: no interval, and p is 1.
    """
    from scipy.stats import ttest_ind

    difference = fmean(values_a) - fmean(values_b)
    record = {"n_a": len(values_a), "n_b": len(values_b), "difference": difference}
    if len({*values_a}) == len({*values_b}) == 1:
        return {**record, "interval": None, "p": 1.0}
    test = ttest_ind(values_a, values_b, equal_var=False)
    return {**record, "interval": [float(end) for end in test.confidence_interval(0.95)], "p": float(test.pvalue)}


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of several tests, so that 0.05 bounds the chance of any false rejection.

    S. Holm, Scandinavian Journal of Statistics 6:65, 1979: the k-th smallest of m becomes the largest of
    (m - j + 1) p_(j) for j up to k, at most 1.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def add_holm(records: Iterable[dict[str, Any]]) -> None:
    """Put p_holm, the p adjusted by `holm` for their number, into the records of tests that are judged together."""
    tests = list(records)
    for test, p in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_holm"] = p
