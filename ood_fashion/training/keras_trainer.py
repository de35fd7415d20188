"""Training a registered model as a `TrainConfig` says, into a run folder, from where it left off."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from ood_fashion._tensorflow import default_settings, keras, select_device, tf
from ood_fashion.data.dataset import Dataset, Split, split_train
from ood_fashion.errors import DivergenceError, InvalidValueError
from ood_fashion.evaluation.classifier import calibrate
from ood_fashion.evaluation.pipelines import EVALUATION_BATCH_SIZE, shifted_batches
from ood_fashion.evaluation.scorer import make_scorer
from ood_fashion.files import atomic_write
from ood_fashion.models.build import build_model
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.run import Run
from ood_fashion.runs.start import require_same_dataset
from ood_fashion.training import engine
from ood_fashion.training.callbacks import (
    EarlyStopping,
    EpochRecorder,
    FiniteLoss,
    MonitorTest,
    Progress,
    TensorBoard,
    require_tensorboard,
)
from ood_fashion.training.finish import divergence, finish


def initial_model(config: TrainConfig, dataset: Dataset) -> keras.Model:
    """Build the config's model for the dataset's images and classes."""
    return build_model(
        config.model, input_shape=(*dataset.image_shape, 1), num_classes=dataset.num_classes, seed=config.seed
    )


def compile_as_configured(model: keras.Model, config: TrainConfig) -> None:
    """Give a model the config's optimizer, loss and metric."""
    model.compile(
        optimizer=OPTIMIZERS[config.optimizer](config, SCHEDULES[config.schedule](config)),
        loss=SmoothedCrossentropy(config.label_smoothing),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    model.optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.optimizer.build(model.trainable_variables)


def _cosine(config: TrainConfig) -> keras.optimizers.schedules.LearningRateSchedule:
    """Rise from 0 over the first epoch, then fall to 0 (Loshchilov and Hutter, ICLR 2017, equation 5, no restarts)."""
    updates = math.ceil(config.train_size / config.batch_size)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, (config.epochs - 1) * updates),
        warmup_target=config.learning_rate,
        warmup_steps=updates,
    )


SCHEDULES: dict[str, Callable[[TrainConfig], Any]] = {
    "constant": lambda config: float(config.learning_rate),
    "cosine": _cosine,
}
"""What gives Keras the learning rate of a config, by the names that `TrainConfig` takes."""


class SGD(keras.optimizers.SGD):
    """Gradient descent with momentum: v <- momentum * v + gradient, w <- w - learning_rate * v.

    That is the rule of the assignment (problem 3.4) and of PyTorch's `torch.optim.SGD`. Keras's velocity has the
    learning rate of each gradient's own step in it, so a falling rate does not shorten what is left of earlier steps.
    This velocity is -highest_rate * v, and a step learning_rate / highest_rate of it: the rule under any schedule, and
    Keras's weights, bit for bit, under a constant rate, which is then the highest.
    """

    def __init__(self, learning_rate: Any, momentum: float, highest_rate: float, **options: Any) -> None:
        super().__init__(learning_rate, momentum, **options)
        self.highest_rate = highest_rate

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Update the velocity and the weights of one variable."""
        if not self.momentum:
            super().update_step(gradient, variable, learning_rate)
            return
        velocity = self.momentums[self._get_variable_index(variable)]
        highest = tf.cast(self.highest_rate, variable.dtype)
        self.assign(velocity, velocity * tf.cast(self.momentum, variable.dtype) - gradient * highest)
        # A rate that is 0 in the type of the weights moves nothing.
        self.assign_add(variable, velocity * tf.math.divide_no_nan(tf.cast(learning_rate, variable.dtype), highest))


OPTIMIZERS: dict[str, Callable[[TrainConfig, Any], keras.optimizers.Optimizer]] = {
    "sgd": lambda config, rate: SGD(
        rate, float(config.momentum), config.learning_rate, weight_decay=config.weight_decay or None
    ),
    "adamw": lambda config, rate: keras.optimizers.AdamW(rate, config.weight_decay),
}
"""What builds the optimizer of a config, by the names that `TrainConfig` takes."""


class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits (n, classes) with smoothed labels: (1 - s) * -log p[label] + s * mean of -log p.

    C. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016, section 7. Without
    smoothing it is `keras.losses.SparseCategoricalCrossentropy(from_logits=True)`.
    """

    def __init__(self, smoothing: float) -> None:
        super().__init__(name="smoothed_crossentropy")
        self.smoothing = smoothing

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return the loss of each image, float (n,), for labels (n,)."""
        loss = keras.ops.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        if not self.smoothing:
            return loss
        return (1 - self.smoothing) * loss - self.smoothing * keras.ops.mean(keras.ops.log_softmax(y_pred), axis=-1)


def prepare(config: TrainConfig, device: str, *, threads: int | None = None, tensorboard: bool = False) -> str:
    """Return the device, "cpu" or "gpu", or raise an error, before there is a folder, if it cannot train the config."""
    if tensorboard:
        require_tensorboard()
    # Every training is a new model; TensorFlow would warn of tracing so many.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    used_device = select_device(device, threads=threads)
    make_strategy(config)
    return used_device


@default_settings()
def train(
    run: Run,
    dataset: Dataset,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    tensorboard: bool = False,
    verbose: bool = False,
) -> dict[str, Any]:
    """Train the run's model from its last checkpoint, evaluate it on the assignment's test sets, and complete the run.

    More callbacks for `fit` may watch, TensorBoard's logs be written, and progress be shown on standard error. A
    training whose loss is not finite raises a DivergenceError; the last good weights are then in the run's model file.
    """
    config = run.config
    require_same_dataset(run, dataset)
    training, validation = split_train(dataset, config.train_size, config.val_size, seed=config.split_seed)
    recorder = EpochRecorder(run, None if config.patience is None else EarlyStopping(config.patience))
    watching = [*([TensorBoard(run)] if tensorboard else []), *([Progress()] if verbose else []), *callbacks]
    trainer = build(config, dataset, training)
    try:
        fit(trainer, recorder, training, validation, dataset.test, watching)
    except DivergenceError as error:
        save_kept_weights(run, dataset)
        raise divergence(error, run, recorder.history) from error
    model = save_kept_weights(run, dataset)
    score = make_scorer(model, dataset)
    temperature = calibrate(make_scorer(model, dataset, validation), validation) if config.calibrate else None
    return finish(run, dataset, recorder.history, score, temperature=temperature)


def build(config: TrainConfig, dataset: Dataset, training: Split) -> keras.Model:
    """Build and compile what `fit` trains on the config's devices: its model, or an `engine.CompiledTrainer` of it."""
    strategy = make_strategy(config)
    with strategy.scope():
        model = trainer = initial_model(config, dataset)
        if engine.steps_per_program(config) is not None:
            trainer = engine.CompiledTrainer.of(model, training, config.batch_size, config.augmentations)
        compile_as_configured(trainer, config)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = strategy.num_replicas_in_sync > 1  # the statistics of the whole batch
    return trainer


