from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import DataError, DivergenceError, InvalidValueError, RunError
from ood_fashion.models.layer_specs import BatchNorm, Dense, Flatten
from ood_fashion.models.specs import MODELS, ModelSpec
from ood_fashion.runs import search
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.history import growing_settings, kept_epoch
from ood_fashion.runs.model_files import load_model
from ood_fashion.runs.run import Run
from ood_fashion.runs.start import start_run
from ood_fashion.training.callbacks import TensorBoard
from ood_fashion.training.keras_trainer import initial_model, train
from ood_fashion.training.optimizers import OPTIMIZERS
from tests.test_default_settings import other_settings

SMALL: dict[str, Any] = {
    "model": "mlp",
    "train_size": 103,
    "val_size": 150,
    "epochs": 4,
    "momentum": 0.5,
    "seed": 11,
    "engine": "stock",
}


def trained(path: Path, dataset: Dataset, **settings: Any) -> Run:
    run = start_run(path, TrainConfig(**{**SMALL, **settings}), dataset, "cpu")
    train(run, dataset)
    return run


def weights_of(run: Run) -> list[np.ndarray]:
    weights: list[np.ndarray] = load_model(run.model_path).get_weights()
    return weights


def assert_same_result(run: Run, reference: Run, ignored: tuple[str, ...] = ()) -> None:
    for received, expected in zip(weights_of(run), weights_of(reference), strict=True):
        np.testing.assert_array_equal(received, expected)
    assert run.read_metrics() == reference.read_metrics()
    for received_row, expected_row in zip(run.read_history(), reference.read_history(), strict=True):
        differing = {"seconds", *ignored}
        assert {k: v for k, v in received_row.items() if k not in differing} == {
            k: v for k, v in expected_row.items() if k not in differing
        }


