"""TRAINERS: what trains a config, by its implementation."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ood_fashion.data.dataset import Dataset
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.run import Run
from ood_fashion.runs.start import start_run
from ood_fashion.text import printable


def _announce(run: Run) -> None:
    print(f"Run folder: {printable(str(run.path))}", file=sys.stderr)


def _train_keras(
    run: Run | None,
    path: Path,
    config: TrainConfig,
    dataset: Dataset,
    device: str,
    *,
    threads: int | None = None,
    callbacks: Sequence[Any] = (),
    tensorboard: bool = False,
    verbose: bool = False,
) -> Run:
    from ood_fashion import _tensorflow
    from ood_fashion.training import callbacks as own
    from ood_fashion.training import keras_trainer

    if tensorboard:
        own.require_tensorboard()
    # Every training is a new model; TensorFlow would warn of tracing so many.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    used_device = _tensorflow.select_device(device, threads=threads)
    keras_trainer.make_strategy(config)  # so that what is wrong with it is known before there is a folder
    run = run or start_run(path, config, dataset, used_device, threads)
    if verbose:
        _announce(run)
    watching = [*([own.TensorBoard(run)] if tensorboard else []), *([own.Progress()] if verbose else []), *callbacks]
    keras_trainer.train(run, dataset, watching)
    return run


def _train_numpy(
    run: Run | None,
    path: Path,
    config: TrainConfig,
    dataset: Dataset,
    device: str,
    *,
    verbose: bool = False,
    **options: Any,
) -> Run:
    from ood_fashion.training import numpy_trainer

    run = run or start_run(path, config, dataset, "cpu", options.get("threads"))
    if verbose:
        _announce(run)
    log = numpy_trainer.EpochLog(config)
    watching: dict[str, Any] = {"progress": log.updates, "on_epoch": log.epoch_end} if verbose else {}
    numpy_trainer.train(run, dataset, **watching)
    return run


TRAINERS: dict[str, Callable[..., Run]] = {"keras": _train_keras, "numpy": _train_numpy}
"""From a run that is to be finished, or None, its path, config, dataset and device to the complete run."""
