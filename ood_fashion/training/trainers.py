"""Training a config by its implementation."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ood_fashion.data.dataset import Dataset
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.run import Run
from ood_fashion.runs.start import start_run
from ood_fashion.text import printable


def train_run(
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
    """Train a config to a complete run: one that is to be finished, or without one a new one in the folder `path`.

    The device is one of `parallel.DEVICES`; NumPy computes on the CPU. Threads are one a core unless given. More
    callbacks and logs for TensorBoard are of Keras alone.
    """
    train: Callable[..., Any]
    if config.implementation == "numpy":
        from ood_fashion.training import numpy_trainer

        device, train = "cpu", numpy_trainer.train
    else:
        from ood_fashion.training import keras_trainer

        device = keras_trainer.prepare(config, device, threads=threads, tensorboard=tensorboard)
        train = functools.partial(keras_trainer.train, callbacks=callbacks, tensorboard=tensorboard)
    run = run or start_run(path, config, dataset, device, threads)
    if verbose:
        print(f"Run folder: {printable(str(run.path))}", file=sys.stderr)
    train(run, dataset, verbose=verbose)
    return run
