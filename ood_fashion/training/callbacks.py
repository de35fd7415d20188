"""Keras callbacks: early stopping and checkpoints that survive a kill, a guard against NaN, progress, TensorBoard."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Collection
from typing import Any

from tqdm import tqdm

from ood_fashion._tensorflow import keras, tf
from ood_fashion.data.dataset import Split
from ood_fashion.errors import DivergenceError, OodFashionError
from ood_fashion.evaluation.pipelines import EVALUATION_BATCH_SIZE, to_unit_range
from ood_fashion.files import access, exists
from ood_fashion.runs import run

Logs = dict[str, Any] | None


class FiniteLoss(keras.callbacks.Callback):
    """End training with an error after an epoch whose training or validation loss is not finite.

    It goes before the callbacks that keep an epoch's weights, so that none of them sees such an epoch.
    """

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Raise DivergenceError if a loss is NaN or infinite."""
        for name in ("loss", "val_loss"):
            value = float((logs or {}).get(name, 0.0))
            if not math.isfinite(value):
                raise DivergenceError(
                    f"training diverged in epoch {epoch + 1}: expected a finite {name}. Received: {value}."
                )


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Stop after `patience` epochs in a row without a higher validation accuracy, and restore the best epoch's weights.

    The first of equally good epochs is the best. `values` and `best_weights` hold its state, which `resume` takes up.
    """

    def __init__(self, patience: int) -> None:
        super().__init__(monitor="val_accuracy", mode="max", patience=patience, restore_best_weights=True)
        self._resumed: tuple[dict[str, Any], list[Any]] | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The state but for the weights, as JSON values."""
        return {"best": float(self.best), "best_epoch": self.best_epoch, "wait": self.wait}

    def resume(self, values: dict[str, Any], best_weights: list[Any]) -> None:
        """Start the next training from the state of an earlier one."""
        self._resumed = values, best_weights

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forget everything but what `resume` was given."""
        super().on_train_begin(logs)
        if self._resumed is not None:
            values, self.best_weights = self._resumed
            self.best, self.best_epoch, self.wait = values["best"], values["best_epoch"], values["wait"]


class Monitor(keras.callbacks.Callback):
    """Add measures of a set to the logs of every epoch; it goes before the callbacks that read them.

    The measures are such as "val_loss" and "val_accuracy", which Keras would give with `validation_data`. Here one
    program sees all batches, for in a small model's epoch Keras's own steps take a fifth of the time.
    """

    def __init__(self, split: Split, measures: Collection[str]) -> None:
        super().__init__()
        self.split, self.measures = split, measures

    def on_train_begin(self, logs: Logs = None) -> None:
        """Make the program."""
        images, labels, n = tf.constant(self.split.images), tf.constant(self.split.labels), len(self.split)

        def add_batch(start: tf.Tensor, loss: tf.Tensor, correct: tf.Tensor) -> tuple[tf.Tensor, ...]:
            x, y = (values[start : start + EVALUATION_BATCH_SIZE] for values in (images, labels))
            scores = self.model(to_unit_range(x[..., tf.newaxis]), training=False)
            mean = self.model.compute_loss(y=y, y_pred=scores, training=False)
            matches = tf.math.count_nonzero(tf.argmax(scores, axis=1) == y, dtype=tf.int32)
            return start + EVALUATION_BATCH_SIZE, loss + mean * tf.cast(tf.size(y), mean.dtype), correct + matches

        def measure() -> dict[str, tf.Tensor]:
            _, loss, correct = tf.while_loop(lambda start, *_: start < n, add_batch, (0, 0.0, 0))
            return {"loss": loss / n, "accuracy": correct / n}

        self.program = tf.function(measure, autograph=False)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Measure."""
        if logs is not None:
            values = self.program()
            logs.update({name: float(values[name.partition("_")[2]]) for name in self.measures})


