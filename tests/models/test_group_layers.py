from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import signal

from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import InvalidValueError
from ood_fashion.models import layer_specs
from ood_fashion.models.build import build_model, compare_with_spec
from ood_fashion.models.group_layers import GroupBatchNormalization, GroupConv2D, GroupMaxPooling, LiftingConv2D
from ood_fashion.models.layer_specs import group_order
from ood_fashion.models.specs import MODELS, ModelSpec
from ood_fashion.runs.model_files import load_model

CHANNELS = 3


def elements(reflections: bool) -> list[tuple[int, int]]:
    return [(mirrored, turns) for mirrored in range(1 + reflections) for turns in range(4)]


def act(element: tuple[int, int], images: np.ndarray, axes: tuple[int, int] = (1, 2)) -> np.ndarray:
    """T_g: mirror, then turn."""
    mirrored, turns = element
    return np.rot90(np.flip(images, axes[1]) if mirrored else images, turns, axes)


def act_on_group_map(element: tuple[int, int], maps: np.ndarray, reflections: bool) -> np.ndarray:
    """(L_g F)[h] = T_g F[g^-1 h], with g^-1 h found by trying which k gives g k = h on an image without symmetry."""
    probe = np.arange(9).reshape(1, 3, 3)
    group = elements(reflections)
    parts = np.split(maps, len(group), axis=-1)
    moved = []
    for h in group:
        (k,) = (
            i for i, candidate in enumerate(group) if np.array_equal(act(element, act(candidate, probe)), act(h, probe))
        )
        moved.append(act(element, parts[k]))
    return np.concatenate(moved, axis=-1)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def randomize(layer: Any) -> None:
    """Give every weight a random value, variances a positive one."""
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        noise = rng.normal(size=weight.shape)
        weight.assign(np.abs(noise) + 0.5 if "variance" in weight.path else noise * 0.2)


def group_map(reflections: bool, size: int) -> np.ndarray:
    return random(2, size, size, group_order(reflections) * CHANNELS)


ON_THE_GROUP: list[tuple[Callable[[bool], keras.layers.Layer], int, bool]] = [
    (lambda r: GroupConv2D(4, 2, r, activation="relu", bias_initializer="random_normal"), 6, True),
    (lambda r: GroupConv2D(4, 3, r, use_bias=False), 5, True),
    (lambda r: GroupConv2D(4, 3, r, strides=2), 7, True),
    (lambda r: GroupConv2D(4, 3, r, padding="same"), 6, True),
    (lambda r: GroupConv2D(4, 3, r, strides=2, padding="same"), 7, True),
    (lambda r: GroupConv2D(4, 2, r, dilation_rate=2), 7, True),
    (lambda r: GroupBatchNormalization(r), 4, True),
    (lambda r: keras.layers.MaxPooling2D(2), 6, True),
    (lambda r: GroupMaxPooling(r), 5, False),
]


