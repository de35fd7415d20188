"""Affine maps of images with bilinear interpolation and zeros outside, in SciPy and as weighted sums of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Matrix = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class SourceMap:
    """Where each output pixel comes from: source = matrix @ (row, column) + offset, in pixels of the input."""

    matrix: Matrix
    offset: tuple[float, float]

    @classmethod
    def about_centre(cls, matrix: Matrix, height: int, width: int) -> SourceMap:
        """Make the map by `matrix` that leaves the centre of a (height, width) image where it is."""
        row, column = (height - 1) / 2, (width - 1) / 2
        (a, b), (c, d) = matrix
        return cls(matrix, (row - a * row - b * column, column - c * row - d * column))

    def interpolate(self, images: Floats) -> Floats:
        """Apply the map to (n, height, width): the reference implementation, by `scipy.ndimage`."""
        from scipy import ndimage  # takes a quarter of a second, which `ood-fashion params` need not wait for

        matrix, offset = np.eye(3), (0.0, *self.offset)
        matrix[1:, 1:] = self.matrix
        return np.asarray(ndimage.affine_transform(images, matrix, offset, order=1, mode="grid-constant"))

    def taps(self, height: int, width: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return flat source indices, int32 (taps, height * width), and their weights, float32 of the same shape.

        There is one tap where every pixel comes from a whole position, else bilinear interpolation's four. Outside the
        image, weights are 0.
        """
        grid = np.indices((height, width)).reshape(2, -1)
        position = np.array(self.matrix) @ grid + np.array(self.offset)[:, np.newaxis]
        # Beyond one pixel outside, all is zero; clipping keeps huge distances within the integers.
        position = np.clip(position, -2, np.array([[height + 1], [width + 1]]))
        corner = np.floor(position)
        fraction = position - corner
        indices, weights = [], []
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)) if fraction.any() else ((0, 0),):
            row, column = (corner + np.array([[down], [right]])).astype(np.int32)
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = np.where(down, fraction[0], 1 - fraction[0]) * np.where(right, fraction[1], 1 - fraction[1])
            indices.append(np.where(inside, row * width + column, 0).astype(np.int32))
            weights.append(np.where(inside, weight, 0).astype(np.float32))
        return np.stack(indices), np.stack(weights)
