from __future__ import annotations

import itertools
import json
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from scipy import special, stats

from ood_fashion.errors import InvalidValueError
from ood_fashion.evaluation.metrics import (
    calibration_error,
    confident_mistakes,
    confusion_matrix,
    confusion_rates,
    corruption_errors,
    fit_baseline,
    fit_temperature,
    measure,
    measure_accuracy,
    measure_calibration,
    predicted_accuracy,
    to_logits,
    to_probabilities,
)
from ood_fashion.evaluation.results import AccuracyResult
from ood_fashion.evaluation.stats import wilson_interval


def test_an_accuracy_by_hand() -> None:
    result = measure_accuracy("up4", np.array([0, 1, 2, 1]), np.array([0, 1, 1, 1]))
    assert result == AccuracyResult("up4", accuracy=0.75, correct=3, n=4, ci95=wilson_interval(3, 4))


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


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (500, 4) that are right more often than not, and labels; class 3 never occurs."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 500)
    logits = rng.normal(size=(500, 4)) + 1.5 * np.eye(4)[labels]
    return special.softmax(logits, axis=1), labels


def test_against_scikit_learn(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = predictions
    result = measure("none", probabilities, labels, probabilities)
    classes = probabilities.argmax(axis=1)
    one_hot = np.eye(4)[labels]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # class 3 is predicted and never true
        expected = sklearn.metrics.balanced_accuracy_score(labels, classes)
    assert result.balanced_accuracy == pytest.approx(expected)
    assert result.nll == pytest.approx(sklearn.metrics.log_loss(labels, probabilities, labels=range(4)))
    assert result.brier == pytest.approx(((probabilities - one_hot) ** 2).sum(axis=1).mean())
    assert result.class_accuracy[3] is None
    assert result.class_accuracy[:3] == pytest.approx(
        sklearn.metrics.recall_score(labels, classes, labels=[0, 1, 2], average=None)
    )
    assert (result.flip_rate, result.class_change) == (0, (0, 0, 0, None))


def naive_calibration_error(confidences: np.ndarray, correct: np.ndarray, edges: np.ndarray) -> float:
    """As the papers write it: a sum over bins."""
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidences > low) & (confidences <= high)
        if inside.any():
            total += inside.sum() * abs(correct[inside].mean() - confidences[inside].mean())
    return total / len(confidences)


