"""Predictions of a Keras model on shifted test sets, and their accuracy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from ood_fashion.datasets import Dataset
from ood_fashion.metrics import accuracy_record, predictions
from ood_fashion.nn.models import check_fit
from ood_fashion.nn.pipelines import shifted_batches
from ood_fashion.runs import Predictions
from ood_fashion.shifts import Shift


def predict(model: keras.Model, dataset: Dataset, shift: Shift) -> Predictions:
    """Predict the class of every image of the dataset's test set under a shift.

    Args:
        model: takes (n, height, width, 1), (n, height, width) or (n, height * width) in [0, 1]; gives logits or
            probabilities.
        dataset: whose test set to use.
        shift: what to do to the images.

    Raises:
        ModelError: the model does not fit the data.
    """
    image_shape = check_fit(model, dataset.image_shape, dataset.num_classes)
    return predictions(model.predict(shifted_batches(dataset.test, shift, image_shape=image_shape), verbose=0))


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
