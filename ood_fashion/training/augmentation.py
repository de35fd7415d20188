"""Random changes of training images, the same in `tf.data` and in programs that XLA compiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ood_fashion._tensorflow import keras
from ood_fashion.shifts.augmentations import Augmentation

ops = keras.ops
Tensor = Any


class Maps(NamedTuple):
    """An affine map for each image: source = ((a, b), (c, d)) @ position + (row, column), (batch, 1) each.

    Positions are (row, column) from the image's centre, in pixels.
    """

    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor
    row: Tensor
    column: Tensor

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


def _translation(draws: list[Tensor], most: float) -> Maps:
    """Move the content to the right by the first draw's distance and down by the second's."""
    right, down = (ops.floor(draw * (2 * most + 1)) - most for draw in draws[:2])
    return IDENTITY._replace(row=-down, column=-right)


def _quarter_turns(draws: list[Tensor], most: float) -> Maps:
    """Turn counter-clockwise by 0 to 3 quarters. The sines and cosines are whole numbers, exactly."""
    quarters = ops.floor(draws[0] * 4)
    cos = ops.where(quarters % 2 == 0, 1 - quarters, 0.0)
    sin = ops.where(quarters % 2 == 1, 2 - quarters, 0.0)
    return Maps(cos, sin, -sin, cos, 0.0, 0.0)


def _mirror(draws: list[Tensor], most: float) -> Maps:
    """Mirror the images of the lower half of the draws left to right."""
    return IDENTITY._replace(d=ops.where(draws[0] < 0.5, -1.0, 1.0))


def _rotation(draws: list[Tensor], most: float) -> Maps:
    """Turn counter-clockwise by an angle of -most to most degrees."""
    angle = (2 * draws[0] - 1) * (most * math.pi / 180)
    cos, sin = ops.cos(angle), ops.sin(angle)
    return Maps(cos, sin, -sin, cos, 0.0, 0.0)


_MAPS: dict[str, Callable[[list[Tensor], float], Maps]] = {
    "translate": _translation,
    "rotate90": _quarter_turns,
    "mirror": _mirror,
    "rotate": _rotation,
}


def _tone(pixels: Tensor, draws: list[Tensor], strength: float) -> Tensor:
    """Bend the tone curve: add sines that leave black and white where they are.

    x + strength * sum over k = 1, 2, 3 of (2 u_k - 1) / k * sin(pi k x) (after Modas et al., PRIME, ECCV 2022).
    """
    waves = ((2 * draw - 1) / k * ops.sin(math.pi * k * pixels) for k, draw in enumerate(draws[:3], start=1))
    return pixels + strength * sum(waves)


def _filter(pixels: Tensor, draws: list[Tensor], strength: float) -> Tensor:
    """Add what a random 3x3 kernel makes of the image (after Xu et al., Random Convolutions, ICLR 2021).

    The kernel's values are uniform, of variance (strength u)^2 / 9; outside the image all is 0.
    """
    height, width = pixels.shape[1:]
    padded = ops.pad(pixels, [[0, 0], [1, 1], [1, 1]])
    parts = [(2 * draws[3 * i + j] - 1) * padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return pixels + strength / math.sqrt(3) * draws[9] * sum(parts)


def _spectrum(pixels: Tensor, draws: list[Tensor], strength: float) -> Tensor:
    """Weaken and strengthen spatial frequencies: a random spectral filter (after Modas et al., PRIME, ECCV 2022).

    Those of radius r, from 0 to 1 in the cosine transform, are multiplied by
    1 + strength * sum over k = 1 to 4 of (2 u_k - 1) sin(pi k r / 2). The mean stays.
    """
    height, width = pixels.shape[1:]
    rows, columns = _cosines(height), _cosines(width)
    y, x = np.arange(height) / (height - 1), np.arange(width) / (width - 1)
    radius = ops.convert_to_tensor(np.hypot(y[:, np.newaxis], x) / math.sqrt(2), "float32")
    bends = [(2 * draw - 1) * ops.sin(math.pi / 2 * k * radius) for k, draw in enumerate(draws[:4], start=1)]
    spectrum = ops.einsum("ui,nij,vj->nuv", rows, pixels, columns) * (1 + strength * sum(bends))
    return ops.einsum("ui,nuv,vj->nij", rows, spectrum, columns)


def _cosines(size: int) -> NDArray[np.float32]:
    """Return the matrix of the orthonormal cosine transform (DCT-II)."""
    from scipy import fft

    return np.asarray(fft.dct(np.eye(size), axis=0, norm="ortho"), np.float32)


def _wave(pixels: Tensor, draws: list[Tensor], strength: float) -> Tensor:
    """Add a plane wave of any direction, phase and frequency that pixels can show (Vaish et al., AFA, CVPR 2024)."""
    y, x = _positions(*pixels.shape[1:])
    amplitude, frequency, direction, phase = draws[0], math.pi * draws[1], 2 * math.pi * draws[2], draws[3]
    position = y * (frequency * ops.cos(direction)) + x * (frequency * ops.sin(direction))
    return pixels + strength * amplitude * ops.sin(position + 2 * math.pi * phase)


def _pixmix(pixels: Tensor, draws: list[Tensor], strength: float) -> Tensor:
    """Add or take away small copies of another image, where a third is light (after Hendrycks et al., CVPR 2022).

    They are the two before it in the batch. Every second, fourth or seventh pixel of the first is kept, and repeated
    as often, mirrored in either axis or not; it shows where the second is above 0.3.
    """
    height, width = pixels.shape[1:]
    other, mask = (ops.roll(pixels, places, axis=0) for places in (1, 2))
    copies = [ops.tile(other[:, ::step, ::step], [1, step, step])[:, :height, :width] for step in (2, 4, 7)]
    texture = ops.where(draws[1] < 1 / 3, copies[0], ops.where(draws[1] < 2 / 3, *copies[1:]))
    texture = ops.where(draws[2] < 0.5, ops.flip(texture, axis=1), texture)
    texture = ops.where(draws[3] < 0.5, ops.flip(texture, axis=2), texture)
    return pixels + strength * (2 * draws[0] - 1) * ops.where(mask > 0.3, texture, 0.0)


def _noise(pixels: Tensor, draws: list[Tensor], strength: float) -> Tensor:
    """Add normal noise, of a standard deviation from 0 to the strength."""
    return pixels + strength * draws[0] * _normal(draws[1], pixels.shape[1:])


def _impulse(pixels: Tensor, draws: list[Tensor], strength: float) -> Tensor:
    """Make pixels black or white, as many of each: a share of them from 0 to the strength."""
    uniform = ops.reshape(_uniform(draws[1], math.prod(pixels.shape[1:])), (-1, *pixels.shape[1:]))
    part = strength * draws[0] / 2
    return ops.where(uniform < part, 0.0, ops.where(uniform >= 1 - part, 1.0, pixels))


def _blur(pixels: Tensor, draws: list[Tensor], most: float) -> Tensor:
    """Blur by a Gaussian of a standard deviation from 0 to so many pixels; outside the image all is 0."""
    deviation = ops.maximum(most * draws[0], 0.01)

    def matrices(size: int) -> Tensor:
        offsets = ops.arange(1 - size, size, dtype="float32")
        weights = ops.exp(-ops.square(offsets / deviation) / 2)
        weights /= ops.sum(weights, axis=-1, keepdims=True)
        return ops.concatenate([weights[:, :, size - 1 - i : 2 * size - 1 - i] for i in range(size)], axis=1)

    height, width = pixels.shape[1:]
    return ops.matmul(ops.matmul(matrices(height), pixels), ops.transpose(matrices(width), (0, 2, 1)))


def _line(pixels: Tensor, draws: list[Tensor], width: float) -> Tensor:
    """Draw a straight line of so many pixels' width, in any direction, place and grey level."""
    height, columns = pixels.shape[1:]
    y, x = _positions(height, columns)
    direction = math.pi * draws[0]
    normal = ops.cos(direction), ops.sin(direction)
    place = (2 * draws[1] - 1) / 2 * (height * ops.abs(normal[0]) + columns * ops.abs(normal[1]))
    distance = (y - (height - 1) / 2) * normal[0] + (x - (columns - 1) / 2) * normal[1] - place
    return ops.where(ops.abs(distance) <= width / 2, draws[2], pixels)


