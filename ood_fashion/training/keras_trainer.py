"""Training a registered model as a `TrainConfig` says, into a run folder, from where it left off."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

from ood_fashion._tensorflow import default_settings, keras, select_device, tf
from ood_fashion.data.dataset import Dataset, Split, split_train
from ood_fashion.errors import DivergenceError, InvalidValueError
from ood_fashion.evaluation.classifier import calibrate
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
    Monitor,
    Progress,
    TensorBoard,
    require_tensorboard,
)
from ood_fashion.training.finish import divergence, finish
from ood_fashion.training.optimizers import compile_as_configured


def initial_model(config: TrainConfig, dataset: Dataset) -> keras.Model:
    """Build the config's model for the dataset's images and classes."""
    return build_model(
        config.model, input_shape=(*dataset.image_shape, 1), num_classes=dataset.num_classes, seed=config.seed
    )


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
    monitors = [Monitor(validation, ("val_loss", "val_accuracy"))]
    if config.monitor_test:
        monitors.append(Monitor(test, ("test_accuracy",)))
    trainer.fit(
        engine.training_data(training, config, stack, range(first, config.epochs)),
        initial_epoch=first,
        epochs=config.epochs,
        steps_per_epoch=engine.calls_per_epoch(config, stack),
        shuffle=False,  # the batches are shuffled already
        callbacks=[*monitors, FiniteLoss(), *([stopping] if stopping else []), recorder, *callbacks],
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
    for name in ("batch_size", "train_size"):
        if (value := getattr(config, name)) % devices:
            raise InvalidValueError(
                f"`strategy` {config.strategy}: expected a multiple of the number of devices, {devices}, "
                f"as `{name}`. Received: {value}. Set `{name}`."
            )
    return strategy
