from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import InvalidValueError
from ood_fashion.from_scratch import checks
from ood_fashion.from_scratch.gradcheck import GradientCheck, check_gradients
from ood_fashion.from_scratch.layers import Array, Linear, ReLU, SoftmaxCrossEntropy
from ood_fashion.from_scratch.mlp import Network, build_mlp
from ood_fashion.from_scratch.perceptron import perceptron_loss, perceptron_subgradient


class MissingTransposeToInput(Linear):
    def backward(self, gradient: Array) -> Array:
        before: Array = gradient @ self.parameters["W"]
        return before


class MissingTransposeToWeights(Linear):
    def backward_to_parameters(self, gradient: Array) -> None:
        super().backward_to_parameters(gradient)
        self.gradients["W"][...] = gradient.T @ self._x


class WrongSign(Linear):
    def backward_to_parameters(self, gradient: Array) -> None:
        super().backward_to_parameters(gradient)
        self.gradients["b"] *= -1


class OneWrongSign(Linear):
    """In one class's column of W alone."""

    def backward_to_parameters(self, gradient: Array) -> None:
        super().backward_to_parameters(gradient)
        self.gradients["W"][:, 3] *= -1


class MaskOfAll(ReLU):
    def backward(self, gradient: Array) -> Array:
        return gradient


class MaskOfTheOthers(ReLU):
    def backward(self, gradient: Array) -> Array:
        before: Array = gradient * ~self._active
        return before


class MaskOfNone(ReLU):
    def backward(self, gradient: Array) -> Array:
        return np.zeros_like(gradient)


class SumOverTheBatch(SoftmaxCrossEntropy):
    def backward(self) -> Array:
        gradient = super().backward()
        gradient *= len(gradient)
        return gradient


Make = Callable[[int, int, np.random.Generator], Linear]
ALL = {"L1.W", "L1.b", "L2.W", "L2.b"}


def network_of(first: Make = Linear, relu: type[ReLU] = ReLU, second: Make = Linear) -> Network:
    """Square layers, into which a matrix fits transposed or not."""
    rng = np.random.default_rng(0)
    return Network([first(12, 12, rng), relu(), second(12, 12, rng)])


def batch(n: int = 12, seed: int = 1) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return 3 * rng.random((n, 12)), rng.integers(0, 12, n)


def failures(found: list[GradientCheck]) -> set[str]:
    return {check.parameter for check in found if not check.passed}


def test_right_gradients_pass() -> None:
    found = checks.check_mlp(network_of(), *batch())
    assert {check.parameter for check in found} == ALL
    assert all(check.passed and check.nonzero >= 10 and 0 < check.max_relative_error < 1e-6 for check in found)


@pytest.mark.parametrize(
    ("network", "wrong"),
    [
        (network_of(second=MissingTransposeToInput), {"L1.W", "L1.b"}),
        (network_of(second=MissingTransposeToWeights), {"L2.W"}),
        (network_of(first=MissingTransposeToWeights), {"L1.W"}),
        (network_of(relu=MaskOfAll), {"L1.W", "L1.b"}),
        (network_of(relu=MaskOfTheOthers), {"L1.W", "L1.b"}),
        (network_of(relu=MaskOfNone), {"L1.W", "L1.b"}),
        (network_of(first=WrongSign), {"L1.b"}),
        (network_of(second=OneWrongSign), {"L2.W"}),
    ],
    ids=lambda value: "" if isinstance(value, set) else " ".join(type(layer).__name__ for layer in value.layers),
)
def test_wrong_gradients_fail_where_they_are_wrong(network: Network, wrong: set[str]) -> None:
    assert failures(checks.check_mlp(network, *batch())) == wrong


def test_a_missing_division_by_the_batch_size_fails_both_checks() -> None:
    network = network_of()
    network.loss = SumOverTheBatch()
    assert failures(checks.check_mlp(network, *batch())) == ALL
    assert not any(check.passed for check in checks.check_mlp_magnitudes(network, *batch(5050)))


