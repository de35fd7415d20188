from __future__ import annotations

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
from ood_fashion.training.keras_trainer import compile_as_configured

# Where windows overlap, two neighbours are often within rounding of each other, and either may take the gradient. That
# leaves the sum of the gradients as it is, but not the layers below; a shift of batch normalisation starts at 0, and is
# then a small number. In one step from equal weights it makes no difference.
# The layers of p4m are those of p4 with twice the elements, and take several times as long.
TRAINED = [name for name in specs.MODELS if not name.startswith("p4m")]
TOLERANCE = dict.fromkeys(TRAINED, 0.0001) | {"mlp": 1e-5, "gapcnn": 1e-2}


def fit(
    config: TrainConfig, split: Split, stack: int | None, steps: int | None = None
) -> tuple[keras.Model, dict[str, list[float]]]:
    model = build_model(config.model, seed=config.seed)
    trainer = model if stack is None else CompiledTrainer.of(model, split, config.batch_size)
    compile_as_configured(trainer, config)
    history = trainer.fit(
        training_data(split, config, stack, range(config.epochs)),
        steps_per_epoch=steps or calls_per_epoch(config, stack),
        epochs=config.epochs,
        validation_data=shifted_batches(split),
        shuffle=False,
        verbose=0,
    )
    return trainer, history.history


def assert_equal_training(config: TrainConfig, split: Split, stack: int, **steps: int) -> None:
    """Compare a compiled training with stock `fit`, from the same weights over the same batches."""
    compiled, compiled_history = fit(config, split, stack, **steps)
    stock, stock_history = fit(config, split, None, **steps)
    for received, expected in zip(compiled.get_weights(), stock.get_weights(), strict=True):
        difference = np.linalg.norm(received - expected) / np.linalg.norm(expected)
        assert difference < (TOLERANCE[config.model] if len(split) > config.batch_size else 1e-4)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(compiled_history[name], stock_history[name], rtol=1e-4)
    for name in ("accuracy", "val_accuracy"):
        # A score within rounding of another may count either way.
        np.testing.assert_allclose(compiled_history[name], stock_history[name], atol=2.5 / len(split))


@pytest.mark.parametrize(
    ("model", "momentum"),
    [(model, momentum) for model in TRAINED for momentum in (0.0, 0.9) if momentum or model in PARAMETERS],
)
def test_an_epoch_equals_stock_fit(small_fashion: Dataset, model: str, momentum: float) -> None:
    """The last stack is not full, and the last batch is smaller.

    The CNNs get a short epoch of noise: over the black background of real images a filter acts everywhere or nowhere,
    by the sign of its bias alone, and within some tens of steps a rounding error decides such a sign. Stock `fit` then
    parts from itself as much, run eagerly or from weights changed by 1e-7; docs/performance.md has the figures. Batch
    normalisation, over five images, is more sensitive still, so the models with it get four batches and a rest.
    """
    n = 403 if model == "mlp" else 103 if model in PARAMETERS else 23
    images = small_fashion.train.images[:n]
    if model != "mlp":
        images = np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)
    config = TrainConfig(model=model, train_size=n, batch_size=5, epochs=1, momentum=momentum)
    assert_equal_training(config, Split(images, small_fashion.train.labels[:n]), stack=3 if n == 23 else 8)


@pytest.mark.parametrize("model", TRAINED)
def test_one_step_equals_stock_fit(small_fashion: Dataset, model: str) -> None:
    config = TrainConfig(model=model, train_size=7, batch_size=7, epochs=1, momentum=0.9)
    split = Split(small_fashion.train.images[:7], small_fashion.train.labels[:7])
    assert_equal_training(config, split, stack=1)


@pytest.mark.parametrize(("batch_size", "stack"), [(1, 20), (64, 1), (100, 2)])
def test_other_batch_sizes_equal_stock_fit(small_fashion: Dataset, batch_size: int, stack: int) -> None:
    config = TrainConfig(model="mlp", train_size=200, batch_size=batch_size, epochs=2, momentum=0.5)
    split = Split(small_fashion.train.images[:200], small_fashion.train.labels[:200])
    assert_equal_training(config, split, stack)


def test_the_full_protocols_recipe_equals_stock_fit(small_fashion: Dataset) -> None:
    recipe = {**PROTOCOLS["full"], "train_size": 203, "batch_size": 10, "epochs": 3}
    split = Split(small_fashion.train.images[:203], small_fashion.train.labels[:203])
    assert_equal_training(TrainConfig(model="mlp", **recipe), split, stack=4)


def test_later_epochs_compile_nothing(small_fashion: Dataset) -> None:
    """One program serves full stacks and the last, shorter one."""
    traces: list[int] = []

    class CountTraces(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            traces.append(self.model.compiled_steps.experimental_get_tracing_count())

    config = TrainConfig(model="mlp", train_size=103, batch_size=5, epochs=3)
    split = Split(small_fashion.train.images[:103], small_fashion.train.labels[:103])
    trainer = CompiledTrainer.of(build_model("mlp"), split, config.batch_size)
    compile_as_configured(trainer, config)
    trainer.fit(
        training_data(split, config, 8, range(3)),
        steps_per_epoch=calls_per_epoch(config, 8),
        epochs=3,
        callbacks=[CountTraces()],
        shuffle=False,
        verbose=0,
    )
    assert traces == [1, 1, 1]


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
    fit(config, Split(small_fashion.train.images[:20], small_fashion.train.labels[:20]), stack=4)
    assert bool(entered) == patches
