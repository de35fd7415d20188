"""The exercises of problems 1 to 3.1 on a dataset: perceptrons, the mini CNN, and checks of gradients."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.data.dataset import Dataset, Split, split_train
from ood_fashion.evaluation.records import JsonRecord
from ood_fashion.evaluation.stats import Accuracy
from ood_fashion.from_scratch import SEED, checks
from ood_fashion.from_scratch.gradcheck import GradientCheck, MagnitudeCheck
from ood_fashion.from_scratch.mini_cnn import MiniCNN, draw_edges
from ood_fashion.from_scratch.perceptron import KernelPerceptron, MulticlassPerceptron
from ood_fashion.images import Labels
from ood_fashion.runs.config import MLP_PROTOCOL, TrainConfig
from ood_fashion.training.numpy_trainer import as_examples, initial_network

MINI_CNN_EXAMPLES = {"train": 1_000, "test": 10_000}


@dataclass(frozen=True)
class PerceptronResult(JsonRecord):
    """A trained perceptron, the mistakes of each pass, the seconds of training, and the accuracy on the test set.

    The last three fields are of a kernel perceptron: of its kernel "poly" the degree, and the number of support
    vectors.
    """

    model: str
    kernel: str | None
    train_size: int
    seed: int
    epochs: int
    mistakes: tuple[int, ...]
    seconds: float
    test: Accuracy
    gamma: float | None = None
    degree: int | None = None
    n_support: int | None = None


@dataclass(frozen=True)
class MiniCNNResult(JsonRecord):
    """The mini CNN of least training loss of several starts: its parameters, and its accuracy on new examples.

    `losses` has the training loss of each start, and `loss` the least.
    """

    model: str
    train_size: int
    seed: int
    steps: int
    learning_rate: float
    losses: tuple[float, ...]
    loss: float
    parameters: Mapping[str, Any]
    test: Accuracy


@dataclass(frozen=True)
class WorstGradient(JsonRecord):
    """The gradient where the relative error is largest; None stands for infinity, which JSON has not."""

    computed: float | None
    approximated: float | None


@dataclass(frozen=True)
class GradientResult(JsonRecord):
    """A `GradientCheck` of a model; None stands for infinity."""

    model: str
    check: str
    parameter: str
    coordinates: int
    nonzero: int
    max_relative_error: float | None
    worst: WorstGradient
    passed: bool


@dataclass(frozen=True)
class MagnitudeResult(JsonRecord):
    """A `MagnitudeCheck` of a model; None stands for infinity."""

    model: str
    check: str
    parameter: str
    batch_sizes: tuple[int, int]
    l1_norms: tuple[float | None, ...]
    ratio: float | None
    passed: bool


def train_perceptron(
    dataset: Dataset,
    kernel: str | None = None,
    *,
    train_size: int = 10_000,
    epochs: int = 5,
    seed: int = SEED,
    gamma: float | None = None,
    degree: int = 3,
    on_epoch: Callable[[int, int], None] = lambda epoch, mistakes: None,
) -> PerceptronResult:
    """Train a perceptron on the first training images and measure it on the test set.

    The kernel is one of `KernelPerceptron`, with gamma decided by the images' variance unless given; without one it is
    a `MulticlassPerceptron`. `on_epoch` is called after every pass with its number and its mistakes.
    """
    split, _ = split_train(dataset, train_size, 0)
    estimator: MulticlassPerceptron | KernelPerceptron
    if kernel is None:
        estimator = MulticlassPerceptron(max_iter=epochs, random_state=seed)
    else:
        estimator = KernelPerceptron(
            kernel, "scale" if gamma is None else gamma, degree, max_iter=epochs, random_state=seed
        )
    began = time.perf_counter()
    estimator.fit(as_examples(split.images, np.float64), split.labels, on_epoch=on_epoch)
    seconds = time.perf_counter() - began
    correct = estimator.predict(as_examples(dataset.test.images, np.float64)) == dataset.test.labels
    found: dict[str, Any] = {}
    if isinstance(estimator, KernelPerceptron):
        found = {"gamma": estimator.gamma_, "degree": degree, "n_support": estimator.n_support_}
    return PerceptronResult(
        model="multiclass perceptron" if kernel is None else "kernel perceptron",
        kernel=kernel,
        train_size=train_size,
        seed=seed,
        epochs=estimator.n_iter_,
        mistakes=tuple(estimator.mistakes_),
        seconds=round(seconds, 3),
        test=Accuracy.of(correct),
        **found,
    )


def train_mini_cnn(
    *, steps: int = 10_000, learning_rate: float = 0.1, restarts: int = 5, seed: int = SEED
) -> MiniCNNResult:
    """Train mini CNNs on the task of `draw_edges`, and measure the one of least training loss on new examples.

    From some random starts Algorithm 3 ends in a local minimum, where w responds to falls instead of rises.
    """
    rng = np.random.default_rng(seed)
    (x, y), (test_x, test_y) = (draw_edges(n, rng) for n in MINI_CNN_EXAMPLES.values())
    models = [MiniCNN(rng) for _ in range(restarts)]
    for model in models:
        model.fit(x, y, learning_rate=learning_rate, steps=steps, rng=rng)
    losses = [model.loss(x, y) for model in models]
    best = models[int(np.argmin(losses))]
    return MiniCNNResult(
        model="mini CNN",
        train_size=len(x),
        seed=seed,
        steps=steps,
        learning_rate=learning_rate,
        losses=tuple(losses),
        loss=min(losses),
        parameters={name: array.tolist() for name, array in best.parameters.items()},
        test=Accuracy.of(np.sign(best.forward(test_x).y_hat) == test_y),
    )


CheckResult = GradientResult | MagnitudeResult


def check_mlp(config: TrainConfig, dataset: Dataset, *, gradient: bool, magnitude: bool) -> list[CheckResult]:
    """Check the MLP's gradients at the config's initial weights, on its training images, in float64.

    `gradient` compares them with finite differences, `magnitude` the norms of two batches.
    """
    split, _ = split_train(dataset, config.train_size, config.val_size, seed=config.split_seed)
    x, labels = _first_examples(split, sum(checks.BATCH_SIZES))
    network = initial_network(config, dataset, np.float64)
    results: list[CheckResult] = []
    if gradient:
        results += [_gradient_result("MLP", check) for check in checks.check_mlp(network, x, labels, seed=config.seed)]
    if magnitude:
        results += [_magnitude_result("MLP", check) for check in checks.check_mlp_magnitudes(network, x, labels)]
    return results


def check_everything(dataset: Dataset, *, seed: int = SEED) -> list[CheckResult]:
    """Check the gradients of every model of `from_scratch`, on more than 51 images of the dataset."""
    x, labels = _first_examples(dataset.train, checks.BATCH_SIZES[0])
    config = TrainConfig(**{**MLP_PROTOCOL, "seed": seed, "train_size": len(dataset.train) - 1, "val_size": 1})
    perceptron = checks.check_perceptron(x, labels, dataset.num_classes, seed=seed)
    return [
        *(_gradient_result("perceptron loss", check) for check in perceptron),
        *(_gradient_result("mini CNN", check) for check in checks.check_mini_cnn(seed=seed)),
        *check_mlp(config, dataset, gradient=True, magnitude=True),
    ]


def _first_examples(split: Split, n: int) -> tuple[NDArray[np.floating], Labels]:
    return as_examples(split.images[:n], np.float64), split.labels[:n]


def _finite(value: float) -> float | None:
    """Return the value, or None, JSON's null, for infinity, which JSON has not."""
    return value if np.isfinite(value) else None


def _gradient_result(model: str, check: GradientCheck) -> GradientResult:
    return GradientResult(
        model,
        "gradient",
        check.parameter,
        check.coordinates,
        check.nonzero,
        _finite(check.max_relative_error),
        WorstGradient(*map(_finite, check.example)),
        check.passed,
    )


def _magnitude_result(model: str, check: MagnitudeCheck) -> MagnitudeResult:
    norms = tuple(map(_finite, check.norms))
    return MagnitudeResult(
        model, "magnitude", check.parameter, check.batch_sizes, norms, _finite(check.ratio), check.passed
    )
