"""The types of images and labels, blocks of them, and their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

BLOCK_PIXELS = 1_000_000
"""About how many pixels are corrupted at a time, so that what is needed in between stays small."""


def blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cut (n, height, width) into slices of the first axis of some `BLOCK_PIXELS` each."""
    n, height, width = shape
    step = max(1, BLOCK_PIXELS // max(1, height * width))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def to_unit_range(images: NDArray[Any]) -> NDArray[np.float32]:
    """Convert uint8 pixels in 0-255 to float32 in 0-1; floats only change their type."""
    pixels = images.astype(np.float32)
    return pixels / np.float32(255) if images.dtype == np.uint8 else pixels


def compact(array: NDArray[Any]) -> NDArray[np.unsignedinteger[Any]]:
    """Return pixels or labels in the smallest type of unsigned integers that holds them: uint8, for 256 classes."""
    return np.ascontiguousarray(array, np.min_scalar_type(array.max(initial=0)))


def sha256_of(array: NDArray[Any]) -> str:
    """Return the hash of an array's bytes when `compact`."""
    return hashlib.sha256(compact(array).data).hexdigest()
