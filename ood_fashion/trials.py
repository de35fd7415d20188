"""Trials: the trainings of a study, each a run folder of its own, run side by side in worker processes."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ood_fashion import paper
from ood_fashion.config import TrainConfig
from ood_fashion.datasets import Dataset, Source, load_dataset
from ood_fashion.errors import OodFashionError, RunError
from ood_fashion.files import locked
from ood_fashion.histories import Record, measures
from ood_fashion.records import start_run
from ood_fashion.runs import Run


@dataclass(frozen=True)
class Trial:
    """One training of a study."""

    path: Path
    setting: str
    config: TrainConfig

    def open(self) -> Run:
        """Open the trial's run folder.

        Raises:
            RunError: the run is absent, damaged, or has another config.
        """
        run = Run.open(self.path)
        if run.config != self.config:
            raise RunError(f"{self.path}: expected the config of the study. Received: another one in config.json.")
        return run

    def read(self) -> Record:
        """Return what the finished trial's run folder says.

        Raises:
            RunError: the run is absent, unfinished, damaged, or has another config.
        """
        run = self.open().require_complete()
        history, metrics = run.read_history(), run.read_metrics()
        record = {"setting": self.setting, "seed": self.config.seed, "history": history, **metrics}
        try:
            measured = measures(history, metrics)
            _ = [measured[f"accuracy {name}"] for name in paper.TEST_SETS]
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{self.path}: expected the metrics of a run. Received: {error!r} missing.") from error
        return {**record, "measures": measured}


Progress = Callable[[Iterator[str | None], int], Iterable[str | None]]
"""Passes on the outcomes of trials, of which it is told the number: None, or what went wrong."""

_MOST_JOBS = 4
"""Unless told otherwise, for each takes about 1 GB."""


def run_trials(
    trials: Sequence[Trial], *, jobs: int | None, data_dir: Source | None, device: str, progress: Progress
) -> list[str]:
    """Train what is not finished yet, in worker processes that share the machine's threads.

    Args:
        trials: what to train.
        jobs: number of worker processes; 1 trains in this process, None takes one a core, up to 4.
        data_dir: as in `datasets.load_dataset`.
        device: one of `config.DEVICES`.
        progress: watches.

    Returns:
        A line for each trial that failed; the others can be read.
    """
    import joblib  # takes a tenth of a second, which other commands need not wait for

    cores = os.cpu_count() or 1
    jobs = min(cores, _MOST_JOBS, len(trials)) if jobs is None else jobs
    # A process that does all by itself keeps its threads as they are.
    threads = max(1, cores // jobs) if jobs > 1 else None
    workers = {"inner_max_num_threads": threads, "initializer": _follow, "initargs": (os.getpid(),)}
    with joblib.parallel_config("loky", **workers) if threads else joblib.parallel_config("sequential"):
        outcomes = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(
            joblib.delayed(_run_trial)(trial, data_dir, device, threads) for trial in trials
        )
        return [failure for failure in progress(outcomes, len(trials)) if failure]


def _run_trial(trial: Trial, data_dir: Source | None, device: str, threads: int | None) -> str | None:
    """Train a trial, or finish it; return what went wrong, if anything did."""
    try:
        with locked(trial.path, wait=True):  # a process that is ending may still have it
            run = trial.open() if Run(trial.path).has_begun else None
            if run is None or not run.is_complete:
                _TRAINERS[trial.config.implementation](run, trial, _load_dataset(data_dir), device, threads)
            trial.read()
    except OodFashionError as error:
        return str(error)
    return None


def _follow(parent: int) -> None:
    """Let this worker process end when its parent has, which one that trains or waits for work would not notice."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends its workers
    threading.Thread(target=watch, daemon=True).start()


def _train_keras(run: Run | None, trial: Trial, dataset: Dataset, device: str, threads: int | None) -> None:
    from ood_fashion.nn import devices, training

    # Every training is a new model; TensorFlow would warn of tracing so many.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    used_device = devices.select_device(device, threads=threads)
    training.train(run or start_run(trial.path, trial.config, dataset, used_device), dataset)


def _train_numpy(run: Run | None, trial: Trial, dataset: Dataset, device: str, threads: int | None) -> None:
    from ood_fashion import scratch_runs

    scratch_runs.train(run or start_run(trial.path, trial.config, dataset, "cpu"), dataset)


_TRAINERS = {"keras": _train_keras, "numpy": _train_numpy}


@lru_cache(maxsize=1)
def _load_dataset(data_dir: Source | None) -> Dataset:
    """Load the dataset once a worker."""
    return load_dataset(data_dir)