def test_the_perceptrons_planted_errors_fail() -> None:
    rng = np.random.default_rng(0)
    x, labels, w = rng.random((30, 8)), rng.integers(0, 5, 30), rng.normal(size=(5, 8))
    right = perceptron_subgradient(w, x, labels)

    def check(gradient: Array) -> bool:
        return check_gradients(lambda: perceptron_loss(w, x, labels), {"w": w}, {"w": gradient})[0].passed

    assert check(right)
    assert not check(-right)
    assert not check(30 * right)
    assert not check(np.where(right > 0, right, 0))


def test_the_assignments_coordinate_is_vacuous(fashion: Dataset) -> None:
    """The assignment compares the weight of pixel (0, 0), which is 0 in these images, and finds 0.000000 twice."""
    x = fashion.train.images[:50].reshape(50, -1) / 255
    network = build_mlp(dtype=np.float64)
    network.forward_loss(x, fashion.train.labels[:50])
    network.backward()
    (found, *_) = check_gradients(
        lambda: network.forward_loss(x, fashion.train.labels[:50]),
        {"L1.W": network.parameters["L1.W"]},
        {"L1.W": network.gradients["L1.W"]},
        coordinates={"L1.W": [(0, 0)]},
    )
    assert (found.coordinates, found.nonzero, found.max_relative_error, found.example) == (1, 0, 0, (0, 0))
    assert found.nonzero == 0
    assert not found.passed


@pytest.mark.parametrize("gradient", [np.zeros(3), np.array([])])
def test_nothing_but_zeros_is_vacuous(gradient: Array) -> None:
    (found,) = check_gradients(lambda: 0.0, {"p": np.zeros(len(gradient))}, {"p": gradient})
    assert found.nonzero == 0
    assert not found.passed


def test_nan_fails() -> None:
    p = np.ones(3)
    (found,) = check_gradients(lambda: float(p.sum()), {"p": p}, {"p": np.array([1, np.nan, 1])})
    assert not found.passed
    assert found.max_relative_error == np.inf


@pytest.mark.parametrize(("gradient", "passed"), [(1.0, True), (-1.0, False), (0.0, False), (1.001, False)])
def test_a_kink_nearby_is_no_failure_and_no_excuse(gradient: float, passed: bool) -> None:
    p = np.array([4e-6])
    (found,) = check_gradients(lambda: float(np.abs(p).sum()), {"p": p}, {"p": np.array([gradient])})
    assert found.passed == passed
    assert p[0] == 4e-6


def test_a_loss_that_fails_leaves_the_parameters_as_they_were() -> None:
    p = np.ones(1)

    def loss() -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check_gradients(loss, {"p": p}, {"p": np.ones(1)})
    assert p[0] == 1


def test_magnitudes_are_l1_norms_of_two_different_batches() -> None:
    network, (x, labels) = network_of(), batch(90)
    found = {check.parameter: check for check in checks.check_mlp_magnitudes(network, x, labels)}
    assert set(found) == ALL
    assert all(check.passed and check.batch_sizes == (50, 40) for check in found.values())
    for norm, part in zip(found["L1.W"].norms, (slice(50), slice(50, None)), strict=True):
        network.forward_loss(x[part], labels[part])
        network.backward()
        assert norm == pytest.approx(np.linalg.norm(network.gradients["L1.W"].ravel(), 1))
    with pytest.raises(InvalidValueError, match=r"expected more than 50 images. Received: 50"):
        checks.check_mlp_magnitudes(network, x[:50], labels[:50])


@pytest.mark.parametrize("seed", range(3))
def test_every_model_passes_on_real_images(fashion: Dataset, seed: int) -> None:
    x, labels = fashion.train.images[:50].reshape(50, -1) / 255, fashion.train.labels[:50]
    network = build_mlp(seed=seed, dtype=np.float64)
    found = [
        *checks.check_perceptron(x, labels, 10, seed=seed),
        *checks.check_mini_cnn(seed=seed),
        *checks.check_mlp(network, x, labels, seed=seed),
    ]
    assert len(found) == 7
    assert failures(found) == set()
