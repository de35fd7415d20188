"""Accuracy of a Keras model on shifted test sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from ood_fashion.datasets import Dataset
from ood_fashion.nn.models import check_fit
from ood_fashion.nn.pipelines import shifted_batches
from ood_fashion.records import accuracy
from ood_fashion.shifts import Shift


def evaluate(model: keras.Model, dataset: Dataset, shifts: Iterable[Shift]) -> list[dict[str, Any]]:
    """Measure a model's accuracy on the dataset's test set under each shift.

    Args:
        model: takes (n, height, width, 1), (n, height, width) or (n, height * width) in [0, 1]; scores the classes.
        dataset: whose test set to use.
        shifts: what to do to the images, one after another.

    Returns:
        A record per shift: its text form, accuracy, number of correct predictions, n, and the 95% Wilson interval.

    Raises:
        ModelError: the model does not fit the data.
    """
    image_shape = check_fit(model, dataset.image_shape, dataset.num_classes)
    records = []
    for shift in shifts:
        scores = model.predict(shifted_batches(dataset.test, shift, image_shape=image_shape), verbose=0)
        correct = int(np.sum(np.argmax(scores, axis=1) == dataset.test.labels))
        records.append({"shift": str(shift), **accuracy(correct, len(dataset.test))})
    return records