class EpochRecorder(keras.callbacks.Callback):
    """Write a run's history and checkpoint after every epoch, and restore the last checkpoint.

    It goes after all callbacks that decide whether training stops. The history is a dict per finished epoch, as in
    history.csv; `finished` says whether training stopped or ran all its epochs.
    """

    def __init__(self, run: run.Run, stopping: EarlyStopping | None) -> None:
        super().__init__()
        self.run = run
        self.stopping = stopping
        self.history: list[dict[str, float]] = []
        self.finished = False

    def restore(self, model: keras.Model) -> None:
        """Put the state of the run's checkpoint, if it has one, into the model, its optimizer and early stopping."""
        checkpoint = self.run.read_checkpoint()
        if checkpoint is None:
            return
        self.history, self.finished = checkpoint.values["history"], checkpoint.values["finished"]
        self.run.write_history(self.history)  # which a kill may have left an epoch behind
        model.set_weights(checkpoint.arrays["weights"])
        for variable, value in zip(model.optimizer.variables, checkpoint.arrays["optimizer"], strict=True):
            variable.assign(value)
        if self.stopping is not None:
            self.stopping.resume(checkpoint.values["stopping"], checkpoint.arrays["kept"])

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Add the epoch to the history and write both files."""
        seconds = time.perf_counter() - self._began
        self.history.append({"epoch": epoch + 1, **_measures(logs), "seconds": round(seconds, 3)})
        self.finished = self.model.stop_training or epoch + 1 == self.run.config.epochs
        weights = self.model.get_weights()
        arrays = {
            "weights": weights,
            "optimizer": [variable.numpy() for variable in self.model.optimizer.variables],
            "kept": weights if self.stopping is None else self.stopping.best_weights,
        }
        stopping = self.stopping and self.stopping.values
        values = {"history": self.history, "finished": self.finished, "stopping": stopping}
        self.run.write_checkpoint(run.Checkpoint(values, arrays))
        self.run.write_history(self.history)


class Progress(keras.callbacks.Callback):
    """Show one bar over all epochs on standard error, or a line per epoch where that is no terminal and no notebook.

    The time left is for all epochs; early stopping may end sooner.
    """

    def on_train_begin(self, logs: Logs = None) -> None:
        """Open the bar."""
        self._began = time.monotonic()
        self._first: int | None = None
        self._validation: dict[str, str] = {}
        self._bar = tqdm(
            total=self.params["epochs"] * self.params["steps"],
            dynamic_ncols=True,
            leave=False,
            disable=not (sys.stderr.isatty() or "ipykernel" in sys.modules),
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, at most {remaining} left{postfix}",
        )

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Name the epoch."""
        self._offset = epoch * self.params["steps"]
        if self._first is None:  # a resumed training does not begin at 0
            self._first = epoch
            self._bar.initial = self._bar.n = self._offset
        self._bar.set_description_str(f"epoch {epoch + 1}/{self.params['epochs']}", refresh=False)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Advance the bar; the losses are read only when it is drawn anew, for reading them waits for them."""
        if not self._bar.disable and time.time() - self._bar.last_print_t >= self._bar.mininterval:
            self._bar.set_postfix({**_texts(logs), **self._validation}, refresh=False)
        self._bar.update(self._offset + batch + 1 - self._bar.n)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Show the epoch's measures."""
        texts = _texts(logs)
        self._validation = {name: text for name, text in texts.items() if name.startswith("val_")}
        if self._bar.disable:
            epochs, elapsed = self.params["epochs"], time.monotonic() - self._began
            left = elapsed / (epoch + 1 - (self._first or 0)) * (epochs - epoch - 1)
            measures = "  ".join(f"{name} {text}" for name, text in texts.items())
            times = f"{elapsed:.0f} s, at most {left:.0f} s left"
            print(f"epoch {epoch + 1}/{epochs}  {measures}  ({times})", file=sys.stderr)

    def on_train_end(self, logs: Logs = None) -> None:
        """Close the bar."""
        self._bar.close()


class TensorBoard(keras.callbacks.Callback):
    """Write TensorBoard's logs: a curve each for training, validation and, if it is monitored, test, on shared charts.

    It goes after `EpochRecorder`. The logs of a run that is resumed are written anew from its history, so that they are
    those of a run that was never interrupted.
    """

    # `keras.callbacks.TensorBoard` draws the test accuracy among the training's curves, loses up to two minutes of
    # epochs to a kill, gives epochs that are written anew the learning rate of now, and takes no path but in UTF-8.

    def __init__(self, run: run.Run) -> None:
        require_tensorboard()
        super().__init__()
        self.run = run

    def on_train_begin(self, logs: Logs = None) -> None:
        """Start with the epochs that are finished already."""
        folder = self.run.tensorboard_path
        if exists(folder):
            with access(folder, expected="to be able to write it anew"):
                shutil.rmtree(folder)
        curves = {"": "train", "val_": "validation"} | ({"test_": "test"} if self.run.config.monitor_test else {})
        self._writers = {
            prefix: tf.summary.create_file_writer(os.fsencode(folder / curve)) for prefix, curve in curves.items()
        }
        for row in self.run.read_history() if exists(self.run.history_path) else ():
            self.on_epoch_end(int(row["epoch"]) - 1, row)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Write the epoch's measures."""
        for prefix, writer in self._writers.items():
            with writer.as_default(epoch + 1):
                for measure in ("loss", "accuracy"):
                    if logs and prefix + measure in logs:
                        tf.summary.scalar(measure, logs[prefix + measure])
            writer.flush()

    def on_train_end(self, logs: Logs = None) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()


def require_tensorboard() -> None:
    """Check that TensorBoard is installed, which `tf.summary` needs."""
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise OodFashionError(
            "`tensorboard`: expected the package tensorboard. Received: none. "
            "Install it: pip install 'ood-fashion[tensorboard]'"
        ) from error


def _measures(logs: Logs) -> dict[str, float]:
    order = ("loss", "accuracy", "val_loss", "val_accuracy", "test_accuracy")
    return {name: float(logs[name]) for name in order if name in logs} if logs else {}


def _texts(logs: Logs) -> dict[str, str]:
    return {name: f"{value:.4f}" for name, value in _measures(logs).items()}