def _erase(pixels: Tensor, draws: list[Tensor], strength: float) -> Tensor:
    """Fill a rectangle with one grey level, whose sides are up to `strength` of the image's (DeVries, Taylor, 2017)."""
    inside = True
    for axis, (side, place) in enumerate(zip(draws[:2], draws[2:4], strict=True)):
        size = pixels.shape[1 + axis]
        index = ops.reshape(ops.arange(size, dtype="float32"), (-1, 1) if axis == 0 else (1, -1))
        length = ops.floor(side * (strength * size + 1))
        first = ops.floor(place * (size - length + 1))
        inside = inside & (index >= first) & (index < first + length)
    return ops.where(inside, draws[4], pixels)


def _positions(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return each pixel's row and column, float32 (1, height, width) both."""
    _, rows, columns = np.indices((1, height, width), np.float32)
    return ops.convert_to_tensor(rows), ops.convert_to_tensor(columns)


def _normal(draw: Tensor, shape: Sequence[int]) -> Tensor:
    """Return normal numbers (b, *shape) for draws (b, 1, 1): Box and Muller's of `_uniform`'s."""
    size = math.prod(shape)
    uniform = _uniform(draw, 2 * size)
    normal = ops.sqrt(-2 * ops.log(1 - uniform[:, :size])) * ops.cos(2 * math.pi * uniform[:, size:])
    return ops.reshape(normal, (-1, *shape))


def _uniform(draw: Tensor, count: int) -> Tensor:
    """Hash draws (b, 1, 1) and 0 ... count - 1 to numbers in [0, 1), (b, count): lowbias32 of C. Wellons.

    Integers alone decide them, so that XLA's programs give the same as TensorFlow's. PyTorch has 64 bits for the 32.
    """

    def low(value: Tensor) -> Tensor:
        return ops.bitwise_and(value, np.uint32(0xFFFFFFFF))

    def mix(value: Tensor, bits: int) -> Tensor:
        return ops.bitwise_xor(value, ops.bitwise_right_shift(value, np.uint32(bits)))

    start = ops.cast(ops.reshape(draw, (-1, 1)) * 2**24, "uint32") * np.uint32(0x2C1B3C6D)
    value = low(start + ops.convert_to_tensor(np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9)))
    for bits, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        value = low(mix(value, bits) * np.uint32(factor))
    return ops.cast(ops.bitwise_right_shift(mix(value, 16), np.uint32(8)), "float32") / 2**24


