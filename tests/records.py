"""Run and study folders as trainings leave them, without training: histories that improve and seeded predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ood_fashion.data.dataset import Dataset
from ood_fashion.evaluation.classifier import evaluate
from ood_fashion.evaluation.metrics import predictions, to_logits
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.run import Run
from ood_fashion.shifts.shift import TEST_SETS
from ood_fashion.studies.study_run import StudyRun

EPOCHS = 3


def write_run(
    path: Path, dataset: Dataset, config: TrainConfig | None = None, shifts: tuple[str, ...] = TEST_SETS
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
    labels, size, scores = dataset.test.labels, dataset.num_classes, {}
    for number, shift in enumerate(shifts):
        right = generator.uniform(size=len(labels)) < 0.9 / (number + 1)
        classes = np.where(right, labels, generator.integers(0, size, len(labels)))
        confidences = generator.uniform(0.55, 1, (len(labels), 1))
        others = (1 - confidences) / (size - 1)
        scores[shift] = to_logits(np.where(np.arange(size) == classes[:, None], confidences, others))
    run.write_predictions({shift: predictions(values) for shift, values in scores.items()})
    temperature = 1.5 if config.calibrate else None
    results = evaluate(
        lambda shift: scores.get(str(shift), scores[shifts[0]]),
        dataset.test,
        shifts,
        full=True,
        temperature=temperature,
    )
    run.write_metrics(
        {
            "model": config.model,
            "results": [result.to_json() for result in results],
            "temperature": temperature,
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
