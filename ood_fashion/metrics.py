"""What predictions are worth, as records and arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.statistics import wilson_interval


def accuracy_record(shift: str, classes: NDArray[np.integer[Any]], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Count the correct predictions under a shift.

    Args:
        shift: the shift's text form.
        classes: the predicted class of each image, (n,).
        labels: the true ones, (n,).

    Returns:
        The shift, accuracy, number of correct predictions, n, and the accuracy's 95% Wilson interval.
    """
    correct, n = int(np.sum(classes == labels)), len(labels)
    return {
        "shift": shift,
        "accuracy": correct / n,
        "correct": correct,
        "n": n,
        "ci95": list(wilson_interval(correct, n)),
    }


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
    """Find the wrong predictions with the highest confidences.

    Args:
        labels: the true classes, (n,).
        classes: the predicted ones, (n,).
        confidences: in the predicted classes, (n,).
        most: how many to give at most.

    Returns:
        The positions of the images, the highest confidence first, and among equal ones the first image.
    """
    wrong = np.flatnonzero(classes != labels)
    return wrong[np.argsort(-confidences[wrong], kind="stable")][:most]
