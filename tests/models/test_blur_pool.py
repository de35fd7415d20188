from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy import ndimage

from ood_fashion.models.blur_pool import MaxBlurPooling2D
from ood_fashion.models.build import build_model
from ood_fashion.models.layer_specs import BatchNorm, Conv2D, GlobalAveragePool2D, MaxBlurPool2D, ZeroPad2D
from ood_fashion.models.specs import MODELS, ModelSpec


@pytest.mark.parametrize(("pool_size", "shape"), [(2, (2, 9, 12, 3)), (3, (1, 11, 8, 2)), (2, (1, 4, 4, 1))])
def test_it_is_a_maximum_a_blur_and_a_choice(pool_size: int, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    # SciPy centres its windows; what it makes of values outside the map is cut off.
    before = pool_size // 2
    dense = ndimage.maximum_filter(x, (1, pool_size, pool_size, 1))
    dense = dense[:, before : before + shape[1] - pool_size + 1, before : before + shape[2] - pool_size + 1]
    for axis in (1, 2):
        dense = ndimage.correlate1d(dense, [0.25, 0.5, 0.25], axis)
    expected = dense[:, 1:-1:pool_size, 1:-1:pool_size]
    layer = MaxBlurPooling2D(pool_size)
    np.testing.assert_allclose(layer(x), expected, atol=1e-6)
    assert layer.compute_output_shape(x.shape) == expected.shape
    again = MaxBlurPooling2D.from_config(layer.get_config())
    np.testing.assert_array_equal(again(x), layer(x))


def test_a_moved_picture_changes_less_than_after_max_pooling() -> None:
    noise = np.random.default_rng(0).random((20, 40, 40, 1), np.float32)

    def change(layer: keras.layers.Layer, distance: int) -> float:
        inner, moved = noise[:, 2:34, 2:34], noise[:, 2 + distance : 34 + distance, 2:34]
        means = (keras.ops.mean(layer(x), axis=(1, 2)) for x in (inner, moved))
        first, second = (np.asarray(mean) for mean in means)
        return float(np.abs(first - second).mean())

    assert change(MaxBlurPooling2D(2), 1) < change(keras.layers.MaxPooling2D(2), 1)


def test_global_pooling_is_exact_for_content_that_stays_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each output sees 12 pixels, so 11 around the image give it all of the content's surroundings; the stride is 2."""
    layers = (ZeroPad2D(11), Conv2D(4, 5), BatchNorm(), MaxBlurPool2D(2), Conv2D(6, 3), GlobalAveragePool2D())
    monkeypatch.setitem(MODELS, "padded", ModelSpec("", layers))
    model = build_model("padded", seed=1)
    model.get_layer("batch_norm_3").set_weights([np.random.default_rng(2).random(4) + 0.5 for _ in range(4)])
    images = np.zeros((5, 28, 28, 1), np.float32)
    images[:, 4:24, 4:24] = np.random.default_rng(0).random((5, 20, 20, 1))
    logits = model(images).numpy()
    for move in ((4, 0), (0, -2), (4, 4), (-4, 2)):
        moved = model(np.roll(images, move, axis=(1, 2))).numpy()
        np.testing.assert_allclose(moved, logits, atol=1e-5 * np.abs(logits).max())
    assert not np.allclose(model(np.roll(images, 1, axis=1)).numpy(), logits, atol=1e-5 * np.abs(logits).max())
