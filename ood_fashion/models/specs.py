"""Models as data: which layers each has; its output shapes and its parameter counts in closed form.

Nothing here knows Keras; `ood_fashion.models.build` builds the Keras model that a spec describes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ood_fashion.errors import InvalidValueError
from ood_fashion.models.layer_specs import (
    Add,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool2D,
    GlobalMaxPool2D,
    GroupBatchNorm,
    GroupConv2D,
    GroupMaxPool,
    Layer,
    LiftingConv2D,
    LinearConv2D,
    Logits,
    MaxBlurPool2D,
    MaxPool2D,
    ParameterCount,
    PhotometricNorm,
    ReLU,
    Shape,
    ZeroPad2D,
)

IMAGE_SHAPE: Shape = (28, 28, 1)
NUM_CLASSES = 10


@dataclass(frozen=True)
class LayerSummary:
    """A layer of a model whose input shape is known."""

    name: str
    output_shape: Shape
    parameters: ParameterCount
    multiply_adds: int


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

        In a model with layers on the group, the windows' strides must tile their maps, or else a turned image would be
        pooled in other squares.
        """
        rows, shape = [], input_shape
        equivariant = any(isinstance(layer, LiftingConv2D) for layer in self.layers)
        for position, layer in enumerate(self.with_logits(num_classes), start=1):
            output_shape = layer.output_shape(shape)
            name = f"{layer.name}_{position}"
            if equivariant and layer.leftover(shape):
                raise InvalidValueError(
                    f"{name}: expected a map that its windows tile, as quarter turns need. Received: "
                    f"{shape[0]}x{shape[1]}, of which {layer.leftover(shape)} rows or columns are left over. "
                    "Use images of another size, or another kernel size before it."
                )
            rows.append(LayerSummary(name, output_shape, layer.parameters(shape), layer.multiply_adds(shape)))
            shape = output_shape
        return rows


def _group_block(convolution: LiftingConv2D) -> tuple[Layer, ...]:
    return convolution, GroupBatchNorm(reflections=convolution.reflections), ReLU()


def _padded_block(convolution: LiftingConv2D) -> tuple[Layer, ...]:
    """Keep the map's size, and so all that is in it."""
    return _group_block(replace(convolution, padding="same"))


def _residual_block(filters: int) -> tuple[Layer, ...]:
    """Return the two convolutions of a basic block (He et al., CVPR 2016, figure 2) on p4m."""
    *change, relu = 2 * _padded_block(GroupConv2D(filters, 3, reflections=True))
    return *change, Add(len(change)), relu


MODELS: dict[str, ModelSpec] = {
    "mlp": ModelSpec("MLP", (Flatten(), Dense(128))),
    "cnn2": ModelSpec("CNN-2", (Conv2D(64, 7), MaxPool2D(2), Flatten())),
    "cnn3": ModelSpec("CNN-3", (Conv2D(64, 7), MaxPool2D(2), Conv2D(128, 2), MaxPool2D(2), Flatten())),
    "p4cnn": ModelSpec(
        "P4-CNN",
        (
            *(*_group_block(LiftingConv2D(16, 7)), MaxPool2D(2)),
            *(*_group_block(GroupConv2D(32, 2)), MaxPool2D(2)),
            *(*_group_block(GroupConv2D(16, 5)), GroupMaxPool(), GlobalMaxPool2D()),
        ),
    ),
    "p4mcnn": ModelSpec(
        "P4M-CNN",
        (
            *(*_group_block(LiftingConv2D(6, 5, reflections=True)), MaxPool2D(2)),
            *(*_group_block(GroupConv2D(12, 3, reflections=True)), MaxPool2D(2)),
            *_group_block(GroupConv2D(20, 3, reflections=True)),
            *(*_padded_block(GroupConv2D(24, 3, reflections=True)), GroupMaxPool(reflections=True), GlobalMaxPool2D()),
        ),
    ),
    "p4mgap": ModelSpec(
        "P4M-GAP",
        (
            *(*_padded_block(LiftingConv2D(6, 5, reflections=True)), MaxPool2D(2)),
            *(*_padded_block(GroupConv2D(12, 3, reflections=True)), MaxPool2D(2)),
            *_padded_block(GroupConv2D(20, 3, reflections=True)),
            *_padded_block(GroupConv2D(24, 3, reflections=True)),
            *(GroupMaxPool(reflections=True), GlobalAveragePool2D()),
        ),
    ),
    "p4mres": ModelSpec(
        "P4M-ResNet",
        (
            *(PhotometricNorm(), *_padded_block(LiftingConv2D(8, 5, reflections=True)), AveragePool2D(2)),
            *(*_residual_block(8), AveragePool2D(2)),
            *_padded_block(GroupConv2D(12, 3, reflections=True)),
            *(*_residual_block(12), *_residual_block(12)),
            *_group_block(GroupConv2D(32, 1, reflections=True)),
            *(GroupMaxPool(reflections=True), GlobalAveragePool2D()),
        ),
    ),
    "gapcnn": ModelSpec(
        "GAP-CNN",
        (
            ZeroPad2D(6),
            *(LinearConv2D(32, 5), BatchNorm(), ReLU(), MaxBlurPool2D(2)),
            *(LinearConv2D(64, 3), BatchNorm(), ReLU(), MaxBlurPool2D(2)),
            *(LinearConv2D(56, 3), BatchNorm(), ReLU(), GlobalAveragePool2D()),
        ),
    ),
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
        "multiply_adds": sum(row.multiply_adds for row in rows),
    }
