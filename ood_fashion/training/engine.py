"""The compiled training engine: many mini-batch steps in one XLA program, under Keras's own `fit`.

`fit` spends about a millisecond on every step outside the mathematics, and TensorFlow's CPU kernels leave part of the
machine idle. `CompiledTrainer` keeps the images on the device, takes the indices of many mini-batches and runs
Keras's own train step on each inside one compiled loop. Losses, metrics, optimizers, callbacks and History are Keras's;
the weights equal stock `fit`'s but for rounding.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from ood_fashion._tensorflow import keras, select_device, tf
from ood_fashion.data.dataset import Split
from ood_fashion.errors import DeviceError
from ood_fashion.models.layer_specs import Conv2D
from ood_fashion.models.patch_layers import patch_kernels, with_patch_kernels
from ood_fashion.models.specs import MODELS, describe
from ood_fashion.runs.config import TrainConfig
from ood_fashion.shifts.augmentations import Augmentation
from ood_fashion.training.batches import augment_and_scale, training_batches, training_stacks

IMAGES_PER_PROGRAM = 10_000
"""Most images that a call trains on: enough that its milliseconds are lost in it, and progress still moves."""

# What compiling costs without and with convolutions, and what it saves a step, in seconds; see docs/performance.md.
_COMPILATION = {False: 0.7, True: 2.7}
_SAVED_PER_STEP = 0.9e-3

_LARGEST_BATCH_OF_PATCHES = 32
"""The patches of more images leave the cache, and TensorFlow's own convolution catches up, or overtakes."""


MIN_WORK_TO_SHARE = 7_500_000
"""Multiply-adds of an update; with fewer, TensorFlow's threads wait for each other longer than they share work."""


def choose_threads(config: TrainConfig, device: str) -> int | None:
    """Return 1, and make TensorFlow use one thread of the CPU, where that trains a config fastest; else None.

    It is for a process that does nothing else. What the environment says stays, and what TensorFlow has begun with.
    """
    work = config.batch_size * describe(config.model)["multiply_adds"]
    if work > MIN_WORK_TO_SHARE or steps_per_program(config) is None or "TF_NUM_INTRAOP_THREADS" in os.environ:
        return None
    if device != "cpu" and tf.config.get_visible_devices("GPU"):
        return None
    try:
        select_device(device, threads=1)
    except DeviceError:
        return None
    return 1


def steps_per_program(config: TrainConfig) -> int | None:
    """Say how many mini-batches a compiled program takes, or None where stock `fit` is the better choice.

    "auto" compiles where that saves more time over all epochs than it takes.
    """
    if config.strategy != "single":
        return None
    full_batches = config.train_size // config.batch_size
    compiled = config.engine == "compiled"
    if config.engine == "auto":
        convolutional = any(isinstance(layer, Conv2D) for layer in MODELS[config.model].layers)
        saved = config.epochs * full_batches * _SAVED_PER_STEP
        too_large = convolutional and config.batch_size > _LARGEST_BATCH_OF_PATCHES
        compiled = saved > _COMPILATION[convolutional] and not too_large
    if not compiled or full_batches == 0:
        return None
    most = max(1, IMAGES_PER_PROGRAM // config.batch_size)
    return math.ceil(full_batches / math.ceil(full_batches / most))


def training_data(split: Split, config: TrainConfig, stack: int | None, epochs: range) -> tf.data.Dataset:
    """Give what `fit` takes: stacks of `stack` batches for a `CompiledTrainer`, plain batches where it is None."""
    options: dict[str, Any] = {"seed": config.seed, "epochs": epochs, "augmentations": config.augmentations}
    if stack is None:
        return training_batches(split, config.batch_size, **options)
    return training_stacks(len(split), config.batch_size, stack, **options)


def calls_per_epoch(config: TrainConfig, stack: int | None) -> int:
    """Return how many elements of `training_data` an epoch has."""
    full_batches, rest = divmod(config.train_size, config.batch_size)
    return math.ceil(full_batches / (stack or 1)) + (rest > 0)


class CompiledTrainer(keras.Model):
    """A model that `fit` trains on `batches.training_stacks`; all else is the model that it was made from.

    On a CPU, convolutions and pooling are those of `models.patch_layers`; on a GPU, the stock kernels.
    """

    @classmethod
    def of(
        cls, model: keras.Model, split: Split, batch_size: int, augmentations: Sequence[Augmentation] = ()
    ) -> CompiledTrainer:
        """Copy a functional or sequential model with its weights, to be compiled and trained in its place.

        Batches smaller than `batch_size` are trained one at a time, outside XLA.
        """
        copy = keras.models.clone_model(model, clone_function=with_patch_kernels)
        trainer = cls(copy.inputs[0], copy.outputs[0], name=model.name)
        trainer.set_weights(model.get_weights())
        trainer.images, trainer.labels = tf.constant(split.images[..., np.newaxis]), tf.constant(split.labels)
        trainer.batch_size, trainer.augmentations = batch_size, tuple(augmentations)
        return trainer

    images: tf.Tensor
    labels: tf.Tensor
    batch_size: int
    augmentations: tuple[Augmentation, ...]
    compiled_steps: Any = None

    def make_train_function(self, force: bool = False) -> None:
        """Make what `fit` calls for every stack of indices."""
        if self.compiled_steps is not None and not force:
            return
        self._build_metrics()
        kernels = nullcontext if tf.config.get_visible_devices("GPU") else patch_kernels

        # The images are arguments, for XLA would spend minutes on folding them as constants.
        def run_steps(
            images: tf.Tensor, labels: tf.Tensor, indices: tf.Tensor, draws: tf.Tensor, count: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            def step(i: tf.Tensor) -> tuple[tf.Tensor]:
                batch = indices[i]
                pixels = augment_and_scale(tf.gather(images, batch), draws[i], self.augmentations)
                self.train_step((pixels, tf.gather(labels, batch)))
                return (i + 1,)

            tf.while_loop(lambda i: i < count, step, (tf.zeros_like(count),))
            metrics: dict[str, tf.Tensor] = self.get_metrics_result()
            return metrics

        def run_steps_on_patches(*arguments: tf.Tensor) -> dict[str, tf.Tensor]:
            with kernels():
                return run_steps(*arguments)

        self.compiled_steps = tf.function(run_steps_on_patches, jit_compile=True, autograph=False)
        plain_steps = tf.function(run_steps, autograph=False)

        def train_function(iterator: Iterator[tuple[tf.Tensor, ...]]) -> dict[str, tf.Tensor]:
            indices, draws, count = next(iterator)
            run = self.compiled_steps if indices.shape[1] == self.batch_size else plain_steps
            metrics: dict[str, tf.Tensor] = run(self.images, self.labels, indices, draws, count)
            return metrics

        self.train_function = train_function

    def _build_metrics(self) -> None:
        """Create the variables that Keras would otherwise create in the first step, which XLA does not allow."""
        image, label = np.zeros((1, *self.input_shape[1:]), np.float32), np.zeros(1, np.int64)
        scores = self(image)
        self.compute_loss(image, label, scores)
        self.compute_metrics(image, label, scores)
        self.reset_metrics()
