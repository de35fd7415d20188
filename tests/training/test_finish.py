from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import DivergenceError
from ood_fashion.runs.config import MLP_PROTOCOL, TrainConfig
from ood_fashion.runs.run import Run
from ood_fashion.runs.start import start_run
from ood_fashion.shifts.shift import TEST_SETS, Shift
from ood_fashion.training.finish import divergence, finish

HISTORY = [{"accuracy": 0.5, "val_accuracy": value, "seconds": 1.25} for value in (0.4, 0.6, 0.5)]
SIZES: dict[str, Any] = {"train_size": 400, "val_size": 100}


def score(dataset: Dataset, shift: Shift) -> np.ndarray:
    """Certain of the true class as long as nothing is shifted."""
    return 9.0 * np.eye(dataset.num_classes)[dataset.test.labels * (shift == Shift())]


@pytest.mark.parametrize(
    ("settings", "calibration", "files"),
    [
        ({"model": "mlp"}, {"temperature": None}, ["predictions.npz", "metrics.json"]),
        ({"model": "mlp", "calibrate": True}, {"temperature": 2.0}, ["predictions.npz", "metrics.json"]),
        (MLP_PROTOCOL, {}, ["predictions.npz", "MLP_lr0.01_b5.json", "metrics.json"]),
    ],
)
def test_every_trainer_is_finished_alike(
    small_fashion: Dataset, tmp_path: Path, settings: dict[str, Any], calibration: dict[str, Any], files: list[str]
) -> None:
    run = start_run(tmp_path / "run", TrainConfig(**{**settings, **SIZES}), small_fashion, "cpu")
    metrics = finish(run, small_fashion, HISTORY, lambda shift: score(small_fashion, shift), **calibration)
    assert metrics == Run.open(run.path).read_metrics()
    assert list(metrics) == ["schema", "model", "results", *calibration, "training"]
    assert [record["shift"] for record in metrics["results"]] == list(run.read_predictions()) == list(TEST_SETS)
    assert metrics["results"][0]["accuracy"] == 1
    assert all(("calibrated" in record) == (calibration == {"temperature": 2.0}) for record in metrics["results"])
    assert (metrics["training"]["epochs"], metrics["training"]["kept_epoch"]) == (3, 2)
    written = sorted(run.path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert [path.name for path in written] == ["config.json", *files]


def test_divergence_says_what_to_do(small_fashion: Dataset, tmp_path: Path) -> None:
    run = start_run(tmp_path / "run", TrainConfig(momentum=0.5, **SIZES), small_fashion, "cpu")
    error = divergence(DivergenceError("It diverged."), run, HISTORY)
    assert str(error) == (
        f"It diverged. Lower `learning_rate` or `momentum`. The weights of epoch 2 are in {run.model_path}."
    )