@pytest.fixture(scope="module")
def reference(small_fashion: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An undisturbed run of `SMALL`."""
    return trained(tmp_path_factory.mktemp("runs") / "reference", small_fashion)


def test_a_complete_run_folder(reference: Run, small_fashion: Dataset) -> None:
    assert sorted(path.name for path in reference.path.iterdir()) == [
        "config.json", "history.csv", "metrics.json", "model.keras", "predictions.npz",
    ]  # fmt: skip
    assert reference.record["config"] == TrainConfig(**SMALL).to_json()
    assert reference.record["device"] == "cpu"
    assert reference.record["versions"]["keras"] == keras.__version__
    assert [row["epoch"] for row in reference.read_history()] == [1, 2, 3, 4]
    assert getattr(keras.models.load_model(reference.model_path), "optimizer", None) is None
    metrics, predictions = reference.read_metrics(), reference.read_predictions()
    for record, (shift, predicted) in zip(metrics["results"], predictions.items(), strict=True):
        assert (record["shift"], record["correct"]) == (
            shift,
            int((predicted.classes == small_fashion.test.labels).sum()),
        )
        assert ((predicted.confidences >= 0.1) & (predicted.confidences <= 1)).all()
    assert [record["shift"] for record in metrics["results"]] == ["none", "up4", "rotate90", "rotate180", "rotate270"]
    assert metrics["training"]["updates"] == 4 * 21  # 20 batches of 5 and one of 3
    assert metrics["training"]["updates_to_kept_epoch"] == 21 * metrics["training"]["kept_epoch"]


class Interrupt(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        raise KeyboardInterrupt


def test_tensorboard_shows_the_history_of_a_resumed_run(small_fashion: Dataset, tmp_path: Path) -> None:
    config = TrainConfig(**{**SMALL, "epochs": 3, "monitor_test": True})
    run = start_run(tmp_path / "run", config, small_fashion, "cpu")
    with pytest.raises(KeyboardInterrupt):
        train(run, small_fashion, [TensorBoard(run), Interrupt()])
    train(run, small_fashion, [TensorBoard(run)])
    assert {path.name for path in run.tensorboard_path.iterdir()} == {"train", "validation", "test"}
    for curve, prefix in (("train", ""), ("validation", "val_"), ("test", "test_")):
        logs = EventAccumulator(str(run.tensorboard_path / curve)).Reload()
        measures = ["loss", "accuracy"] if curve != "test" else ["accuracy"]
        assert sorted(logs.Tags()["tensors"]) == sorted(measures)
        for measure in measures:
            read = [(event.step, tf.make_ndarray(event.tensor_proto)) for event in logs.Tensors(measure)]
            assert read == [(row["epoch"], np.float32(row[prefix + measure])) for row in run.read_history()]


@pytest.mark.parametrize("engine", ["stock", "compiled"])
def test_the_same_config_gives_the_same_bits(small_fashion: Dataset, tmp_path: Path, engine: str) -> None:
    first, second = (
        trained(tmp_path / name, small_fashion, model="cnn2", train_size=53, epochs=2, engine=engine)
        for name in ("a", "b")
    )
    assert_same_result(first, second)
    assert (first.path / "metrics.json").read_bytes() == (second.path / "metrics.json").read_bytes()


def test_another_seed_gives_another_result(small_fashion: Dataset, reference: Run, tmp_path: Path) -> None:
    other = trained(tmp_path / "run", small_fashion, seed=12)
    assert not np.array_equal(weights_of(other)[0], weights_of(reference)[0])


class Kill(keras.callbacks.Callback):
    """Stands in for a kill: raises at the given moment of an epoch."""

    def __init__(self, epoch: int, moment: str) -> None:
        super().__init__()
        self.kill_epoch, self.moment = epoch, moment

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.moment == "middle" and self.epoch == self.kill_epoch and batch == 10:
            raise KeyboardInterrupt

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.moment == "end" and epoch == self.kill_epoch:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def undisturbed_run(
    small_fashion: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int | None, str], Run]:
    """Gives an undisturbed run by its patience and engine."""

    @cache
    def run(patience: int | None, engine: str) -> Run:
        path = tmp_path_factory.mktemp("undisturbed") / "run"
        return trained(path, small_fashion, patience=patience, learning_rate=0.1, engine=engine)

    return run


@pytest.mark.parametrize("engine", ["stock", "compiled"])
def test_monitoring_the_test_set_changes_nothing_else(
    small_fashion: Dataset, undisturbed_run: Callable[[int | None, str], Run], tmp_path: Path, engine: str
) -> None:
    plain = undisturbed_run(None, engine)
    monitored = trained(tmp_path / "run", small_fashion, **{**plain.config.to_json(), "monitor_test": True})
    assert_same_result(monitored, plain, ignored=("test_accuracy",))
    last = monitored.read_history()[-1]["test_accuracy"]
    assert last == pytest.approx(monitored.read_metrics()["results"][0]["accuracy"])


@pytest.mark.parametrize(
    ("engine", "patience", "epochs", "moment"),
    [
        ("stock", 3, (2,), "middle"),
        ("stock", 1, (1,), "end"),
        ("stock", None, (1, 2), "end"),  # killed again when it has gone on
        *(
            pytest.param("stock", *case, marks=pytest.mark.slow)
            for case in ((3, (0,), "middle"), *itertools.product([1, 3], [(0,), (3,)], ["end"]), (3, (1,), "end"))
        ),
        ("compiled", None, (2,), "end"),
    ],
)
def test_a_killed_run_resumes_to_the_same_bits(
    small_fashion: Dataset,
    undisturbed_run: Callable[[int | None, str], Run],
    tmp_path: Path,
    engine: str,
    patience: int | None,
    epochs: tuple[int, ...],
    moment: str,
) -> None:
    undisturbed = undisturbed_run(patience, engine)
    run = start_run(tmp_path / "run", undisturbed.config, small_fashion, "cpu")
    for epoch in epochs:
        if epoch < undisturbed.read_metrics()["training"]["epochs"]:
            with pytest.raises(KeyboardInterrupt):
                train(run, small_fashion, [Kill(epoch, moment)])
        assert not run.is_complete
        run = Run.open(run.path)
    train(run, small_fashion)
    assert_same_result(run, undisturbed)


@pytest.mark.parametrize(
    ("engine", "optimizer"),
    [
        ("stock", {"optimizer": "sgd", "momentum": 0.9}),
        ("compiled", {"optimizer": "adamw", "momentum": 0.0}),
    ],
)
def test_a_killed_run_takes_up_all_that_a_recipe_has(
    small_fashion: Dataset,
    tmp_path: Path,
    engine: str,
    optimizer: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(MODELS, "normalised", ModelSpec("", (Flatten(), BatchNorm(), Dense(8))))
    settings = {
        **{"model": "normalised", "engine": engine, "epochs": 3, "augment": ["translate:3"]},
        **{**optimizer, "schedule": "cosine", "weight_decay": 0.1, "label_smoothing": 0.1},
    }
    undisturbed = trained(tmp_path / "undisturbed", small_fashion, **settings)
    run = start_run(tmp_path / "run", undisturbed.config, small_fashion, "cpu")
    with pytest.raises(KeyboardInterrupt):
        train(run, small_fashion, [Kill(1, "end")])
    train(Run.open(run.path), small_fashion)
    assert_same_result(run, undisturbed)


def test_a_run_killed_before_its_metrics_is_completed(small_fashion: Dataset, reference: Run, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    run = start_run(tmp_path / "run", reference.config, small_fashion, "cpu")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_metrics", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(run, small_fashion)
    train(run, small_fashion)
    assert_same_result(run, reference)


def test_a_run_killed_before_its_last_history_is_completed(small_fashion: Dataset, reference: Run, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    run = start_run(tmp_path / "run", reference.config, small_fashion, "cpu")
    write = Run.write_history

    def die_at_the_end(run: Run, rows: Any) -> None:
        if len(rows) == run.config.epochs:
            raise KeyboardInterrupt
        write(run, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_history", die_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            train(run, small_fashion)
    train(run, small_fashion)
    assert_same_result(run, reference)


def test_early_stopping_keeps_the_best_weights(small_fashion: Dataset, tmp_path: Path) -> None:
    stopped = trained(tmp_path / "stopped", small_fashion, patience=1, epochs=20, learning_rate=0.1)
    training = stopped.read_metrics()["training"]
    assert training["kept_epoch"] == training["epochs"] - 1 < 19
    until_best = trained(
        tmp_path / "best", small_fashion, patience=None, epochs=training["kept_epoch"], learning_rate=0.1
    )
    for kept, best in zip(weights_of(stopped), weights_of(until_best), strict=True):
        np.testing.assert_array_equal(kept, best)


@pytest.mark.parametrize(
    ("accuracies", "patience", "kept"), [([0.1, 0.3, 0.3], 3, 2), ([0.1, 0.3, 0.2], None, 3), ([], 3, 0), ([], None, 0)]
)
def test_the_epoch_that_is_kept(accuracies: list[float], patience: int | None, kept: int) -> None:
    assert kept_epoch([{"val_accuracy": accuracy} for accuracy in accuracies], TrainConfig(patience=patience)) == kept


def test_divergence_keeps_the_last_good_weights(small_fashion: Dataset, tmp_path: Path) -> None:
    run = start_run(tmp_path / "run", TrainConfig(**{**SMALL, "epochs": 1}), small_fashion, "cpu")
    train(run, small_fashion)
    good = weights_of(run)

    class Explode(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                self.model.set_weights([np.full_like(weight, np.nan) for weight in self.model.get_weights()])

    diverging = start_run(tmp_path / "diverging", TrainConfig(**SMALL), small_fashion, "cpu")
    with pytest.raises(DivergenceError, match=r"epoch 2: .* The weights of epoch 1 are in .*diverging/model.keras"):
        train(diverging, small_fashion, [Explode()])
    assert not diverging.is_complete
    for kept, expected in zip(weights_of(diverging), good, strict=True):
        np.testing.assert_array_equal(kept, expected)


def test_divergence_at_once_keeps_the_initial_weights(small_fashion: Dataset, tmp_path: Path) -> None:
    config = TrainConfig(**{**SMALL, "learning_rate": 1e30})
    run = start_run(tmp_path / "run", config, small_fashion, "cpu")
    with pytest.raises(DivergenceError, match=r"Lower `learning_rate` or `momentum`\. The weights of epoch 0 are in"):
        train(run, small_fashion)
    for kept, initial in zip(weights_of(run), initial_model(config, small_fashion).get_weights(), strict=True):
        np.testing.assert_array_equal(kept, initial)


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"momentum": 0.0}, "Lower `learning_rate`. "),
        ({}, "Lower `learning_rate` or `momentum`. "),
        ({"momentum": 0.0, "weight_decay": 1.0}, "Lower `learning_rate` or `weight_decay`. "),
        ({"weight_decay": 1.0}, "Lower `learning_rate`, `momentum` or `weight_decay`. "),
    ],
)
def test_divergence_names_the_settings_in_use(settings: dict[str, Any], advice: str) -> None:
    assert f"Lower {growing_settings(TrainConfig(**{**SMALL, **settings}))}. " == advice


def test_what_does_not_fit_leaves_no_folder(small_fashion: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at most 600"):
        start_run(tmp_path / "run", TrainConfig(), small_fashion, "cpu")
    train_split, test_split = (
        Split(split.images[:, :8, :8], split.labels) for split in (small_fashion.train, small_fashion.test)
    )
    tiny = Dataset(train_split, test_split, "tiny")
    with pytest.raises(InvalidValueError, match="Use larger images"):
        start_run(tmp_path / "run", TrainConfig(**{**SMALL, "model": "cnn3"}), tiny, "cpu")
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_its_own_data_only(small_fashion: Dataset, tmp_path: Path) -> None:
    run = start_run(tmp_path / "run", TrainConfig(**SMALL), small_fashion, "cpu")
    other = Dataset(small_fashion.test, small_fashion.test, "other")
    with pytest.raises(RunError, match=r"the dataset that the run began on, the first images. Received: other"):
        train(run, other)


@pytest.mark.parametrize("engine", ["stock", "compiled"])
def test_momentum_under_a_constant_rate_gives_the_weights_of_keras(
    small_fashion: Dataset,
    undisturbed_run: Callable[[int | None, str], Run],
    tmp_path: Path,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undisturbed = undisturbed_run(None, engine)
    monkeypatch.setitem(
        OPTIMIZERS, "sgd", lambda config, rate: keras.optimizers.SGD(config.learning_rate, config.momentum)
    )
    assert_same_result(trained(tmp_path / "run", small_fashion, **undisturbed.config.to_json()), undisturbed)


@pytest.mark.parametrize("engine", ["stock", "compiled"])
def test_global_settings_of_the_process_change_nothing_and_are_left(
    small_fashion: Dataset, undisturbed_run: Callable[[int | None, str], Run], tmp_path: Path, engine: str
) -> None:
    """The random numbers that other code draws are left too."""
    undisturbed = undisturbed_run(None, engine)

    def draw() -> list[float]:
        tensors = tf.random.uniform(()), keras.random.uniform((), dtype="float32")
        return [random.random(), np.random.random(), *map(float, tensors)]  # noqa: NPY002 # the generator of the process

    keras.utils.set_random_seed(5)
    expected = draw()
    with other_settings() as settings:
        keras.utils.set_random_seed(5)
        before = settings()
        run = trained(tmp_path / "run", small_fashion, **undisturbed.config.to_json())
        assert settings() == before
    assert draw() == expected
    assert_same_result(run, undisturbed)


def test_a_damaged_checkpoint_is_named(small_fashion: Dataset, tmp_path: Path) -> None:
    run = start_run(tmp_path / "run", TrainConfig(**SMALL), small_fashion, "cpu")
    (run.path / "checkpoint.npz").write_bytes(b"PK\x03\x04 no checkpoint")
    with pytest.raises(RunError, match=r"checkpoint.npz: expected a checkpoint. Received: .* Delete it to start again"):
        train(run, small_fashion)


def test_metrics_are_strict_json(reference: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    json.loads((reference.path / "metrics.json").read_text(), parse_constant=pytest.fail)
    monkeypatch.setattr(search, "RUNS_ROOT", reference.path.parent)
    assert search.latest_complete_run().path == reference.path
