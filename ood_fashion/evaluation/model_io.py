"""What a Keras model takes and gives: pixels in 0-1 or 0-255, probabilities or logits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from ood_fashion._tensorflow import keras, tf
from ood_fashion.errors import InvalidValueError, PixelRangeWarning
from ood_fashion.evaluation.classifier import PIXEL_RANGES, output_kind
from ood_fashion.evaluation.metrics import are_scores
from ood_fashion.models.layer_specs import Shape

_PROBES = 64
_MAX_SCALE = 0.01
"""Who multiplies pixels by this or less takes them in 0-255: 1/255, 1/127.5 and the like."""


def with_pixel_range(model: keras.Model, pixel_range: str | None = None) -> keras.Model:
    """Return a model that takes floats in [0, 1], as this package gives them, and gives what this one does.

    The range is the one of `classifier.PIXEL_RANGES` that this one takes; None stands for 0-255 where its input is
    integers, and else for 0-1, with a `PixelRangeWarning` if one of its layers scales pixels down. The model itself is
    returned where it takes floats in [0, 1], else one around it. Either has the range as `pixel_range`, and comes back
    from another call as it is, unless that says that a model of 0-1 takes 0-255.
    """
    if pixel_range not in (None, *PIXEL_RANGES):
        raise InvalidValueError(
            f"pixel_range: expected one of {', '.join(PIXEL_RANGES)}, or None. Received: {pixel_range!r}."
        )
    inputs = getattr(model, "inputs", None) or []
    known = getattr(model, "pixel_range", None)
    if len(inputs) != 1 or (known and (known, pixel_range) != ("0-1", "0-255")):
        return model
    dtype = tf.as_dtype(inputs[0].dtype)
    if pixel_range is None and not dtype.is_integer and (layer := _scaling_layer(model)):
        warnings.warn(
            f"model {model.name}: expected a model of pixels in 0-1, and gives it those. Received: one whose layer "
            f"{layer} scales pixels down. If it was trained on pixels in 0-255, say that its pixel range is 0-255.",
            PixelRangeWarning,
            stacklevel=2,
        )
    pixel_range = pixel_range or ("0-255" if dtype.is_integer else "0-1")
    if pixel_range != "0-1" or dtype.is_integer:
        images = keras.Input(batch_shape=inputs[0].shape, dtype="float32")
        pixels = images * (255.0 if pixel_range == "0-255" else 1.0)
        if dtype.is_integer:
            pixels = keras.ops.cast(keras.ops.round(pixels), dtype.name)
        model = keras.Model(images, model(pixels), name=model.name)
    model.pixel_range = pixel_range
    return model


def with_batch_statistics(model: keras.Model) -> keras.Model:
    """Copy a model whose batch normalisation then takes mean and variance of the images of a call, and keeps its own.

    As the images are shifted, so are these (Schneider et al., NeurIPS 2020, without the training's statistics).
    """
    found = False

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        nonlocal found
        config = layer.get_config()
        if not isinstance(layer, keras.layers.BatchNormalization):
            return type(layer).from_config(config)
        found = True
        # With a momentum of 1 the moving statistics stay as they are.
        new = type(layer).from_config({**config, "momentum": 1.0})
        normalize = new.call
        new.call = lambda inputs, training=None, mask=None: normalize(inputs, training=True)
        return new

    try:
        copied = keras.models.clone_model(model, clone_function=copy, recursive=True)
    except ValueError:  # a model that is its own code
        found = False
    if not found:
        raise InvalidValueError(
            "test-time batch-statistics: expected a functional or sequential model with batch normalisation. "
            f"Received: {model.name}, without. Leave it out."
        )
    copied.set_weights(model.get_weights())
    return copied


def find_outputs(model: keras.Model, image_shape: Shape) -> str:
    """Say whether a model of images of this shape gives probabilities or logits: once and for all images.

    "probabilities" if its last activation is softmax or a sigmoid, "logits" if its last layer is dense without
    activation; where that does not say, what `classifier.output_kind` says of its scores for noise.
    """
    if known := _activation_kind(_last_operation(model)):
        return known
    contrasts = np.linspace(0, 1, _PROBES, dtype=np.float32).reshape(-1, *[1] * len(image_shape))
    noise = contrasts * np.random.default_rng(0).random((_PROBES, *image_shape), np.float32)
    run = tf.function(lambda images: tf.cast(model(images, training=False), tf.float32), autograph=False)
    scores = run(tf.constant(noise)).numpy()
    scores = scores[are_scores(scores)]
    return output_kind(scores) if len(scores) else "logits"


def _last_operation(model: keras.Model) -> Any:
    operation: Any = model
    while isinstance(operation, keras.Model) and len(getattr(operation, "outputs", None) or ()) == 1:
        operation = operation.outputs[0]._keras_history.operation
    return operation


def _activation_kind(operation: Any) -> str | None:
    if not type(operation).__module__.startswith("keras."):
        return None  # a layer of someone's own may do anything to what its activation gives
    is_dense = isinstance(operation, keras.layers.Dense | keras.layers.EinsumDense)
    activation = type(operation).__name__
    if is_dense or isinstance(operation, keras.layers.Activation):
        activation = getattr(operation.activation, "__name__", "")
    if activation.replace("_", "").lower() in ("softmax", "sigmoid", "hardsigmoid"):
        return "probabilities"
    return "logits" if is_dense and activation == "linear" else None


def _operations(model: keras.Model) -> Iterator[Any]:
    for operation in getattr(model, "operations", None) or model.layers:
        yield operation
        if isinstance(operation, keras.Model):
            yield from _operations(operation)


def _scaling_layer(model: keras.Model) -> str | None:
    """Name an operation that makes pixels in 0-255 smaller, as `Rescaling(1 / 255)` does, if there is one."""
    for operation in _operations(model):
        kind = type(operation).__name__
        if isinstance(operation, keras.layers.Rescaling):
            scales_down = np.max(np.abs(operation.scale)) <= _MAX_SCALE
        elif isinstance(operation, keras.layers.Normalization):
            scales_down = operation.mean is not None and np.max(operation.mean) > 1
        elif kind in ("Divide", "TrueDivide", "Multiply"):
            given = [value for node in operation._inbound_nodes for value in node.arguments.args]
            factors = [abs(value) for value in given if isinstance(value, int | float)]
            scales_down = any((1 / f if "Divide" in kind else f) <= _MAX_SCALE for f in factors if f)
        else:
            continue
        if scales_down:
            return str(operation.name)
    return None
