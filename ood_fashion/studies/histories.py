"""What the records of finished trainings say: by themselves, and beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.evaluation.stats import _describe, summarize
from ood_fashion.runs.history import History, stopped_at

Record = dict[str, Any]


def measures(history: History, metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers by which trials are compared.

    "accuracy SHIFT" is that on the shifted test set, of the kept weights; "loss" the mean training loss in the last
    epoch; "epochs", "kept epoch" and "updates to kept epoch" count; "seconds" is the time in all epochs.
    """
    training = metrics["training"]
    return {
        **{f"accuracy {record['shift']}": float(record["accuracy"]) for record in metrics["results"]},
        "loss": history[-1]["loss"],
        "epochs": training["epochs"],
        "kept epoch": training["kept_epoch"],
        "updates to kept epoch": training["updates_to_kept_epoch"],
        "seconds": sum(row["seconds"] for row in history),
    }


def best_setting(settings: Sequence[Record], measure: str) -> Record | None:
    """Find the setting with the lowest mean, and compare it with the next one over the seeds that both have.

    Args:
        settings: those of `StudyRun.summarize`.
        measure: a name in their measures.

    Returns:
        The best setting, the next one, and the summary of the next one's value minus the best one's, seed by seed. Its
        interval lies above 0 where the difference is more than the seeds' chance. None without two settings.
    """
    ranked = sorted(settings, key=lambda setting: float(setting["measures"][measure]["mean"]))
    if len(ranked) < 2:
        return None
    best, following = (dict(zip(s["seeds"], s["measures"][measure]["values"], strict=True)) for s in ranked[:2])
    common = sorted(best.keys() & following.keys())
    return {
        "measure": measure,
        "best": ranked[0]["setting"],
        "next": ranked[1]["setting"],
        "difference": summarize([following[seed] - best[seed] for seed in common]) if common else None,
    }


class Histories:
    """What histories of several seeds say together; they are given one at a time and not kept.

    Args:
        columns: what every row has; with test_accuracy, the cost of early stopping is measured too.
        patiences: for which, in epochs.
    """

    def __init__(self, columns: Sequence[str], patiences: Sequence[int] = range(1, 11)) -> None:
        self._curves = RunningSummary(columns)
        self._patiences = patiences if "test_accuracy" in columns else ()
        self._stopped = RunningSummary(("epochs", "kept epoch", "test accuracy", "cost"))

    def add(self, history: History) -> None:
        """Take a history."""
        self._curves.add([[row[column] for column in self._curves.columns] for row in history])
        if self._patiences:
            self._stopped.add([_stopped_at_cost(history, patience) for patience in self._patiences])

    def curves(self) -> dict[str, list[Record]]:
        """Summarize every column after every epoch that all histories have."""
        return self._curves.summaries()

    def patience_table(self) -> list[Record]:
        """Say what each patience would have cost these trainings, had they not run on.

        Returns:
            A record per patience: summaries of the epochs run, the kept epoch, its test accuracy, and how much that is
            below the test accuracy of the epoch with the best validation accuracy of all. No record, where the
            histories have no test accuracy.
        """
        summaries = self._stopped.summaries()
        return [
            {"patience": patience, **{name: rows[i] for name, rows in summaries.items()}}
            for i, patience in enumerate(self._patiences)
        ]


def _stopped_at_cost(history: History, patience: int) -> tuple[float, ...]:
    epochs, kept = stopped_at(history, patience)
    _, best = stopped_at(history, len(history))
    accuracy = history[kept - 1]["test_accuracy"]
    return epochs, kept, accuracy, history[best - 1]["test_accuracy"] - accuracy


class RunningSummary:
    """What `summarize` says but for the values, of tables of measurements that are given one at a time and not kept.

    The mean and the sum of squared differences from it are brought up to date with every table (B. P. Welford,
    Technometrics 4:419, 1962).
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.n = 0
        self._mean = self._squares = np.zeros((0, len(self.columns)))

    def add(self, table: Sequence[Sequence[float]] | NDArray[np.float64]) -> None:
        """Take a table, (rows, columns); only the rows that all tables have are summarized."""
        values = np.asarray(table, np.float64)
        rows = len(values) if self.n == 0 else min(len(values), len(self._mean))
        if self.n == 0:
            self._mean = self._squares = np.zeros_like(values)
        self.n += 1
        before = values[:rows] - self._mean[:rows]
        self._mean = self._mean[:rows] + before / self.n
        self._squares = self._squares[:rows] + before * (values[:rows] - self._mean)

    def summaries(self, *, confidence: float = 0.95) -> dict[str, list[dict[str, Any]]]:
        """Return for every column a summary per row: n, mean, sd, interval and prediction_interval."""
        sds = np.sqrt(self._squares / (self.n - 1)).tolist() if self.n > 1 else np.full(self._mean.shape, None).tolist()
        return {
            name: [
                _describe(self.n, mean[i], sd[i], confidence) for mean, sd in zip(self._mean.tolist(), sds, strict=True)
            ]
            for i, name in enumerate(self.columns)
        }
