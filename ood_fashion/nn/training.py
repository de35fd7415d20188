"""Training a registered model as a `TrainConfig` says, into a run folder, from where it left off."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras

from ood_fashion import paper
from ood_fashion.config import TrainConfig
from ood_fashion.datasets import Dataset, split_train
from ood_fashion.errors import DivergenceError
from ood_fashion.histories import stopped_at
from ood_fashion.metrics import accuracy_record
from ood_fashion.nn import engine
from ood_fashion.nn.callbacks import EarlyStopping, EpochRecorder, FiniteLoss, MonitorTest
from ood_fashion.nn.evaluation import predict
from ood_fashion.nn.models import build_model
from ood_fashion.nn.pipelines import shifted_batches
from ood_fashion.runs import Run, atomic_write
from ood_fashion.shifts import SHIFTS
from ood_fashion.specs import MODELS


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


def steps_per_epoch(config: TrainConfig) -> int:
    """Return the number of updates in an epoch; its last batch may be smaller."""
    return math.ceil(config.train_size / config.batch_size)


def start_run(path: Path, config: TrainConfig, dataset: Dataset, device: str) -> Run:
    """Make a run folder, once it is clear that the dataset is large enough for the config.

    Args:
        path: an absent or empty folder.
        config: what to train.
        dataset: what to train it on.
        device: what `devices.select_device` returned.

    Raises:
        DataError: the dataset has too few images.
        InvalidValueError: its images are too small for the model.
        RunError: the folder holds something already, or cannot be written.
    """
    split_train(dataset, config.train_size, config.val_size)
    MODELS[config.model].summary((*dataset.image_shape, 1), dataset.num_classes)
    return Run.create(
        path,
        config,
        dataset={"source": dataset.source, "genuine": dataset.is_genuine, "sha256": dataset.sha256},
        device=device,
        threads=os.cpu_count(),
        versions={"python": platform.python_version()}
        | {name: version(name) for name in ("ood-fashion", "tensorflow", "keras", "numpy")},
        git_revision=_git_revision(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _git_revision() -> str | None:
    """Return the commit that this code was checked out from, or None for an installed copy."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "-C", root, "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


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
    run.require_dataset(dataset.source, dataset.sha256)
    training, validation = split_train(dataset, config.train_size, config.val_size, seed=config.split_seed)
    model = initial_model(config, dataset)
    stack = engine.steps_per_program(config)
    trainer = model if stack is None else engine.CompiledTrainer.of(model, training, config.batch_size)
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
    predictions = {name: predict(model, dataset, SHIFTS[name]) for name in paper.TEST_SETS}
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


def kept_epoch(history: Sequence[Mapping[str, float]], config: TrainConfig) -> int:
    """Return the epoch, from 1, whose weights are kept: the best with early stopping, else the last; 0 for none."""
    if not history or config.patience is None:
        return len(history)
    return stopped_at(history, config.patience)[1]


def training_summary(history: Sequence[Mapping[str, float]], config: TrainConfig) -> dict[str, int]:
    """Count epochs and updates, all of them and those up to the epoch whose weights are kept."""
    steps, kept = steps_per_epoch(config), kept_epoch(history, config)
    return {
        "epochs": len(history),
        "kept_epoch": kept,
        "updates_per_epoch": steps,
        "updates": len(history) * steps,
        "updates_to_kept_epoch": kept * steps,
    }
