"""The checks of `gradcheck`, put to every model of this package in float64."""

from __future__ import annotations

import numpy as np

from ood_fashion.errors import InvalidValueError
from ood_fashion.from_scratch import SEED
from ood_fashion.from_scratch.gradcheck import GradientCheck, MagnitudeCheck, check_gradients, check_magnitudes
from ood_fashion.from_scratch.layers import Array, Labels
from ood_fashion.from_scratch.mini_cnn import MiniCNN, draw_edges
from ood_fashion.from_scratch.mlp import Network
from ood_fashion.from_scratch.perceptron import perceptron_loss, perceptron_subgradient

BATCH_SIZES = (50, 5_000)
"""The assignment's two batches for the magnitude check; the first is the gradient check's too."""


def check_perceptron(x: Array, labels: Labels, classes: int, *, seed: int = SEED) -> list[GradientCheck]:
    """Check the subgradient of the perceptron loss, at random weights, which leave no ties."""
    batch = x[: BATCH_SIZES[0]].astype(np.float64), labels[: BATCH_SIZES[0]]
    weights = np.random.default_rng(seed).normal(0, 0.1, (classes, x.shape[1]))
    gradients = {"w": perceptron_subgradient(weights, *batch)}
    return check_gradients(lambda: perceptron_loss(weights, *batch), {"w": weights}, gradients, seed=seed)


def check_mini_cnn(*, seed: int = SEED) -> list[GradientCheck]:
    """Check the mini CNN's four gradients at random weights and examples; the seed decides them."""
    rng = np.random.default_rng(seed)
    x, y = draw_edges(BATCH_SIZES[0], rng)
    model = MiniCNN(rng)
    return check_gradients(lambda: model.loss(x, y), model.parameters, model.gradients(x, y), seed=seed)


def check_mlp(network: Network, x: Array, labels: Labels, *, seed: int = SEED) -> list[GradientCheck]:
    """Check back-propagation in a float64 network at its present weights, for every parameter of every layer."""
    batch = x[: BATCH_SIZES[0]].astype(np.float64), labels[: BATCH_SIZES[0]]
    network.forward_loss(*batch)
    network.backward()
    return check_gradients(lambda: network.forward_loss(*batch), network.parameters, network.gradients, seed=seed)


def check_mlp_magnitudes(network: Network, x: Array, labels: Labels) -> list[MagnitudeCheck]:
    """Compare the gradients' L1 norms of two batches that share no image: 50 images, and the next 5,000, if so many."""
    if len(x) <= BATCH_SIZES[0]:
        raise InvalidValueError(f"magnitude check: expected more than {BATCH_SIZES[0]} images. Received: {len(x)}.")
    small = slice(0, BATCH_SIZES[0])
    large = slice(BATCH_SIZES[0], sum(BATCH_SIZES))

    def gradients_of(batch: slice) -> dict[str, Array]:
        network.forward_loss(x[batch], labels[batch])
        network.backward()
        return network.gradients

    return check_magnitudes(gradients_of, small, large, (len(x[small]), len(x[large])))
