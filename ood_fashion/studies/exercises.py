"""exercises."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.data.dataset import Dataset, Split, split_train
from ood_fashion.evaluation.metrics import accuracy
from ood_fashion.from_scratch import SEED, checks
from ood_fashion.from_scratch.gradcheck import GradientCheck, MagnitudeCheck
from ood_fashion.from_scratch.mini_cnn import MiniCNN, draw_edges
from ood_fashion.from_scratch.perceptron import KernelPerceptron, MulticlassPerceptron
from ood_fashion.images import Labels
from ood_fashion.runs.config import MLP_PROTOCOL, TrainConfig
from ood_fashion.training.numpy_trainer import as_examples, initial_network

MINI_CNN_EXAMPLES = {"train": 1_000, "test": 10_000}


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
) -> dict[str, Any]:
    """Train a perceptron on the first training images and measure it on the test set.

    Args:
        dataset: what to train and evaluate on.
        kernel: the kernel of `KernelPerceptron`; None takes `MulticlassPerceptron`.
        train_size: number of training images.
        epochs: most passes over them.
        seed: decides their order.
        gamma: of the kernels "poly" and "rbf"; None lets the images' variance decide.
        degree: of "poly".
        on_epoch: is called after every pass with its number and its mistakes.

    Returns:
        A record: the settings, mistakes of each pass, seconds, the test accuracy with its interval, and the number of
        support vectors of a kernel perceptron.

    Raises:
        DataError: there are fewer training images.
        InvalidValueError: a setting is out of range.
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
    correct = int(np.sum(estimator.predict(as_examples(dataset.test.images, np.float64)) == dataset.test.labels))
    record = {
        "model": "multiclass perceptron" if kernel is None else "kernel perceptron",
        "kernel": kernel,
        "train_size": train_size,
        "seed": seed,
        "epochs": estimator.n_iter_,
        "mistakes": estimator.mistakes_,
        "seconds": round(seconds, 3),
        "test": accuracy(correct, len(dataset.test)),
    }
    if isinstance(estimator, KernelPerceptron):
        record |= {"gamma": estimator.gamma_, "degree": degree, "n_support": estimator.n_support_}
    return record


def train_mini_cnn(
    *, steps: int = 10_000, learning_rate: float = 0.1, restarts: int = 5, seed: int = SEED
) -> dict[str, Any]:
    """Train mini CNNs on the task of `draw_edges`, and measure the one of least training loss on new examples.

    From some random starts Algorithm 3 ends in a local minimum, where w responds to falls instead of rises.

    Args:
        steps: updates of each.
        learning_rate: eta.
        restarts: how many to train.
        seed: decides the examples, the initial weights and the picks.

    Returns:
        A record: the settings, the training loss of each start, the parameters and the test accuracy of the best.

    Raises:
        DivergenceError: a training diverged.
    """
    rng = np.random.default_rng(seed)
    (x, y), (test_x, test_y) = (draw_edges(n, rng) for n in MINI_CNN_EXAMPLES.values())
    models = [MiniCNN(rng) for _ in range(restarts)]
    for model in models:
        model.fit(x, y, learning_rate=learning_rate, steps=steps, rng=rng)
    losses = [model.loss(x, y) for model in models]
    best = models[int(np.argmin(losses))]
    correct = int(np.sum(np.sign(best.forward(test_x).y_hat) == test_y))
    return {
        "model": "mini CNN",
        "train_size": len(x),
        "seed": seed,
        "steps": steps,
        "learning_rate": learning_rate,
        "losses": losses,
        "loss": min(losses),
        "parameters": {name: array.tolist() for name, array in best.parameters.items()},
        "test": accuracy(correct, len(test_x)),
    }


def check_mlp(config: TrainConfig, dataset: Dataset, *, gradient: bool, magnitude: bool) -> list[dict[str, Any]]:
    """Check the MLP's gradients at the config's initial weights, on its training images, in float64.

    Args:
        config: which weights and images.
        dataset: where the images are from.
        gradient: compare with finite differences.
        magnitude: compare the norms of two batches.

    Returns:
        A record per check.

    Raises:
        DataError: the dataset is smaller than the config says.
        InvalidValueError: there are too few training images for the magnitude check.
    """
    split, _ = split_train(dataset, config.train_size, config.val_size, seed=config.split_seed)
    x, labels = _first_examples(split, sum(checks.BATCH_SIZES))
    network = initial_network(config, dataset, np.float64)
    records = []
    if gradient:
        records += [_gradient_record("MLP", check) for check in checks.check_mlp(network, x, labels, seed=config.seed)]
    if magnitude:
        records += [_magnitude_record("MLP", check) for check in checks.check_mlp_magnitudes(network, x, labels)]
    return records


def check_everything(dataset: Dataset, *, seed: int = SEED) -> list[dict[str, Any]]:
    """Check the gradients of every model of `from_scratch`.

    Args:
        dataset: where the images for the perceptron and the MLP are from, more than 51 of them.
        seed: decides weights, examples and coordinates.

    Returns:
        A record per check.

    Raises:
        InvalidValueError: there are too few training images.
    """
    x, labels = _first_examples(dataset.train, checks.BATCH_SIZES[0])
    config = TrainConfig(**{**MLP_PROTOCOL, "seed": seed, "train_size": len(dataset.train) - 1, "val_size": 1})
    perceptron = checks.check_perceptron(x, labels, dataset.num_classes, seed=seed)
    return [
        *(_gradient_record("perceptron loss", check) for check in perceptron),
        *(_gradient_record("mini CNN", check) for check in checks.check_mini_cnn(seed=seed)),
        *check_mlp(config, dataset, gradient=True, magnitude=True),
    ]


def _first_examples(split: Split, n: int) -> tuple[NDArray[np.floating], Labels]:
    return as_examples(split.images[:n], np.float64), split.labels[:n]


def _finite(value: float) -> float | None:
    """Return the value, or None, JSON's null, for infinity, which JSON has not."""
    return value if np.isfinite(value) else None


def _gradient_record(model: str, check: GradientCheck) -> dict[str, Any]:
    computed, approximated = check.example
    return {
        "model": model,
        "check": "gradient",
        "parameter": check.parameter,
        "coordinates": check.coordinates,
        "nonzero": check.nonzero,
        "max_relative_error": _finite(check.max_relative_error),
        "worst": {"computed": _finite(computed), "approximated": _finite(approximated)},
        "passed": check.passed,
    }


def _magnitude_record(model: str, check: MagnitudeCheck) -> dict[str, Any]:
    return {
        "model": model,
        "check": "magnitude",
        "parameter": check.parameter,
        "batch_sizes": list(check.batch_sizes),
        "l1_norms": [_finite(norm) for norm in check.norms],
        "ratio": _finite(check.ratio),
        "passed": check.passed,
    }
