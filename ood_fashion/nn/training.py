"""Training a registered model as a `TrainConfig` says, into a run folder, from where it left off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from ood_fashion import paper
from ood_fashion.config import TrainConfig
from ood_fashion.datasets import Dataset, split_train
from ood_fashion.errors import DivergenceError
from ood_fashion.files import atomic_write
from ood_fashion.metrics import accuracy_record
from ood_fashion.nn import engine
from ood_fashion.nn.callbacks import EarlyStopping, EpochRecorder, FiniteLoss, MonitorTest
from ood_fashion.nn.evaluation import predict
from ood_fashion.nn.models import build_model
from ood_fashion.nn.pipelines import shifted_batches
from ood_fashion.records import kept_epoch, require_same_dataset, training_summary
from ood_fashion.runs import Run
from ood_fashion.shifts import SHIFTS


def initial_model(config: TrainConfig, dataset: Dataset) -> keras.Model:
    """Build the config's model for the dataset's images and classes."""
    return build_model(
        config.model, input_shape=(*dataset.image_shape, 1), num_classes=dataset.num_classes, seed=config.seed
    )


def compile_as_configured(model: keras.Model, config: TrainConfig) -> None:
    """Give a model the config's optimizer, loss and metric.

    The optimizer follows v <- momentum * v + gradient, w <- w - learning_rate * v (the document, problem 3.4). Keras
    keeps -learning_rate * v instead of v, which is the same as long as the learning rate does not change.
    """
    model.compile(
        optimizer=keras.optimizers.SGD(config.learning_rate, momentum=config.momentum),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    model.optimizer.build(model.trainable_variables)


def train(run: Run, dataset: Dataset, callbacks: Sequence[keras.callbacks.Callback] = ()) -> dict[str, Any]:
    """Train the run's model from its last checkpoint, evaluate it on the document's test sets, and complete the run.

    Args:
        run: decides what is trained, and takes the results.
        dataset: what to train and evaluate on.
        callbacks: more callbacks for `fit`, to watch.

    Returns:
        What metrics.json holds: the model's name, a record per test set, and the epochs and updates spent.

    Raises:
        RunError: the run began on another dataset, or its folder is damaged or cannot be written.
        DivergenceError: a loss was not finite; the last good weights are in the run's model file.
    """
    config = run.config
    require_same_dataset(run, dataset)
    training, validation = split_train(dataset, config.train_size, config.val_size, seed=config.split_seed)
    model = initial_model(config, dataset)
    stack = engine.steps_per_program(config)
    trainer = model
    if stack is not None:
        trainer = engine.CompiledTrainer.of(model, training, config.batch_size, config.augmentations)
    compile_as_configured(trainer, config)
    initial_weights = model.get_weights()
    stopping = None if config.patience is None else EarlyStopping(config.patience)
    monitors = [MonitorTest(shifted_batches(dataset.test))] if config.monitor_test else []
    recorder = EpochRecorder(run, stopping)
    recorder.restore(trainer)
    first = len(recorder.history)
    divergence = None
    if not recorder.finished:
        try:
            trainer.fit(
                engine.training_data(training, config, stack, range(first, config.epochs)),
                validation_data=shifted_batches(validation),
                initial_epoch=first,
                epochs=config.epochs,
                steps_per_epoch=engine.calls_per_epoch(config, stack),
                shuffle=False,  # the batches are shuffled already
                callbacks=[FiniteLoss(), *monitors, *([stopping] if stopping else []), recorder, *callbacks],
                verbose=0,
            )
        except DivergenceError as error:
            divergence = error
    checkpoint = run.read_checkpoint()
    model.set_weights(initial_weights if checkpoint is None else checkpoint.arrays["kept"])
    with atomic_write(run.model_path) as temporary:
        model.save(temporary)
    if divergence is not None:
        raise DivergenceError(
            f"{divergence} Lower --learning-rate or --momentum. "
            f"The weights of epoch {kept_epoch(recorder.history, config)} are in {run.model_path}."
        )
    predictions = predict(model, dataset, [SHIFTS[name] for name in paper.TEST_SETS])
    run.write_predictions(predictions)
    metrics = {
        "model": config.model,
        "results": [
            accuracy_record(name, classes, dataset.test.labels) for name, (classes, _confidences) in predictions.items()
        ],
        "training": training_summary(recorder.history, config),
    }
    run.write_metrics(metrics)
    return metrics
