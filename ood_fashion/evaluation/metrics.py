"""Metrics of predictions, and what standard models predict of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ood_fashion.errors import InvalidValueError
from ood_fashion.evaluation.results import AccuracyResult, CalibrationResult, ConfidenceBin, Metrics
from ood_fashion.evaluation.stats import Accuracy, wilson_interval
from ood_fashion.shifts.shift import Shift


def measure_accuracy(shift: str, classes: NDArray[np.integer[Any]], labels: NDArray[np.integer[Any]]) -> AccuracyResult:
    """Count the correct predictions, classes (n,) for labels (n,), under a shift in its text form."""
    return AccuracyResult(shift, **vars(Accuracy.of(classes == labels)))


def confusion_matrix(
    labels: NDArray[np.int64], classes: NDArray[np.integer[Any]], num_classes: int
) -> NDArray[np.int64]:
    """Count images by true class (rows) and predicted class (columns): int64 (num_classes, num_classes)."""
    counts = np.bincount(labels * num_classes + classes, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def confusion_rates(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide each row of a confusion matrix by its sum, (num_classes, num_classes); a class without images has NaN."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)


def confident_mistakes(
    labels: NDArray[np.int64], classes: NDArray[np.integer[Any]], confidences: NDArray[np.floating[Any]], most: int
) -> NDArray[np.intp]:
    """Return the positions of the wrong predictions with the highest confidences, `most` of them at most.

    The highest confidence comes first, and among equal ones the first image.
    """
    wrong = np.flatnonzero(classes != labels)
    return wrong[np.argsort(-confidences[wrong], kind="stable")][:most]


def are_scores(given: NDArray[Any]) -> NDArray[np.bool_]:
    """Say which rows (n, classes) have probabilities: no NaN, and a highest score that is finite.

    A class may have the score -infinity, and so the probability 0.
    """
    return np.asarray(np.isfinite(given.max(axis=1)))


def to_probabilities(logits: NDArray[np.floating[Any]], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the softmax of logits (n, classes), divided by a temperature: float64 (n, classes)."""
    from scipy import special

    return np.asarray(special.softmax(np.asarray(logits, np.float64) / temperature, axis=1))


def to_logits(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Return logarithms of probabilities (n, classes): logits of which `to_probabilities` makes these, divided by sums.

    What rounding has left below 0 counts as 0, or nearly. The largest of each image stays at its place.
    """
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), np.finfo(np.float64).tiny))
    # Two probabilities may have one logarithm. This much, 1e-14 of a probability, keeps the larger the larger.
    logits[np.arange(len(logits)), np.argmax(probabilities, axis=1)] += 1e-14
    return np.asarray(logits)


def fit_temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Find the temperature of least negative log-likelihood (C. Guo et al., ICML 2017, section 4.2).

    Of the logits of validation images, (n, classes), with these labels, (n,): from 0.01 to 100, above 1 where the
    classifier is too confident.
    """
    from scipy.optimize import minimize_scalar

    def nll(log_temperature: float) -> float:
        return negative_log_likelihood(to_probabilities(logits, math.exp(log_temperature)), labels)

    return math.exp(minimize_scalar(nll, bounds=(math.log(0.01), math.log(100)), method="bounded").x)


def negative_log_likelihood(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the labels' mean negative log-likelihood in nats; probabilities (n, classes) count as 1e-15 at least."""
    return float(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-15, 1)).mean())


def predictions(logits: NDArray[np.floating[Any]]) -> Predictions:
    """Return the class with the highest logit of each image, and its probability, from logits (n, classes)."""
    return Predictions(np.argmax(logits, axis=1), to_probabilities(logits).max(axis=1).astype(np.float32))


def measure(
    shift: str, probabilities: NDArray[np.float64], labels: NDArray[np.int64], unshifted: NDArray[np.float64]
) -> Metrics:
    """Measure probabilities (n, classes) under a shift in every way; `unshifted` are those without it."""
    classes, before = probabilities.argmax(axis=1), unshifted.argmax(axis=1)
    by_class, by_class_before = (
        confusion_rates(confusion_matrix(labels, given, probabilities.shape[1])).diagonal()
        for given in (classes, before)
    )
    flips = int(np.sum(classes != before))
    return Metrics(
        **vars(measure_accuracy(shift, classes, labels)),
        **vars(measure_calibration(probabilities, labels)),
        balanced_accuracy=float(np.nanmean(by_class)),
        class_accuracy=_without_nan(by_class),
        flip_rate=flips / len(labels),
        flip_ci95=wilson_interval(flips, len(labels)),
        class_change=_without_nan(by_class - by_class_before),
    )


