"""The mini CNN of the assignment's problem 2: a convolution of width 2 over 3 inputs, ReLU, two output weights.

    a_1 = x_1 w_1 + x_2 w_2        a_2 = x_2 w_1 + x_3 w_2        o_j = max(0, a_j)
    y_hat = o_1 v_1 + o_2 v_2      loss = log(1 + exp(-y y_hat)), with y in {-1, 1}

docs/theory.md derives the gradients.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ood_fashion.errors import DivergenceError
from ood_fashion.from_scratch.layers import Array

EDGE_WEIGHTS, EDGE_OUTPUT = (-1.0, 1.0), (1.0, -1.0)
"""A w that responds to a rise, and a v that asks whether the first rise is the larger: the task of `draw_edges`."""


class Forward(NamedTuple):
    """What the forward pass computes for n examples: a and o, shape (n, 2), and y_hat, shape (n,)."""

    a: Array
    o: Array
    y_hat: Array


class MiniCNN:
    """The network and its four parameters.

    Attributes:
        parameters: "w" and "v", float64 of shape (2,).
    """

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw all four from a standard normal distribution."""
        self.parameters: dict[str, Array] = {"w": rng.normal(size=2), "v": rng.normal(size=2)}

    def forward(self, x: Array) -> Forward:
        """Compute y_hat and what leads to it for examples (n, 3)."""
        a = windows(x) @ self.parameters["w"]
        o = np.maximum(a, 0)
        return Forward(a, o, o @ self.parameters["v"])

    def loss(self, x: Array, y: Array) -> float:
        """Return the mean logistic loss of examples (n, 3) with labels (n,) in {-1, 1}."""
        return float(np.logaddexp(0, -y * self.forward(x).y_hat).mean())  # which exp cannot overflow

    def gradients(self, x: Array, y: Array) -> dict[str, Array]:
        """Return the mean dl/dw and dl/dv, each of shape (2,), over examples (n, 3) with labels (n,) in {-1, 1}."""
        forward, v = self.forward(x), self.parameters["v"]
        dl_dy_hat = -y * sigmoid(-y * forward.y_hat)
        dl_da = dl_dy_hat[:, np.newaxis] * v * (forward.a > 0)
        return {
            "w": np.einsum("nj,njk->k", dl_da, windows(x)) / len(x),  # both windows share w, so their gradients add up
            "v": dl_dy_hat @ forward.o / len(x),
        }

    def fit(self, x: Array, y: Array, *, learning_rate: float, steps: int, rng: np.random.Generator) -> None:
        """Train in place by Algorithm 3: pick an example at random, then parameter <- parameter - eta gradient."""
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is an error below
            for i in rng.integers(len(x), size=steps):
                example = slice(i, i + 1)
                # All four gradients belong to the same weights, so none is updated before the last is computed.
                for name, gradient in self.gradients(x[example], y[example]).items():
                    self.parameters[name] -= learning_rate * gradient
        if not all(np.isfinite(array).all() for array in self.parameters.values()):
            raise DivergenceError(
                f"training diverged: expected finite weights after {steps:,} steps. Received: NaN or infinity."
            )


def windows(x: Array) -> Array:
    """Return the two windows of examples (n, 3): (x_1, x_2) and (x_2, x_3), shape (n, 2, 2)."""
    return np.stack([x[:, :2], x[:, 1:]], axis=1)


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z)), without overflow."""
    result: Array = np.exp(-np.logaddexp(0, -z))
    return result


def draw_edges(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw a task that the mini CNN can represent: does the signal rise more from x_1 to x_2, or from x_2 to x_3?

    Returns:
        x, standard normal (n, 3), and y (n,): the sign of the network's y_hat with `EDGE_WEIGHTS` and `EDGE_OUTPUT`.
        Signals that only fall, for which that y_hat is 0, are left out.
    """
    teacher = MiniCNN(rng)
    teacher.parameters = {"w": np.array(EDGE_WEIGHTS), "v": np.array(EDGE_OUTPUT)}
    x = rng.normal(size=(2 * n + 50, 3))
    y_hat = teacher.forward(x).y_hat
    kept = np.flatnonzero(y_hat)[:n]
    return x[kept], np.sign(y_hat[kept])
