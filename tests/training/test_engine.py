from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.evaluation.pipelines import shifted_batches
from ood_fashion.models import specs
from ood_fashion.models.build import build_model
from ood_fashion.models.patch_layers import patch_kernels
from ood_fashion.runs.config import PROTOCOLS, TrainConfig
from ood_fashion.runs.model_files import load_model
from ood_fashion.studies.assignment import PARAMETERS
from ood_fashion.training import engine
from ood_fashion.training.engine import CompiledTrainer, calls_per_epoch, steps_per_program, training_data
from ood_fashion.training.optimizers import compile_as_configured

# Where windows overlap, two neighbours are often within rounding of each other, and either may take the gradient. That
# leaves the sum of the gradients as it is, but not the layers below; a shift of batch normalisation starts at 0, and is
# then a small number. In one step from equal weights it makes no difference.
# The layers of p4m are those of p4 with twice the elements, and take several times as long.
TRAINED = [name for name in specs.MODELS if not name.startswith("p4m")]
TOLERANCE = dict.fromkeys(TRAINED, 0.0001) | {"mlp": 1e-5, "gapcnn": 1e-2}


def make_trainers(config: TrainConfig, split: Split) -> tuple[CompiledTrainer, keras.Model]:
    """Make a compiled trainer and a stock model of the same weights."""
    stock = build_model(config.model, seed=config.seed)
    trainer = CompiledTrainer.of(stock, split, config.batch_size)
    for one in (trainer, stock):
        compile_as_configured(one, config)
    return trainer, stock


def fit(
    trainer: keras.Model, data: tf.data.Dataset, steps: int, epochs: int, validation: Split
) -> dict[str, list[float]]:
    history = trainer.fit(
        data,
        steps_per_epoch=steps,
        epochs=epochs,
        validation_data=shifted_batches(validation),
        shuffle=False,
        verbose=0,
    )
    measured: dict[str, list[float]] = history.history
    return measured


def assert_equal_training(
    trainers: tuple[CompiledTrainer, keras.Model],
    config: TrainConfig,
    split: Split,
    stack: int,
    steps: int | None = None,
) -> None:
    """Train as compiled and by stock `fit` from the same state over the same batches, all or some of the first stack.

    One program, compiled once, serves full stacks, the last, shorter one, later epochs and later calls of `fit`.
    """
    compiled, stock = trainers
    stacks, batches = (training_data(split, config, length, range(config.epochs)) for length in (stack, None))
    calls, updates = (calls_per_epoch(config, length) for length in (stack, None))
    if steps:
        stacks = stacks.take(1).map(lambda indices, draws, count: (indices, draws, tf.fill(count.shape, steps)))
        calls, updates = 1, steps
    compiled.images, compiled.labels = tf.constant(split.images[..., np.newaxis]), tf.constant(split.labels)
    compiled_history = fit(compiled, stacks, calls, config.epochs, split)
    stock_history = fit(stock, batches, updates, config.epochs, split)
    assert compiled.compiled_steps.experimental_get_tracing_count() == 1
    for received, expected in zip(compiled.get_weights(), stock.get_weights(), strict=True):
        difference = np.linalg.norm(received - expected) / np.linalg.norm(expected)
        assert difference < (1e-4 if steps else TOLERANCE[config.model])
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(compiled_history[name], stock_history[name], rtol=1e-4)
    for name in ("accuracy", "val_accuracy"):
        # A score within rounding of another may count either way.
        np.testing.assert_allclose(compiled_history[name], stock_history[name], atol=2.5 / len(split))


@pytest.mark.parametrize(
    ("model", "momentum"),
    [
        ("mlp", 0.0),
        *((model, 0.9) for model in TRAINED if model != "gapcnn"),
        pytest.param("gapcnn", 0.9, marks=pytest.mark.slow),
    ],  # p4cnn is normalised and has wide windows too
)
def test_a_step_and_an_epoch_equal_stock_fit(small_fashion: Dataset, model: str, momentum: float) -> None:
    """One step over real images, and an epoch whose last stack is not full, and whose last batch is smaller.

    The CNNs get a short epoch of noise: over the black background of real images a filter acts everywhere or nowhere,
    by the sign of its bias alone, and within some tens of steps a rounding error decides such a sign. Stock `fit` then
    parts from itself as much, run eagerly or from weights changed by 1e-7; docs/performance.md has the figures. Batch
    normalisation, over five images, is more sensitive still, so the models with it get four batches and a rest.
    """
    n = 103 if model in PARAMETERS else 23
    config = TrainConfig(model=model, train_size=n, batch_size=5, epochs=1, momentum=momentum)
    split = Split(small_fashion.train.images[:n], small_fashion.train.labels[:n])
    stack = 3 if n == 23 else 8
    trainers = make_trainers(config, split)
    before = [[variable.numpy() for variable in (*one.variables, *one.optimizer.variables)] for one in trainers]
    assert_equal_training(trainers, config, split, stack, steps=1)
    for one, values in zip(trainers, before, strict=True):
        for variable, value in zip((*one.variables, *one.optimizer.variables), values, strict=True):
            variable.assign(value)
    if model != "mlp":
        noise = np.random.default_rng(0).integers(0, 256, split.images.shape, np.uint8)
        split = Split(noise, split.labels)
    assert_equal_training(trainers, config, split, stack)


