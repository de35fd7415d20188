from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ood_fashion.data.dataset import Dataset
from ood_fashion.models.photometric import PhotometricNormalization


def reference(image: np.ndarray, quantile: float, epsilon: float) -> Any:
    """One image, (height, width), by NumPy's quantiles."""
    edge = np.ones(image.shape, bool)
    edge[1:-1, 1:-1] = False
    differences = image - np.quantile(image[edge], 0.5, method="inverted_cdf")
    return differences / (np.quantile(np.abs(differences), quantile, method="inverted_cdf") + epsilon)


@pytest.mark.parametrize("shape", [(28, 28), (5, 9)])
def test_it_equals_its_formula(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, *shape, 2)).astype(np.float32) / 255
    layer = PhotometricNormalization(quantile=0.9)
    received = np.asarray(layer(images))
    pairs = zip(*(np.moveaxis(maps, 3, 1).reshape(-1, *shape) for maps in (images, received)), strict=True)
    for image, values in pairs:
        np.testing.assert_allclose(values, reference(image, 0.9, 0.01), atol=2e-3)
    again = PhotometricNormalization.from_config(layer.get_config())
    np.testing.assert_array_equal(again(images), received)
    assert layer.compute_output_shape(images.shape) == received.shape


def test_it_takes_out_brightness_and_contrast(fashion: Dataset) -> None:
    images = fashion.test.images[:100, ..., np.newaxis] / np.float32(255)
    layer = PhotometricNormalization(epsilon=0.0)
    expected = np.asarray(layer(images))
    assert np.abs(expected).max() < 4
    for factor, added in ((0.5, 0.5), (0.3, 0.1), (1.0, 0.0)):
        np.testing.assert_allclose(layer(factor * images + added), expected, atol=0.01)
    np.testing.assert_array_equal(layer(images[:, ::-1]), expected[:, ::-1])
    np.testing.assert_array_equal(layer(np.rot90(images, 1, (1, 2))), np.rot90(expected, 1, (1, 2)))


def test_an_image_of_one_grey_level_is_zero() -> None:
    images = np.full((3, 6, 6, 1), 0.7, np.float32)
    np.testing.assert_allclose(PhotometricNormalization()(images), 0, atol=0.03)
