"""Stock Keras layers with a second kernel, for programs that XLA compiles for the CPU.

XLA's own convolution and pooling are slow there. These layers have the weights, configuration and results of the layers
they derive from, and use their kernels everywhere but inside `patch_kernels`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ood_fashion._tensorflow import keras

ops = keras.ops

_patch_kernels = ContextVar("patch_kernels", default=False)


@contextmanager
def patch_kernels() -> Iterator[None]:
    """Trace a program within this to have the layers below compute by slices and matrix products."""
    token = _patch_kernels.set(True)
    try:
        yield
    finally:
        _patch_kernels.reset(token)


@keras.saving.register_keras_serializable("ood_fashion")
class Conv2D(keras.layers.Conv2D):
    """A convolution as one matrix product of all patches with the kernel, if it has stride 1."""

    def call(self, inputs: Any) -> Any:
        """Convolve, add the bias, and activate (n, height, width, channels)."""
        kind = (self.activation, self.use_bias, self.data_format)
        if not _patch_kernels.get() or kind != (keras.activations.relu, True, "channels_last"):
            return super().call(inputs)
        linear = self.convolution_op(inputs, self.kernel) + self.bias
        outputs = self.activation(linear)
        outputs.before_relu = linear
        return outputs

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve (n, height, width, channels) with (rows, columns, channels, filters)."""
        plain = (self.strides, self.dilation_rate, self.groups, self.data_format)
        if not _patch_kernels.get() or plain != ((1, 1), (1, 1), 1, "channels_last"):
            return super().convolution_op(inputs, kernel)
        rows, columns, channels, filters = kernel.shape
        if self.padding == "same":
            inputs = ops.pad(inputs, [(0, 0), *(((size - 1) // 2, size // 2) for size in (rows, columns)), (0, 0)])
        height, width = inputs.shape[1] - rows + 1, inputs.shape[2] - columns + 1
        # Stacked axis by axis: XLA copies this faster than one concatenation of all slices.
        patches = ops.stack(
            [
                ops.stack([inputs[:, i : i + height, j : j + width] for j in range(columns)], axis=3)
                for i in range(rows)
            ],
            axis=3,
        )
        size = rows * columns * channels
        products = ops.matmul(ops.reshape(patches, (-1, size)), ops.reshape(kernel, (size, filters)))
        return ops.reshape(products, (-1, height, width, filters))


@keras.saving.register_keras_serializable("ood_fashion")
class MaxPooling2D(keras.layers.MaxPooling2D):
    """Max-pooling as the maximum of slices, where the windows neither overlap nor are padded.

    Among equal values the first in reading order takes the gradient, as in the stock kernel. The ReLU of a
    convolution, which does not change the order of values, follows the pooling: the map is smaller then.
    """

    def call(self, inputs: Any) -> Any:
        """Pool (n, height, width, channels)."""
        linear = getattr(inputs, "before_relu", None)
        if (windows := _windows(self, inputs if linear is None else linear)) is None:
            return super().call(inputs)
        rows, columns = self.pool_size
        slices = (windows[:, :, i, :, j] for i in range(rows) for j in range(columns))
        outputs = functools.reduce(ops.maximum, slices)
        return outputs if linear is None else ops.relu(outputs)


@keras.saving.register_keras_serializable("ood_fashion")
class AveragePooling2D(keras.layers.AveragePooling2D):
    """Average pooling as the mean over an axis, where the windows neither overlap nor are padded."""

    def call(self, inputs: Any) -> Any:
        """Pool (n, height, width, channels)."""
        windows = _windows(self, inputs)
        return super().call(inputs) if windows is None else ops.mean(windows, axis=(2, 4))


def _windows(layer: keras.layers.Layer, inputs: Any) -> Any:
    """Return a pooling layer's windows, (n, height, rows, width, columns, channels), for `patch_kernels`, or None."""
    rows, columns = layer.pool_size
    plain = (layer.strides, layer.padding, layer.data_format)
    if not _patch_kernels.get() or plain != ((rows, columns), "valid", "channels_last"):
        return None
    height, width = inputs.shape[1] // rows, inputs.shape[2] // columns
    inside = inputs[:, : height * rows, : width * columns]
    return ops.reshape(inside, (-1, height, rows, width, columns, inputs.shape[3]))


_TWINS: dict[type, Any] = {
    keras.layers.Conv2D: Conv2D,
    keras.layers.MaxPooling2D: MaxPooling2D,
    keras.layers.AveragePooling2D: AveragePooling2D,
}


def with_patch_kernels(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return a new layer of the same configuration, of this module's class where it has one for the layer's."""
    return _TWINS.get(type(layer), type(layer)).from_config(layer.get_config())
