"""Run and study folders as trainings leave them, without training: histories that improve and seeded predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ood_fashion import paper
from ood_fashion.config import TrainConfig
from ood_fashion.datasets import Dataset
from ood_fashion.metrics import accuracy_record
from ood_fashion.runs import Predictions, Run
from ood_fashion.studies import StudyRun

EPOCHS = 3


def write_run(
    path: Path, dataset: Dataset, config: TrainConfig | None = None, shifts: tuple[str, ...] = paper.TEST_SETS
) -> Run:
    """Write a complete run whose predictions are right less and less often from one shift to the next."""
    config = config or TrainConfig(model="mlp")
    run = Run.create(
        path,
        config,
        dataset={"source": dataset.source, "genuine": dataset.is_genuine, "sha256": dataset.sha256},
        device="cpu",
        threads=2,
        versions={"python": "3.11", "keras": "3.15"},
        git_revision=None,
        started="2026-01-01T00:00:00+00:00",
    )
    generator = np.random.default_rng(config.seed)
    columns = ["loss", "accuracy", "val_loss", "val_accuracy"] + ["test_accuracy"] * config.monitor_test
    run.write_history(
        [
            {"epoch": epoch, **{name: float(generator.uniform()) for name in columns}, "seconds": 1.5}
            for epoch in range(1, EPOCHS + 1)
        ]
    )
    labels, predictions = dataset.test.labels, {}
    for number, shift in enumerate(shifts):
        right = generator.uniform(size=len(labels)) < 0.9 / (number + 1)
        classes = np.where(right, labels, generator.integers(0, dataset.num_classes, len(labels)))
        predictions[shift] = Predictions(classes, generator.uniform(0.2, 1, len(labels)).astype(np.float32))
    run.write_predictions(predictions)
    run.write_metrics(
        {
            "model": config.model,
            "results": [accuracy_record(shift, classes, labels) for shift, (classes, _) in predictions.items()],
            "training": {
                "epochs": EPOCHS,
                "kept_epoch": 2,
                "updates_per_epoch": 10,
                "updates": 30,
                "updates_to_kept_epoch": 20,
            },
        }
    )
    return run


def write_study(path: Path, name: str, dataset: Dataset, seeds: int = 2) -> StudyRun:
    """Write a study with all its trials."""
    study_run = StudyRun.create(path, name, seeds=seeds, changes={}, dataset=dataset, resume=False)
    for trial in study_run.trials():
        write_run(trial.path, dataset, trial.config)
    return study_run
