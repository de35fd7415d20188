"""The end of a training, whatever trained: the model is measured, and the run folder completed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import DivergenceError
from ood_fashion.evaluation.classifier import evaluate
from ood_fashion.evaluation.metrics import predictions
from ood_fashion.evaluation.results import SCHEMA
from ood_fashion.runs.history import History, growing_settings, kept_epoch, training_summary
from ood_fashion.runs.run import Run
from ood_fashion.shifts.shift import SHIFTS, TEST_SETS, Shift


def finish(
    run: Run,
    dataset: Dataset,
    history: History,
    score: Callable[[Shift], NDArray[np.floating[Any]]],
    **calibration: float | None,
) -> dict[str, Any]:
    """Measure the trained model on the assignment's test sets, and write what completes the run.

    `score` gives the logits of the test images under a shift, (n, classes); `calibration` is `temperature`, where the
    implementation can fit one: None if the config asks for none. Returns what metrics.json holds: the model's name, the
    `Metrics` of each test set, the calibration, and the epochs and updates spent.
    """
    score = cache(score)
    run.write_predictions({name: predictions(score(SHIFTS[name])) for name in TEST_SETS})
    results = evaluate(score, dataset.test, TEST_SETS, full=True, **calibration)
    if run.config.implementation == "numpy":
        run.write_result_file(history, results[0].accuracy)
    records, training = [result.to_json() for result in results], training_summary(history, run.config)
    metrics = {"schema": SCHEMA, "model": run.config.model, "results": records, **calibration, "training": training}
    run.write_metrics(metrics)
    return metrics


def divergence(error: DivergenceError, run: Run, history: History) -> DivergenceError:
    """Return the error of a training that diverged, with what to lower and where the last good weights are."""
    return DivergenceError(
        f"{error} Lower {growing_settings(run.config)}. "
        f"The weights of epoch {kept_epoch(history, run.config)} are in {run.model_path}."
    )
