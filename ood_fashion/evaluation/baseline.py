"""Reference accuracies of standard models under shifts, for the mCE and for effective robustness.

`scripts/baseline.py` has measured baseline.csv: the assignment's models, trained as it trains them, on 10,000 images
and on fewer, so that their in-domain accuracies differ.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.data.dataset import GENUINE_SHA256, Split
from ood_fashion.evaluation.metrics import fit_baseline, predicted_accuracy
from ood_fashion.images import sha256_of

PATH = Path(__file__).with_name("baseline.csv")

N = 10_000
"""Test images, of each accuracy."""

REFERENCE = "the assignment's MLP"
"""Whose errors make an mCE of 1: the mean of five trainings."""


def applies(test: Split) -> bool:
    """Whether a test set is the one that was measured, image by image."""
    measured: dict[str, NDArray[Any]] = {"test images": test.images, "test labels": test.labels}
    return (
        len(test) == N
        and test.images.dtype == np.uint8
        and all(sha256_of(array) == GENUINE_SHA256[part] for part, array in measured.items())
    )


@cache
def accuracies() -> dict[str, dict[str, float]]:
    """Return the accuracy of each model, such as "cnn3-2000-s1" (images, seed), by the text forms of the shifts."""
    with PATH.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: {row["shift"]: float(row[name]) for row in rows if row[name]} for name in rows[0] if name != "shift"}


@cache
def reference() -> dict[str, float]:
    """Return `REFERENCE`'s accuracies by the text forms of the shifts."""
    mlps = [by_shift for name, by_shift in accuracies().items() if name.startswith("mlp-10000-")]
    return {shift: fmean(by_shift[shift] for by_shift in mlps) for shift in mlps[0]}


def points(shift: str) -> dict[str, tuple[float, float]]:
    """Return each standard model's accuracy in-domain and under a shift: of one training a model and training set."""
    return {
        name: (by_shift["none"], by_shift[shift])
        for name, by_shift in accuracies().items()
        if name.endswith("-s1") and shift in by_shift
    }


@cache
def fit(shift: str) -> tuple[float, float] | None:
    """Return `metrics.fit_baseline` of `points`; None where not all models were measured, and in-domain."""
    measured = points(shift).values()
    if shift == "none" or len(measured) < len(points("none")):
        return None
    in_domain, shifted = zip(*measured, strict=True)
    return fit_baseline(in_domain, shifted, N)


def predict(shift: str, in_domain: NDArray[np.floating[Any]] | float) -> Any:
    """Return what standard models with these accuracies in-domain have under a shift that has a `fit`."""
    found = fit(shift)
    assert found is not None
    return predicted_accuracy(in_domain, found, N)


@cache
def spread(shift: str) -> float:
    """Return the standard deviation of standard models from what `predict` says of them under a shift."""
    distances = [accuracy - predict(shift, in_domain) for in_domain, accuracy in points(shift).values()]
    return math.sqrt(sum(distance**2 for distance in distances) / (len(distances) - 2))  # two parameters are fitted


def mean_points(shifts: Sequence[str]) -> list[tuple[float, float]]:
    """Return each standard model's accuracy in-domain, and its mean accuracy under shifts that have a `fit`."""
    by_shift = [points(shift).values() for shift in shifts]
    return [(pairs[0][0], fmean(shifted for _, shifted in pairs)) for pairs in zip(*by_shift, strict=True)]


def effective_robustness(shift: str, accuracy: float, in_domain: float) -> dict[str, Any]:
    """Return the fields of `Metrics` that hold a model against standard ones: none where the shift has no `fit`.

    Both accuracies are on a test set that the baseline `applies` to, `in_domain` on the images as they are.
    """
    if fit(shift) is None:
        return {}
    return {
        "effective_robustness": accuracy - float(predict(shift, in_domain)),
        "effective_robustness_sd": spread(shift),
    }
