"""A layer without weights that takes the lighting out of an image."""

from __future__ import annotations

from typing import Any

from ood_fashion._tensorflow import keras

ops = keras.ops

Dims = tuple[int | None, ...]

_STEPS = 12
"""Of the bisection: the levels of 8-bit images are 16 times as far apart as what is left of the range after these."""


@keras.saving.register_keras_serializable("ood_fashion")
class PhotometricNormalization(keras.layers.Layer):
    """Measure grey levels from the background, in units of the image's range.

    y = (x - b) / (r + epsilon), where b is the median of the image's outermost pixels and r the `quantile` of |x - b|.
    So y is the same for x and a x + c with a > 0, but for epsilon, for rounding to 1 / 4096, and for what clipping to
    [0, 1] has taken away. What is darker than the background becomes negative. Nothing is trained, and y turns and
    mirrors with the image.

    Examples:
        >>> import numpy as np
        >>> from ood_fashion.models.photometric import PhotometricNormalization
        >>> image = np.zeros((1, 4, 4, 1), "float32")
        >>> image[0, 1:3, 1:3] = 0.5
        >>> float(PhotometricNormalization(epsilon=0.0)(0.6 * image + 0.2)[0, 1, 1, 0])
        1.0
    """

    def __init__(self, quantile: float = 0.98, epsilon: float = 0.01, **options: Any) -> None:
        super().__init__(**options)
        self.quantile, self.epsilon = quantile, epsilon

    def call(self, inputs: Any) -> Any:
        """Normalise images (n, height, width, channels) in [0, 1], each channel by itself."""
        edges = [inputs[:, 0], inputs[:, -1], inputs[:, 1:-1, 0], inputs[:, 1:-1, -1]]
        differences = inputs - _quantile(ops.concatenate(edges, axis=1), 0.5)[:, None]
        pixels = ops.reshape(ops.abs(differences), (-1, inputs.shape[1] * inputs.shape[2], inputs.shape[3]))
        return differences / (_quantile(pixels, self.quantile)[:, None] + self.epsilon)

    def compute_output_shape(self, input_shape: Dims) -> Dims:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as JSON values."""
        return {**super().get_config(), "quantile": self.quantile, "epsilon": self.epsilon}


def _quantile(values: Any, share: float) -> Any:
    """Return the least level that at least this share of (n, count, channels) reaches at most, (n, 1, channels).

    By bisection of [0, 1], because XLA takes 9 times as long on a CPU to sort them.
    """
    low = ops.zeros_like(values[:, :1])
    high = low + 1
    for _ in range(_STEPS):
        middle = (low + high) / 2
        reached = ops.mean(ops.cast(values <= middle, values.dtype), axis=1, keepdims=True) >= share
        low, high = ops.where(reached, low, middle), ops.where(reached, middle, high)
    return high