def measure_calibration(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> CalibrationResult:
    """Measure how far probabilities (n, classes) of images with these labels (n,) can be believed."""
    correct, confidences = probabilities.argmax(axis=1) == labels, probabilities.max(axis=1)
    of_label = probabilities[np.arange(len(labels)), labels]
    return CalibrationResult(
        nll=negative_log_likelihood(probabilities, labels),
        brier=float(((probabilities**2).sum(axis=1) - 2 * of_label + 1).mean()),
        ece=calibration_error(confidences, correct),
        ece_equal_width=calibration_error(confidences, correct, equal_mass=False),
        bins=calibration_bins(confidences, correct),
    )


_BINS = 15


def calibration_bins(
    confidences: NDArray[np.floating[Any]], correct: NDArray[np.bool_], *, equal_mass: bool = True
) -> tuple[ConfidenceBin, ...]:
    """Group predictions by confidence, and compare the confidence with the accuracy in each group.

    The groups are of as many predictions, equally confident ones together, or else of equal width in (0, 1]; 15 at
    most, and none is empty.
    """
    if equal_mass:
        ranks = np.searchsorted(np.sort(confidences), confidences)  # equal ones have the same rank
        numbers = (ranks * _BINS // len(confidences)).astype(int)
    else:
        numbers = np.clip(np.ceil(confidences * _BINS) - 1, 0, _BINS - 1).astype(int)
    groups = [numbers == number for number in np.unique(numbers)]
    return tuple(ConfidenceBin(int(g.sum()), float(confidences[g].mean()), float(correct[g].mean())) for g in groups)


def calibration_error(
    confidences: NDArray[np.floating[Any]], correct: NDArray[np.bool_], *, equal_mass: bool = True
) -> float:
    """Return the expected calibration error: the mean |accuracy - confidence| of `calibration_bins`, weighted by n.

    M. P. Naeini, G. Cooper and M. Hauskrecht, AAAI 2015, with bins of equal width; with equal mass as in
    K. Nguyen and B. O'Connor, EMNLP 2015.
    """
    groups = calibration_bins(confidences, correct, equal_mass=equal_mass)
    return sum(group.n * abs(group.accuracy - group.confidence) for group in groups) / len(confidences)


def _without_nan(values: NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


_ROUNDING = 1e-9
"""Differences of accuracies that are less are no image's."""


def corruption_errors(
    accuracies: Mapping[str, float], reference: Mapping[str, float], *, relative: bool = False
) -> dict[str, float]:
    """Return each corruption's error, summed over its severities, as a multiple of a reference model's.

    D. Hendrycks and T. Dietterich, ICLR 2019, section 4: CE = sum_s E_s / sum_s E_s(reference), and relative,
    sum_s (E_s - E) / sum_s (E_s(reference) - E(reference)) with E the error on unshifted images. Their mean over
    corruptions is mCE, or relative mCE. A shift without severities stands for itself.

    Args:
        accuracies: the model's, by the text form of the shift; with `relative` one of them is "none".
        reference: the reference model's, for the same shifts at least.
        relative: measure the degradation instead of the error.

    Returns:
        The errors by `Shift.family`. A family in which the reference makes no error, or with `relative` loses no
        accuracy, has none and is left out.
    """
    ours, theirs = ({Shift.parse(shift): value for shift, value in of.items()} for of in (accuracies, reference))
    needed = dict.fromkeys([*ours, Shift()] if relative else ours)
    for name, of in (("accuracies", ours), ("reference", theirs)):
        if missing := sorted(str(shift) for shift in needed if shift not in of):
            raise InvalidValueError(f"{name}: expected accuracies for all shifts. Received: none for {missing}.")
    families: dict[str, list[Shift]] = {}
    for shift in ours:
        if shift.steps:
            families.setdefault(shift.family, []).append(shift)

    def total(of: Mapping[Shift, float], shifts: Iterable[Shift]) -> float:
        return math.fsum((of[Shift()] if relative else 1) - of[shift] for shift in shifts)

    errors = {family: (total(ours, shifts), total(theirs, shifts)) for family, shifts in sorted(families.items())}
    return {family: of_ours / of_theirs for family, (of_ours, of_theirs) in errors.items() if of_theirs > _ROUNDING}


def fit_baseline(in_domain: Sequence[float], shifted: Sequence[float], n: int) -> tuple[float, float]:
    """Fit what in-domain accuracy predicts of the accuracy under a shift: logit(shifted) = a logit(in_domain) + b.

    Least squares over two or more models that nothing was done for robustness for (R. Taori et al., NeurIPS 2020,
    section 2). With n test images, accuracies of 0 and 1 count as half an image more and less. Returns a and b.
    """
    x, y = (_logit(np.array(values), n) for values in (in_domain, shifted))
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(intercept)


def predicted_accuracy(in_domain: NDArray[np.floating[Any]] | float, fit: tuple[float, float], n: int) -> Any:
    """Return what `fit_baseline` predicts for in-domain accuracies on n images.

    An accuracy less this is the effective robustness of R. Taori et al.: rho = acc_shifted - beta(acc_in_domain).
    """
    from scipy import special

    slope, intercept = fit
    return special.expit(slope * _logit(np.asarray(in_domain), n) + intercept)


def _logit(accuracies: NDArray[np.floating[Any]], n: int) -> NDArray[np.float64]:
    from scipy import special

    return np.asarray(special.logit(np.clip(accuracies, 0.5 / n, 1 - 0.5 / n)))


def worst_of_random(correct: NDArray[np.bool_], count: int, seed: int) -> NDArray[np.bool_]:
    """Say which images are right under each of `count` shifts, drawn anew for every image, with replacement.

    The worst of 10 random choices is an attack of Engstrom et al., ICML 2019.
    """
    shifts, n = correct.shape
    drawn = np.random.default_rng(seed).integers(0, shifts, (count, n))
    return np.asarray(np.take_along_axis(correct, drawn, axis=0).all(axis=0))


class Predictions(NamedTuple):
    """What a model says of a test set."""

    classes: NDArray[np.int64]
    """The predicted class of each image, (n,)."""
    confidences: NDArray[np.float32]
    """The probability that the model gives it, (n,)."""
