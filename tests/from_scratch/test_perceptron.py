from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import InvalidValueError
from ood_fashion.from_scratch import perceptron
from ood_fashion.from_scratch.perceptron import (
    KernelPerceptron,
    MulticlassPerceptron,
    perceptron_loss,
    perceptron_subgradient,
)

Floats = NDArray[np.float64]


def naive_primal(
    x: Floats, labels: NDArray[np.int64], order: NDArray[np.int64], classes: int
) -> tuple[Floats, list[int]]:
    """Algorithm 1, line by line."""
    w = np.zeros((classes, x.shape[1]))
    predictions = []
    for i in order:
        scores = [sum(w[c, d] * x[i, d] for d in range(x.shape[1])) for c in range(classes)]
        y = scores.index(max(scores))
        predictions.append(y)
        if y != labels[i]:
            w[y] = w[y] - x[i]
            w[labels[i]] = w[labels[i]] + x[i]
    return w, predictions


def naive_dual(
    gram: Floats, labels: NDArray[np.int64], order: NDArray[np.int64], classes: int
) -> tuple[Floats, list[int]]:
    """Algorithm 2 with its update corrected, over the whole kernel matrix."""
    alpha = np.zeros((classes, len(gram)))
    predictions = []
    for i in order:
        y = int(np.argmax(alpha @ gram[i]))
        predictions.append(y)
        if y != labels[i]:
            alpha[y, i] -= 1
            alpha[labels[i], i] += 1
    return alpha, predictions


def orders(n: int, epochs: int, seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(n) for _ in range(epochs)])


