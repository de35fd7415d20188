"""Random changes of training images, the same in `tf.data` and in programs that XLA compiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ood_fashion._tensorflow import tf
from ood_fashion.shifts.augmentations import Augmentation


class Maps(NamedTuple):
    """An affine map for each image: source = ((a, b), (c, d)) @ position + (row, column), (batch, 1) each.

    Positions are (row, column) from the image's centre, in pixels.
    """

    a: tf.Tensor
    b: tf.Tensor
    c: tf.Tensor
    d: tf.Tensor
    row: tf.Tensor
    column: tf.Tensor

    def after(self, other: Maps) -> Maps:
        """Return the map that applies `other`, then this."""
        return Maps(
            self.a * other.a + self.b * other.c,
            self.a * other.b + self.b * other.d,
            self.c * other.a + self.d * other.c,
            self.c * other.b + self.d * other.d,
            self.a * other.row + self.b * other.column + self.row,
            self.c * other.row + self.d * other.column + self.column,
        )


IDENTITY = Maps(1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def _translation(draws: list[tf.Tensor], most: float) -> Maps:
    """Move the content to the right by the first draw's distance and down by the second's."""
    right, down = (tf.floor(draw * (2 * most + 1)) - most for draw in draws[:2])
    return IDENTITY._replace(row=-down, column=-right)


def _quarter_turns(draws: list[tf.Tensor], most: float) -> Maps:
    """Turn counter-clockwise by 0 to 3 quarters. The sines and cosines are whole numbers, exactly."""
    quarters = tf.floor(draws[0] * 4)
    cos = tf.where(quarters % 2 == 0, 1 - quarters, 0.0)
    sin = tf.where(quarters % 2 == 1, 2 - quarters, 0.0)
    return Maps(cos, sin, -sin, cos, 0.0, 0.0)


def _mirror(draws: list[tf.Tensor], most: float) -> Maps:
    """Mirror the images of the lower half of the draws left to right."""
    return IDENTITY._replace(d=tf.where(draws[0] < 0.5, -1.0, 1.0))


def _rotation(draws: list[tf.Tensor], most: float) -> Maps:
    """Turn counter-clockwise by an angle of -most to most degrees."""
    angle = (2 * draws[0] - 1) * (most * math.pi / 180)
    cos, sin = tf.cos(angle), tf.sin(angle)
    return Maps(cos, sin, -sin, cos, 0.0, 0.0)


_MAPS: dict[str, Callable[[list[tf.Tensor], float], Maps]] = {
    "translate": _translation,
    "rotate90": _quarter_turns,
    "mirror": _mirror,
    "rotate": _rotation,
}


def augment(images: tf.Tensor, draws: tf.Tensor, augmentations: Sequence[Augmentation]) -> tf.Tensor:
    """Apply augmentations to uint8 images (b, height, width, 1), from left to right; return float32 in [0, 255].

    They are first made one affine map an image, so that the pixels are read once: bilinearly where a map is not of
    whole pixels, and as zeros outside the image. The draws are float32 (b, columns), uniform in [0, 1), as many columns
    as the augmentations draw together.
    """
    if not augmentations:
        return tf.cast(images, tf.float32)
    height, width = images.shape[1:3]
    maps, column = IDENTITY, 0
    for augmentation in augmentations:
        used = [draws[:, i, tf.newaxis] for i in range(column, column + augmentation.draws)]
        change = _MAPS[augmentation.kind](used, augmentation.most)
        if augmentation.share < 1:
            changed = used[-1] < augmentation.share
            change = Maps(*(tf.where(changed, *pair) for pair in zip(change, IDENTITY, strict=True)))
        maps, column = maps.after(change), column + augmentation.draws
    kinds = {augmentation.kind for augmentation in augmentations}

    grid = np.indices((height, width), np.float32).reshape(2, 1, -1)
    centre_row, centre_column = (height - 1) / 2, (width - 1) / 2
    y, x = grid[0] - centre_row, grid[1] - centre_column
    row = maps.a * y + maps.b * x + maps.row + centre_row
    column_of = maps.c * y + maps.d * x + maps.column + centre_column
    pixels = tf.reshape(images, (-1, height * width))

    def read(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        # In one dimension, because XLA reads batches of rows several times slower.
        first = tf.range(tf.shape(pixels)[0])[:, tf.newaxis] * (height * width)
        indices = tf.where(inside, tf.cast(row * width + column, tf.int32), 0) + first
        return tf.where(inside, tf.cast(tf.gather(tf.reshape(pixels, [-1]), indices), tf.float32), 0.0)

    if "rotate" not in kinds and (height == width or "rotate90" not in kinds):  # whole pixels
        return tf.reshape(read(row, column_of), (-1, height, width, 1))
    top, left = tf.floor(row), tf.floor(column_of)
    down, right = row - top, column_of - left
    upper = read(top, left) * (1 - right) + read(top, left + 1) * right
    lower = read(top + 1, left) * (1 - right) + read(top + 1, left + 1) * right
    return tf.reshape(upper * (1 - down) + lower * down, (-1, height, width, 1))
