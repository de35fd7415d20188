from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.evaluation.pipelines import shifted_batches
from ood_fashion.shifts.shift import SHIFTS, Shift
from ood_fashion.training.batches import training_batches

CORRUPTED = ["gaussian_noise:3", "up4+fog:2,9", "rotate:30+elastic:1+rotate90", "erase:3+jpeg:2+translate:0,3"]
EXACT = [*SHIFTS, "translate:3,-7", "translate:0,27", "translate:-1e300,0", "up4+rotate90+translate:2,2", *CORRUPTED]
INTERPOLATED = [
    "translate:0.5,0",
    "translate:-2.25,3.7",
    "rotate:1",
    "rotate:45",
    "rotate:-100",
    "rotate:30+translate:1,0.5",
    "shear:2",
    "scale:3+shear:1",
    "glass_blur:1+rotate:10",
]


def images_of(batches: tf.data.Dataset) -> np.ndarray:
    return np.concatenate([images.numpy() for images, _ in batches])


@pytest.mark.parametrize("text", EXACT)
def test_whole_pixels_and_quarter_turns_equal_the_reference_bit_for_bit(fashion: Dataset, text: str) -> None:
    split = Split(fashion.test.images[:300], fashion.test.labels[:300])
    shift = Shift.parse(text)
    received = images_of(shifted_batches(split, shift, batch_size=128))
    assert received.dtype == np.float32
    np.testing.assert_array_equal(received[..., 0], shift.apply(split.images))


@pytest.mark.parametrize("text", INTERPOLATED)
def test_the_rest_equals_the_reference_closely(fashion: Dataset, text: str) -> None:
    split = Split(fashion.test.images[:300], fashion.test.labels[:300])
    shift = Shift.parse(text)
    np.testing.assert_allclose(images_of(shifted_batches(split, shift))[..., 0], shift.apply(split.images), atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(0, 360), st.integers(1, 6), st.integers(1, 6))
def test_any_shift_of_any_size_equals_the_reference(
    dx: float, dy: float, angle: float, height: int, width: int
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, height, width), np.uint8)
    shift = Shift.parse(f"translate:{dx:f},{dy:f}+rotate:{angle:f}")
    received = images_of(shifted_batches(Split(images, np.zeros(2, np.int64)), shift))
    np.testing.assert_allclose(received[..., 0], shift.apply(images), atol=1e-5)


@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28), (784,)])
def test_images_come_in_the_shape_and_order_asked_for(small_fashion: Dataset, shape: tuple[int, ...]) -> None:
    batches = list(shifted_batches(small_fashion.test, image_shape=shape, batch_size=150))
    assert [images.shape for images, _ in batches] == [(150, *shape), (50, *shape)]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), small_fashion.test.labels)


def numbered(n: int) -> Split:
    """Images whose first pixel and label are their number."""
    images = np.zeros((n, 2, 2), np.uint8)
    images[:, 0, 0] = np.arange(n)
    return Split(images, np.arange(n))


def labels_of(batches: tf.data.Dataset) -> list[list[int]]:
    return [labels.numpy().tolist() for _, labels in batches]


def test_an_epoch_has_every_image_once_and_a_smaller_last_batch() -> None:
    batches = list(training_batches(numbered(23), 5, seed=0, epochs=range(1)))
    assert [images.shape for images, _ in batches] == [(5, 2, 2, 1)] * 4 + [(3, 2, 2, 1)]
    labels = np.concatenate([labels for _, labels in batches])
    assert sorted(labels) == list(range(23))
    pixels = np.concatenate([images[:, 0, 0, 0] for images, _ in batches])
    np.testing.assert_array_equal(pixels, labels.astype(np.float32) / np.float32(255))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    orders = {
        (seed, epoch): labels_of(training_batches(numbered(23), 5, seed=seed, epochs=range(epoch, epoch + 1)))
        for seed in (0, 1)
        for epoch in (0, 1, 2)
    }
    assert len({str(order) for order in orders.values()}) == 6
    for seed in (0, 1):
        in_one_go = labels_of(training_batches(numbered(23), 5, seed=seed, epochs=range(3)))
        assert in_one_go == orders[seed, 0] + orders[seed, 1] + orders[seed, 2]


def test_a_batch_may_be_larger_than_the_set() -> None:
    assert [len(batch) for batch in labels_of(training_batches(numbered(3), 5000, seed=0, epochs=range(2)))] == [3, 3]
