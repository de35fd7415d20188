from __future__ import annotations

import io
import re

import keras
import numpy as np
import pytest

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import DivergenceError
from ood_fashion.evaluation.pipelines import shifted_batches
from ood_fashion.models.build import build_model
from ood_fashion.runs.config import TrainConfig
from ood_fashion.training.callbacks import EarlyStopping, FiniteLoss, Monitor, Progress
from ood_fashion.training.optimizers import compile_as_configured


@pytest.mark.parametrize("n", [3, 500, 1_300])
def test_a_monitor_measures_what_keras_does(fashion: Dataset, n: int) -> None:
    """Batches of 500, the last one smaller, and a loss that is not the plain one."""
    split = Split(fashion.test.images[:n], fashion.test.labels[:n])
    model = build_model("p4cnn", seed=1)  # dependent on `training`
    compile_as_configured(model, TrainConfig(model="p4cnn", label_smoothing=0.1))
    monitor = Monitor(split, ("val_loss", "val_accuracy", "test_accuracy"))
    monitor.set_model(model)
    monitor.on_train_begin()
    logs = {"loss": 1.0}
    monitor.on_epoch_end(0, logs)
    expected = model.evaluate(shifted_batches(split), verbose=0, return_dict=True)
    assert logs.pop("val_loss") == pytest.approx(expected["loss"], rel=1e-6)
    accuracy = pytest.approx(expected["accuracy"])
    assert logs == {"loss": 1.0, "val_accuracy": accuracy, "test_accuracy": accuracy}


def one_weight() -> keras.Model:
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])


def feed(callback: EarlyStopping, model: keras.Model, accuracies: list[float], first: int = 0) -> int:
    """Feed accuracies until the callback stops training, the weight being e in epoch e. Returns the epochs run."""
    callback.set_model(model)
    model.stop_training = False
    callback.on_train_begin()
    for epoch, accuracy in enumerate(accuracies, start=first):
        model.set_weights([np.full((1, 1), epoch, np.float32)])
        callback.on_epoch_end(epoch, {"val_accuracy": accuracy})
        if model.stop_training:
            return epoch + 1
    return first + len(accuracies)


@pytest.mark.parametrize(
    ("patience", "accuracies", "epochs", "best"),
    [
        (3, [0.5, 0.6, 0.6, 0.6, 0.6, 0.9], 5, 1),  # the first of ties is the best
        (3, [0.5, 0.6, 0.4, 0.5, 0.7, 0.1, 0.1, 0.1, 0.9], 8, 4),
        (1, [0.5, 0.4, 0.9], 2, 0),
        (2, [0.1, 0.2, 0.3], 3, 2),  # never stops
        (1, [0.0, 0.0], 2, 0),
    ],
)
def test_early_stopping_on_scripted_accuracies(patience: int, accuracies: list[float], epochs: int, best: int) -> None:
    callback, model = EarlyStopping(patience), one_weight()
    assert feed(callback, model, accuracies) == epochs
    assert callback.best_epoch == best
    callback.on_train_end()
    assert model.get_weights()[0].item() == best


@pytest.mark.parametrize("killed_after", range(1, 8))
def test_early_stopping_resumes_as_if_nothing_had_happened(killed_after: int) -> None:
    accuracies = [0.5, 0.6, 0.4, 0.5, 0.7, 0.1, 0.1, 0.1, 0.9]
    before, model = EarlyStopping(3), one_weight()
    feed(before, model, accuracies[:killed_after])
    after = EarlyStopping(3)
    after.resume(before.values, before.best_weights)
    assert feed(after, model, accuracies[killed_after:], first=killed_after) == 8
    after.on_train_end()
    assert model.get_weights()[0].item() == 4


@pytest.mark.parametrize(("name", "value"), [("loss", float("nan")), ("val_loss", float("inf"))])
def test_a_loss_that_is_not_finite_ends_training(name: str, value: float) -> None:
    callback = FiniteLoss()
    callback.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0})
    with pytest.raises(DivergenceError, match=f"diverged in epoch 2: expected a finite {name}. Received: {value}"):
        callback.on_epoch_end(1, {"loss": 1.0, "val_loss": 1.0, name: value})


def show_progress(epochs: range) -> None:
    progress = Progress()
    progress.set_params({"epochs": 4, "steps": 2, "verbose": 0})
    progress.on_train_begin()
    for epoch in epochs:
        progress.on_epoch_begin(epoch)
        for batch in range(2):
            progress._bar.last_print_t = 0  # as if the last drawing were long ago
            progress.on_train_batch_end(batch, {"loss": 0.5 + epoch})
        progress.on_epoch_end(epoch, {"val_accuracy": 0.25, "accuracy": 0.5, "val_loss": 2.0, "loss": 0.5})
    progress.on_train_end()


def test_progress_is_a_line_per_epoch_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_progress(range(2, 4))  # as after a resume
    captured = capsys.readouterr()
    assert captured.out == ""
    figures = "loss 0.5000  accuracy 0.5000  val_loss 2.0000  val_accuracy 0.2500  (0 s, at most 0 s left)"
    assert captured.err.splitlines() == [f"epoch 3/4  {figures}", f"epoch 4/4  {figures}"]


def test_progress_is_one_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    show_progress(range(1, 3))
    drawn = terminal.getvalue()
    assert "\n" not in drawn
    last = drawn.split("\r")[-3]
    assert last.startswith("epoch 3/4  75%|")
    assert re.search(r"at most [\d:]+ left, loss=2.5000, val_loss=2.0000, val_accuracy=0.2500\s*$", last)
