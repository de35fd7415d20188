"""The layers of a network: each computes forwards, and applies the chain rule backwards.

A batch x, shape (n, inputs), goes forward to y, shape (n, outputs). With F the loss, one number, dF/dy comes back and
becomes dF/dx, which is the dF/dy of the layer before, and dF/dp for each of the layer's own parameters p.
docs/theory.md derives every line in "Back-propagation in the MLP".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.floating]
"""float32 or float64; a layer computes in the type of its parameters."""
Labels = NDArray[np.integer]


class Layer:
    """A layer without parameters, which changes nothing; the others are made from it.

    Attributes:
        parameters: the arrays that are trained, by name. They are changed in place, never replaced.
        gradients: dF/dp for each of them: the same arrays at every call, overwritten.
    """

    def __init__(self, parameters: dict[str, Array] | None = None) -> None:
        self.parameters = parameters or {}
        self.gradients = {name: np.zeros_like(array) for name, array in self.parameters.items()}

    def forward(self, x: Array) -> Array:
        """Return y, and remember what the way back needs."""
        return x

    def backward(self, gradient: Array) -> Array:
        """Turn dF/dy into dF/dx."""
        return gradient

    def backward_to_parameters(self, gradient: Array) -> None:
        """Turn dF/dy into `gradients`."""


class Linear(Layer):
    """y = x W + b, with W of shape (inputs, outputs) and b of shape (outputs,)."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator, dtype: DTypeLike = np.float64) -> None:
        """Draw W and b from the assignment's distribution, normal with mean 0 and standard deviation 0.1."""
        shapes = {"W": (inputs, outputs), "b": (outputs,)}
        super().__init__({name: rng.normal(0, 0.1, shape).astype(dtype) for name, shape in shapes.items()})

    def forward(self, x: Array) -> Array:
        """Return x W + b."""
        self._x = x
        y: Array = x @ self.parameters["W"]
        y += self.parameters["b"]
        return y

    def backward(self, gradient: Array) -> Array:
        """Return dF/dx = dF/dy W^T."""
        before: Array = gradient @ self.parameters["W"].T
        return before

    def backward_to_parameters(self, gradient: Array) -> None:
        """Store dF/dW = x^T dF/dy, and dF/db, the sum of dF/dy over the batch."""
        np.matmul(self._x.T, gradient, out=self.gradients["W"])
        np.sum(gradient, axis=0, out=self.gradients["b"])


class ReLU(Layer):
    """y = max(0, x), element by element."""

    def forward(self, x: Array) -> Array:
        """Return max(0, x)."""
        self._active = x > 0
        y: Array = np.maximum(x, 0)
        return y

    def backward(self, gradient: Array) -> Array:
        """Return dF/dx: dF/dy where x > 0, else 0. At the kink, x = 0, it chooses the subgradient 0."""
        before: Array = gradient * self._active
        return before


class SoftmaxCrossEntropy:
    """The loss F = -(1/n) sum_i log p_i[label_i], where p_i = softmax(scores_i)."""

    def forward(self, scores: Array, labels: Labels) -> float:
        """Return F, a mean over the batch, in nats, for scores (n, classes) and labels (n,), integers from 0."""
        # Softmax does not change when a row's maximum is taken off its scores, and then exp cannot overflow.
        shifted = scores - scores.max(axis=1, keepdims=True)
        exponentials = np.exp(shifted)
        sums = exponentials.sum(axis=1, keepdims=True)
        self._probabilities: Array = np.divide(exponentials, sums, out=exponentials)
        self._picked = np.arange(len(labels)), labels
        # As a difference of logarithms, log p is finite where p itself rounds to 0.
        return float(np.log(sums).mean() - shifted[self._picked].mean())

    def backward(self) -> Array:
        """Return dF/dscores = (p - one-hot labels) / n, once after each `forward`."""
        gradient = self._probabilities
        gradient[self._picked] -= 1
        gradient /= len(gradient)
        return gradient
