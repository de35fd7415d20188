"""Run folders, and the files in them.

config.json     what decides the run, and where it ran; written first
checkpoint.npz  the state after the last finished epoch; deleted when the run is complete
history.csv     a row per epoch
model.keras     the trained model, or
model.npz       the weights that NumPy trained
predictions.npz the predicted class of every test image in each test set, and the confidence in it
metrics.json    a record per test set; written last, so that its presence means that the run is complete
tensorboard/    TensorBoard's logs, if they were asked for
MLP_lr0.01_b5.json  the assignment's result file, and accuracy.png, its plot, of a run in NumPy

Every other file is written under a temporary name and then renamed, so that none is ever half there. A method that
cannot write its file, or finds it absent or damaged, raises a RunError.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from ood_fashion.errors import InvalidValueError, RunError
from ood_fashion.evaluation.metrics import Predictions
from ood_fashion.evaluation.records import describe_fault
from ood_fashion.evaluation.results import AccuracyResult, read_result
from ood_fashion.files import (
    access,
    atomic_write,
    exists,
    is_file,
    is_folder,
    is_vacant,
    make_folder,
    open_npz,
    read_json,
    read_text,
    reason,
    remove_leftovers,
    write_json,
)
from ood_fashion.models.specs import MODELS
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.history import History, history_columns

_COUNTS = ("epochs", "kept_epoch", "updates_per_epoch", "updates", "updates_to_kept_epoch")


@dataclass(frozen=True)
class Checkpoint:
    """The state after an epoch: JSON values, and arrays by name."""

    values: dict[str, Any]
    arrays: dict[str, list[NDArray[Any]]]


@dataclass(frozen=True)
class Run:
    """A run folder that has its config.json."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: TrainConfig, *, dataset: dict[str, Any], **environment: Any) -> Run:
        """Make an absent or empty folder a run's, and write config.json.

        The dataset is what it is trained on: source, hash, whether it is genuine; the environment, more JSON values,
        with what and on what it runs.
        """
        make_folder(path)
        run = cls(path)
        run.require_vacant()
        write_json(path / "config.json", {"config": config.to_json(), "dataset": dataset, **environment})
        return run

    def require_vacant(self) -> None:
        """Check that the folder holds nothing that a new run would be mixed up with, or write over."""
        if not is_vacant(self.path, "config.json"):
            try:
                complete = Run.open(self.path).is_complete
                there = "a complete run. Choose" if complete else "an unfinished run. Resume it, or choose"
            except RunError:
                there = "other files. Choose"
            raise RunError(f"{self.path}: expected an empty or absent folder. Received: {there} another folder.")

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open a folder that `create` made."""
        run = cls(path)
        if not run.has_begun:
            raise RunError(f"{path}: expected a run folder, with a config.json. Received: {_describe(path)}.")
        dataset = run.record.get("dataset")
        names = dataset.get("class_names", []) if isinstance(dataset, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RunError(f"{path / 'config.json'}: expected a run's config and dataset. Received: no dataset.")
        _ = run.config
        return run

    @cached_property
    def record(self) -> dict[str, Any]:
        """config.json's content: the config and the environment."""
        return read_json(self.path / "config.json")

    @cached_property
    def config(self) -> TrainConfig:
        """What decides the run."""
        try:
            return TrainConfig.from_json(self.record["config"])
        except (KeyError, TypeError, InvalidValueError) as error:
            received = str(error).replace("`", "")  # names what is in the file
            raise RunError(f"{self.path / 'config.json'}: expected a run's config. Received: {received}") from error

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes it was trained on; none where config.json does not say."""
        return tuple(self.record["dataset"].get("class_names", ()))

    @property
    def is_genuine(self) -> bool:
        """Whether it was trained on Fashion-MNIST."""
        return self.record["dataset"].get("genuine") is True

    @property
    def has_begun(self) -> bool:
        """Whether the folder has its config.json."""
        return is_file(self.path / "config.json")

    @property
    def is_complete(self) -> bool:
        """Whether the run has its metrics."""
        return is_file(self.path / "metrics.json")

    @property
    def model_path(self) -> Path:
        """Where the trained model is."""
        return self.path / ("model.keras" if self.config.implementation == "keras" else "model.npz")

    @property
    def history_path(self) -> Path:
        """Where the rows of the epochs are."""
        return self.path / "history.csv"

    @property
    def tensorboard_path(self) -> Path:
        """Where TensorBoard's logs go."""
        return self.path / "tensorboard"

    def require_complete(self) -> Run:
        """Return the run itself, if it is complete."""
        if not self.is_complete:
            command = "train" if self.config.implementation == "keras" else "scratch mlp"
            raise RunError(
                f"{self.path}: expected a complete run. Received: one without metrics.json. "
                f"Finish it: ood-fashion {command} --resume --out {self.path}"
            )
        return self

    @property
    def plot_path(self) -> Path:
        """Where the plot of accuracy per epoch goes."""
        return self.path / "accuracy.png"

    def require_keras(self) -> Run:
        """Return the run itself, if it trained a Keras model."""
        if self.config.implementation != "keras":
            raise RunError(
                f"{self.path}: expected a run with a Keras model. Received: one of {self.config.implementation}. "
                "Its accuracies are in its metrics.json."
            )
        return self

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write metrics.json, which completes the run, and delete the checkpoint."""
        write_json(self.path / "metrics.json", metrics)
        self.tidy()

    def tidy(self) -> None:
        """Delete from a complete run what only an unfinished one needs: the checkpoint, and what a kill has left."""
        with access(self.path, expected="to be able to tidy it"):
            (self.path / "checkpoint.npz").unlink(missing_ok=True)
        remove_leftovers(self.path)

    def read_metrics(self) -> dict[str, Any]:
        """Return metrics.json's content."""
        path = self.require_complete().path / "metrics.json"
        metrics = read_json(path)
        try:
            sound = isinstance(metrics["model"], str)
            sound &= all(isinstance(metrics["training"][name], int) for name in _COUNTS)
            for result in metrics["results"]:
                AccuracyResult.from_json(result)
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise RunError(f"{path}: expected the metrics of a run. Received: others. Train it anew.")
        return metrics

    def read_results(self) -> list[AccuracyResult]:
        """Return what metrics.json holds of each test set: `Metrics`, or accuracies alone where it has no more."""
        try:
            return [read_result(record) for record in self.read_metrics()["results"]]
        except (KeyError, TypeError, ValueError) as error:
            path = self.path / "metrics.json"
            raise RunError(f"{path}: expected a run's metrics. Received: {describe_fault(error)}.") from error

    @property
    def temperature(self) -> float | None:
        """What `train --calibrate` has fitted; None for a run without it."""
        temperature = self.read_metrics().get("temperature")
        if temperature is None or (isinstance(temperature, float) and temperature > 0):
            return temperature
        raise RunError(f"{self.path / 'metrics.json'}: expected a temperature above 0. Received: {temperature}.")

    def write_result_file(self, history: History, test_accuracy: float) -> None:
        """Write the assignment's result file: accuracies by epoch, that of the kept weights, seconds of training."""
        result = {
            "train": [row["accuracy"] for row in history],
            "val": [row["val_accuracy"] for row in history],
            "test": test_accuracy,
            "time": round(sum(row["seconds"] for row in history), 3),
        }
        name = f"{MODELS[self.config.model].title}_lr{self.config.learning_rate}_b{self.config.batch_size}.json"
        write_json(self.path / name, result)

    def write_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Write model.npz, an array per parameter."""
        _write_arrays(self.model_path, weights)

    def read_history(self) -> list[dict[str, float]]:
        """Return history.csv's rows."""
        path = self.history_path
        try:
            header, *lines = csv.reader(read_text(path).splitlines())
            rows = [dict(zip(header, map(float, line), strict=True)) for line in lines]
            if not all(math.isfinite(value) for row in rows for value in row.values()):
                raise ValueError("NaN or infinity")
        except (OSError, ValueError, csv.Error) as error:
            raise RunError(f"{path}: expected a row per epoch. Received: {reason(error)}.") from error
        columns = set(history_columns(self.config))
        if not rows or not columns <= rows[0].keys():
            received = ", ".join(rows[0]) if rows else "no row"
            raise RunError(f"{path}: expected rows with {', '.join(sorted(columns))}. Received: {received}.")
        return rows

    def write_history(self, rows: History) -> None:
        """Write history.csv, a row per epoch."""
        with atomic_write(self.history_path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint."""
        arrays = {f"{name}/{i}": array for name, group in checkpoint.arrays.items() for i, array in enumerate(group)}
        _write_arrays(self.path / "checkpoint.npz", {"values": np.array(json.dumps(checkpoint.values)), **arrays})

    def read_checkpoint(self) -> Checkpoint | None:
        """Return the last checkpoint, or None where there is none."""
        path = self.path / "checkpoint.npz"
        if not is_file(path):
            return None
        with _open(path, "a checkpoint", "Delete it to start again") as file:
            arrays: dict[str, list[NDArray[Any]]] = {}
            for key in file.files:
                if "/" in key:  # in the order in which they were written
                    arrays.setdefault(key.partition("/")[0], []).append(file[key])
            return Checkpoint(json.loads(str(file["values"])), arrays)

    def write_predictions(self, predictions: Mapping[str, Predictions]) -> None:
        """Write predictions.npz, by the text forms of the shifts."""
        arrays: dict[str, Any] = {}
        for shift, (classes, confidences) in predictions.items():
            arrays[f"{shift}/classes"] = classes.astype(np.min_scalar_type(classes.max()))
            arrays[f"{shift}/confidences"] = confidences.astype(np.float32)
        _write_arrays(self.path / "predictions.npz", arrays, np.savez_compressed)

    def read_predictions(self) -> dict[str, Predictions]:
        """Return predictions.npz's content, by the text forms of the shifts."""
        with _open(self.path / "predictions.npz", "the predictions of a run", "Train it anew") as file:
            shifts = [key.removesuffix("/classes") for key in file.files if key.endswith("/classes")]
            return {
                shift: Predictions(file[f"{shift}/classes"].astype(np.int64), file[f"{shift}/confidences"])
                for shift in shifts
            }


def _write_arrays(path: Path, arrays: Mapping[str, Any], save: Callable[..., None] = np.savez) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        save(file, **arrays)


@contextmanager
def _open(path: Path, expected: str, remedy: str) -> Iterator[NpzFile]:
    try:
        with open_npz(path) as file:
            yield file
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds on damaged files
        raise RunError(f"{path}: expected {expected}. Received: {reason(error)}. {remedy}.") from error


def _describe(path: Path) -> str:
    if not exists(path):
        return "nothing there"
    return "a folder without one" if is_folder(path) else "a file"
