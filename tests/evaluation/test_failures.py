from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from ood_fashion.evaluation import failures
from ood_fashion.evaluation.failures import Failure, Failures, family, least_shifts, strength, weaker_shifts
from ood_fashion.shifts.shift import Shift


def test_counts_by_hand() -> None:
    """Two of class 0, three of class 2, none of class 1; the third image is wrong from the start."""
    labels = np.array([0, 0, 2, 2, 2])
    before, after = np.array([1, 1, 0, 1, 1], bool), np.array([1, 0, 1, 0, 0], bool)
    found = Failures.count(Shift.parse("up4"), before, after, labels, 3, [Failure(1)])
    assert (found.right, found.flips) == (4, 3)
    assert found.class_change == (-1 / 2, None, -1 / 3)
    assert found.shown == (Failure(1, None, None, None),)


@pytest.mark.parametrize(
    ("shift", "kind", "strong", "on_the_way"),
    [
        ("up4", "translate", 4, ["translate:0,-1", "translate:0,-2", "translate:0,-3"]),
        ("translate:-3,1.5", "translate", math.hypot(3, 1.5), ["translate:-1,0.5", "translate:-2,1"]),
        ("rotate:7", "rotate", 7, ["rotate:3", "rotate:6"]),
        ("rotate:351", "rotate", 9, ["rotate:357", "rotate:354"]),
        ("fog:3,9", "fog", 3, ["fog:1,9", "fog:2,9"]),
        ("fog:1", "fog", 1, []),
        ("up4+fog:2", "up4+fog", float("inf"), []),
        ("none", "none", 0, []),
    ],
)
def test_the_way_to_a_shift(shift: str, kind: str, strong: float, on_the_way: list[str]) -> None:
    parsed = Shift.parse(shift)
    assert (family(parsed), strength(parsed)) == (kind, strong)
    assert list(map(str, weaker_shifts(parsed))) == [*on_the_way, shift]


def test_the_least_shift_is_the_first_that_is_wrong() -> None:
    """Of four images: wrong at once, from the second on, at the second alone, never by what the model says now."""
    shifts = list(map(Shift.parse, ("fog:1", "fog:2", "fog:3")))
    wrong = np.array([[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]], bool)
    assert list(map(str, least_shifts(shifts, wrong))) == ["fog:1", "fog:2", "fog:2", "fog:3"]


def test_the_examples_run() -> None:
    assert doctest.testmod(failures).failed == 0
