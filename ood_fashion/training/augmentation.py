"""Random changes of training images, the same in `tf.data` and in programs that XLA compiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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


def _tone(pixels: tf.Tensor, draws: list[tf.Tensor], strength: float) -> tf.Tensor:
    """Bend the tone curve: add sines that leave black and white where they are.

    x + strength * sum over k = 1, 2, 3 of (2 u_k - 1) / k * sin(pi k x) (after Modas et al., PRIME, ECCV 2022).
    """
    waves = ((2 * draw - 1) / k * tf.sin(math.pi * k * pixels) for k, draw in enumerate(draws[:3], start=1))
    return pixels + strength * sum(waves)


def _filter(pixels: tf.Tensor, draws: list[tf.Tensor], strength: float) -> tf.Tensor:
    """Add what a random 3x3 kernel makes of the image (after Xu et al., Random Convolutions, ICLR 2021).

    The kernel's values are uniform, of variance (strength u)^2 / 9; outside the image all is 0.
    """
    height, width = pixels.shape[1:]
    padded = tf.pad(pixels, [[0, 0], [1, 1], [1, 1]])
    parts = [(2 * draws[3 * i + j] - 1) * padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return pixels + strength / math.sqrt(3) * draws[9] * tf.add_n(parts)


def _spectrum(pixels: tf.Tensor, draws: list[tf.Tensor], strength: float) -> tf.Tensor:
    """Weaken and strengthen spatial frequencies: a random spectral filter (after Modas et al., PRIME, ECCV 2022).

    Those of radius r, from 0 to 1 in the cosine transform, are multiplied by
    1 + strength * sum over k = 1 to 4 of (2 u_k - 1) sin(pi k r / 2). The mean stays.
    """
    height, width = pixels.shape[1:]
    rows, columns = _cosines(height), _cosines(width)
    y, x = np.arange(height) / (height - 1), np.arange(width) / (width - 1)
    radius = (np.hypot(y[:, np.newaxis], x) / math.sqrt(2)).astype(np.float32)
    bends = [(2 * draw - 1) * np.sin(math.pi / 2 * k * radius) for k, draw in enumerate(draws[:4], start=1)]
    spectrum = tf.einsum("ui,nij,vj->nuv", rows, pixels, columns) * (1 + strength * tf.add_n(bends))
    return tf.einsum("ui,nuv,vj->nij", rows, spectrum, columns)


def _cosines(size: int) -> NDArray[np.float32]:
    """Return the matrix of the orthonormal cosine transform (DCT-II)."""
    from scipy import fft

    return np.asarray(fft.dct(np.eye(size), axis=0, norm="ortho"), np.float32)


def _wave(pixels: tf.Tensor, draws: list[tf.Tensor], strength: float) -> tf.Tensor:
    """Add a plane wave of any direction, phase and frequency that pixels can show (Vaish et al., AFA, CVPR 2024)."""
    height, width = pixels.shape[1:]
    y, x = np.indices((1, height, width), np.float32)[1:]
    amplitude, frequency, direction, phase = draws[0], math.pi * draws[1], 2 * math.pi * draws[2], draws[3]
    position = y * (frequency * tf.cos(direction)) + x * (frequency * tf.sin(direction))
    return pixels + strength * amplitude * tf.sin(position + 2 * math.pi * phase)


def _pixmix(pixels: tf.Tensor, draws: list[tf.Tensor], strength: float) -> tf.Tensor:
    """Add or take away small copies of the image before it in the batch (after Hendrycks et al., PixMix, CVPR 2022).

    Every second or every fourth pixel of that image is kept, and repeated as often; mirrored in either axis, or not.
    """
    height, width = pixels.shape[1:]
    other = tf.roll(pixels, 1, axis=0)
    copies = [tf.tile(other[:, ::step, ::step], [1, step, step])[:, :height, :width] for step in (2, 4)]
    texture = tf.where(draws[1] < 0.5, *copies)
    texture = tf.where(draws[2] < 0.5, texture[:, ::-1], texture)
    texture = tf.where(draws[3] < 0.5, texture[:, :, ::-1], texture)
    return pixels + strength * (2 * draws[0] - 1) * texture


def _noise(pixels: tf.Tensor, draws: list[tf.Tensor], strength: float) -> tf.Tensor:
    """Add normal noise, of a standard deviation from 0 to the strength."""
    return pixels + strength * draws[0] * _normal(draws[1], pixels.shape[1:])


def _impulse(pixels: tf.Tensor, draws: list[tf.Tensor], strength: float) -> tf.Tensor:
    """Make pixels black or white, as many of each: a share of them from 0 to the strength."""
    uniform = tf.reshape(_uniform(draws[1], math.prod(pixels.shape[1:])), (-1, *pixels.shape[1:]))
    part = strength * draws[0] / 2
    return tf.where(uniform < part, 0.0, tf.where(uniform >= 1 - part, 1.0, pixels))


def _blur(pixels: tf.Tensor, draws: list[tf.Tensor], most: float) -> tf.Tensor:
    """Blur by a Gaussian of a standard deviation from 0 to so many pixels; outside the image all is 0."""
    deviation = tf.maximum(most * draws[0], 0.01)

    def matrices(size: int) -> tf.Tensor:
        offsets = np.arange(1 - size, size, dtype=np.float32)
        weights = tf.exp(-tf.square(offsets / deviation) / 2)
        weights /= tf.reduce_sum(weights, axis=-1, keepdims=True)
        return tf.concat([weights[:, :, size - 1 - i : 2 * size - 1 - i] for i in range(size)], axis=1)

    height, width = pixels.shape[1:]
    return tf.matmul(tf.matmul(matrices(height), pixels), matrices(width), transpose_b=True)


def _line(pixels: tf.Tensor, draws: list[tf.Tensor], width: float) -> tf.Tensor:
    """Draw a straight line of so many pixels' width, in any direction, place and grey level."""
    height, columns = pixels.shape[1:]
    y, x = np.indices((1, height, columns), np.float32)[1:]
    direction = math.pi * draws[0]
    normal = tf.cos(direction), tf.sin(direction)
    place = (2 * draws[1] - 1) / 2 * (height * tf.abs(normal[0]) + columns * tf.abs(normal[1]))
    distance = (y - (height - 1) / 2) * normal[0] + (x - (columns - 1) / 2) * normal[1] - place
    return tf.where(tf.abs(distance) <= width / 2, draws[2], pixels)