_PIXEL_OPS: dict[str, Callable[[Tensor, list[Tensor], float], Tensor]] = {
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


def augment(images: Tensor, draws: Tensor, augmentations: Sequence[Augmentation]) -> Tensor:
    """Apply augmentations to uint8 images (b, height, width, 1), from left to right; return float32 in [0, 255].

    Those that follow one another and move pixels are first made one affine map an image, so that the pixels are read
    once: bilinearly where a map is not of whole pixels, and as zeros outside the image. The others change values in
    [0, 1], which are then clipped to it. The draws are float32 (b, columns), uniform in [0, 1), as many columns as the
    augmentations draw together.
    """
    pixels, draws, column = ops.cast(images, "float32"), ops.convert_to_tensor(draws), 0
    for moves, group in groupby(augmentations, lambda augmentation: augmentation.kind in _MAPS):
        chain = list(group)
        count = sum(augmentation.draws for augmentation in chain)
        pixels = (_move if moves else _change)(pixels, draws[:, column : column + count], chain)
        column += count
    return pixels


def _change(images: Tensor, draws: Tensor, augmentations: Sequence[Augmentation]) -> Tensor:
    """Apply augmentations of `_PIXEL_OPS` to float32 images (b, height, width, 1) in [0, 255]."""
    pixels, column = images[..., 0] / 255, 0
    for augmentation in augmentations:
        used = [draws[:, i, np.newaxis, np.newaxis] for i in range(column, column + augmentation.draws)]
        changed = ops.clip(_PIXEL_OPS[augmentation.kind](pixels, used, augmentation.most), 0, 1)
        pixels = ops.where(used[-1] < augmentation.share, changed, pixels) if augmentation.share < 1 else changed
        column += augmentation.draws
    return pixels[..., np.newaxis] * 255


def _move(images: Tensor, draws: Tensor, augmentations: Sequence[Augmentation]) -> Tensor:
    """Apply augmentations of `_MAPS` to float32 images (b, height, width, 1)."""
    height, width = images.shape[1:3]
    maps, column = IDENTITY, 0
    for augmentation in augmentations:
        used = [draws[:, i, np.newaxis] for i in range(column, column + augmentation.draws)]
        change = _MAPS[augmentation.kind](used, augmentation.most)
        if augmentation.share < 1:
            changed = used[-1] < augmentation.share
            change = Maps(*(ops.where(changed, *pair) for pair in zip(change, IDENTITY, strict=True)))
        maps, column = maps.after(change), column + augmentation.draws
    kinds = {augmentation.kind for augmentation in augmentations}

    centre_row, centre_column = (height - 1) / 2, (width - 1) / 2
    rows, columns = (ops.reshape(positions, (1, -1)) for positions in _positions(height, width))
    y, x = rows - centre_row, columns - centre_column
    row = maps.a * y + maps.b * x + maps.row + centre_row
    column_of = maps.c * y + maps.d * x + maps.column + centre_column
    pixels = ops.reshape(images, (-1, height * width))

    def read(row: Tensor, column: Tensor) -> Tensor:
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        # In one dimension, because XLA reads batches of rows several times slower.
        first = ops.arange(ops.shape(pixels)[0])[:, np.newaxis] * (height * width)
        indices = ops.where(inside, ops.cast(row * width + column, "int32"), 0) + first
        return ops.where(inside, ops.take(ops.reshape(pixels, [-1]), indices), 0.0)

    if "rotate" not in kinds and (height == width or "rotate90" not in kinds):  # whole pixels
        return ops.reshape(read(row, column_of), (-1, height, width, 1))
    top, left = ops.floor(row), ops.floor(column_of)
    down, right = row - top, column_of - left
    upper = read(top, left) * (1 - right) + read(top, left + 1) * right
    lower = read(top + 1, left) * (1 - right) + read(top + 1, left + 1) * right
    return ops.reshape(upper * (1 - down) + lower * down, (-1, height, width, 1))