@pytest.mark.parametrize(("n", "batch_size", "stack"), [(50, 1, 20), (200, 64, 1), (200, 100, 2)])
def test_other_batch_sizes_equal_stock_fit(small_fashion: Dataset, n: int, batch_size: int, stack: int) -> None:
    config = TrainConfig(model="mlp", train_size=n, batch_size=batch_size, epochs=2, momentum=0.5)
    split = Split(small_fashion.train.images[:n], small_fashion.train.labels[:n])
    assert_equal_training(make_trainers(config, split), config, split, stack)


def test_the_full_protocols_recipe_equals_stock_fit(small_fashion: Dataset) -> None:
    recipe = {**PROTOCOLS["full"], "train_size": 183, "batch_size": 10, "epochs": 3}
    split = Split(small_fashion.train.images[:183], small_fashion.train.labels[:183])
    config = TrainConfig(model="mlp", **recipe)
    assert_equal_training(make_trainers(config, split), config, split, stack=4)


@pytest.mark.parametrize("model", ["cnn2", "cnn3", "p4cnn", "gapcnn"])
def test_weights_move_between_the_trainer_and_stock_layers(small_fashion: Dataset, model: str, tmp_path: Path) -> None:
    stock = build_model(model, seed=1)
    trainer = CompiledTrainer.of(build_model(model, seed=2), small_fashion.train, 5)
    trainer.set_weights(stock.get_weights())
    images = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
    np.testing.assert_array_equal(trainer(images), stock(images))
    stock.set_weights(trainer.get_weights())
    stock.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in stock.layers]
    np.testing.assert_array_equal(loaded(images), stock(images))


@pytest.mark.parametrize(
    ("settings", "compiled"),
    [
        ({}, True),  # the assignment's protocol
        ({"model": "mlp"}, True),
        ({"model": "mlp", "train_size": 500, "batch_size": 50, "epochs": 5}, False),  # 50 updates
        ({"train_size": 500, "epochs": 2}, False),
        ({"train_size": 500, "epochs": 2, "engine": "compiled"}, True),
        ({"engine": "stock"}, False),
        ({"train_size": 50_000, "batch_size": 128}, False),
        ({"train_size": 50_000, "batch_size": 128, "model": "mlp"}, True),
        ({"train_size": 100, "batch_size": 500, "engine": "compiled"}, False),  # there is no full batch
    ],
)
def test_the_choice_of_engine(settings: dict[str, object], compiled: bool) -> None:
    config = TrainConfig.from_json(settings)
    stack = steps_per_program(config)
    assert (stack is not None) == compiled
    if stack is not None:
        assert 1 <= stack <= config.train_size // config.batch_size


@pytest.mark.parametrize(("gpus", "patches"), [([], True), (["GPU:0"], False)])
def test_a_gpu_keeps_the_native_kernels(
    monkeypatch: pytest.MonkeyPatch, small_fashion: Dataset, gpus: list[str], patches: bool
) -> None:
    entered: list[bool] = []

    @contextmanager
    def watched_kernels() -> Iterator[None]:
        entered.append(True)
        with patch_kernels():
            yield

    monkeypatch.setattr(engine, "patch_kernels", watched_kernels)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus)
    config = TrainConfig(model="mlp", train_size=20, batch_size=5, epochs=1)
    split = Split(small_fashion.train.images[:20], small_fashion.train.labels[:20])
    trainer, _ = make_trainers(config, split)
    fit(trainer, training_data(split, config, 4, range(1)), 1, 1, split)
    assert bool(entered) == patches


@pytest.mark.parametrize(
    ("options", "threads"),
    [((), 1), (("--threads", "2"), 2), (("--batch-size", "100"), os.cpu_count())],
    ids=["little work", "as told", "more work"],
)
def test_a_training_takes_the_threads_that_pay(
    small_folder: Path, tmp_path: Path, options: tuple[str, ...], threads: int
) -> None:
    """One where an update of a process's only training is little work, unless told otherwise; the run says how many."""
    command = [sys.executable, "-m", "ood_fashion", "train", "--model", "mlp", "--engine", "compiled", "--epochs", "1"]
    sizes = ["--train-size", "200", "--val-size", "50", "--data-dir", str(small_folder), "--out", str(tmp_path / "run")]
    subprocess.run([*command, *sizes, *options], check=True, capture_output=True)
    assert json.loads((tmp_path / "run/config.json").read_text())["threads"] == threads


def test_a_process_that_computes_already_keeps_its_threads() -> None:
    tf.constant(0)
    before = tf.config.threading.get_intra_op_parallelism_threads()
    assert engine.choose_threads(TrainConfig(model="mlp", engine="compiled"), "cpu") in (None, before)
    assert tf.config.threading.get_intra_op_parallelism_threads() == before
