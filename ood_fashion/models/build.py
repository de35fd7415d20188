"""Keras models from specs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import numpy as np

from ood_fashion._tensorflow import default_settings, keras
from ood_fashion.models import layer_specs, specs
from ood_fashion.models.blur_pool import MaxBlurPooling2D
from ood_fashion.models.group_layers import GroupBatchNormalization, GroupConv2D, GroupMaxPooling, LiftingConv2D
from ood_fashion.models.photometric import PhotometricNormalization


def _initializers(seed: int) -> dict[str, Any]:
    """Keras's default initialisers (Glorot and Bengio, AISTATS 2010, and zeros) with a seed of their own."""
    return {"kernel_initializer": keras.initializers.GlorotUniform(seed=seed), "bias_initializer": "zeros"}


def _linear(layer: layer_specs.LinearConv2D, name: str, seed: int) -> dict[str, Any]:
    """What all convolutions without bias and activation are built with."""
    options = {"filters": layer.filters, "kernel_size": layer.kernel_size, "padding": layer.padding}
    return {**options, "use_bias": False, "name": name, **_initializers(seed)}


LAYERS: dict[type[layer_specs.Layer], Callable[[Any, str, int], keras.layers.Layer]] = {
    layer_specs.Flatten: lambda layer, name, seed: keras.layers.Flatten(name=name),
    layer_specs.Dense: lambda layer, name, seed: keras.layers.Dense(
        layer.units, activation="relu", name=name, **_initializers(seed)
    ),
    layer_specs.Logits: lambda layer, name, seed: keras.layers.Dense(layer.units, name=name, **_initializers(seed)),
    layer_specs.Conv2D: lambda layer, name, seed: keras.layers.Conv2D(
        layer.filters, layer.kernel_size, activation="relu", name=name, **_initializers(seed)
    ),
    layer_specs.MaxPool2D: lambda layer, name, seed: keras.layers.MaxPooling2D(layer.pool_size, name=name),
    layer_specs.AveragePool2D: lambda layer, name, seed: keras.layers.AveragePooling2D(layer.pool_size, name=name),
    layer_specs.MaxBlurPool2D: lambda layer, name, seed: MaxBlurPooling2D(layer.pool_size, name=name),
    layer_specs.ZeroPad2D: lambda layer, name, seed: keras.layers.ZeroPadding2D(layer.padding, name=name),
    layer_specs.GlobalMaxPool2D: lambda layer, name, seed: keras.layers.GlobalMaxPooling2D(name=name),
    layer_specs.GlobalAveragePool2D: lambda layer, name, seed: keras.layers.GlobalAveragePooling2D(name=name),
    layer_specs.ReLU: lambda layer, name, seed: keras.layers.ReLU(name=name),
    layer_specs.Add: lambda layer, name, seed: keras.layers.Add(name=name),
    layer_specs.PhotometricNorm: lambda layer, name, seed: PhotometricNormalization(name=name),
    layer_specs.BatchNorm: lambda layer, name, seed: keras.layers.BatchNormalization(name=name),
    layer_specs.LinearConv2D: lambda layer, name, seed: keras.layers.Conv2D(**_linear(layer, name, seed)),
    layer_specs.LiftingConv2D: lambda layer, name, seed: LiftingConv2D(
        reflections=layer.reflections, **_linear(layer, name, seed)
    ),
    layer_specs.GroupConv2D: lambda layer, name, seed: GroupConv2D(
        reflections=layer.reflections, **_linear(layer, name, seed)
    ),
    layer_specs.GroupBatchNorm: lambda layer, name, seed: GroupBatchNormalization(layer.reflections, name=name),
    layer_specs.GroupMaxPool: lambda layer, name, seed: GroupMaxPooling(layer.reflections, name=name),
}
"""What builds each kind of layer description, from the description, a name and a seed, within `default_settings`."""


def build_model(
    name: str,
    *,
    input_shape: layer_specs.Shape = specs.IMAGE_SHAPE,
    num_classes: int = specs.NUM_CLASSES,
    seed: int = 0,
    dtype: str = "float32",
) -> keras.Model:
    """Build a registered model.

    Args:
        name: a name in `specs.MODELS`.
        input_shape: (height, width, channels).
        num_classes: number of scores.
        seed: decides the initial weights.
        dtype: of the weights and of what is computed, whatever Keras's global policy is.

    Returns:
        An uncompiled model from dtype (n, *input_shape) in [0, 1] to dtype logits (n, num_classes).

    Raises:
        InvalidValueError: the images are too small for the model.

    Examples:
        >>> import ood_fashion as ood
        >>> ood.build_model("cnn2").count_params()
        80650
    """
    spec = specs.MODELS[name]
    rows = spec.summary(input_shape, num_classes)
    seeds = np.random.SeedSequence(seed).generate_state(len(rows))
    with default_settings(dtype):
        maps = [keras.Input(input_shape, dtype=dtype, name="image")]
        for layer, row, layer_seed in zip(spec.with_logits(num_classes), rows, seeds, strict=True):
            taken = [maps[-1], maps[-1 - layer.back]] if isinstance(layer, layer_specs.Add) else maps[-1]
            maps.append(LAYERS[type(layer)](layer, row.name, int(layer_seed))(taken))
        return keras.Model(maps[0], maps[-1], name=name)


def compare_with_spec(name: str) -> list[str]:
    """Build a registered model and compare it, layer by layer, with what its spec says.

    Returns:
        One line per difference in a layer's name, output shape or parameter count; none when they agree.
    """
    description, model = specs.describe(name), build_model(name)
    expected = [(row["layer"], tuple(row["output_shape"]), row["parameters"]) for row in description["layers"]]
    received = [(layer.name, tuple(layer.output.shape[1:]), layer.count_params()) for layer in model.layers[1:]]
    expected.append(("all layers", tuple(model.output_shape[1:]), description["parameters"]))
    received.append(("all layers", tuple(model.output_shape[1:]), model.count_params()))
    return [
        f"{name}: expected {spec_row} from the formulas. Received: {keras_row} from Keras."
        for spec_row, keras_row in zip_longest(expected, received)
        if spec_row != keras_row
    ]
