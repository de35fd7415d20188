"""Predictions of a Keras model on shifted test sets, and their accuracy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ood_fashion.datasets import Dataset, Split
from ood_fashion.metrics import accuracy_record, fit_temperature, full_record, predictions, to_probabilities
from ood_fashion.nn.models import check_fit
from ood_fashion.nn.pipelines import shifted_batches
from ood_fashion.runs import Predictions
from ood_fashion.shifts import Shift


def score(model: keras.Model, dataset: Dataset, shift: Shift, split: Split | None = None) -> NDArray[np.float32]:
    """Score the classes for every image of the dataset's test set under a shift.

    Args:
        model: takes (n, height, width, 1), (n, height, width) or (n, height * width) in [0, 1]; gives logits or
            probabilities.
        dataset: whose test set to use.
        shift: what to do to the images.
        split: other images of the dataset to score.

    Returns:
        float32 (n, classes).

    Raises:
        ModelError: the model does not fit the data.
    """
    image_shape = check_fit(model, dataset.image_shape, dataset.num_classes)
    batches = shifted_batches(split or dataset.test, shift, image_shape=image_shape)
    scores: NDArray[np.float32] = model.predict(batches, verbose=0)
    return scores


def predict(model: keras.Model, dataset: Dataset, shift: Shift) -> Predictions:
    """Predict the class of every image of the dataset's test set under a shift, from `score`."""
    return predictions(score(model, dataset, shift))


def evaluate(model: keras.Model, dataset: Dataset, shifts: Iterable[Shift]) -> list[dict[str, Any]]:
    """Measure a model's accuracy on the dataset's test set under each shift.

    Args:
        model: as in `predict`; any scores whose largest is the predicted class will do.
        dataset: whose test set to use.
        shifts: what to do to the images, one after another.

    Returns:
        A `metrics.accuracy_record` per shift.

    Raises:
        ModelError: the model does not fit the data.
    """
    return [
        accuracy_record(str(shift), predict(model, dataset, shift).classes, dataset.test.labels) for shift in shifts
    ]


def evaluate_fully(
    model: keras.Model, dataset: Dataset, shifts: Iterable[Shift], validation: Split | None = None
) -> list[dict[str, Any]]:
    """Measure a model in every way under each shift.

    Args:
        model: as in `score`.
        dataset: whose test set to use.
        shifts: what to do to the images, one after another.
        validation: images to calibrate the model on, if it is to be.

    Returns:
        A `metrics.full_record` per shift; with `validation` also the temperature, and under `calibrated` the nll, brier
        and ece with it.

    Raises:
        ModelError: the model does not fit the data.
    """
    labels = dataset.test.labels
    unshifted = to_probabilities(score(model, dataset, Shift()))
    temperature = validation and fit_temperature(score(model, dataset, Shift(), validation), validation.labels)
    records = []
    for shift in shifts:
        scores = score(model, dataset, shift)
        record = full_record(str(shift), to_probabilities(scores), labels, unshifted)
        if temperature:
            calibrated = full_record(str(shift), to_probabilities(scores, temperature), labels)
            record["temperature"] = temperature
            record["calibrated"] = {name: calibrated[name] for name in ("nll", "brier", "ece")}
        records.append(record)
    return records
