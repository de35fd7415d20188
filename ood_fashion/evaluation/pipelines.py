"""Shifted images for TensorFlow: `tf.data` pipelines, and the part of a shift that NumPy does beforehand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ood_fashion._tensorflow import tf
from ood_fashion.data.dataset import Split
from ood_fashion.models.layer_specs import Shape
from ood_fashion.shifts.shift import Indices, Shift

EVALUATION_BATCH_SIZE = 500

UNSHIFTED = Shift()


def to_unit_range(pixels: tf.Tensor) -> tf.Tensor:
    """Convert pixels in 0-255, uint8 or float32, to float32 in 0-1."""
    return tf.cast(pixels, tf.float32) / 255.0


def shifted_batches(
    split: Split, shift: Shift = UNSHIFTED, *, image_shape: Shape | None = None, batch_size: int = EVALUATION_BATCH_SIZE
) -> tf.data.Dataset:
    """Batch a test set in its order, every image shifted: float32 (b, *image_shape) in [0, 1], and labels, int64 (b,).

    The pixels equal `Shift.apply`'s: exactly for whole pixels, quarter turns and corruptions of pixels, within 1e-5
    where the last steps interpolate. `image_shape` is (height, width, 1) unless given.
    """
    height, width = split.images.shape[1:]
    pixels, taps = shift_beforehand(split.images, shift)

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator] # TensorFlow gives it no types
    def prepare(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return shift_within(images, taps, image_shape or (height, width, 1)), labels

    batches = tf.data.Dataset.from_tensor_slices((pixels, split.labels)).batch(batch_size)
    return batches.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


Taps = list[tuple[NDArray[np.int32], NDArray[np.float32]]]


def shift_beforehand(
    images: NDArray[np.uint8], shift: Shift, indices: Indices | None = None
) -> tuple[NDArray[np.uint8], Taps]:
    """Do the part of a shift of images, uint8 (n, height, width), that NumPy has to do, and prepare the rest.

    Returns them after the last corruption of pixels, uint8, and the affine maps that follow as weighted sums of pixels
    (`SourceMap.taps`).
    """
    height, width = images.shape[1:]
    maps = [step.source_map(height, width) for step in shift.steps]
    first = max((i + 1 for i, source in enumerate(maps) if source is None), default=0)
    pixels = Shift(shift.steps[:first]).apply_uint8(images, indices) if first else images
    return pixels, [source.taps(height, width) for source in maps[first:] if source is not None]


def shift_within(images: tf.Tensor, taps: Taps, image_shape: Shape) -> tf.Tensor:
    """Do the rest of a shift: uint8 (b, height, width) to float32 (b, *image_shape) in [0, 1]."""
    pixels = to_unit_range(tf.reshape(images, (-1, images.shape[1] * images.shape[2])))
    for indices, weights in taps:
        pixels = tf.add_n([tf.gather(pixels, indices[k], axis=1) * weights[k] for k in range(indices.shape[0])])
    return tf.reshape(pixels, (-1, *image_shape))


def shifted_pixels(images: NDArray[np.uint8], shift: Shift, indices: Indices | None = None) -> NDArray[np.float32]:
    """Shift images, uint8 (n, height, width), at once: float32 of the same shape, the pixels of `shifted_batches`.

    The indices are those of `Shift.apply`.
    """
    pixels, taps = shift_beforehand(images, shift, indices)
    shifted: NDArray[np.float32] = shift_within(tf.constant(pixels), taps, images.shape[1:]).numpy()
    return shifted