@pytest.mark.parametrize("reflections", [False, True])
@pytest.mark.parametrize(("make", "size", "stays_on_the_group"), ON_THE_GROUP)
def test_layers_on_the_group_are_equivariant(
    make: Callable[[bool], keras.layers.Layer], size: int, stays_on_the_group: bool, reflections: bool
) -> None:
    layer, maps = make(reflections), group_map(reflections, size)
    outputs = layer(maps).numpy()
    randomize(layer)
    outputs = layer(maps).numpy()
    for g in elements(reflections):
        expected = act_on_group_map(g, outputs, reflections) if stays_on_the_group else act(g, outputs)
        received = layer(act_on_group_map(g, maps, reflections)).numpy()
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("reflections", [False, True])
@pytest.mark.parametrize("kernel_size", [2, 3])
def test_lifting_is_equivariant(kernel_size: int, reflections: bool) -> None:
    layer, images = LiftingConv2D(4, kernel_size, reflections), random(2, 6, 6, 2)
    outputs = layer(images).numpy()
    randomize(layer)
    outputs = layer(images).numpy()
    assert outputs.shape == layer.compute_output_shape(images.shape)
    for g in elements(reflections):
        expected = act_on_group_map(g, outputs, reflections)
        np.testing.assert_allclose(layer(act(g, images)).numpy(), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("reflections", [False, True])
def test_convolutions_equal_a_loop_over_the_group(reflections: bool) -> None:
    """Equations 10 and 11 of the paper as written, one correlation of two matrices at a time, by SciPy."""
    order, filters, size = group_order(reflections), 2, 3
    images = random(1, 5, 5, CHANNELS)
    lifting = LiftingConv2D(filters, size, reflections, use_bias=False)
    lifted = lifting(images).numpy()
    kernel = lifting.get_weights()[0]
    for i, g in enumerate(elements(reflections)):
        turned = act(g, kernel, (0, 1))
        for f in range(filters):
            channels = (signal.correlate2d(images[0, ..., c], turned[..., c, f], "valid") for c in range(CHANNELS))
            np.testing.assert_allclose(lifted[0, ..., i * filters + f], sum(channels), atol=1e-5)

    maps = random(1, 5, 5, order * CHANNELS)
    convolution = GroupConv2D(filters, size, reflections, use_bias=False)
    received = convolution(maps).numpy()
    kernel = convolution.get_weights()[0]
    for i, g in enumerate(elements(reflections)):
        for f in range(filters):
            # A kernel is itself a map on the group, and L_g acts on it as on any other.
            turned = act_on_group_map(g, kernel[np.newaxis, ..., f], reflections)[0]
            channels = (signal.correlate2d(maps[0, ..., c], turned[..., c], "valid") for c in range(order * CHANNELS))
            np.testing.assert_allclose(received[0, ..., i * filters + f], sum(channels), atol=1e-4)


@pytest.mark.parametrize("reflections", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("channels", "options", "tolerance"),
    [
        (3, {}, 1e-5),
        (4, {}, 1e-5),  # TensorFlow's fused operation, in training
        (4, {"scale": False, "center": False}, 1e-5),
        (4, {"dtype": "float64"}, 1e-9),
        (4, {"dtype": "mixed_bfloat16"}, 0.05),
    ],
)
def test_group_batch_normalisation_is_keras_s_with_the_elements_as_positions(
    reflections: bool, training: bool, channels: int, options: dict[str, Any], tolerance: float
) -> None:
    order, rng = group_order(reflections), np.random.default_rng(0)
    layer, stock = (
        GroupBatchNormalization(reflections, momentum=0.9, **options),
        keras.layers.BatchNormalization(momentum=0.9, **options),
    )
    maps = keras.ops.cast(rng.normal(2, 3, (5, 4, 4, order * channels)), layer.compute_dtype)
    layer.build(maps.shape)
    stock.build((5, 4, 4 * order, channels))
    weights = [rng.uniform(0.5, 2, channels) for _ in layer.weights]
    layer.set_weights(weights)
    stock.set_weights(weights)

    def outputs_and_gradients(of: keras.layers.Layer, shape: tuple[int, ...]) -> list[Any]:
        inputs = tf.reshape(maps, shape)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = of(inputs, training=training)
            loss = tf.reduce_sum(tf.sin(tf.cast(outputs, of.variable_dtype)))
        gradients = tape.gradient(loss, [inputs, *of.trainable_variables])
        return [np.ravel(keras.ops.cast(one, "float64")) for one in (outputs, *gradients)]

    received, expected = (
        outputs_and_gradients(layer, maps.shape),
        outputs_and_gradients(stock, (5, 4, 4 * order, channels)),
    )
    assert len(received) == 2 + len(layer.trainable_variables)
    for one, wanted in zip([*received, *layer.get_weights()], [*expected, *stock.get_weights()], strict=True):
        np.testing.assert_allclose(one, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("options", "size", "message"),
    [
        ({"kernel_size": 3, "strides": 2}, 6, r"windows of 3 pixels, 2 apart.*\(padding valid\). Received: 6 pixels"),
        ({"kernel_size": 2, "padding": "same"}, 5, r"padding same\). Received: 5 pixels"),
        ({"kernel_size": 3, "strides": 2, "padding": "same"}, 6, "Received: 6 pixels"),
        ({"kernel_size": 3}, None, "a map of known size"),
    ],
)
def test_geometries_that_are_not_exact_are_refused(options: dict[str, Any], size: int | None, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        GroupConv2D(2, **options).build((None, size, size, 8))


@pytest.mark.parametrize("options", [{"kernel_size": (2, 3)}, {"kernel_size": 2, "groups": 2}])
def test_kernels_that_do_not_turn_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match="expected square kernels"):
        LiftingConv2D(2, **options)


@pytest.mark.parametrize("layer", [GroupConv2D(2, 3), GroupBatchNormalization(), GroupMaxPooling()])
def test_a_map_that_is_not_on_the_group_is_refused(layer: keras.layers.Layer) -> None:
    with pytest.raises(InvalidValueError, match=r"a multiple of 4 channels\. Received: 6\. Put a lifting convolution"):
        layer(random(1, 5, 5, 6))


P4M = ModelSpec(
    "p4m",
    (
        layer_specs.LiftingConv2D(3, 7, True),
        layer_specs.GroupBatchNorm(True),
        layer_specs.ReLU(),
        layer_specs.MaxPool2D(2),
        layer_specs.GroupConv2D(4, 4, True),
        layer_specs.GroupBatchNorm(True),
        layer_specs.ReLU(),
        layer_specs.MaxBlurPool2D(2),
        layer_specs.GroupConv2D(5, 2, True),
        layer_specs.GroupMaxPool(True),
        layer_specs.GlobalAveragePool2D(),
    ),
)


@pytest.mark.parametrize("name", ["p4cnn", "p4mcnn", "p4mgap", "p4mres", "p4m"])
def test_a_model_gives_the_same_answer_for_every_element(
    fashion: Dataset, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On real images, with random weights and the statistics of real images; from a file too."""
    monkeypatch.setitem(MODELS, "p4m", P4M)
    assert compare_with_spec(name) == []
    model = build_model(name, seed=4)
    images = (fashion.test.images[:400, ..., np.newaxis] / np.float32(255)).astype(np.float32)
    for layer in model.layers:
        if isinstance(layer, GroupBatchNormalization):
            layer.momentum = 0.0
            layer.gamma.assign(1 + 0.3 * random(*layer.gamma.shape))
            layer.beta.assign(0.3 * random(*layer.beta.shape))
    model(images, training=True)
    logits = model(images).numpy()
    assert logits.std(axis=0).min() > 1e-3 * np.abs(logits).max()  # else any model would do
    model.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    for g in elements(name != "p4cnn"):
        turned = model(act(g, images)).numpy()
        np.testing.assert_allclose(turned, logits, atol=1e-5 * np.abs(logits).max())
        np.testing.assert_array_equal(turned.argmax(axis=1), logits.argmax(axis=1))
    np.testing.assert_array_equal(loaded(act(g, images)).numpy(), turned)
