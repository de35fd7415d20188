"""Checks of gradients that can fail: against finite differences, and in size between two batches.

They take any loss: a function without arguments that reads its parameters from arrays, which a check moves in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ood_fashion.from_scratch import SEED
from ood_fashion.from_scratch.layers import Array

Index = tuple[int, ...]

STEP = 1e-5
"""Near the cube root of float64's rounding error, where a central difference is most exact."""

TOLERANCE = 1e-5
"""The largest relative error that passes: float64's rounding stays below, a wrong formula is far above."""

NOISE_FLOOR = 1e-2
"""Gradients below this share of an array's largest are too small for a relative error: rounding would decide it."""

SAME_MAGNITUDE = 10.0
"""Norms further apart than this factor are flagged."""


@dataclass(frozen=True)
class GradientCheck:
    """The comparison of one array's gradient with finite differences.

    Attributes:
        parameter: the array's name.
        coordinates: how many of its entries were compared.
        nonzero: how many of them have a gradient that is not zero, or too small to tell.
        max_relative_error: the worst of |computed - approximated| / the larger of the two; the divisor is at least
            `NOISE_FLOOR` of the array's largest gradient. Infinite where a gradient is not finite.
        example: the (computed, approximated) gradients of the worst entry.
    """

    parameter: str
    coordinates: int
    nonzero: int
    max_relative_error: float
    example: tuple[float, float]

    @property
    def passed(self) -> bool:
        """Whether the gradient is right where it was compared, and not only zeros were, which would say nothing."""
        return self.nonzero > 0 and self.max_relative_error <= TOLERANCE


def central_difference(loss: Callable[[], float], array: Array, index: Index, step: float = STEP) -> float:
    """Approximate dF/dp for one entry p of a float64 array: (F(p + step) - F(p - step)) / (2 step)."""
    value = array[index]
    try:
        array[index] = value + step
        above = loss()
        array[index] = value - step
        below = loss()
    finally:
        array[index] = value
    return (above - below) / (2 * step)


def draw_coordinates(gradient: Array, count: int, rng: np.random.Generator) -> list[Index]:
    """Draw entries to compare: `count` whose gradient is not small, and a quarter as many more among the others.

    The others would show a gradient that is zero by mistake; alone they would prove nothing.
    """
    size = np.abs(gradient)
    large = size > NOISE_FLOOR * size.max(initial=0.0)
    drawn = []
    for candidates, wanted in ((np.flatnonzero(large), count), (np.flatnonzero(~large), count // 4)):
        drawn += rng.choice(candidates, min(wanted, len(candidates)), replace=False).tolist()
    return [tuple(map(int, np.unravel_index(flat, gradient.shape))) for flat in drawn]


def check_gradients(
    loss: Callable[[], float],
    parameters: Mapping[str, Array],
    gradients: Mapping[str, Array],
    *,
    count: int = 50,
    seed: int = SEED,
    coordinates: Mapping[str, Sequence[Index]] | None = None,
) -> list[GradientCheck]:
    """Compare gradients with central differences of the loss.

    A ReLU or a maximum may have its kink between the two points. Where they differ, a step of a tenth is tried, and a
    hundredth: that settles a kink nearby, and never a wrong formula.

    Args:
        loss: computes F from `parameters`.
        parameters: float64 arrays by name; they are moved in place, and put back.
        gradients: dF/dp by the same names, as the code under test computed them.
        count: entries to draw of each array, at random.
        seed: decides which.
        coordinates: the entries to compare instead, by name.
    """
    rng = np.random.default_rng(seed)
    checks = []
    for name, array in parameters.items():
        gradient = np.array(gradients[name])  # copied, because the loss may run the code that overwrites it
        floor = NOISE_FLOOR * float(np.abs(gradient).max(initial=0.0))
        chosen = draw_coordinates(gradient, count, rng) if coordinates is None else coordinates[name]
        compared = [_compare(loss, array, index, float(gradient[index]), floor) for index in chosen]
        error, example = max(compared, default=(0.0, (0.0, 0.0)))
        nonzero = sum(abs(float(gradient[index])) > floor for index in chosen)
        checks.append(GradientCheck(name, len(chosen), nonzero, error, example))
    return checks


def _compare(
    loss: Callable[[], float], array: Array, index: Index, computed: float, floor: float
) -> tuple[float, tuple[float, float]]:
    """Return the least relative error over the steps, and the two gradients."""
    results = []
    for step in (STEP, STEP / 10, STEP / 100):
        approximated = central_difference(loss, array, index, step)
        difference, divisor = abs(computed - approximated), max(abs(computed), abs(approximated), floor)
        error = difference / divisor if divisor else 0.0
        results.append((error if np.isfinite(error) else float("inf"), (computed, approximated)))
        if error <= TOLERANCE:
            break
    return min(results)


@dataclass(frozen=True)
class MagnitudeCheck:
    """The L1 norms, sums of absolute values, of one array's gradients of two batches."""

    parameter: str
    batch_sizes: tuple[int, int]
    norms: tuple[float, float]

    @property
    def ratio(self) -> float:
        """The first norm over the second; infinite over nothing."""
        first, second = self.norms
        return first / second if second > 0 else float("inf")

    @property
    def passed(self) -> bool:
        """Whether the norms are of the same magnitude: a mean over the batch does not grow with it, a sum does."""
        return 1 / SAME_MAGNITUDE <= self.ratio <= SAME_MAGNITUDE


def check_magnitudes(
    gradients_of: Callable[[Any], Mapping[str, Array]], first: Any, second: Any, batch_sizes: tuple[int, int]
) -> list[MagnitudeCheck]:
    """Compare the sizes of two different batches' gradients; `gradients_of` computes dF/dp by name for a batch."""
    # Summed at once, because the second call may overwrite the arrays of the first.
    norms = [{name: float(np.abs(g).sum()) for name, g in gradients_of(batch).items()} for batch in (first, second)]
    return [MagnitudeCheck(name, batch_sizes, (norms[0][name], norms[1][name])) for name in norms[0]]
