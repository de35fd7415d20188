"""A model's scores of windows of a wide image, with what they have in common computed once.

A convolution without padding sees no place but its kernel's: what it gives for a window is a window of what it gives
for the whole, and so with pooling whose stride divides the window's place, and with whatever treats pixels alike.
Where it does not divide it, pooling starts at the remainder. The layers after these see each window alone (P. Sermanet
et al., OverFeat, ICLR 2014, section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from types import FunctionType
from typing import Any

from ood_fashion._tensorflow import keras, tf
from ood_fashion.models import group_layers, patch_layers
from ood_fashion.models.layer_specs import Shape

_LAYERS = keras.layers
_PIXELWISE = (
    *(_LAYERS.Activation, _LAYERS.ReLU, _LAYERS.LeakyReLU, _LAYERS.Dropout),
    *(group_layers.GroupBatchNormalization, group_layers.GroupMaxPooling),
)
_WINDOWED = (
    *(_LAYERS.Conv2D, _LAYERS.MaxPooling2D, _LAYERS.AveragePooling2D),
    *(patch_layers.Conv2D, patch_layers.MaxPooling2D, patch_layers.AveragePooling2D),
    *(group_layers.LiftingConv2D, group_layers.GroupConv2D),
)


class WindowedModel:
    """A model in two parts: the first layers, which see a whole image at once, and the rest.

    Args:
        model: one input, one output.
        image_shape: of its input, of which (height, width, 1) alone is seen at once.
    """

    def __init__(self, model: keras.Model, image_shape: Shape) -> None:
        self._image_shape, self._rest = image_shape, model
        output = (getattr(model, "outputs", None) or [None])[0]
        self._layers = list(takewhile(_is_shared, _chain(output) if len(image_shape) == 3 else []))
        if self._layers:
            self._rest = keras.Model(self._layers[-1].output, output)

    def __call__(self, images: tf.Tensor, count: int) -> tf.Tensor:
        """Score float32 (b, height, width + count - 1): (count, b, classes), the leftmost window first."""
        maps = images[..., tf.newaxis]
        windows = _windows(self._layers, maps, range(count), images.shape[2] - count + 1)
        if not self._layers:
            windows = {place: tf.reshape(window, (-1, *self._image_shape)) for place, window in windows.items()}
        in_order = tf.stack([windows[place] for place in range(count)])
        # One after another, so that many windows take no more memory, and a deep model is traced once.
        return tf.map_fn(self._score, in_order, fn_output_signature=tf.float32, parallel_iterations=1)

    def _score(self, window: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._rest(window, training=False), tf.float32)


def _chain(output: Any) -> list[Any]:
    """Return the operations that lead to an output, each from one before; none if one takes several."""
    operations: list[Any] = []
    while output is not None:
        operation, node, _ = output._keras_history
        node = operation._inbound_nodes[node]
        if node.is_input:
            return operations
        if len(node.input_tensors) != 1 or len(operation._inbound_nodes) != 1:
            return []
        operations.insert(0, operation)
        (output,) = node.input_tensors
    return operations


def _is_shared(layer: Any) -> bool:
    """Say whether a layer gives for a window what it gives there for the whole; someone's own function need not."""
    activation = getattr(layer, "activation", None)
    if activation and not (isinstance(activation, FunctionType) and activation.__module__.startswith("keras.")):
        return False
    if type(layer) is _LAYERS.BatchNormalization:
        return bool(layer.axis in (-1, 3))
    windowed = type(layer) in _WINDOWED and (layer.padding, layer.data_format) == ("valid", "channels_last")
    return windowed or type(layer) in _PIXELWISE


def _windows(layers: Sequence[Any], maps: tf.Tensor, places: Sequence[int], width: int) -> dict[int, tf.Tensor]:
    """Return what the layers give for each window of this width, by the column at which it starts."""
    if not layers:
        return {place: maps[:, :, place : place + width] for place in places}
    layer, *others = layers
    _, stride = getattr(layer, "strides", (1, 1))
    width = layer.compute_output_shape((None, maps.shape[1], width, maps.shape[3]))[2]
    found: dict[int, tf.Tensor] = {}
    for start in range(stride):
        steps = [place // stride for place in places if place % stride == start]
        if steps:
            windows = _windows(others, layer(maps[:, :, start:]), steps, width)
            found |= {step * stride + start: windows[step] for step in steps}
    return found
