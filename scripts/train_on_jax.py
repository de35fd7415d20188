r"""Train with Keras on JAX, on a machine that has a GPU and no TensorFlow.

KERAS_BACKEND=jax python scripts/train_on_jax.py robust studies/robust/robust-s1 --seed 1
ood-fashion train --out studies/robust/robust-s1 --resume

KERAS_BACKEND=jax python scripts/train_on_jax.py ingredients studies/ingredients --seeds 3
ood-fashion study ingredients --out studies/ingredients --resume

The second command of each pair, where TensorFlow is, measures the models and completes the runs; it also goes on with a
training that was cut off. Settings, model, augmentations, optimizer and schedule are those of `ood-fashion train`. The
random numbers that order and augment the images are NumPy's, so the same seed gives another training.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np

from ood_fashion._tensorflow import keras
from ood_fashion.api.data import load_dataset
from ood_fashion.api.training import given_settings
from ood_fashion.cli.options import data_dir_option, settings_options
from ood_fashion.data.dataset import Split, split_train
from ood_fashion.data.sources import Source
from ood_fashion.models.build import build_model
from ood_fashion.runs.config import PROTOCOLS, TrainConfig
from ood_fashion.runs.run import Checkpoint, Run
from ood_fashion.runs.start import start_run
from ood_fashion.studies.study import STUDIES
from ood_fashion.studies.study_run import StudyRun
from ood_fashion.training.augmentation import augment
from ood_fashion.training.optimizers import compile_as_configured

EPOCHS_PER_CHECKPOINT = 5
ops = keras.ops


@click.command()
@click.argument("name", type=click.Choice(sorted({*PROTOCOLS, *STUDIES})), metavar="PROTOCOL_OR_STUDY")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seeds", type=click.IntRange(1), help="Train the study of this name, so many times each setting.")
@settings_options("model", "train_size", "val_size", "epochs", "batch_size", "learning_rate", "seed", "augment")
@data_dir_option
def main(name: str, folder: Path, seeds: int | None, data_dir: Source | None, **settings: Any) -> None:
    """Train by a protocol into a run FOLDER, or a study into its FOLDER, without early stopping.

    Of a study this leaves out what has begun, and what stops early or monitors the test set.
    """
    given = {setting: value for setting, value in settings.items() if value not in (None, ())}
    if name not in (STUDIES if seeds else PROTOCOLS):
        raise click.UsageError(f"{name!r} is a {'protocol: leave out' if seeds else 'study: give'} --seeds.")
    dataset = load_dataset(data_dir)
    if seeds:
        study = StudyRun.create(folder, name, seeds=seeds, changes=given, dataset=dataset, resume=True)
        runs = [
            (trial.path, trial.config)
            for trial in study.trials(unfinished=True)
            if trial.config.patience is None and not trial.config.monitor_test and not Run(trial.path).has_begun
        ]
    else:
        runs = [(folder, TrainConfig.from_json({**given_settings(None, name, given), "patience": None}))]
    for path, config in runs:
        click.echo(path)
        run = start_run(path, config, dataset, jax.default_backend(), packages=("jax", "keras", "numpy"))
        train(run, *split_train(dataset, config.train_size, config.val_size, seed=config.split_seed))


def train(run: Run, training: Split, validation: Split) -> None:
    """Train the run's model, and write a checkpoint every few epochs."""
    config = run.config
    shape = (*training.images.shape[1:], 1)
    model = build_model(config.model, input_shape=shape, num_classes=len(run.class_names), seed=config.seed)
    compile_as_configured(model, config)
    kinds, columns = config.augmentations, sum(one.draws for one in config.augmentations)
    images, labels = ops.convert_to_tensor(training.images[..., np.newaxis]), ops.convert_to_tensor(training.labels)
    variables = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables

    def loss_of(weights: Any, state: Any, pixels: Any, targets: Any, *, learning: bool) -> Any:
        scores, state = model.stateless_call(weights, state, pixels, training=learning)
        return model.loss(targets, scores), (ops.mean(ops.cast(ops.argmax(scores, -1) == targets, "float32")), state)

    def step(carry: Any, inputs: Any) -> Any:
        (weights, state, slots), (indices, draws) = carry, inputs
        pixels = augment(images[indices], draws, kinds) / 255
        differentiate = jax.value_and_grad(loss_of, has_aux=True)
        (loss, (right, state)), gradients = differentiate(weights, state, pixels, labels[indices], learning=True)
        weights, slots = model.optimizer.stateless_apply(slots, gradients, weights)
        return (weights, state, slots), (loss, right)

    steps = jax.jit(lambda carry, *inputs: jax.lax.scan(step, carry, inputs))
    measure = jax.jit(lambda weights, state, *batch: loss_of(weights, state, *batch, learning=False))
    carry = tuple([one.value for one in group] for group in variables)
    history: list[dict[str, float]] = []
    rng, n, size = np.random.default_rng(config.seed), len(training), config.batch_size
    for epoch in range(1, config.epochs + 1):
        began, sums = time.perf_counter(), np.zeros(2)
        order, draws = rng.permutation(n), rng.random((n, columns), np.float32)
        for first, last, length in ((0, n - n % size, size), (n - n % size, n, n % size)):
            if first < last:  # the second are the images that fill no batch
                shape = (last - first) // length, length
                inputs = order[first:last].reshape(shape), draws[first:last].reshape(*shape, columns)
                carry, means = steps(carry, *inputs)
                sums += np.sum(means, axis=1) * length
        pixels = validation.images[..., np.newaxis].astype(np.float32) / 255
        val_loss, (val_accuracy, _) = measure(*carry[:2], pixels, validation.labels)
        seconds, (loss, accuracy) = round(time.perf_counter() - began, 3), sums / n
        measures = {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy}
        history.append({"epoch": epoch, **{name: float(one) for name, one in measures.items()}, "seconds": seconds})
        if epoch % EPOCHS_PER_CHECKPOINT == 0 or epoch == config.epochs:
            click.echo("  ".join(f"{name} {value:.4g}" for name, value in history[-1].items()))
            for group, values in zip(variables, carry, strict=True):
                for variable, value in zip(group, values, strict=True):
                    variable.assign(value)
            weights, slots = model.get_weights(), [np.asarray(one.value) for one in model.optimizer.variables]
            state = {"history": history, "finished": epoch == config.epochs, "stopping": None}
            run.write_checkpoint(Checkpoint(state, {"weights": weights, "optimizer": slots, "kept": weights}))
            run.write_history(history)


if __name__ == "__main__":
    main()
