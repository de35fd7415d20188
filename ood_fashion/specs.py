"""Models as data: layer descriptions, their output shapes and their parameter counts in closed form.

Nothing here knows Keras; `ood_fashion.nn.models` builds the Keras model that a spec describes.
Shapes leave out the batch axis and have the channels last.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from ood_fashion.errors import InvalidValueError

Shape = tuple[int, ...]

IMAGE_SHAPE: Shape = (28, 28, 1)
NUM_CLASSES = 10


@dataclass(frozen=True)
class ParameterCount:
    """How many parameters a layer has, and the formula that says so."""

    formula: str
    value: int


NO_PARAMETERS = ParameterCount("", 0)


def affine_count(fan_in: Shape, units: int) -> ParameterCount:
    """Count a layer in which each of `units` outputs has one weight per input and a bias: (fan_in + 1) * units."""
    return ParameterCount(f"({'*'.join(map(str, fan_in))}+1)*{units}", (math.prod(fan_in) + 1) * units)


def _window_output(shape: Shape, window: int, stride: int, layer: str) -> tuple[int, int]:
    """Return the height and width of the map that a square window makes, sliding over `shape` without padding."""
    if len(shape) != 3:
        raise InvalidValueError(f"{layer}: expected an input of shape (height, width, channels). Received: {shape}.")
    height, width, _ = shape
    if min(height, width) < window:
        raise InvalidValueError(
            f"{layer}: expected an input of at least {window}x{window} pixels. Received: {height}x{width}. "
            "Use larger images or a model with smaller windows."
        )
    return (height - window) // stride + 1, (width - window) // stride + 1


class Layer(ABC):
    """What a layer does to a shape, and how many parameters that takes; none unless it says otherwise."""

    name: ClassVar[str]

    @abstractmethod
    def output_shape(self, shape: Shape) -> Shape:
        """Return the output's shape for an input of `shape`."""

    def parameters(self, shape: Shape) -> ParameterCount:
        """Count the parameters for an input of `shape`."""
        return NO_PARAMETERS


@dataclass(frozen=True)
class Flatten(Layer):
    """All axes in one."""

    name = "flatten"

    def output_shape(self, shape: Shape) -> Shape:
        """Return (the product of all axes,)."""
        return (math.prod(shape),)


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected, with bias, then ReLU."""

    units: int
    name = "dense"

    def output_shape(self, shape: Shape) -> Shape:
        """Return (units,)."""
        return (self.units,)

    def parameters(self, shape: Shape) -> ParameterCount:
        """Return (inputs + 1) * units."""
        return affine_count(shape, self.units)


@dataclass(frozen=True)
class Logits(Dense):
    """Fully connected, with bias, linear: a score per class."""

    units: int = NUM_CLASSES
    name = "logits"


@dataclass(frozen=True)
class Conv2D(Layer):
    """Convolution with square kernels, stride 1, no padding, with bias, then ReLU."""

    filters: int
    kernel_size: int
    name = "conv2d"

    def output_shape(self, shape: Shape) -> Shape:
        """Return (height - kernel + 1, width - kernel + 1, filters)."""
        return (*_window_output(shape, self.kernel_size, 1, self.name), self.filters)

    def parameters(self, shape: Shape) -> ParameterCount:
        """Return (kernel * kernel * channels + 1) * filters."""
        return affine_count((self.kernel_size, self.kernel_size, shape[-1]), self.filters)


@dataclass(frozen=True)
class MaxPool2D(Layer):
    """Maximum over squares that do not overlap; rows and columns left over are dropped."""

    pool_size: int = 2
    name = "max_pool2d"

    def output_shape(self, shape: Shape) -> Shape:
        """Return (height // pool, width // pool, channels)."""
        return (*_window_output(shape, self.pool_size, self.pool_size, self.name), shape[-1])


@dataclass(frozen=True)
class LayerSummary:
    """A layer of a model whose input shape is known."""

    name: str
    output_shape: Shape
    parameters: ParameterCount


@dataclass(frozen=True)
class ModelSpec:
    """A feed-forward classifier: its layers but the last, which is always `Logits`."""

    title: str
    layers: tuple[Layer, ...]

    def with_logits(self, num_classes: int) -> tuple[Layer, ...]:
        """Return all layers, the last one with a score for each of `num_classes` classes."""
        return (*self.layers, Logits(num_classes))

    def summary(self, input_shape: Shape = IMAGE_SHAPE, num_classes: int = NUM_CLASSES) -> list[LayerSummary]:
        """Work out every layer's output shape and parameter count.

        Args:
            input_shape: (height, width, channels).
            num_classes: number of scores that the model gives.

        Raises:
            InvalidValueError: a window is larger than the map it slides over.
        """
        rows, shape = [], input_shape
        for position, layer in enumerate(self.with_logits(num_classes), start=1):
            output_shape = layer.output_shape(shape)
            rows.append(LayerSummary(f"{layer.name}_{position}", output_shape, layer.parameters(shape)))
            shape = output_shape
        return rows


MODELS: dict[str, ModelSpec] = {
    "mlp": ModelSpec("MLP", (Flatten(), Dense(128))),
    "cnn2": ModelSpec("CNN-2", (Conv2D(64, 7), MaxPool2D(2), Flatten())),
    "cnn3": ModelSpec("CNN-3", (Conv2D(64, 7), MaxPool2D(2), Conv2D(128, 2), MaxPool2D(2), Flatten())),
}


def describe(name: str) -> dict[str, Any]:
    """Return a registered model's layers and parameter counts, for Fashion-MNIST, as JSON values."""
    rows = MODELS[name].summary()
    return {
        "model": name,
        "title": MODELS[name].title,
        "layers": [
            {
                "layer": row.name,
                "output_shape": list(row.output_shape),
                "formula": row.parameters.formula,
                "parameters": row.parameters.value,
            }
            for row in rows
        ],
        "parameters": sum(row.parameters.value for row in rows),
    }
