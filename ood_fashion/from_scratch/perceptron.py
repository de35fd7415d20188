"""The multiclass perceptron and its kernel form (the assignment's problem 1), with scikit-learn's conventions.

Parameters go to the constructor, `fit` learns and returns the estimator, and what it learned ends in an underscore.
docs/theory.md derives the loss's subgradient and the kernel form.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ood_fashion.errors import InvalidValueError
from ood_fashion.from_scratch import SEED
from ood_fashion.from_scratch.layers import Array, Labels

KERNELS = ("linear", "poly", "rbf")
BLOCK = 500
"""Examples that are taken at once: a block of the kernel matrix has at most this many rows."""


def first_argmax(scores: Array) -> NDArray[np.int64]:
    """Choose the highest score along the last axis, the first of equals: the tie rule of everything here."""
    return np.asarray(scores.argmax(axis=-1), np.int64)


def _rivals(weights: Array, x: Array, labels: Labels) -> tuple[Array, NDArray[np.int64]]:
    """Return each example's margin violation, max over y != y_i of (w_y - w_{y_i})^T x_i, and the y that attains it."""
    picked = np.arange(len(x)), labels
    scores = x @ weights.T
    own = scores[picked]
    scores[picked] = -np.inf
    rival = first_argmax(scores)
    return scores[picked[0], rival] - own, rival


def perceptron_loss(weights: Array, x: Array, labels: Labels) -> float:
    """Return the mean of F_i = max(0, max over y != y_i of (w_y^T x_i - w_{y_i}^T x_i)) (problem 1.1).

    Weights are (classes, features), a row w_c for each of two classes at least; labels are integers from 0.
    """
    return float(np.maximum(_rivals(weights, x, labels)[0], 0).mean())


def perceptron_subgradient(weights: Array, x: Array, labels: Labels) -> Array:
    """Return a subgradient of `perceptron_loss` with respect to the weights, of their shape.

    An example whose margin is violated adds x_i / n to the row of the class that violates it most (the first of equals)
    and -x_i / n to its own class's row. Any other example adds nothing; on the boundary, where the violation is 0, both
    answers are right, and 0 is the one taken.
    """
    violation, rival = _rivals(weights, x, labels)
    wrong = violation > 0
    share = x[wrong] / len(x)
    gradient = np.zeros_like(weights)
    np.add.at(gradient, rival[wrong], share)
    np.subtract.at(gradient, labels[wrong], share)
    return gradient


@dataclass(eq=False)
class _Perceptron(ABC):
    """What both perceptrons share: passes over shuffled examples, an update at every mistake."""

    max_iter: int = field(default=5, kw_only=True)
    random_state: int = field(default=SEED, kw_only=True)

    @abstractmethod
    def decision_function(self, X: ArrayLike) -> Array:
        """Return the scores, (n, classes), of the examples (n, features)."""

    @abstractmethod
    def _start(self, x: Array, classes: int) -> None:
        """Start from nothing learned."""

    @abstractmethod
    def _learn(self, block: NDArray[np.int64], labels: Labels) -> NDArray[np.int64]:
        """Go through a block of examples, one by one; return each one's prediction before its own update."""

    def fit(
        self, X: ArrayLike, y: ArrayLike, *, on_epoch: Callable[[int, int], None] = lambda epoch, mistakes: None
    ) -> Self:
        """Learn from examples (n, features) with labels (n,) of any kind.

        Float32 or float64 decides the arithmetic; whole numbers become float64. `on_epoch` is called after every pass
        with its number, from 1, and its mistakes.
        """
        if self.max_iter < 1:
            raise InvalidValueError(f"`max_iter`: expected a whole number of 1 or more. Received: {self.max_iter!r}.")
        x, (self.classes_, labels) = _as_examples(X), np.unique(np.asarray(y), return_inverse=True)
        if labels.shape != x.shape[:1] or len(self.classes_) < 2:
            raise InvalidValueError(
                f"y: expected a label for each of {len(x)} examples, of two classes at least. "
                f"Received: shape {np.shape(y)} with {len(self.classes_)} classes."
            )
        self.n_features_in_ = x.shape[1]
        rng = np.random.default_rng(self.random_state)
        predicted: list[NDArray[np.int64]] = []
        mistakes: list[int] = []
        self._start(x, len(self.classes_))
        while len(mistakes) < self.max_iter and (not mistakes or mistakes[-1]):
            order = rng.permutation(len(x))
            blocks = [self._learn(order[i : i + BLOCK], labels) for i in range(0, len(x), BLOCK)]
            predicted.append(np.concatenate(blocks))
            mistakes.append(int(np.sum(predicted[-1] != labels[order])))
            on_epoch(len(mistakes), mistakes[-1])
        self.n_iter_, self.mistakes_ = len(mistakes), mistakes
        self.predictions_ = self.classes_[np.concatenate(predicted)]
        self._finish()
        return self

    @abstractmethod
    def _finish(self) -> None:
        """Keep what predicting needs, and nothing else."""

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the class of highest score, the first of equals, of examples (n, features)."""
        best = first_argmax(self.decision_function(X))
        return np.asarray(self.classes_[best])

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Return the accuracy on examples (n, features) with labels (n,)."""
        return float(np.mean(self.predict(X) == np.asarray(y)))

    def _check_fitted(self, X: ArrayLike) -> Array:
        if not hasattr(self, "classes_"):
            raise InvalidValueError(
                f"{type(self).__name__}: expected a fitted estimator. Received: a new one. Call fit."
            )
        x = _as_examples(X)
        if x.shape[1] != self.n_features_in_:
            raise InvalidValueError(f"X: expected {self.n_features_in_} features, as in fit. Received: {x.shape[1]}.")
        return x