def test_calibration_errors_against_a_naive_sum(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = predictions
    confidences, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = naive_calibration_error(confidences, correct, np.linspace(0, 1, 16))
    assert calibration_error(confidences, correct, equal_mass=False) == pytest.approx(expected)
    ranked = np.sort(confidences)[:495]  # 15 bins of 33
    confidences, correct = confidences[np.argsort(confidences)][:495], correct[np.argsort(confidences)][:495]
    edges = np.concatenate([[0], ranked[32::33]])
    assert calibration_error(confidences, correct) == pytest.approx(
        naive_calibration_error(confidences, correct, edges)
    )


@pytest.mark.parametrize("equal_mass", [True, False])
@pytest.mark.parametrize(
    ("confidences", "correct", "error"),
    [
        ([1.0], [True], 0.0),  # n = 1, certain and right
        ([1.0], [False], 1.0),
        ([0.7] * 10, [True] * 7 + [False] * 3, 0.0),  # ties are one bin
        ([0.9, 0.9, 0.2, 0.2], [True, True, False, False], 0.15),
    ],
)
def test_calibration_errors_by_hand(
    confidences: list[float], correct: list[bool], error: float, equal_mass: bool
) -> None:
    received = calibration_error(np.array(confidences), np.array(correct), equal_mass=equal_mass)
    assert received == pytest.approx(error)


@pytest.mark.parametrize(("right", "accuracy", "brier"), [(True, 1.0, 0.0), (False, 0.0, 2.0)])
def test_certain_predictions(right: bool, accuracy: float, brier: float) -> None:
    """Probabilities of exactly 0 and 1, one class only."""
    probabilities = np.eye(3)[[1, 1]]
    result = measure("up4", probabilities, np.array([1, 1]) if right else np.array([2, 2]), np.eye(3)[[1, 0]])
    assert (result.accuracy, result.balanced_accuracy, result.brier) == (accuracy, accuracy, brier)
    assert result.nll == pytest.approx(0 if right else -np.log(1e-15))
    assert result.ece == 1 - accuracy
    assert result.flip_rate == 0.5
    assert result.class_change == ((None, 0.5, None) if right else (None, None, 0.0))


ONE_HOT = np.eye(3)
EDGES: dict[str, Any] = {
    # probabilities, labels, unshifted: accuracy, balanced, nll, brier, ece, flips, changes by class
    "n = 1, right": (ONE_HOT[[0]], [0], ONE_HOT[[0]], 1, 1, 0, 0, 0, 0, [0, None, None]),
    "n = 1, wrong": (ONE_HOT[[0]], [1], ONE_HOT[[1]], 0, 0, -np.log(1e-15), 2, 1, 1, [None, -1, None]),
    "all right": (ONE_HOT, [0, 1, 2], ONE_HOT, 1, 1, 0, 0, 0, 0, [0, 0, 0]),
    "all wrong": (ONE_HOT, [1, 2, 0], ONE_HOT, 0, 0, -np.log(1e-15), 2, 1, 0, [0, 0, 0]),
    "one class only": (ONE_HOT[[2, 2, 0, 2]], [2] * 4, ONE_HOT[[0] * 4], 0.75, 0.75, -np.log(1e-15) / 4, 0.5, 0.25,
                       0.75, [None, None, 0.75]),
    # The first of equals is predicted.
    "ties": (np.full((4, 2), 0.5), [0, 0, 0, 1], np.full((4, 2), 0.5), 0.75, 0.5, np.log(2), 0.5, 0.25, 0, [0, 0]),
}  # fmt: skip


@pytest.mark.parametrize("edge", EDGES)
def test_every_metric_at_its_edges_by_hand(edge: str) -> None:
    probabilities, labels, unshifted, *expected, changes = EDGES[edge]
    result = measure("up4", probabilities, np.array(labels), unshifted)
    names = ("accuracy", "balanced_accuracy", "nll", "brier", "ece", "flip_rate")
    assert [getattr(result, name) for name in names] == pytest.approx(expected)
    assert result.ece_equal_width == pytest.approx(result.ece)
    assert result.class_change == tuple(changes)
    assert result.flip_ci95 == wilson_interval(round(result.flip_rate * len(labels)), len(labels))
    assert sum(group.n for group in result.bins) == len(labels)
    json.dumps(result.to_json(), allow_nan=False)
    # A temperature can do nothing for what is certain, and finds something in its range.
    logits = to_logits(probabilities)
    temperature = fit_temperature(logits, np.array(labels))
    assert 0.01 <= temperature <= 100
    calibrated = measure_calibration(to_probabilities(logits, temperature), np.array(labels))
    assert calibrated.nll <= result.nll + 1e-6


def test_the_bins_make_the_calibration_error(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = predictions
    result = measure_calibration(probabilities, labels)
    gaps = [group.n * abs(group.confidence - group.accuracy) for group in result.bins]
    assert len(gaps) == 15
    assert sum(gaps) / len(labels) == pytest.approx(result.ece)


def test_a_baseline_against_scipy() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0.6, 0.9, 12)
    y = special.expit(0.7 * special.logit(x) - 1 + 0.1 * rng.normal(size=12))
    fit = fit_baseline(list(x), list(y), 10_000)
    expected = stats.linregress(special.logit(x), special.logit(y))
    assert fit == pytest.approx((expected.slope, expected.intercept))
    assert predicted_accuracy(0.8, fit, 10_000) == pytest.approx(
        special.expit(expected.slope * np.log(4) + expected.intercept)
    )
    # Accuracies of 0 and 1 count as half an image more and less: logit(0.995) = -logit(0.005).
    assert fit_baseline([0, 1], [1, 0], 100) == pytest.approx((-1, 0), abs=1e-9)
    assert predicted_accuracy(1.0, (1, 0), 100) == pytest.approx(0.995)


def test_logits_and_probabilities() -> None:
    probabilities = np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)
    np.testing.assert_allclose(to_probabilities(to_logits(probabilities)), probabilities, atol=1e-13)
    np.testing.assert_allclose(to_probabilities(to_logits(probabilities * 3)), probabilities, atol=1e-13)
    # A temperature of 2 makes p proportional to its square root.
    np.testing.assert_allclose(to_probabilities(to_logits(np.array([[0.2, 0.8]])), 2), [[1 / 3, 2 / 3]])
    np.testing.assert_allclose(to_probabilities(np.array([[0.0, np.log(3)]])), [[0.25, 0.75]])
    np.testing.assert_allclose(to_probabilities(np.array([[1000.0, 0.0]])), [[1, 0]])