@pytest.fixture
def blobs() -> tuple[Floats, NDArray[np.int64]]:
    """Whole numbers, so that arithmetic in any order is exact; the classes overlap."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 60)
    x = rng.integers(-3, 4, (60, 5)) + 2 * np.eye(4, 5, dtype=np.int64)[labels]
    return x.astype(np.float64), labels


def pixels(dataset: Dataset, n: int) -> tuple[Floats, NDArray[np.int64]]:
    return dataset.train.images[:n].reshape(n, -1).astype(np.float64), dataset.train.labels[:n]


def test_the_primal_follows_algorithm_1(blobs: tuple[Floats, NDArray[np.int64]]) -> None:
    x, labels = blobs
    w, predictions = naive_primal(x, labels, orders(60, 3, seed=5), 4)
    fitted = MulticlassPerceptron(max_iter=3, random_state=5).fit(x, labels)
    np.testing.assert_array_equal(fitted.coef_, w)
    np.testing.assert_array_equal(fitted.predictions_, predictions)
    np.testing.assert_array_equal(fitted.decision_function(x), x @ w.T)


def kernel_value(kernel: str, x: Floats, z: Floats) -> float:
    return {
        "linear": float(x @ z),
        "poly": (0.1 * float(x @ z) + 2) ** 2,
        "rbf": float(np.exp(-0.1 * np.sum((x - z) ** 2))),
    }[kernel]


@pytest.mark.parametrize("block", [1, 7, 500])
@pytest.mark.parametrize("kernel", perceptron.KERNELS)
def test_the_dual_follows_algorithm_2(
    blobs: tuple[Floats, NDArray[np.int64]], monkeypatch: pytest.MonkeyPatch, kernel: str, block: int
) -> None:
    monkeypatch.setattr(perceptron, "BLOCK", block)
    x, labels = blobs
    gram = np.array([[kernel_value(kernel, a, b) for b in x] for a in x])
    alpha, predictions = naive_dual(gram, labels, orders(60, 3, seed=5), 4)
    fitted = KernelPerceptron(kernel, gamma=0.1, degree=2, coef0=2, max_iter=3, random_state=5).fit(x, labels)
    np.testing.assert_array_equal(fitted.predictions_, predictions)
    np.testing.assert_array_equal(fitted.support_, np.flatnonzero(alpha.any(axis=0)))
    np.testing.assert_array_equal(fitted.dual_coef_, alpha[:, fitted.support_])
    np.testing.assert_array_equal(fitted.support_vectors_, x[fitted.support_])
    assert fitted.n_support_ == len(fitted.support_) < 60
    np.testing.assert_allclose(fitted.decision_function(x), gram @ alpha.T, atol=1e-9)


@pytest.mark.parametrize("scale", [1, 255])
def test_the_linear_kernel_is_the_primal_step_by_step(fashion: Dataset, scale: int) -> None:
    """5,000 steps over real images; their pixels as whole numbers make all sums exact."""
    x, labels = pixels(fashion, 2500)
    primal = MulticlassPerceptron(max_iter=2).fit(x / scale, labels)
    dual = KernelPerceptron("linear", max_iter=2).fit(x / scale, labels)
    assert primal.predictions_.shape == (5000,)
    np.testing.assert_array_equal(dual.predictions_, primal.predictions_)
    assert dual.mistakes_ == primal.mistakes_
    np.testing.assert_allclose(dual.dual_coef_ @ dual.support_vectors_, primal.coef_, atol=1e-9)
    test = fashion.test.images[:500].reshape(500, -1) / scale
    np.testing.assert_array_equal(dual.predict(test), primal.predict(test))


def test_ties_go_to_the_first_class() -> None:
    x, labels = np.eye(3), ["c", "b", "a"]
    for estimator in (MulticlassPerceptron(max_iter=1), KernelPerceptron(max_iter=1)):
        estimator.fit(x, labels)
        assert estimator.predictions_[0] == "a"  # all scores are 0
    assert MulticlassPerceptron().fit(x, labels).predict(np.zeros((1, 3))) == ["a"]


def test_a_separable_task_is_learned_and_ends_early() -> None:
    x = np.array([[1.0, 0], [0, 1], [-1, -1]])
    fitted = MulticlassPerceptron(max_iter=100).fit(x, [7, 8, 9])
    assert fitted.n_iter_ < 100
    assert fitted.mistakes_[-1] == 0
    assert fitted.score(x, [7, 8, 9]) == 1


def test_rbf_learns_what_no_linear_perceptron_can() -> None:
    x, labels = np.array([[0.0, 0], [1, 1], [0, 1], [1, 0]]), [0, 0, 1, 1]
    assert KernelPerceptron(gamma=2.0, max_iter=50).fit(x, labels).score(x, labels) == 1
    assert MulticlassPerceptron(max_iter=50).fit(x, labels).score(x, labels) < 1


def test_float32_stays_float32(blobs: tuple[Floats, NDArray[np.int64]]) -> None:
    x, labels = blobs
    assert MulticlassPerceptron().fit(x.astype(np.float32), labels).coef_.dtype == np.float32
    assert KernelPerceptron().fit(x.astype(np.float32), labels).support_vectors_.dtype == np.float32
    assert MulticlassPerceptron().fit(x.astype(np.int64), labels).coef_.dtype == np.float64


@pytest.mark.parametrize(
    ("estimator", "x", "y", "message"),
    [
        (
            KernelPerceptron("cubic"),
            np.eye(2),
            [0, 1],
            "`kernel`: expected one of linear, poly, rbf. Received: 'cubic'",
        ),
        (KernelPerceptron(gamma=-1.0), np.eye(2), [0, 1], "`gamma`: expected"),
        (KernelPerceptron(gamma="auto"), np.eye(2), [0, 1], "`gamma`: expected"),
        (MulticlassPerceptron(max_iter=0), np.eye(2), [0, 1], "`max_iter`: expected"),
        (MulticlassPerceptron(), np.eye(2), [0, 0], "of two classes at least"),
        (MulticlassPerceptron(), np.eye(2), [0, 1, 2], "a label for each of 2 examples"),
        (MulticlassPerceptron(), np.ones(3), [0, 1, 2], r"shape \(n, features\)"),
        (MulticlassPerceptron(), np.array([[np.nan], [1]]), [0, 1], "with NaN or infinity"),
    ],
)
def test_bad_input_is_refused(estimator: Any, x: Floats, y: list[int], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        estimator.fit(x, y)


def test_predicting_needs_a_fit_and_as_many_features() -> None:
    with pytest.raises(InvalidValueError, match="expected a fitted estimator"):
        MulticlassPerceptron().predict(np.eye(2))
    with pytest.raises(InvalidValueError, match=r"expected 2 features, as in fit. Received: 3"):
        KernelPerceptron().fit(np.eye(2), [0, 1]).predict(np.eye(3))


def test_the_loss_and_its_subgradient_by_hand() -> None:
    w = np.array([[1.0, 0], [0, 1], [2, 2]])
    x = np.array([[1.0, 3], [2, 1]])  # scores 1, 3, 8 and 2, 1, 6
    labels = np.array([1, 2])  # violated by 8 - 3; right by a margin of 4
    assert perceptron_loss(w, x, labels) == 5 / 2
    np.testing.assert_array_equal(perceptron_subgradient(w, x, labels), np.array([[0, 0], [-1, -3], [1, 3]]) / 2)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_it_is_a_subgradient_at_ties_too(seed: int, ties: bool) -> None:
    """F is convex: F(u) >= F(w) + <g, u - w> for every u, wherever w is."""
    rng = np.random.default_rng(seed)
    x, labels = rng.integers(-2, 3, (6, 3)).astype(float), rng.integers(0, 4, 6)
    w = rng.integers(-1, 2, (4, 3)).astype(float) * (0 if ties else 1)
    g, at_w = perceptron_subgradient(w, x, labels), perceptron_loss(w, x, labels)
    for u in rng.normal(0, 2, (10, 4, 3)):
        assert perceptron_loss(u, x, labels) >= at_w + np.sum(g * (u - w)) - 1e-9
