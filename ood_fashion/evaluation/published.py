"""Models on a folder of published corrupted sets, such as MNIST-C: a set of test images for each corruption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ood_fashion.evaluation.records import JsonRecord
from ood_fashion.evaluation.results import AccuracyResult
from ood_fashion.evaluation.stats import Interval

IDENTITIES = ("identity", "none")
"""What MNIST-C, and an export of this package, call the set that is as it was."""


@dataclass(frozen=True)
class PublishedPoint(JsonRecord):
    """A model's accuracy on the set of a corruption: `correct` of `n` images, with its 95% Wilson interval."""

    model: str
    corruption: str
    accuracy: float
    correct: int
    n: int
    ci95: Interval


@dataclass(frozen=True)
class PublishedSummary(JsonRecord):
    """A model over all corruptions but the identity.

    `mce` is the mean, over the corruptions under which the reference makes errors, of the model's error as a multiple
    of the reference's (D. Hendrycks and T. Dietterich, ICLR 2019; N. Mu and J. Gilmer, MNIST-C, 2019, section 4); None
    where there are none.
    """

    model: str
    mean: float
    worst_corruption: str
    worst: float
    mce: float | None
    mce_corruptions: int
    in_domain: float | None = None


def to_points(results: Mapping[str, Mapping[str, AccuracyResult]]) -> list[PublishedPoint]:
    """List the accuracies, by model and corruption, as points."""
    return [
        PublishedPoint(model, name, one.accuracy, one.correct, one.n, one.ci95)
        for model, by_corruption in results.items()
        for name, one in by_corruption.items()
    ]


def summarize(points: Sequence[PublishedPoint], reference: str) -> list[PublishedSummary]:
    """Summarize each model over the corruptions, with the errors of the reference, one of the models, as units."""
    accuracies: dict[str, dict[str, float]] = {}
    for point in points:
        accuracies.setdefault(point.model, {})[point.corruption] = point.accuracy
    summaries = []
    for model, found in accuracies.items():
        shifted = {name: value for name, value in found.items() if name not in IDENTITIES} or found
        units = {name: 1 - accuracies[reference][name] for name in shifted if accuracies[reference][name] < 1}
        worst = min(shifted, key=lambda name: shifted[name])
        summaries.append(
            PublishedSummary(
                model,
                mean=fmean(shifted.values()),
                worst_corruption=worst,
                worst=shifted[worst],
                mce=fmean((1 - found[name]) / unit for name, unit in units.items()) if units else None,
                mce_corruptions=len(units),
                in_domain=next((found[name] for name in IDENTITIES if name in found), None),
            )
        )
    return summaries