def _as_examples(X: ArrayLike) -> Array:
    x = np.asarray(X)
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float64)
    if x.ndim != 2 or not x.size or not np.isfinite(x).all():
        raise InvalidValueError(
            f"X: expected finite numbers of shape (n, features), one at least. Received: shape {x.shape}"
            f"{'' if np.isfinite(x).all() else ' with NaN or infinity'}."
        )
    return x


@dataclass(eq=False)
class MulticlassPerceptron(_Perceptron):
    """Algorithm 1: predict argmax_k w_k^T x_i; at a mistake, w_predicted -= x_i and w_{y_i} += x_i, from w = 0.

    "Randomly pick an example" is done by going through all of them in a new random order at every pass.

    Args:
        max_iter: most passes over the training set; one without a mistake is the last.
        random_state: decides the order of the examples.

    Attributes:
        classes_: the labels, sorted.
        coef_: the w_c, (classes, features). There is no intercept, as in the assignment.
        n_iter_: passes made.
        mistakes_: mistakes of each pass.
        predictions_: the prediction at every step, before its update; (n_iter_ * n,).
        n_features_in_: features seen by `fit`.
    """

    def decision_function(self, X: ArrayLike) -> Array:
        """Return the scores w_k^T x, (n, classes), of examples (n, features)."""
        return self._check_fitted(X) @ self.coef_.T

    def _start(self, x: Array, classes: int) -> None:
        self._x = x
        self.coef_: Array = np.zeros((classes, x.shape[1]), x.dtype)

    def _learn(self, block: NDArray[np.int64], labels: Labels) -> NDArray[np.int64]:
        predicted = np.empty(len(block), np.int64)
        for step, (x, label) in enumerate(zip(self._x[block], labels[block], strict=True)):
            predicted[step] = guess = first_argmax(self.coef_ @ x)
            if guess != label:
                self.coef_[guess] -= x
                self.coef_[label] += x
        return predicted

    def _finish(self) -> None:
        del self._x


