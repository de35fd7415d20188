"""`tf.data` pipelines: seeded batches to train on, shifted batches to evaluate on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ood_fashion.data.dataset import Split
from ood_fashion.layer_specs import Shape
from ood_fashion.nn.augmentation import augment
from ood_fashion.shifts.augmentations import Augmentation
from ood_fashion.shifts.shift import Indices, Shift

EVALUATION_BATCH_SIZE = 500
UNSHIFTED = Shift()


def to_unit_range(pixels: tf.Tensor) -> tf.Tensor:
    """Convert pixels in 0-255, uint8 or float32, to float32 in 0-1."""
    return tf.cast(pixels, tf.float32) / 255.0


def augmented(pixels: tf.Tensor, draws: tf.Tensor, augmentations: Sequence[Augmentation]) -> tf.Tensor:
    """Augment uint8 pixels as `augmentation.augment` says, and convert them to float32 in 0-1."""
    return to_unit_range(augment(pixels, draws, augmentations))


def _epochs(n: int, seed: int, epochs: range, augmentations: Sequence[Augmentation]) -> tf.data.Dataset:
    """Shuffle 0 to n - 1 for each epoch, and draw the augmentations' random numbers for each place in the order.

    Both depend on the seed and the epoch alone, so that a resumed run sees the same batches as an undisturbed one, and
    are made outside compiled programs, whose generators differ.
    """
    columns = sum(augmentation.draws for augmentation in augmentations)

    def draw(epoch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        key = tf.stack([np.int64(seed), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(n), seed=key)
        # With a key of their own, for the shuffle sorts by random numbers from the other.
        draws = tf.random.stateless_uniform((n, columns), tf.random.experimental.stateless_fold_in(key, 1))
        return order, draws

    return tf.data.Dataset.range(epochs.start, epochs.stop).map(draw)


def training_batches(
    split: Split, batch_size: int, *, seed: int, epochs: range, augmentations: Sequence[Augmentation] = ()
) -> tf.data.Dataset:
    """Batch a training set, in an order that depends on the seed and the epoch alone.

    Args:
        split: the training images and labels.
        batch_size: images a batch; an epoch's last batch has what is left.
        seed: decides the order and the augmentations' random numbers.
        epochs: the epochs to give, one after another.
        augmentations: what to do to the images, anew in every epoch.

    Returns:
        Batches of images, float32 (b, height, width, 1) in [0, 1], and labels, int64 (b,).
    """
    n = len(split)
    images, labels = tf.constant(split.images[..., np.newaxis]), tf.constant(split.labels)

    def batches(order: tf.Tensor, draws: tf.Tensor) -> tf.data.Dataset:
        starts = tf.data.Dataset.range(0, n, batch_size)
        return starts.map(lambda start: (order[start : start + batch_size], draws[start : start + batch_size]))

    def gather(indices: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return augmented(tf.gather(images, indices), draws, augmentations), tf.gather(labels, indices)

    return _epochs(n, seed, epochs, augmentations).flat_map(batches).map(gather).prefetch(tf.data.AUTOTUNE)


def training_stacks(
    n: int, batch_size: int, stack: int, *, seed: int, epochs: range, augmentations: Sequence[Augmentation] = ()
) -> tf.data.Dataset:
    """Say which images are in the batches of `training_batches`, many batches at a time, for `engine.CompiledTrainer`.

    Args:
        n: number of training images, at least a batch of them.
        batch_size: images a batch.
        stack: batches a stack.
        seed: decides the order and the random numbers.
        epochs: the epochs to give, one after another.
        augmentations: whose random numbers to draw.

    Returns:
        Stacks of indices, int32 (stack, b), of random numbers, float32 (stack, b, columns), and the number of batches
        that count in them, int32: an epoch's last stack is filled up. A smaller last batch follows as a stack of its
        own.
    """
    full = n // batch_size

    def stacks(order: tf.Tensor, draws: tf.Tensor) -> tf.data.Dataset:
        def stacked(values: tf.Tensor) -> tf.Tensor:
            shape = (full, batch_size, *values.shape[1:])
            paddings = [[0, -full % stack], *([[0, 0]] * len(values.shape))]
            return tf.pad(tf.reshape(values[: full * batch_size], shape), paddings)

        indices, numbers = stacked(order), stacked(draws)
        starts = tf.data.Dataset.range(0, full, stack, output_type=tf.int32)
        given = starts.map(
            lambda start: (
                indices[start : start + stack],
                numbers[start : start + stack],
                tf.minimum(stack, full - start),
            )
        )
        if full * batch_size == n:
            return given
        rest = (order[tf.newaxis, full * batch_size :], draws[tf.newaxis, full * batch_size :], 1)
        return given.concatenate(tf.data.Dataset.from_tensors(rest))

    return _epochs(n, seed, epochs, augmentations).flat_map(stacks).prefetch(tf.data.AUTOTUNE)


def shifted_batches(
    split: Split, shift: Shift = UNSHIFTED, *, image_shape: Shape | None = None, batch_size: int = EVALUATION_BATCH_SIZE
) -> tf.data.Dataset:
    """Batch a test set in its order, every image shifted.

    The pixels equal `Shift.apply`'s: exactly for whole pixels, quarter turns and corruptions of pixels, within 1e-5
    where the last steps interpolate.

    Args:
        split: images and labels.
        shift: what to do to the images.
        image_shape: the shape of one image in the batches; (height, width, 1) unless given.
        batch_size: images a batch; the last batch has what is left.

    Returns:
        Batches of images, float32 (b, *image_shape) in [0, 1], and labels, int64 (b,).
    """
    height, width = split.images.shape[1:]
    pixels, taps = shift_beforehand(split.images, shift)

    def prepare(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return shift_within(images, taps, image_shape or (height, width, 1)), labels

    batches = tf.data.Dataset.from_tensor_slices((pixels, split.labels)).batch(batch_size)
    return batches.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


Taps = list[tuple[NDArray[np.int32], NDArray[np.float32]]]


def shift_beforehand(
    images: NDArray[np.uint8], shift: Shift, indices: Indices | None = None
) -> tuple[NDArray[np.uint8], Taps]:
    """Do the part of a shift that NumPy has to do, and prepare the rest for TensorFlow.

    Args:
        images: uint8 (n, height, width).
        shift: what to do to them.
        indices: as for `Shift.apply`.

    Returns:
        The images, uint8 (n, height, width), after the last corruption of pixels, and the affine maps that follow as
        weighted sums of pixels (`SourceMap.taps`).
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
