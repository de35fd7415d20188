"""`tf.data` pipelines of seeded batches to train on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ood_fashion._tensorflow import tf
from ood_fashion.data.dataset import Split
from ood_fashion.evaluation.pipelines import to_unit_range
from ood_fashion.shifts.augmentations import Augmentation
from ood_fashion.training.augmentation import augment


def augment_and_scale(pixels: tf.Tensor, draws: tf.Tensor, augmentations: Sequence[Augmentation]) -> tf.Tensor:
    """Augment uint8 pixels as `augmentation.augment` says, and convert them to float32 in 0-1."""
    return to_unit_range(augment(pixels, draws, augmentations))


# AutoGraph takes longer to rewrite these functions than a small training takes, and finds nothing to rewrite.
_plain = tf.autograph.experimental.do_not_convert


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

    return tf.data.Dataset.range(epochs.start, epochs.stop).map(_plain(draw))


def training_batches(
    split: Split, batch_size: int, *, seed: int, epochs: range, augmentations: Sequence[Augmentation] = ()
) -> tf.data.Dataset:
    """Batch a training set for these epochs, in an order that depends on the seed and the epoch alone.

    Images are augmented anew in every epoch, float32 (b, height, width, 1) in [0, 1], labels int64 (b,). An epoch's
    last batch has what is left.
    """
    n = len(split)
    images, labels = tf.constant(split.images[..., np.newaxis]), tf.constant(split.labels)

    def batches(order: tf.Tensor, draws: tf.Tensor) -> tf.data.Dataset:
        starts = tf.data.Dataset.range(0, n, batch_size)
        return starts.map(lambda start: (order[start : start + batch_size], draws[start : start + batch_size]))

    def gather(indices: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return augment_and_scale(tf.gather(images, indices), draws, augmentations), tf.gather(labels, indices)

    return (
        _epochs(n, seed, epochs, augmentations).flat_map(_plain(batches)).map(_plain(gather)).prefetch(tf.data.AUTOTUNE)
    )


def training_stacks(
    n: int, batch_size: int, stack: int, *, seed: int, epochs: range, augmentations: Sequence[Augmentation] = ()
) -> tf.data.Dataset:
    """Say which images are in the batches of `training_batches`, many batches at a time, for `engine.CompiledTrainer`.

    Gives stacks of indices, int32 (stack, b), of random numbers, float32 (stack, b, columns), and the number of batches
    that count in them, int32: an epoch's last stack is filled up. A smaller last batch follows as a stack of its own.
    """
    full = n // batch_size

    def stacks(order: tf.Tensor, draws: tf.Tensor) -> tf.data.Dataset:
        def to_stacks(values: tf.Tensor) -> tf.Tensor:
            shape = (full, batch_size, *values.shape[1:])
            paddings = [[0, -full % stack], *([[0, 0]] * len(values.shape))]
            return tf.pad(tf.reshape(values[: full * batch_size], shape), paddings)

        indices, numbers = to_stacks(order), to_stacks(draws)
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

    return _epochs(n, seed, epochs, augmentations).flat_map(_plain(stacks)).prefetch(tf.data.AUTOTUNE)
