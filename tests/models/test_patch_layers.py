from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from ood_fashion.models import patch_layers


def outputs_and_gradients(layer: keras.layers.Layer, inputs: np.ndarray, patches: bool) -> list[np.ndarray]:
    """The outputs, and the gradients of a weighted sum of them with respect to the inputs and the weights."""

    def compute(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            weights = tf.reshape(tf.cos(tf.range(tf.size(y), dtype=tf.float32)), tf.shape(y))
            loss = tf.reduce_sum(y * weights)
        return [y, *tape.gradient(loss, [x, *layer.trainable_weights])]

    if not layer.built:
        layer.build(inputs.shape)
    run = tf.function(compute, jit_compile=patches, autograph=False, reduce_retracing=False)
    if not patches:
        return [tensor.numpy() for tensor in run(tf.constant(inputs))]
    with patch_layers.patch_kernels():
        return [tensor.numpy() for tensor in run(tf.constant(inputs))]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (patch_layers.Conv2D(4, 7), (2, 28, 28, 1)),
        (patch_layers.Conv2D(5, (2, 3), activation="relu"), (3, 6, 7, 2)),
        (patch_layers.Conv2D(3, 1), (1, 4, 4, 8)),
        (patch_layers.Conv2D(2, 4, use_bias=False), (2, 4, 4, 1)),
        (patch_layers.Conv2D(2, 3, strides=2), (2, 9, 9, 2)),  # not by patches
        (patch_layers.Conv2D(2, 3, padding="same"), (2, 5, 5, 2)),
        (patch_layers.Conv2D(3, (2, 4), padding="same", activation="relu"), (2, 6, 5, 2)),
        (patch_layers.MaxPooling2D(2), (2, 6, 8, 3)),
        (patch_layers.MaxPooling2D(2), (2, 11, 5, 3)),
        (patch_layers.MaxPooling2D(3), (1, 10, 9, 2)),
        (patch_layers.MaxPooling2D(3, strides=2), (1, 9, 9, 2)),
        (patch_layers.AveragePooling2D(2), (2, 7, 8, 3)),
        (patch_layers.AveragePooling2D(3, strides=2), (1, 9, 9, 2)),
    ],
)
def test_both_kernels_agree(layer: keras.layers.Layer, shape: tuple[int, ...]) -> None:
    inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for received, expected in zip(
        outputs_and_gradients(layer, inputs, patches=True),
        outputs_and_gradients(layer, inputs, patches=False),
        strict=True,
    ):
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [-1.0, -0.3])
def test_a_convolution_and_its_pooling_agree_together(bias: float) -> None:
    """ReLU follows the pooling; in some windows nothing is above 0."""
    kernel, constant = keras.initializers.GlorotUniform(seed=1), keras.initializers.Constant(bias)
    convolution = patch_layers.Conv2D(4, 3, activation="relu", kernel_initializer=kernel, bias_initializer=constant)
    layers = keras.Sequential([keras.Input((10, 8, 2)), convolution, patch_layers.MaxPooling2D(2)])
    inputs = np.random.default_rng(0).normal(size=(3, 10, 8, 2)).astype(np.float32)
    both = [outputs_and_gradients(layers, inputs, patches) for patches in (True, False)]
    assert 0 < np.count_nonzero(both[0][0]) < both[0][0].size
    for received, expected in zip(*both, strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)


def test_the_first_of_equal_maxima_takes_the_gradient() -> None:
    """Equal values are common: the background's activations are all the same."""
    inputs = np.ones((1, 4, 4, 1), np.float32)
    for patches in (True, False):
        _, gradient = outputs_and_gradients(patch_layers.MaxPooling2D(2), inputs, patches)
        assert (gradient[0, :, :, 0] != 0).tolist() == [[True, False] * 2, [False] * 4] * 2


def test_the_patches_are_used() -> None:
    layer = patch_layers.Conv2D(2, 3)
    layer.build((None, 8, 8, 1))
    trace = tf.function(layer.call, autograph=False).get_concrete_function
    spec = tf.TensorSpec((1, 8, 8, 1))
    assert "Conv2D" in {node.type for node in trace(spec).graph.get_operations()}
    with patch_layers.patch_kernels():
        graph = tf.function(layer.call, autograph=False).get_concrete_function(spec).graph
    assert "Conv2D" not in {node.type for node in graph.get_operations()}


def test_configuration_is_the_stock_layers() -> None:
    stock = keras.layers.Conv2D(3, 2, activation="relu", name="c")
    twin = patch_layers.with_patch_kernels(stock)
    assert type(twin) is patch_layers.Conv2D
    assert twin.get_config() == stock.get_config()
    assert type(patch_layers.with_patch_kernels(keras.layers.Flatten())) is keras.layers.Flatten
