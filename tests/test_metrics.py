from __future__ import annotations

import numpy as np

from ood_fashion.metrics import accuracy_record, confident_mistakes, confusion_matrix, confusion_rates
from ood_fashion.statistics import wilson_interval


def test_an_accuracy_by_hand() -> None:
    record = accuracy_record("up4", np.array([0, 1, 2, 1]), np.array([0, 1, 1, 1]))
    assert record == {"shift": "up4", "accuracy": 0.75, "correct": 3, "n": 4, "ci95": list(wilson_interval(3, 4))}


def test_a_confusion_matrix_by_hand() -> None:
    """Class 3 never occurs and is never predicted."""
    matrix = confusion_matrix(np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 0, 2]), 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


def test_confusion_rates_by_hand() -> None:
    rates = confusion_rates(np.array([[1, 3, 0], [0, 0, 0], [0, 0, 5]]))
    np.testing.assert_array_equal(rates, [[0.25, 0.75, 0], [np.nan] * 3, [0, 0, 1]])


def test_confident_mistakes_are_those_of_a_plain_sort() -> None:
    generator = np.random.default_rng(0)
    labels, classes = generator.integers(0, 3, (2, 200))
    confidences = generator.integers(0, 10, 200) / 10  # with many ties
    wrong = [i for i in range(200) if labels[i] != classes[i]]
    expected = sorted(wrong, key=lambda i: (-confidences[i], i))
    assert confident_mistakes(labels, classes, confidences, 8).tolist() == expected[:8]
    assert confident_mistakes(labels, classes, confidences, 500).tolist() == expected
    assert confident_mistakes(labels, labels, confidences, 8).tolist() == []
