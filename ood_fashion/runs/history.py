"""What the history of a training, a row per epoch, says: epochs, updates, and where it stops."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ood_fashion.runs.config import TrainConfig

History = Sequence[Mapping[str, float]]
"""A row per epoch, as in a run's history.csv."""


def kept_epoch(history: History, config: TrainConfig) -> int:
    """Return the epoch, from 1, whose weights are kept: the best with early stopping, else the last; 0 for none."""
    if not history or config.patience is None:
        return len(history)
    return stopped_at(history, config.patience)[1]


def training_summary(history: History, config: TrainConfig) -> dict[str, int]:
    """Count epochs and updates, all of them and those up to the epoch whose weights are kept."""
    steps, kept = math.ceil(config.train_size / config.batch_size), kept_epoch(history, config)
    return {
        "epochs": len(history),
        "kept_epoch": kept,
        "updates_per_epoch": steps,
        "updates": len(history) * steps,
        "updates_to_kept_epoch": kept * steps,
    }


def stopped_at(history: History, patience: int) -> tuple[int, int]:
    """Return the epoch in which early stopping would have ended a training, and the one whose weights are kept.

    Both count from 1. Patience is in epochs without a better validation accuracy; of equally good epochs the first is
    kept.
    """
    kept = 1
    for epoch, row in enumerate(history, start=1):
        if epoch > 1 and row["val_accuracy"] > history[kept - 1]["val_accuracy"]:
            kept = epoch
        elif epoch - kept == patience:
            return epoch, kept
    return len(history), kept


def history_columns(config: TrainConfig) -> tuple[str, ...]:
    """Return what every row of a run's history has at least."""
    monitored = ("test_accuracy",) * config.monitor_test
    return ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", *monitored, "seconds")


def growing_settings(config: TrainConfig) -> str:
    """Name the settings in use that can make the weights grow without end."""
    *others, last = [f"`{name}`" for name in ("learning_rate", "momentum", "weight_decay") if getattr(config, name)]
    return f"{', '.join(others)} or {last}" if others else last
