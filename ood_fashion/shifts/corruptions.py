"""The corruptions of images as data: what each does, and its parameters at severities 1 to 5 with where they come from.

A `Shift` writes one as NAME:SEVERITY, or NAME:SEVERITY,SEED where it draws random numbers. Those belong to the seed,
the corruption and the image's index alone: not to the severity, so that a higher one does more of the same.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ood_fashion.images import blocks
from ood_fashion.shifts import pixel_ops
from ood_fashion.shifts.affine import Floats, Matrix, SourceMap

SEVERITIES = (1, 2, 3, 4, 5)
MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class Corruption(ABC):
    """What a corruption does, its parameters at severities 1 to 5, and where they come from.

    The names of the parameters have units; a pixel is one of a 28x28 image. A seed decides anything if `is_random`.
    """

    effect: str
    parameters: tuple[str, ...]
    table: tuple[tuple[float, ...], ...]
    source: str
    is_random: bool = field(default=False, kw_only=True)

    def source_map(self, severity: int, height: int, width: int) -> SourceMap | None:
        """Say where each pixel comes from, or None if this is no affine map."""
        return None

    @abstractmethod
    def apply(self, images: Floats, severity: int, key: tuple[int, int], indices: NDArray[np.int64]) -> Floats:
        """Corrupt a float array (n, height, width)."""


@dataclass(frozen=True)
class AffineCorruption(Corruption):
    """Moves pixels by an affine map about the image's centre; `matrix` is that of its source map."""

    matrix: Callable[[float], Matrix]

    def source_map(self, severity: int, height: int, width: int) -> SourceMap:
        """Say where each pixel comes from."""
        return SourceMap.about_centre(self.matrix(*self.table[severity - 1]), height, width)

    def apply(self, images: Floats, severity: int, key: tuple[int, int], indices: NDArray[np.int64]) -> Floats:
        """Move the pixels, bilinearly, with zeros from outside."""
        return self.source_map(severity, *images.shape[1:]).interpolate(images)


@dataclass(frozen=True)
class PixelCorruption(Corruption):
    """Changes pixels by a function of `pixel_ops`. The result is clipped to [0, 1] and rounded to 8 bits.

    Rounding makes the pixels those of an image file, and hides the last bits, in which processors differ.
    """

    op: pixel_ops.PixelOp

    def apply(self, images: Floats, severity: int, key: tuple[int, int], indices: NDArray[np.int64]) -> Floats:
        """Corrupt the images block by block."""
        corrupted = np.empty(images.shape, np.float32)
        for block in blocks(images.shape):
            draw = pixel_ops.Draw(key, indices[block] if self.is_random else indices[:0])
            pixels = np.clip(images[block], 0, 1).astype(np.float32)
            levels = np.rint(np.clip(self.op(pixels, draw, *self.table[severity - 1]), 0, 1) * 255)
            corrupted[block] = levels.astype(np.float32) / np.float32(255)
        return corrupted


def random_key(name: str, seed: int) -> tuple[int, int]:
    """Return the key of a corruption's random numbers: the seed, and 64 bits of the hash of its name."""
    return seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def _of_pixels(
    op: pixel_ops.PixelOp, parameter: str, values: tuple[float, ...], source: str, *, is_random: bool
) -> PixelCorruption:
    """Describe a corruption with one parameter."""
    return PixelCorruption(
        op.__doc__ or "", (parameter,), tuple((value,) for value in values), source, op, is_random=is_random
    )


_random, _fixed = partial(_of_pixels, is_random=True), partial(_of_pixels, is_random=False)
_IMAGENET_C = "ImageNet-C and MNIST-C"
_SMALLER = "chosen here, because ImageNet-C's, made for 224x224, leave nothing of 28x28"

CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": _random(
        pixel_ops.gaussian_noise, "standard deviation", (0.08, 0.12, 0.18, 0.26, 0.38), _IMAGENET_C
    ),
    "shot_noise": _random(pixel_ops.shot_noise, "photons", (60, 25, 12, 5, 3), _IMAGENET_C),
    "impulse_noise": _random(
        pixel_ops.impulse_noise, "share of the pixels", (0.03, 0.06, 0.09, 0.17, 0.27), _IMAGENET_C
    ),
    "gaussian_blur": _fixed(
        pixel_ops.gaussian_blur, "standard deviation, pixels", (0.5, 0.75, 1.0, 1.5, 2.0), _SMALLER
    ),
    "defocus_blur": _fixed(pixel_ops.defocus_blur, "radius, pixels", (1.0, 1.5, 2.0, 2.5, 3.0), _SMALLER),
    "motion_blur": _random(pixel_ops.motion_blur, "length, pixels", (3, 5, 7, 9, 11), _SMALLER),
    "glass_blur": PixelCorruption(
        pixel_ops.glass_blur.__doc__ or "",
        ("standard deviation, pixels", "distance, pixels", "share swapped"),
        ((0.4, 1, 0.2), (0.5, 1, 0.4), (0.6, 1, 0.6), (0.7, 2, 0.8), (0.8, 2, 1.0)),
        _SMALLER,
        pixel_ops.glass_blur,
        is_random=True,
    ),
    "zoom_blur": _fixed(pixel_ops.zoom_blur, "largest factor", (1.1, 1.15, 1.2, 1.25, 1.3), _IMAGENET_C),
    "brightness": _fixed(pixel_ops.brightness, "added", (0.1, 0.2, 0.3, 0.4, 0.5), _IMAGENET_C),
    "contrast": _fixed(pixel_ops.contrast, "share kept", (0.4, 0.3, 0.2, 0.1, 0.05), _IMAGENET_C),
    "fog": _random(
        pixel_ops.fog,
        "amount",
        (1.0, 1.5, 2.0, 2.5, 3.0),
        "ImageNet-C's range of amounts, in equal steps because the noise here has one roughness",
    ),
    "spatter": _random(
        pixel_ops.spatter,
        "threshold, standard deviations",
        (1.5, 1.25, 1.0, 0.75, 0.5),
        "chosen here to cover some 5 to 25% of the image; ImageNet-C changes colour and sharpness too",
    ),
    "stripe": _fixed(
        pixel_ops.stripe,
        "columns at each side",
        (3, 5, 7, 9, 11),
        "severity 3 is MNIST-C's only one; the others are 2 columns apart",
    ),
    "dotted_line": _random(
        pixel_ops.dotted_line,
        "lines",
        (1, 2, 3, 4, 5),
        "severity 1 is MNIST-C's only one; the others have a line more each",
    ),
    "zigzag": _random(
        pixel_ops.zigzag,
        "lines",
        (1, 2, 3, 4, 5),
        "severity 1 is MNIST-C's only one; the others have a line more each",
    ),
    "canny_edges": _fixed(
        pixel_ops.canny_edges,
        "share of the edges",
        (0.2, 0.4, 0.6, 0.8, 1.0),
        "severity 5 is MNIST-C's only one; the others are blends with the image",
    ),
    "pixelate": _fixed(
        pixel_ops.pixelate,
        "factor",
        (0.6, 0.5, 0.4, 0.3, 0.2),
        f"{_IMAGENET_C}, but for severity 5: theirs, 0.25, divides 28 and so changes less than 0.3",
    ),
    "jpeg": _fixed(pixel_ops.jpeg, "quality", (25, 18, 15, 10, 7), _IMAGENET_C),
    "shear": AffineCorruption(
        "Shear the image: its upper half leans to the right.",
        ("columns a row",),
        ((0.2,), (0.4,), (0.6,), (0.8,), (1.0,)),
        "MNIST-C's numbers, as the slope where MNIST-C has the angle in radians and a random direction",
        lambda slope: ((1, 0), (slope, 1)),
    ),
    "scale": AffineCorruption(
        "Shrink the image about its centre.",
        ("factor",),
        ((0.9,), (0.8,), (0.7,), (0.6,), (0.5,)),
        "MNIST-C",
        lambda factor: ((1 / factor, 0), (0, 1 / factor)),
    ),
    "elastic": _random(
        pixel_ops.elastic,
        "displacement, pixels",
        (0.5, 0.75, 1.0, 1.5, 2.0),
        "chosen here, with one smoothness and a growing displacement; ImageNet-C's are not ordered at 28x28",
    ),
    "erase": _random(
        pixel_ops.erase,
        "side, share of the image's",
        (0.2, 0.3, 0.4, 0.5, 0.6),
        "chosen here; Cutout (DeVries and Taylor, 2017) takes a half of a CIFAR-10 image's side",
    ),
}
