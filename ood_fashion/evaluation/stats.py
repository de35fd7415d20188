"""Intervals and tests for the numbers that are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ood_fashion.evaluation.records import JsonRecord

Interval = tuple[float, float]

SIGNIFICANCE = 0.05
"""The chance of any false conclusion among several tests that is accepted."""


def wilson_interval(successes: float, n: float) -> Interval:
    """Return the 95% score interval of a proportion, n of 1 or more (E. B. Wilson, JASA 22:209, 1927).

    With z the normal quantile and p = successes / n, its ends are
    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n). They hold p whatever rounding does: the lower
    end is exactly 0 where nothing succeeded, the upper one exactly 1 where all did.
    """
    from scipy.special import ndtri  # scipy.stats has the interval itself, but takes 0.7 s to import

    z, p = float(ndtri(0.975)), successes / n
    centre, scale = p + z * z / (2 * n), 1 + z * z / n
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, min(p, (centre - half) / scale)), min(1.0, max(p, (centre + half) / scale))


@dataclass(frozen=True)
class Accuracy(JsonRecord):
    """The share of n images that are recognized, with its 95% Wilson interval."""

    accuracy: float
    correct: int
    n: int
    ci95: Interval

    @classmethod
    def of(cls, correct: NDArray[np.bool_]) -> Self:
        """Count the images, (n,), that are recognized."""
        count, n = int(correct.sum()), len(correct)
        return cls(count / n, count, n, wilson_interval(count, n))


@dataclass(frozen=True)
class Summary(JsonRecord):
    """Independent measurements of one quantity, for example one per seed.

    With n values, their mean m, their standard deviation s (n - 1 in the denominator) and t the Student quantile of the
    95% interval with n - 1 degrees of freedom, the mean's interval is m -+ t s / sqrt(n), and a further single value
    lies in m -+ t s sqrt(1 + 1 / n) (the prediction interval of normal values). One value has neither.
    """

    values: tuple[float, ...] | None = field(default=None, kw_only=True)
    n: int
    mean: float
    sd: float | None
    interval: Interval | None
    prediction_interval: Interval | None

    @classmethod
    def of(cls, n: int, mean: float, sd: float | None) -> Self:
        """Compute both intervals from the number of values, their mean and their standard deviation."""
        if sd is None:
            return cls(n, mean, None, None, None)
        from scipy.special import stdtrit  # for the same reason as `ndtri`

        t = float(stdtrit(n - 1, 0.975))
        halves = t * sd / math.sqrt(n), t * sd * math.sqrt(1 + 1 / n)
        return cls(n, mean, sd, *((mean - half, mean + half) for half in halves))


def summarize(values: Sequence[float]) -> Summary:
    """Summarize one or more independent measurements of one quantity, for example one per seed."""
    sd = stdev(values) if len(values) > 1 else None
    return replace(Summary.of(len(values), fmean(values), sd), values=tuple(values))


@dataclass(frozen=True)
class Spread(JsonRecord):
    """The standard deviation of a mean, and its 95% interval; both None for a single training."""

    sd: float | None
    ci95: Interval | None


@dataclass(frozen=True)
class RunsSummary(JsonRecord):
    """The mean accuracy of several trainings on the same n images, with its two causes of variation kept apart.

    `seeds`: how the accuracies of trainings vary, on these images; `images`: how the mean would vary over test sets,
    with these trainings.
    """

    accuracy: float
    runs: int
    n: int
    seeds: Spread
    images: Spread


def summarize_correct(correct: NDArray[np.bool_]) -> RunsSummary:
    """Describe the accuracy of several trainings on the same images, (trainings, n), its two causes of variation apart.

    Over the seeds: `summarize` of the trainings' accuracies, on these images. Over the images: with q_i the share of
    the trainings that are right about image i, the mean accuracy m of these trainings has the standard error
    s = sd(q) / sqrt(n), and Wilson's interval with the effective number of images m (1 - m) / s^2 (L. Kish, Survey
    Sampling, 1965, section 8.2), which is n for one training, and no more than n a training.
    """
    runs, n = correct.shape
    over_seeds, shares = summarize([float(row.mean()) for row in correct]), correct.mean(axis=0)
    mean, variance = float(shares.mean()), float(shares.var() / n)
    effective = min(mean * (1 - mean) / variance, runs * n) if variance else n
    over_images = Spread(math.sqrt(variance), wilson_interval(mean * effective, effective))
    return RunsSummary(mean, runs, n, Spread(over_seeds.sd, over_seeds.interval), over_images)


@dataclass(frozen=True)
class PairedComparison(JsonRecord):
    """Two classifiers on the same n images: how many A alone, and B alone, gets right.

    The difference is the accuracy of A minus that of B, with its 95% interval, and p of the test that both are as
    accurate; `p_holm` is adjusted for the number of tests that are judged together, None where this is judged alone.
    """

    n: int
    only_a: int
    only_b: int
    difference: float
    interval: Interval
    p: float
    p_holm: float | None = None


@dataclass(frozen=True)
class UnpairedComparison(JsonRecord):
    """Two means of n independent measurements each, A minus B; otherwise as `PairedComparison`.

    Without any spread there is no interval.
    """

    n_a: int
    n_b: int
    difference: float
    interval: Interval | None
    p: float
    p_holm: float | None = None


def compare_paired(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> PairedComparison:
    """Compare two classifiers on the same images.

    The interval of the difference is the percentile bootstrap's over 10,000 resamples of the images, and p that of the
    exact McNemar test (Q. McNemar, Psychometrika 12:153, 1947): two-sided binomial, of the images that only one gets
    right.
    """
    from scipy.stats import binomtest

    n = len(correct_a)
    only_a, only_b = int(np.sum(correct_a & ~correct_b)), int(np.sum(correct_b & ~correct_a))
    # Resampling images draws how many fall to A alone, to B alone and to neither from a multinomial distribution.
    draws = np.random.default_rng(0).multinomial(n, [only_a / n, only_b / n, 1 - (only_a + only_b) / n], 10_000)
    low, high = np.quantile((draws[:, 0] - draws[:, 1]) / n, [0.025, 0.975]).tolist()
    discordant = only_a + only_b
    p = float(binomtest(only_a, discordant).pvalue) if discordant else 1.0
    return PairedComparison(n, only_a, only_b, (only_a - only_b) / n, (low, high), p)


def compare_unpaired(values_a: Sequence[float], values_b: Sequence[float]) -> UnpairedComparison:
    """Compare two means of independent measurements, such as accuracies over seeds, by Welch's t test.

    A side has two or more. Without any spread on either side there is nothing to judge by: no interval, and p is 1.
    """
    from scipy.stats import ttest_ind

    difference = fmean(values_a) - fmean(values_b)
    counts = len(values_a), len(values_b)
    if len({*values_a}) == len({*values_b}) == 1:
        return UnpairedComparison(*counts, difference, None, 1.0)
    test = ttest_ind(values_a, values_b, equal_var=False)
    low, high = map(float, test.confidence_interval(0.95))
    return UnpairedComparison(*counts, difference, (low, high), float(test.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of several tests, so that 0.05 bounds the chance of any false rejection.

    S. Holm, Scandinavian Journal of Statistics 6:65, 1979: the k-th smallest of m becomes the largest of
    (m - j + 1) p_(j) for j up to k, at most 1.
    """
    p = np.array(p_values, float)
    order = np.argsort(p, kind="stable")
    p[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return list(map(float, p))


_Comparison = TypeVar("_Comparison", bound=PairedComparison | UnpairedComparison)


def adjust(tests: Sequence[_Comparison]) -> list[_Comparison]:
    """Return the tests, which are judged together, with p_holm: p adjusted by `holm` for their number."""
    return [replace(test, p_holm=p) for test, p in zip(tests, holm([test.p for test in tests]), strict=True)]
