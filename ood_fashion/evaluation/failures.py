"""Failures: images that a model gets right as they are and wrong under a shift, and the least shift that is enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.shifts.corruptions import SEVERITIES
from ood_fashion.shifts.shift import Corrupt, Rotate, Shift, Translate

ANGLE_STEP = 3
"""Degrees between the angles that are tried."""


@dataclass(frozen=True)
class Failure:
    """An image whose answer a shift makes wrong.

    Attributes:
        index: its place in the test set.
        answer: the class that the model takes it for under the shift; None where that is not known.
        confidence: the probability that the model gives this class.
        least: the least shift of those tried, from no shift to this one, that makes the answer wrong; None where none
            was tried.
    """

    index: int
    answer: int | None = None
    confidence: float | None = None
    least: Shift | None = None


@dataclass(frozen=True)
class Failures:
    """What a shift does to a model.

    Attributes:
        shift: the shift.
        right: the images that it gets right without the shift.
        flips: those of them that it gets wrong under the shift.
        class_change: by how much each class's accuracy changes; None for a class without images.
        shown: some of the flips.
    """

    shift: Shift
    right: int
    flips: int
    class_change: tuple[float | None, ...]
    shown: tuple[Failure, ...]

    @classmethod
    def count(
        cls,
        shift: Shift,
        before: NDArray[np.bool_],
        after: NDArray[np.bool_],
        labels: NDArray[np.int64],
        num_classes: int,
        shown: Sequence[Failure],
    ) -> Failures:
        """Count from whether the model is right about each image, (n,), without the shift and under it."""
        change = np.subtract(after, before, dtype=np.float64)
        of_class = [change[labels == label] for label in range(num_classes)]
        changes = tuple(float(one.mean()) if len(one) else None for one in of_class)
        return cls(shift, int(before.sum()), int((before & ~after).sum()), changes, tuple(shown))


def family(shift: Shift) -> str:
    """Name what shifts that differ in their strength alone are: "rotate", "translate", a corruption, or a chain."""
    step = shift.steps[0] if len(shift.steps) == 1 else None
    return {Rotate: "rotate", Translate: "translate"}.get(type(step), shift.family)


def strength(shift: Shift) -> float:
    """Return the degrees, the distance or the severity of a shift of one step; 0 for no shift, infinity for a chain."""
    if len(shift.steps) != 1:
        return math.inf if shift.steps else 0
    (step,) = shift.steps
    if isinstance(step, Rotate):
        return min(step.degrees, 360 - step.degrees)
    return math.hypot(step.dx, step.dy) if isinstance(step, Translate) else step.severity


def weaker_shifts(shift: Shift) -> list[Shift]:
    """Return the shifts on the way to a shift, in their order, and itself as the last one.

    These are the severities below its own, every third degree, or moves in its direction by one pixel more each; of a
    chain, and of no shift, itself alone.

    Examples:
        >>> list(map(str, weaker_shifts(Shift.parse("fog:3"))))
        ['fog:1', 'fog:2', 'fog:3']
        >>> list(map(str, weaker_shifts(Shift.parse("rotate:350"))))
        ['rotate:357', 'rotate:354', 'rotate:351', 'rotate:350']
    """
    step = shift.steps[0] if len(shift.steps) == 1 else None
    on_the_way: list[Any] = []
    if isinstance(step, Corrupt):
        on_the_way = [replace(step, severity=severity) for severity in SEVERITIES if severity < step.severity]
    elif isinstance(step, Rotate):
        sign = 1 if step.degrees <= 180 else -1
        on_the_way = [Rotate(sign * angle) for angle in range(ANGLE_STEP, math.ceil(strength(shift)), ANGLE_STEP)]
    elif isinstance(step, Translate):
        most = max(abs(step.dx), abs(step.dy))
        parts = [pixels / most for pixels in range(1, math.ceil(most))]
        on_the_way = [Translate(round(step.dx * part, 3), round(step.dy * part, 3)) for part in parts]
    return [*(Shift((one,)) for one in on_the_way), shift]


def least_shifts(shifts: Sequence[Shift], wrong: NDArray[np.bool_]) -> list[Shift]:
    """Return for each image the first of some shifts under which it is wrong, by (shifts, n); the last if none is."""
    return [shifts[place] for place in np.where(wrong.any(axis=0), wrong.argmax(axis=0), len(shifts) - 1)]
