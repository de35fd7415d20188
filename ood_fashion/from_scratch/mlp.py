"""The assignment's NumPy network (problem 3.1): layers in a list, mini-batch SGD with momentum, early stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import DTypeLike

from ood_fashion.errors import DivergenceError
from ood_fashion.from_scratch import SEED
from ood_fashion.from_scratch.layers import Array, Labels, Layer, Linear, ReLU, SoftmaxCrossEntropy

CHUNK = 1_000
"""Images that are evaluated at once, as in the assignment, whose training loss is a sum over such chunks."""


class Network:
    """Layers one after another, with softmax cross-entropy as the loss.

    Attributes:
        layers: the layers, first to last.
        parameters: every layer's arrays: "L1.W" is the W of the first layer that has parameters.
        gradients: dF/dp of each of them, after `backward`.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.loss = SoftmaxCrossEntropy()
        trained = list(enumerate((layer for layer in layers if layer.parameters), 1))
        self.parameters = {f"L{i}.{name}": p for i, layer in trained for name, p in layer.parameters.items()}
        self.gradients = {f"L{i}.{name}": g for i, layer in trained for name, g in layer.gradients.items()}

    def forward(self, x: Array) -> Array:
        """Return the scores, shape (n, classes), of a batch of shape (n, inputs)."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def forward_loss(self, x: Array, labels: Labels) -> float:
        """Return the mean loss of a batch with labels (n,)."""
        return self.loss.forward(self.forward(x), labels)

    def backward(self) -> None:
        """Fill `gradients` for the batch that `forward_loss` has seen: back-propagation."""
        gradient = self.loss.backward()
        for layer in reversed(self.layers):
            layer.backward_to_parameters(gradient)
            if layer is not self.layers[0]:  # nothing comes before it, and its dF/dx costs as much as all the rest
                gradient = layer.backward(gradient)

    def weights(self) -> dict[str, Array]:
        """Return a copy of `parameters`."""
        return {name: array.copy() for name, array in self.parameters.items()}

    def set_weights(self, weights: dict[str, Array]) -> None:
        """Take over values that `weights` gave, or any of the same names and shapes."""
        for name, array in self.parameters.items():
            array[...] = weights[name]


def build_mlp(sizes: Sequence[int] = (784, 128, 10), *, seed: int = SEED, dtype: DTypeLike = np.float32) -> Network:
    """Build linear layers with ReLU between them; the sizes are the inputs, the hidden units, and the classes."""
    rng = np.random.default_rng([seed, 0])
    layers: list[Layer] = []
    for inputs, outputs in pairwise(sizes):
        layers += [Linear(inputs, outputs, rng, dtype), ReLU()]
    return Network(layers[:-1])


class SGD:
    """Stochastic gradient descent with momentum (problem 3.4): v <- alpha v + dF/dw, then w <- w - eta v, v from 0."""

    def __init__(self, network: Network, learning_rate: float, momentum: float = 0.0) -> None:
        """Take the network whose parameters are trained, eta and alpha."""
        self.network, self.learning_rate, self.momentum = network, learning_rate, momentum
        self.velocity = {name: np.zeros_like(array) for name, array in network.parameters.items() if momentum}

    def step(self) -> None:
        """Update every parameter by its gradient, which is used up: all arithmetic is in place."""
        for name, w in self.network.parameters.items():
            v = self.network.gradients[name]
            if self.momentum:
                velocity = self.velocity[name]
                velocity *= self.momentum
                velocity += v
                v[...] = velocity
            v *= self.learning_rate
            w -= v


@dataclass(frozen=True)
class Evaluation:
    """The mean loss per image, the sum of the mean losses of the chunks of 1,000 images, and how many are correct."""

    loss: float
    chunk_loss_sum: float
    correct: int
    n: int

    @property
    def accuracy(self) -> float:
        """The share of correct images."""
        return self.correct / self.n


def evaluate(network: Network, x: Array, labels: Labels) -> Evaluation:
    """Measure a network on images (n, inputs) with labels (n,); of equal scores the first counts."""
    loss, chunk_losses, correct = SoftmaxCrossEntropy(), [], 0
    starts = range(0, len(x), CHUNK)
    for start in starts:
        chunk = labels[start : start + CHUNK]
        scores = network.forward(x[start : start + CHUNK])
        chunk_losses.append(loss.forward(scores, chunk))
        correct += int(np.sum(scores.argmax(axis=1) == chunk))
    sizes = [min(CHUNK, len(x) - start) for start in starts]
    return Evaluation(float(np.average(chunk_losses, weights=sizes)), sum(chunk_losses), correct, len(x))


@dataclass(frozen=True)
class Epoch:
    """An epoch's measures, all of the weights after it: on the training images, then on the validation images."""

    epoch: int
    loss: float
    chunk_loss_sum: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


def train_epoch(
    sgd: SGD,
    x: Array,
    labels: Labels,
    batch_size: int,
    rng: np.random.Generator,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> None:
    """Update once per mini-batch of a shuffled training set; the last batch has what is left.

    `progress` wraps the batches' starts, like tqdm.
    """
    network, order = sgd.network, rng.permutation(len(x))
    x, labels = x[order], labels[order]  # one copy an epoch, so that every batch is a view
    for start in progress(range(0, len(x), batch_size)):
        batch = slice(start, start + batch_size)
        network.forward_loss(x[batch], labels[batch])
        network.backward()
        sgd.step()


def fit(
    network: Network,
    training: tuple[Array, Labels],
    validation: tuple[Array, Labels],
    *,
    learning_rate: float = 0.01,
    momentum: float = 0.0,
    batch_size: int = 5,
    epochs: int = 200,
    patience: int | None = 3,
    seed: int = SEED,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Train a network in place on images (n, inputs) with labels (n,), and return the measures of every epoch.

    After `patience` epochs in a row without a better validation accuracy it stops, and keeps the weights of the best,
    the first of equals; with None it runs all epochs and keeps the last weights. The seed and the epoch's number decide
    the order of the images. `progress` wraps the starts of an epoch's batches, like tqdm.

    Raises:
        DivergenceError: a loss was not finite; the network has the weights that it would have kept before that epoch.
    """
    sgd = SGD(network, learning_rate, momentum)
    history: list[Epoch] = []
    kept, best, best_epoch = network.weights(), -1.0, 0
    try:
        for epoch in range(1, epochs + 1):
            began = time.perf_counter()
            with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is an error below
                train_epoch(sgd, *training, batch_size, np.random.default_rng([seed, epoch]), progress)
                after, val = evaluate(network, *training), evaluate(network, *validation)
            for name, loss in (("loss", after.loss), ("val_loss", val.loss)):
                if not np.isfinite(loss):
                    raise DivergenceError(
                        f"training diverged in epoch {epoch}: expected a finite {name}. Received: {loss}."
                    )
            seconds = time.perf_counter() - began
            losses = after.loss, after.chunk_loss_sum
            history.append(Epoch(epoch, *losses, after.accuracy, val.loss, val.accuracy, seconds))
            on_epoch(history[-1])
            if patience is None or val.accuracy > best:
                kept, best, best_epoch = network.weights(), val.accuracy, epoch
            elif epoch - best_epoch >= patience:
                break
    finally:
        network.set_weights(kept)
    return history
