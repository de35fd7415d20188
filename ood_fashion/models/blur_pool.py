"""Anti-aliased max-pooling."""

from __future__ import annotations

import functools
from typing import Any

from ood_fashion._tensorflow import keras
from ood_fashion.models.layer_specs import MaxBlurPool2D

Dims = tuple[int | None, ...]

_BLUR = (0.25, 0.5, 0.25)
"""The binomial filter "Triangle-3" (Zhang, section 4.1), in each axis."""


@keras.saving.register_keras_serializable("ood_fashion")
class MaxBlurPooling2D(keras.layers.Layer):
    """Subsample(Blur(Max(x))) (R. Zhang, Making Convolutional Networks Shift-Invariant Again, ICML 2019, section 3.3).

    Max-pooling is a maximum over all squares, followed by a choice of every pool-th pixel. The choice turns fine detail
    into false coarse detail, which changes as the image moves. A blur before it removes that detail first. Nothing is
    padded, so the borders are no special case. `pool_size` is the side of the squares, and the stride.
    """

    def __init__(self, pool_size: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self.pool_size = pool_size

    def call(self, inputs: Any) -> Any:
        """Pool (n, height, width, channels)."""
        pooled = inputs
        for axis in (1, 2):
            pooled = functools.reduce(keras.ops.maximum, _slices(pooled, axis, self.pool_size, 1))
        for axis in (1, 2):
            slices = _slices(pooled, axis, len(_BLUR), self.pool_size)
            pooled = sum(weight * part for weight, part in zip(_BLUR, slices, strict=True))
        return pooled

    def compute_output_shape(self, input_shape: Dims) -> Dims:
        """Return (n, (height - pool - 2) // pool + 1, (width - pool - 2) // pool + 1, channels)."""
        height, width, channels = (side or 0 for side in input_shape[1:])
        return (input_shape[0], *MaxBlurPool2D(self.pool_size).output_shape((height, width, channels)))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as JSON values."""
        return {**super().get_config(), "pool_size": self.pool_size}


def _slices(x: Any, axis: int, window: int, stride: int) -> list[Any]:
    """Return, for each place in a window, the values that all windows along an axis have there."""
    end = x.shape[axis] - window + 1
    return [x[(*[slice(None)] * axis, slice(i, i + end, stride))] for i in range(window)]
