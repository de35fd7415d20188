"""What finished trainings of a study say: by themselves, and beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.evaluation.records import JsonRecord
from ood_fashion.evaluation.stats import Summary, summarize
from ood_fashion.runs.history import History, stopped_at
from ood_fashion.shifts.shift import TEST_SETS


@dataclass(frozen=True)
class PatienceCost(JsonRecord):
    """What a patience, in epochs, would have cost trainings that ran on.

    Epochs run, the epoch whose weights are kept, the test accuracy then, and how much that is below the test accuracy
    of the epoch with the best validation accuracy of all.
    """

    patience: int
    epochs: Summary
    kept_epoch: Summary = field(metadata={"key": "kept epoch"})
    test_accuracy: Summary = field(metadata={"key": "test accuracy"})
    cost: Summary


@dataclass(frozen=True)
class SettingSummary(JsonRecord):
    """The finished trainings of a setting: their seeds, and their `measures` by the names.

    The curves are of every column of their histories, by epoch, as far as all of them go. Patience is what stopping
    early would have cost, if they monitor the test set; `printed` has (seed, value) of what the assignment prints after
    an epoch.
    """

    setting: str
    seeds: tuple[int, ...]
    measures: Mapping[str, Summary]
    curves: Mapping[str, tuple[Summary, ...]]
    patience: tuple[PatienceCost, ...]
    printed: Mapping[str, tuple[tuple[int, float], ...]]

    def values(self, measure: str) -> dict[int, float]:
        """Return a measure by seed; "MEASURE, epoch N" is what the assignment prints."""
        if measure in self.printed:
            return dict(self.printed[measure])
        return dict(zip(self.seeds, self.measures[measure].values or (), strict=True))


@dataclass(frozen=True)
class BestSetting(JsonRecord):
    """The setting with the lowest mean of a measure, beside the next one.

    The difference is the next one's value minus the best one's, over the seeds that both have; None without any. Its
    interval lies above 0 where the difference is more than the seeds' chance.
    """

    measure: str
    best: str
    next: str
    difference: Summary | None


MEASURES = (
    *(f"accuracy {name}" for name in TEST_SETS),
    *("loss", "epochs", "kept epoch", "updates to kept epoch", "seconds"),
)
"""The names of `measures`."""


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


def best_setting(settings: Sequence[SettingSummary], measure: str) -> BestSetting | None:
    """Find the setting with the lowest mean, and compare it with the next one; None without two settings."""
    ranked = sorted(settings, key=lambda setting: setting.measures[measure].mean)
    if len(ranked) < 2:
        return None
    best, following = (setting.values(measure) for setting in ranked[:2])
    common = sorted(best.keys() & following.keys())
    difference = summarize([following[seed] - best[seed] for seed in common]) if common else None
    return BestSetting(measure, ranked[0].setting, ranked[1].setting, difference)


class Histories:
    """What histories of several seeds say together; they are given one at a time and not kept.

    Every row of theirs has the columns; with test_accuracy, the cost of patiences of 1 to 10 epochs is measured.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._curves = RunningSummary(columns)
        self._patiences = range(1, 11) if "test_accuracy" in columns else ()
        self._stopped = RunningSummary(("epochs", "kept_epoch", "test_accuracy", "cost"))

    def add(self, history: History) -> None:
        """Take a history."""
        self._curves.add([[row[column] for column in self._curves.columns] for row in history])
        if self._patiences:
            self._stopped.add([_stopped_at_cost(history, patience) for patience in self._patiences])

    def curves(self) -> dict[str, tuple[Summary, ...]]:
        """Summarize every column after every epoch that all histories have."""
        return self._curves.summaries()

    def patience_table(self) -> tuple[PatienceCost, ...]:
        """Say what each patience would have cost; nothing, where the histories have no test accuracy."""
        columns = self._stopped.summaries().values()
        return tuple(PatienceCost(*row) for row in zip(self._patiences, *columns, strict=True))


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

    def summaries(self) -> dict[str, tuple[Summary, ...]]:
        """Return for every column a summary per row, without values."""
        sds = np.sqrt(self._squares / (self.n - 1)).tolist() if self.n > 1 else np.full(self._mean.shape, None).tolist()
        return {
            name: tuple(Summary.of(self.n, mean[i], sd[i]) for mean, sd in zip(self._mean.tolist(), sds, strict=True))
            for i, name in enumerate(self.columns)
        }