@dataclass(eq=False)
class KernelPerceptron(_Perceptron):
    """Algorithm 2, corrected: w_k is the sum of alpha_{k,j} phi(x_j), and only the picked example's alphas change.

    Predict argmax_k sum_j alpha_{k,j} k(x_i, x_j); at a mistake, alpha_{predicted,i} -= 1 and alpha_{y_i,i} += 1. With
    the linear kernel it makes the predictions of `MulticlassPerceptron`, step by step.

    The scores of all training examples are kept up to date, so that a mistake costs one row of the kernel matrix. The
    matrix is never there as a whole: what is computed at once has at most `BLOCK` rows and as many columns.

    Args:
        kernel: "linear", x^T z; "poly", (gamma x^T z + coef0)^degree; "rbf", exp(-gamma |x - z|^2).
        gamma: a number above 0, or "scale": 1 / (features * variance of X), as in scikit-learn.
        degree: of "poly".
        coef0: of "poly".
        max_iter: most passes over the training set; one without a mistake is the last.
        random_state: decides the order of the examples.

    Attributes:
        classes_: the labels, sorted.
        support_: indices of the training examples with an alpha that is not 0.
        support_vectors_: these examples, (n_support_, features); only they are kept.
        dual_coef_: their alphas, (classes, n_support_).
        n_support_: how many they are.
        gamma_: the gamma that was used.
        n_iter_, mistakes_, predictions_, n_features_in_: as in `MulticlassPerceptron`.
    """

    kernel: str = "rbf"
    gamma: float | str = "scale"
    degree: int = 3
    coef0: float = 1.0

    def kernel_matrix(self, x: Array, z: Array) -> Array:
        """Return k(x_i, z_j), (n, m), for examples (n, features) and (m, features), once fitted."""
        products = x @ z.T
        if self.kernel == "linear":
            return products
        if self.kernel == "poly":
            products *= self.gamma_
            products += self.coef0
            return products**self.degree
        # |x - z|^2 = |x|^2 + |z|^2 - 2 x^T z, in place
        products *= -2
        products += np.einsum("ij,ij->i", x, x)[:, np.newaxis]
        products += np.einsum("ij,ij->i", z, z)
        np.maximum(products, 0, out=products)  # rounding may give less than 0
        products *= -self.gamma_
        return np.exp(products, out=products)

    def decision_function(self, X: ArrayLike) -> Array:
        """Return the scores sum_j alpha_{k,j} k(x, x_j), (n, classes), of examples (n, features)."""
        x = self._check_fitted(X)
        scores = np.zeros((len(x), len(self.classes_)))
        self._add_scores(scores, x, self.support_vectors_, self.dual_coef_)
        return scores

    def _add_scores(self, scores: Array, x: Array, vectors: Array, alpha: Array) -> None:
        """Add sum_j alpha_{k,j} k(x_i, vectors_j) to scores[i, k], block by block."""
        for i in range(0, len(x), BLOCK):
            for j in range(0, len(vectors), BLOCK):
                kernel = self.kernel_matrix(x[i : i + BLOCK], vectors[j : j + BLOCK])
                scores[i : i + BLOCK] += kernel @ alpha[:, j : j + BLOCK].T

    def _start(self, x: Array, classes: int) -> None:
        if self.kernel not in KERNELS:
            raise InvalidValueError(f"`kernel`: expected one of {', '.join(KERNELS)}. Received: {self.kernel!r}.")
        if self.gamma == "scale":
            variance = float(x.var())
            self.gamma_ = 1 / (x.shape[1] * variance) if variance > 0 else 1.0
        elif isinstance(self.gamma, str) or not 0 < self.gamma < np.inf:
            raise InvalidValueError(f'`gamma`: expected "scale" or a finite number above 0. Received: {self.gamma!r}.')
        else:
            self.gamma_ = float(self.gamma)
        self._x, self._alpha = x, np.zeros((classes, len(x)))
        self._scores = np.zeros((len(x), classes))

    def _learn(self, block: NDArray[np.int64], labels: Labels) -> NDArray[np.int64]:
        predicted, x = np.empty(len(block), np.int64), self._x[block]
        scores = self._scores[block].T.copy()  # a row per class, so that an update adds to adjacent numbers
        kernel = self.kernel_matrix(x, x)
        for step, label in enumerate(labels[block]):
            predicted[step] = guess = first_argmax(scores[:, step])
            if guess != label:
                scores[guess] -= kernel[step]
                scores[label] += kernel[step]
        wrong = np.flatnonzero(predicted != labels[block])
        change = np.zeros((len(scores), len(wrong)))
        change[predicted[wrong], np.arange(len(wrong))] = -1
        change[labels[block[wrong]], np.arange(len(wrong))] = 1
        self._alpha[:, block[wrong]] += change
        self._add_scores(self._scores, self._x, x[wrong], change)
        return predicted

    def _finish(self) -> None:
        self.support_ = np.flatnonzero(self._alpha.any(axis=0))
        self.support_vectors_, self.dual_coef_ = self._x[self.support_], self._alpha[:, self.support_]
        self.n_support_ = len(self.support_)
        del self._x, self._alpha, self._scores
