"""Sets of shifts under all of which a model is asked at test time, and how its answers become one.

An orbit is written `c4`, the four quarter turns, or `translate:N`, the (2 N + 1)^2 translations by at most N whole
pixels in each axis. The answers' probabilities are averaged; or `/sharpest` follows, and for each image the answer with
the lowest entropy is taken.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from ood_fashion.errors import InvalidValueError
from ood_fashion.shifts.shift import Rotate, Shift, Translate

USAGE = "c4, or translate:N with N from 1 to 14, and /sharpest after it or not"
MAX_PIXELS = 14


class Orbit(NamedTuple):
    """Geometric shifts, and whether the answer of lowest entropy is taken instead of the mean."""

    shifts: tuple[Shift, ...] = (Shift(),)
    sharpest: bool = False


def parse_orbit(text: str) -> Orbit:
    """Read an orbit's text form.

    Raises:
        InvalidValueError: it is none.
    """
    elements, slash, choice = text.partition("/")
    sharpest = choice == "sharpest"
    if elements == "c4" and sharpest == bool(slash):
        return Orbit(tuple(Shift((Rotate(degrees),)) for degrees in (0, 90, 180, 270)), sharpest)
    keyword, _, pixels = elements.partition(":")
    if (
        sharpest != bool(slash)
        or keyword != "translate"
        or not pixels.isdecimal()
        or not 1 <= int(pixels) <= MAX_PIXELS
    ):
        raise InvalidValueError(f"test-time orbit: expected {USAGE}. Received: '{text}'.")
    distances = range(-int(pixels), int(pixels) + 1)
    return Orbit(tuple(Shift((Translate(dx, dy),)) for dy, dx in product(distances, distances)), sharpest)