def test_corruption_errors_by_hand() -> None:
    ours = {"none": 0.9, "fog:1": 0.8, "fog:2": 0.6, "rotate90": 0.1}
    reference = {"none": 0.8, "fog:1": 0.6, "fog:2": 0.4, "rotate90": 0.1, "up4": 0.5}
    assert corruption_errors(ours, reference) == pytest.approx({"fog": 0.6 / 1.0, "rotate90": 1.0})
    relative = corruption_errors(ours, reference, relative=True)
    assert relative == pytest.approx({"fog": 0.4 / 0.6, "rotate90": 0.8 / 0.7})
    with pytest.raises(InvalidValueError, match=r"reference: .* none for \['up4'\]"):
        corruption_errors(reference, ours)
    with pytest.raises(InvalidValueError, match=r"accuracies: .* none for \['none'\]"):
        corruption_errors({"up4": 0.5}, reference, relative=True)


def test_a_family_in_which_the_reference_does_not_lose_is_left_out() -> None:
    """It gains a point under jpeg, and what it loses under one fog it gains under the other, but for rounding."""
    ours = {"none": 0.8, "jpeg:1": 0.7, "fog:1": 0.5, "fog:2": 0.4, "shear:1": 0.7, "up4": 0.9}
    reference = {"none": 0.9, "jpeg:1": 0.91, "fog:1": 0.85, "fog:2": 0.95, "shear:1": 0.4, "up4": 1.0}
    assert corruption_errors(ours, reference, relative=True) == pytest.approx({"shear": 0.1 / 0.5})
    expected = {"fog": 1.1 / 0.2, "jpeg": 0.3 / 0.09, "shear": 0.3 / 0.6}
    assert corruption_errors(ours, reference) == pytest.approx(expected)
    assert corruption_errors({"up4": 0.5}, {"up4": 1.0}) == {}


def test_severities_are_put_together_and_angles_are_not() -> None:
    ours = {"rotate:2": 0.8, "rotate:4": 0.6, "fog:1,7": 0.5, "fog:2,7": 0.3, "up4+fog:3": 0.2}
    reference = dict.fromkeys(ours, 0.5)
    assert corruption_errors(ours, reference) == pytest.approx(
        {"rotate:2": 0.4, "rotate:4": 0.8, "fog": 1.2, "up4+fog": 1.6}
    )


@pytest.mark.parametrize(
    ("chain", "family"),
    [("up4+fog:{}", "up4+fog"), ("fog:{}+up4", "fog+up4"), ("fog:{},7+rotate:30+jpeg:2", "fog+rotate:30+jpeg")],
)
def test_severities_are_put_together_wherever_they_are_in_a_chain(chain: str, family: str) -> None:
    """One family of five, whichever way its shifts are written."""
    ours = {chain.format(severity): 1 - severity / 10 for severity in range(1, 6)}
    reference = {shift.replace("up4", "translate:0,-4"): 0.5 for shift in ours}
    assert corruption_errors(ours, reference) == pytest.approx({family: 1.5 / 2.5})


def test_a_temperature_is_found_again() -> None:
    """Labels drawn from softmax(logits / 2.5) make logits too confident by that factor."""
    rng = np.random.default_rng(0)
    logits = 4 * rng.normal(size=(20_000, 5))
    labels = (special.softmax(logits / 2.5, axis=1).cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert fit_temperature(logits, labels) == pytest.approx(2.5, rel=0.03)
    assert fit_temperature(to_logits(special.softmax(logits, axis=1)), labels) == pytest.approx(2.5, rel=0.03)
    before, after = (measure("none", to_probabilities(logits, t), labels, to_probabilities(logits)) for t in (1, 2.5))
    assert after.accuracy == before.accuracy
    assert after.ece < 0.02 < before.ece


def test_a_temperature_is_found_where_all_is_right() -> None:
    assert 0.01 <= fit_temperature(5 * np.eye(3), np.arange(3)) < 0.3