def fit(
    trainer: keras.Model,
    recorder: EpochRecorder,
    training: Split,
    validation: Split,
    test: Split,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Train what `build` gave from the last checkpoint on; nothing but the recorder writes to the run folder."""
    config, stopping = recorder.run.config, recorder.stopping
    recorder.restore(trainer)
    if recorder.finished:
        return
    stack, first = engine.steps_per_program(config), len(recorder.history)
    devices = trainer.distribute_strategy.num_replicas_in_sync
    evaluation_batch = EVALUATION_BATCH_SIZE // devices * devices
    monitors = [MonitorTest(shifted_batches(test, batch_size=evaluation_batch))] if config.monitor_test else []
    trainer.fit(
        engine.training_data(training, config, stack, range(first, config.epochs)),
        validation_data=shifted_batches(validation, batch_size=evaluation_batch),
        initial_epoch=first,
        epochs=config.epochs,
        steps_per_epoch=engine.calls_per_epoch(config, stack),
        shuffle=False,  # the batches are shuffled already
        callbacks=[FiniteLoss(), *monitors, *([stopping] if stopping else []), recorder, *callbacks],
        verbose=0,
    )


def save_kept_weights(run: Run, dataset: Dataset) -> keras.Model:
    """Save the model with the weights that the last checkpoint keeps, or the initial ones where there is none."""
    checkpoint = run.read_checkpoint()
    model = initial_model(run.config, dataset)  # one without an optimizer, whose state would be saved too
    if checkpoint is not None:
        model.set_weights(checkpoint.arrays["kept"])
    with atomic_write(run.model_path) as temporary:
        model.save(temporary)
    return model


STRATEGIES: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "single": tf.distribute.get_strategy,
    # Two of them in one process would give different sums between devices the same number.
    "mirrored": functools.cache(tf.distribute.MirroredStrategy),
}
"""What makes a strategy, by the names that `TrainConfig` takes."""


def make_strategy(config: TrainConfig) -> tf.distribute.Strategy:
    """Make what trains a config's model on one device, or on all that TensorFlow sees.

    Keras averages over the devices' parts of a batch, which is the mean over the batch where they are equally large.
    """
    if tf.distribute.has_strategy():  # which "single" would take for its own
        raise InvalidValueError(
            f"`strategy` {config.strategy}: expected no scope of another strategy around the training. "
            f"Received: {type(tf.distribute.get_strategy()).__name__}. Leave its scope() first."
        )
    strategy = STRATEGIES[config.strategy]()
    devices = strategy.num_replicas_in_sync
    for name in ("batch_size", "train_size", "val_size"):
        if (value := getattr(config, name)) % devices:
            raise InvalidValueError(
                f"`strategy` {config.strategy}: expected a multiple of the number of devices, {devices}, "
                f"as `{name}`. Received: {value}. Set `{name}`."
            )
    return strategy
