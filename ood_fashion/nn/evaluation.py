"""Accuracy of Keras models on shifted test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ood_fashion.datasets import Dataset, Split
from ood_fashion.nn.models import check_fit
from ood_fashion.nn.pipelines import EVALUATION_BATCH_SIZE, shift_beforehand, shift_within
from ood_fashion.shifts import Shift
from ood_fashion.statistics import accuracy_record


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
    measure = hit_counter([model], dataset, dataset.test)
    return [{"shift": str(shift), **accuracy_record(measure(shift)[0])} for shift in shifts]


def hit_counter(models: Sequence[keras.Model], dataset: Dataset, split: Split) -> Callable[[Shift], NDArray[np.bool_]]:
    """Prepare to measure models under many shifts, of the same images.

    Each shift's images are made once for all models, batch by batch in a compiled function that is traced once for all
    shifts of a kind.

    Args:
        models: as for `evaluate`.
        dataset: tells the shape of the images and the number of classes.
        split: the images to shift, and their labels.

    Returns:
        A function from a shift to whether each model is right about each image, bool (models, n).

    Raises:
        ModelError: a model does not fit the data.
    """
    shapes = [check_fit(model, dataset.image_shape, dataset.num_classes) for model in models]
    labels = tf.constant(split.labels)

    @tf.function  # type: ignore[untyped-decorator] # TensorFlow gives it no types
    def hits(images: tf.Tensor, expected: tf.Tensor, taps: Any) -> tf.Tensor:
        right = []
        for model, shape in zip(models, shapes, strict=True):
            scores = model(shift_within(images, taps, shape), training=False)
            right.append(tf.equal(tf.argmax(scores, axis=1), expected))
        return tf.stack(right)

    def measure(shift: Shift) -> NDArray[np.bool_]:
        pixels, taps = shift_beforehand(split.images, shift)
        images, tensors = tf.constant(pixels), [tuple(map(tf.constant, pair)) for pair in taps]
        starts = range(0, len(split), EVALUATION_BATCH_SIZE)
        batches = (slice(start, start + EVALUATION_BATCH_SIZE) for start in starts)
        return np.concatenate([hits(images[batch], labels[batch], tensors) for batch in batches], axis=1)

    return measure
