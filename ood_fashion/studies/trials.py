"""Trials: the trainings of a study, each a run folder of its own, run side by side by worker processes or a cluster."""

from __future__ import annotations

import platform
import tempfile
import threading
import timeit
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ood_fashion.data.dataset import Dataset
from ood_fashion.data.sources import load_dataset
from ood_fashion.errors import DataError, OodFashionError, RunError
from ood_fashion.evaluation.records import describe_fault
from ood_fashion.files import absolute, is_folder, list_folder, locked, write_folder
from ood_fashion.models.specs import MODELS
from ood_fashion.parallel import first_line, run_parallel
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.history import History
from ood_fashion.runs.run import Run
from ood_fashion.shifts.shift import TEST_SETS
from ood_fashion.studies.histories import measures
from ood_fashion.training.trainers import train_run


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of a study: its run folder, the label of its setting, its config, and `Dataset.sha256`."""

    path: Path
    setting: str
    config: TrainConfig
    sha256: Mapping[str, str] | None

    def open(self) -> Run:
        """Open the trial's run folder, whose config must be the trial's."""
        run = Run.open(self.path)
        if run.config != self.config:
            raise RunError(f"{self.path}: expected the config of the study. Received: another one in config.json.")
        return run

    def read(self) -> tuple[History, dict[str, float], int]:
        """Return the history of the finished trial, its `histories.measures`, and the number of test images."""
        run = self.open()
        metrics, history = run.read_metrics(), run.read_history()
        try:
            measured = measures(history, metrics)
            _ = [measured[f"accuracy {name}"] for name in TEST_SETS]
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{self.path}: expected the metrics of a run. Received: {describe_fault(error)}.") from error
        return history, measured, metrics["results"][0]["n"]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: what went wrong, if anything did.

    Where the worker does not see the study's folder, `files` has what is in the run folder, by name.
    """

    path: Path
    failure: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


Progress = Callable[[Iterator[Outcome], Sequence[Trial]], Iterable[Outcome]]
"""Passes on the outcomes of trials, of which it is told."""


def estimate_seconds(trials: Iterable[Trial]) -> float:
    """Estimate the time that trainings take at most, all epochs of each, on all cores of this machine's CPU.

    A training needs three products for each of a model's, one forward and two backward. They run at about half the rate
    of large matrix products, which is measured; beside them an update takes some 50 microseconds.
    """
    matrix = np.ones((1_000, 1_000), np.float32)
    seconds_per_product = min(timeit.repeat(lambda: matrix @ matrix, number=1, repeat=5)) / matrix.shape[0] ** 3
    return sum(
        _multiply_adds(trial.config) * 2 * seconds_per_product + _updates(trial.config) * 5e-5 for trial in trials
    )


def _multiply_adds(config: TrainConfig) -> int:
    of_one = sum(row.multiply_adds for row in MODELS[config.model].summary())
    return 3 * of_one * config.train_size * config.epochs


def _updates(config: TrainConfig) -> int:
    return -(-config.train_size // config.batch_size) * config.epochs


def run_trials(
    trials: Sequence[Trial],
    *,
    total: int,
    jobs: int | None,
    data_dir: Path | str | None,
    device: str,
    backend: str,
    address: str | None,
    progress: Progress,
) -> dict[Path, str]:
    """Train side by side; return what went wrong, by the absolute path of each trial that failed.

    Workers, their number and the backend are as for `parallel.run_parallel`, the data as for `sources.load_dataset`.
    Progress wraps the iterator over the outcomes.
    """
    source = absolute(data_dir, DataError) if isinstance(data_dir, Path) else data_dir
    calls = [(replace(trial, path=absolute(trial.path)), source, device) for trial in trials]
    outcomes = run_parallel(
        _run_trial, calls, backend=backend, address=address, jobs=jobs, on_loss=_give_up, total=total
    )
    failures = {}
    for outcome in progress(outcomes, trials) if calls else ():
        failure = outcome.failure
        if outcome.files:
            try:
                require_replaceable(outcome.path)
            except RunError as error:
                failure = str(error)
            else:
                write_folder(outcome.path, outcome.files)
        if failure:
            failures[outcome.path] = failure
    return failures


def require_replaceable(path: Path) -> None:
    """Check that a folder, which the worker did not see, has nothing but a run."""
    if Run(path).has_begun:
        Run.open(path)
    else:
        Run(path).require_vacant()


def _give_up(arguments: tuple[Any, ...], error: BaseException) -> Outcome:
    trial: Trial = arguments[0]
    return Outcome(trial.path, f"{trial.path}: expected a worker that survives it. Received: {first_line(error)}")


_ONE_AT_A_TIME = threading.Lock()
"""TensorFlow's settings and Keras's names belong to the process, but a worker of Dask may have several threads."""


def _run_trial(trial: Trial, data_dir: Path | str | None, device: str, *, threads: int | None) -> Outcome:
    """Train a trial, or finish it."""
    with _ONE_AT_A_TIME:
        if is_folder(trial.path.parents[1]):
            return Outcome(trial.path, _train(trial, data_dir, device, threads))
        # A worker on another machine, with a disk of its own.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / trial.path.name
            failure = _train(replace(trial, path=path), data_dir, device, threads)
            failure = failure and failure.replace(str(path), str(trial.path))
            return Outcome(trial.path, failure, {file.name: file.read_bytes() for file in list_folder(path)})


def _train(trial: Trial, data_dir: Path | str | None, device: str, threads: int | None) -> str | None:
    """Train a trial, or finish it; return what went wrong, if anything did."""
    try:
        with locked(trial.path, wait=True):  # a process that is ending may still have it
            run = trial.open() if Run(trial.path).has_begun else None
            if run is None or not run.is_complete:
                dataset = _load_dataset(data_dir, frozenset((trial.sha256 or {}).items()))
                if dataset.sha256 != trial.sha256:
                    raise DataError(
                        f"{trial.path}: expected the dataset that the study began on. Received: {dataset.source} on "
                        f"{platform.node()}, whose content differs."
                    )
                train_run(run, trial.path, trial.config, dataset, device, threads=threads)
    except OodFashionError as error:
        return str(error)
    return None


@lru_cache(maxsize=1)
def _load_dataset(data_dir: Path | str | None, content: frozenset[tuple[str, str]]) -> Dataset:
    """Load the dataset once a worker, and anew for a study of other content, for a name may stand for either."""
    return load_dataset(data_dir)
