"""The models of `from_scratch` on a dataset: NumPy arrays in, run folders and records out.

`train` does for a config with `implementation="numpy"` what `nn.training.train` does for Keras: the same run folder and
the same records.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ood_fashion import paper
from ood_fashion.data.dataset import Dataset, Split, split_train
from ood_fashion.errors import DivergenceError, RunError
from ood_fashion.evaluation.classifier import full_records
from ood_fashion.evaluation.metrics import accuracy, predictions
from ood_fashion.from_scratch import SEED, checks, mlp
from ood_fashion.from_scratch.gradcheck import GradientCheck, MagnitudeCheck
from ood_fashion.from_scratch.mini_cnn import MiniCNN, draw_edges
from ood_fashion.from_scratch.mlp import Epoch, Network
from ood_fashion.from_scratch.perceptron import KernelPerceptron, MulticlassPerceptron
from ood_fashion.images import Labels, to_unit_range
from ood_fashion.models.layer_specs import Dense
from ood_fashion.models.specs import MODELS
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.history import growing_settings, kept_epoch, training_summary
from ood_fashion.runs.run import Run
from ood_fashion.runs.start import require_same_dataset
from ood_fashion.shifts.shift import SHIFTS, TEST_SETS, Shift

PROTOCOL: dict[str, Any] = {**paper.MLP_PROTOCOL, "seed": SEED}
"""Where the document's NumPy network differs from the defaults of `TrainConfig`."""

MINI_CNN_EXAMPLES = {"train": 1_000, "test": 10_000}


class EpochLog:
    """Progress on standard error: a bar over an epoch's updates on a terminal, and a line after each epoch."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.epoch = config, 1

    def updates(self, batches: Sequence[int]) -> Iterable[int]:
        """Show a bar over the batches."""
        from tqdm import tqdm

        title = f"epoch {self.epoch}/{self.config.epochs}"
        return tqdm(batches, title, leave=False, dynamic_ncols=True, disable=not sys.stderr.isatty(), unit=" updates")

    def epoch_end(self, epoch: Epoch) -> None:
        """Show the epoch's figures, the document's among them."""
        self.epoch += 1
        print(
            f"epoch {epoch.epoch}/{self.config.epochs}  loss {epoch.loss:.4f} (the document's sum "
            f"{epoch.chunk_loss_sum:.3f})  accuracy {epoch.accuracy:.4f}  val_accuracy {epoch.val_accuracy:.4f}  "
            f"{epoch.seconds:.2f} s",
            file=sys.stderr,
        )


def as_examples(images: NDArray[Any], dtype: DTypeLike = np.float32) -> NDArray[np.floating]:
    """Flatten images (n, height, width), uint8 or in [0, 1], to (n, height * width) in [0, 1]."""
    return to_unit_range(images).reshape(len(images), -1).astype(dtype, copy=False)


def initial_network(config: TrainConfig, dataset: Dataset, dtype: DTypeLike | None = None) -> Network:
    """Build the config's MLP for the dataset's images and classes, in the config's dtype unless another is given."""
    hidden = [layer.units for layer in MODELS[config.model].layers if isinstance(layer, Dense)]
    sizes = (int(np.prod(dataset.image_shape)), *hidden, dataset.num_classes)
    return mlp.build_mlp(sizes, seed=config.seed, dtype=dtype or config.dtype)


def load_network(run: Run) -> Network:
    """Load the MLP that a run in NumPy trained.

    Raises:
        RunError: its weights are absent or damaged.
    """
    weights = run.read_weights()
    try:
        matrices = [weights[f"L{i}.W"] for i in range(1, len(weights) // 2 + 1)]
        network = mlp.build_mlp([*(len(w) for w in matrices), matrices[-1].shape[1]], dtype=matrices[0].dtype)
        network.set_weights(weights)
    except (KeyError, IndexError, ValueError) as error:
        raise RunError(f"{run.model_path}: expected the weights of an MLP. Received: {', '.join(weights)}.") from error
    return network


def train(
    run: Run,
    dataset: Dataset,
    *,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> dict[str, Any]:
    """Train the run's MLP in NumPy from its start, evaluate it on the document's test sets, and complete the run.

    A run that was killed is trained again from its first epoch, to the same bits.

    Args:
        run: decides what is trained, and takes the results.
        dataset: what to train and evaluate on.
        progress: wraps the batches of each epoch, like tqdm.
        on_epoch: is called after every epoch.

    Returns:
        What metrics.json holds: the model's name, a record per test set, and the epochs and updates spent.

    Raises:
        RunError: the run began on another dataset, or its folder cannot be written.
        DivergenceError: a loss was not finite; the last good weights are in the run's model file.
    """
    config = run.config
    require_same_dataset(run, dataset)
    splits = split_train(dataset, config.train_size, config.val_size, seed=config.split_seed)
    training, validation = ((as_examples(split.images, config.dtype), split.labels) for split in splits)
    network = initial_network(config, dataset)
    history: list[dict[str, float]] = []

    def record(epoch: Epoch) -> None:
        history.append({**asdict(epoch), "seconds": round(epoch.seconds, 3)})
        run.write_history(history)
        on_epoch(epoch)

    try:
        mlp.fit(
            network,
            training,
            validation,
            learning_rate=config.learning_rate,
            momentum=config.momentum,
            batch_size=config.batch_size,
            epochs=config.epochs,
            patience=config.patience,
            seed=config.seed,
            progress=progress,
            on_epoch=record,
        )
    except DivergenceError as error:
        run.write_weights(network.parameters)
        raise DivergenceError(
            f"{error} Lower {growing_settings(config)}. "
            f"The weights of epoch {kept_epoch(history, config)} are in {run.model_path}."
        ) from error
    run.write_weights(network.parameters)
    scores = {name: score(network, dataset, SHIFTS[name]) for name in TEST_SETS}
    run.write_predictions({name: predictions(values) for name, values in scores.items()})
    results = full_records(scores.items(), scores["none"], dataset.test)
    metrics = {"model": config.model, "results": results, "training": training_summary(history, config)}
    run.write_result_file(_result(history, results[0]["accuracy"]))
    run.write_metrics(metrics)
    return metrics


def _result(history: Sequence[dict[str, float]], test_accuracy: float) -> dict[str, Any]:
    """Return the document's result: accuracies per epoch, the kept weights' test accuracy, seconds of training."""
    return {
        "train": [row["accuracy"] for row in history],
        "val": [row["val_accuracy"] for row in history],
        "test": test_accuracy,
        "time": round(sum(row["seconds"] for row in history), 3),
    }


def score(network: Network, dataset: Dataset, shift: Shift) -> NDArray[np.floating[Any]]:
    """Return the logits of every image of the dataset's test set under a shift, (n, classes)."""
    dtype = network.parameters["L1.W"].dtype
    return network.forward(as_examples(shift.apply(dataset.test.images), dtype))


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
    config = TrainConfig(**{**PROTOCOL, "seed": seed, "train_size": len(dataset.train) - 1, "val_size": 1})
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
