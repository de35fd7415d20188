"""Trackers, by their own Keras callbacks, as docs/guides/train.md has them."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ood_fashion as ood
from ood_fashion.data.dataset import Dataset

GUIDE = Path(__file__).parents[2] / "docs/guides/train.md"


def test_mlflow_in_a_local_folder(small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # its database needs more than mlflow-skinny
    mlflow.set_tracking_uri(f"file:{tmp_path}/mlruns")
    (block,) = re.findall(r"^```\n(import mlflow\n.*?)```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    sizes: dict[str, Any] = {"train_size": 200, "val_size": 100, "epochs": 3, "patience": None, "verbose": False}
    names: dict[str, Any] = {"ood": SimpleNamespace(train=partial(ood.train, data=small_fashion, **sizes))}
    exec(block, names)

    run: ood.Run = names["run"]
    client = mlflow.MlflowClient()
    (logged,) = client.search_runs(["0"])
    for measure in ("loss", "accuracy", "val_loss", "val_accuracy"):
        history = client.get_metric_history(logged.info.run_id, measure)
        assert [(one.step, one.value) for one in history] == [
            (epoch, pytest.approx(row[measure])) for epoch, row in enumerate(run.history)
        ]
    assert float(logged.data.params["optimizer_learning_rate"]) == pytest.approx(run.config.learning_rate)
    assert logged.info.status == "FINISHED"
