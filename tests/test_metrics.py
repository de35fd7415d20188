from __future__ import annotations

import numpy as np

from ood_fashion.metrics import accuracy_record, confusion_matrix
from ood_fashion.statistics import wilson_interval


def test_an_accuracy_by_hand() -> None:
    record = accuracy_record("up4", np.array([0, 1, 2, 1]), np.array([0, 1, 1, 1]))
    assert record == {"shift": "up4", "accuracy": 0.75, "correct": 3, "n": 4, "ci95": list(wilson_interval(3, 4))}


def test_a_confusion_matrix_by_hand() -> None:
    """Class 3 never occurs and is never predicted."""
    matrix = confusion_matrix(np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 0, 2]), 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
