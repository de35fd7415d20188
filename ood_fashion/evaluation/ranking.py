"""Models beside each other, in measures that mean the same for all of them, and which of them cannot be told apart.

All accuracies are on Fashion-MNIST's test images, or the first n of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean

from ood_fashion.evaluation import baseline, sweeps
from ood_fashion.evaluation.comparison import Correct
from ood_fashion.evaluation.metrics import corruption_errors
from ood_fashion.evaluation.records import JsonRecord
from ood_fashion.evaluation.results import AccuracyResult, Metrics
from ood_fashion.evaluation.stats import SIGNIFICANCE, Interval, adjust, compare_paired
from ood_fashion.shifts.shift import TEST_SETS

ANGLES = tuple(str(shift) for shift in sweeps.rotations().shifts if shift.steps)
SUITE = tuple(str(shift) for shift in sweeps.corruptions().shifts if shift.steps)

MEASURES = {
    "in-domain": "in-domain",
    "worst": "worst of five",
    "every-angle": "every angle",
    "mce": "mCE",
    "mce-unseen": "mCE unseen",
    "ece": "ECE",
    "parameters": "parameters",
    "multiply-adds": "multiply-adds",
}
"""The measures of a leaderboard, and what tables call them."""

HIGHER_IS_BETTER = ("in-domain", "worst", "every-angle")
PAIRED = ("in-domain", "worst")
"""The accuracies under one shift, which a paired test compares."""


@dataclass(frozen=True)
class Entry:
    """What is known of a model.

    Attributes:
        model: what it is called.
        results: accuracies under shifts, or `Metrics`, on the first n test images each.
        parameters: how many it has.
        multiply_adds: how many it takes for an image.
        seen: the corruptions that its training images showed; None where that is not known.
        correct: which of the first n images it recognizes under a shift, where there are predictions.
        sources: the files that say so.
    """

    model: str
    results: tuple[AccuracyResult, ...]
    parameters: int | None = None
    multiply_adds: int | None = None
    seen: Collection[str] | None = None
    correct: Correct = field(default_factory=dict)
    sources: tuple[str, ...] = ()

    def merge(self, other: Entry) -> Entry:
        """Add what another entry of the same model has."""
        return replace(
            self,
            results=self.results + other.results,
            seen=other.seen if self.seen is None else self.seen,
            sources=tuple(dict.fromkeys(self.sources + other.sources)),
        )

    def under(self, shifts: Collection[str]) -> list[AccuracyResult]:
        """Return the results under all these shifts on as many images as there are; none where one is missing."""
        by_n: dict[int, dict[str, AccuracyResult]] = {}
        for one in self.results:
            by_n.setdefault(one.n, {})[one.shift] = one
        whole = [n for n, found in by_n.items() if found.keys() >= set(shifts)]
        return [by_n[max(whole)][shift] for shift in shifts] if whole else []


@dataclass(frozen=True)
class Measurement(JsonRecord):
    """A value, on n images with its 95% interval, and of a lowest accuracy the shift that has it."""

    value: float
    n: int | None = None
    ci95: Interval | None = None
    shift: str | None = None


@dataclass(frozen=True)
class LeaderboardRow(JsonRecord):
    """A model on a leaderboard.

    Attributes:
        place: from 1, by the measure that the rows are sorted by.
        model: what it is called.
        measures: by the keys of `MEASURES`; those that are not known are absent.
        same: the places of the models that it cannot be told apart from by that measure.
        seen: the corruptions that its training images showed; None where that is not known.
        sources: the files that say so.
    """

    place: int
    model: str
    measures: Mapping[str, Measurement]
    same: tuple[int, ...]
    seen: tuple[str, ...] | None
    sources: tuple[str, ...]


def measure(entry: Entry) -> dict[str, Measurement]:
    """Return what can be said of a model, by the keys of `MEASURES`.

    The interval of one accuracy is Wilson's. That of a mean over shifts, and of mCE, is between the means of the lower
    and of the upper ends: the same images are under all shifts, so it holds however they hang together, and is wider
    than it need be; the errors of the reference are taken as exact. That of the calibration error takes the bins, and
    on which side of its confidence each one's accuracy is, as they are: with n_b images and the accuracy a_b in a bin,
    its variance is sum_b (n_b / n)^2 a_b (1 - a_b) / n_b.
    """
    found = {}
    if in_domain := entry.under(["none"]):
        found["in-domain"] = _mean(in_domain)
    if five := entry.under(TEST_SETS):
        worst = min(five, key=lambda one: one.accuracy)
        found["worst"] = replace(_mean([worst]), shift=worst.shift)
    if angles := entry.under(ANGLES):
        found["every-angle"] = _mean(angles)
    if suite := entry.under(SUITE):
        found["mce"] = _mce(suite)
        if entry.seen is not None:
            found["mce-unseen"] = _mce(suite, entry.seen)
    if full := [one for one in entry.results if isinstance(one, Metrics) and one.shift == "none"]:
        found["ece"] = _calibration_error(max(full, key=lambda one: one.n))
    for name, count in (("parameters", entry.parameters), ("multiply-adds", entry.multiply_adds)):
        if count is not None:
            found[name] = Measurement(count)
    return found


def _mean(results: Sequence[AccuracyResult]) -> Measurement:
    low, high = (fmean(one.ci95[end] for one in results) for end in (0, 1))
    return Measurement(fmean(one.accuracy for one in results), results[0].n, (low, high))


def _mce(results: Sequence[AccuracyResult], seen: Collection[str] = ()) -> Measurement:
    def mean(accuracies: Iterable[float]) -> float:
        by_shift = {one.shift: accuracy for one, accuracy in zip(results, accuracies, strict=True)}
        errors = corruption_errors(by_shift, baseline.reference())
        return fmean(error for family, error in errors.items() if family not in seen)

    low, high = (mean(one.ci95[end] for one in results) for end in (1, 0))
    return Measurement(mean(one.accuracy for one in results), results[0].n, (low, high))


def _calibration_error(result: Metrics) -> Measurement:
    variance = sum(one.n * one.accuracy * (1 - one.accuracy) for one in result.bins) / result.n**2
    half = 1.96 * math.sqrt(variance)
    return Measurement(result.ece, result.n, (max(0.0, result.ece - half), min(1.0, result.ece + half)))


def rank(entries: Iterable[Entry], sort: str) -> list[LeaderboardRow]:
    """Sort models by a measure, the best first and those without it last, and mark those that it does not tell apart.

    Accuracies in-domain and the worst of five are told apart by the exact McNemar test where both models' predictions
    are there for the same images, with p adjusted by Holm's method for all of these pairs; other measures, and other
    pairs, where their intervals do not overlap.
    """
    measured = [(entry, measure(entry)) for entry in sorted(entries, key=lambda entry: entry.model)]
    sign = -1 if sort in HIGHER_IS_BETTER else 1
    measured.sort(key=lambda one: sign * one[1][sort].value if sort in one[1] else math.inf)
    known = [(entry, found[sort]) for entry, found in measured if sort in found]
    same: dict[int, list[int]] = {}
    for a, b in _not_told_apart(known, sort):
        same.setdefault(a, []).append(b + 1)
        same.setdefault(b, []).append(a + 1)
    return [
        LeaderboardRow(
            i + 1,
            entry.model,
            found,
            tuple(sorted(same.get(i, []))),
            None if entry.seen is None else tuple(entry.seen),
            entry.sources,
        )
        for i, (entry, found) in enumerate(measured)
    ]


def _not_told_apart(known: Sequence[tuple[Entry, Measurement]], sort: str) -> list[tuple[int, int]]:
    found, pairs, tests = [], [], []
    for (a, (entry_a, of_a)), (b, (entry_b, of_b)) in combinations(enumerate(known), 2):
        sides = [
            entry.correct.get(of.shift or "none") if sort in PAIRED else None
            for entry, of in ((entry_a, of_a), (entry_b, of_b))
        ]
        if sides[0] is not None and sides[1] is not None and len(sides[0]) == len(sides[1]) == of_a.n == of_b.n:
            pairs.append((a, b))
            tests.append(compare_paired(sides[0], sides[1]))
        elif of_a.ci95 and of_b.ci95:
            if max(of_a.ci95[0], of_b.ci95[0]) <= min(of_a.ci95[1], of_b.ci95[1]):
                found.append((a, b))
        elif of_a.value == of_b.value:
            found.append((a, b))
    adjusted = [test.p_holm or 0.0 for test in adjust(tests)]
    return found + [pair for pair, p in zip(pairs, adjusted, strict=True) if p >= SIGNIFICANCE]
