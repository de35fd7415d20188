"""The predictions that a run has saved."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import RunError
from ood_fashion.runs.run import Run
from ood_fashion.runs.start import require_same_dataset


def saved_classes(run: Run, dataset: Dataset) -> dict[str, NDArray[np.int64]]:
    """Return the classes that a complete run has predicted for the test images, (n,), by the text form of the shift."""
    require_same_dataset(run.require_complete(), dataset)
    saved = {shift: predictions.classes for shift, predictions in run.read_predictions().items()}
    if odd := [shift for shift, classes in saved.items() if classes.shape != dataset.test.labels.shape]:
        raise RunError(
            f"{run.path / 'predictions.npz'}: expected a class for each of the {len(dataset.test):,} test images. "
            f"Received: {saved[odd[0]].shape} under {odd[0]}. Train the run anew."
        )
    return saved