def _erase(pixels: tf.Tensor, draws: list[tf.Tensor], strength: float) -> tf.Tensor:
    """Fill a rectangle with one grey level, whose sides are up to `strength` of the image's (DeVries, Taylor, 2017)."""
    inside = True
    for axis, (side, place) in enumerate(zip(draws[:2], draws[2:4], strict=True)):
        size = pixels.shape[1 + axis]
        index = np.arange(size, dtype=np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        length = tf.floor(side * (strength * size + 1))
        first = tf.floor(place * (size - length + 1))
        inside &= (index >= first) & (index < first + length)
    return tf.where(inside, draws[4], pixels)


def _normal(draw: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Return normal numbers (b, *shape) for draws (b, 1, 1): Box and Muller's of `_uniform`'s."""
    size = math.prod(shape)
    uniform = _uniform(draw, 2 * size)
    normal = tf.sqrt(-2 * tf.math.log(1 - uniform[:, :size])) * tf.cos(2 * math.pi * uniform[:, size:])
    return tf.reshape(normal, (-1, *shape))


def _uniform(draw: tf.Tensor, count: int) -> tf.Tensor:
    """Hash the bits of draws (b, 1, 1) and 0 ... count - 1 to numbers in [0, 1), (b, count): lowbias32 of C. Wellons.

    Integers alone decide them, so that XLA's programs give the same as TensorFlow's.
    """
    shift, xor = tf.bitwise.right_shift, tf.bitwise.bitwise_xor
    start = tf.bitcast(tf.reshape(draw, (-1, 1)), tf.uint32) * np.uint32(0x2C1B3C6D)
    value = start + np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9)
    for bits, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        value = xor(value, shift(value, np.uint32(bits))) * np.uint32(factor)
    value = xor(value, shift(value, np.uint32(16)))
    return tf.cast(shift(value, np.uint32(8)), tf.float32) / 2**24


_PIXEL_OPS: dict[str, Callable[[tf.Tensor, list[tf.Tensor], float], tf.Tensor]] = {
    "tone": _tone,
    "filter": _filter,
    "spectrum": _spectrum,
    "wave": _wave,
    "pixmix": _pixmix,
    "noise": _noise,
    "impulse": _impulse,
    "blur": _blur,
    "line": _line,
    "erase": _erase,
}


def augment(images: tf.Tensor, draws: tf.Tensor, augmentations: Sequence[Augmentation]) -> tf.Tensor:
    """Apply augmentations to uint8 images (b, height, width, 1), from left to right; return float32 in [0, 255].

    Those that follow one another and move pixels are first made one affine map an image, so that the pixels are read
    once: bilinearly where a map is not of whole pixels, and as zeros outside the image. The others change values in
    [0, 1], which are then clipped to it. The draws are float32 (b, columns), uniform in [0, 1), as many columns as the
    augmentations draw together.
    """
    pixels, column = tf.cast(images, tf.float32), 0
    for moves, group in groupby(augmentations, lambda augmentation: augmentation.kind in _MAPS):
        chain = list(group)
        count = sum(augmentation.draws for augmentation in chain)
        pixels = (_move if moves else _change)(pixels, draws[:, column : column + count], chain)
        column += count
    return pixels


def _change(images: tf.Tensor, draws: tf.Tensor, augmentations: Sequence[Augmentation]) -> tf.Tensor:
    """Apply augmentations of `_PIXEL_OPS` to float32 images (b, height, width, 1) in [0, 255]."""
    pixels, column = images[..., 0] / 255, 0
    for augmentation in augmentations:
        used = [draws[:, i, tf.newaxis, tf.newaxis] for i in range(column, column + augmentation.draws)]
        changed = tf.clip_by_value(_PIXEL_OPS[augmentation.kind](pixels, used, augmentation.most), 0, 1)
        pixels = tf.where(used[-1] < augmentation.share, changed, pixels) if augmentation.share < 1 else changed
        column += augmentation.draws
    return pixels[..., tf.newaxis] * 255


def _move(images: tf.Tensor, draws: tf.Tensor, augmentations: Sequence[Augmentation]) -> tf.Tensor:
    """Apply augmentations of `_MAPS` to float32 images (b, height, width, 1)."""
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
        return tf.where(inside, tf.gather(tf.reshape(pixels, [-1]), indices), 0.0)

    if "rotate" not in kinds and (height == width or "rotate90" not in kinds):  # whole pixels
        return tf.reshape(read(row, column_of), (-1, height, width, 1))
    top, left = tf.floor(row), tf.floor(column_of)
    down, right = row - top, column_of - left
    upper = read(top, left) * (1 - right) + read(top, left + 1) * right
    lower = read(top + 1, left) * (1 - right) + read(top + 1, left + 1) * right
    return tf.reshape(upper * (1 - down) + lower * down, (-1, height, width, 1))
