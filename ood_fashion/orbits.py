"""Sets of shifts that predictions are averaged over at test time.

An orbit is written `c4`, the four quarter turns, or `translate:N`, the (2 N + 1)^2 translations by at most N whole
pixels in each axis.
"""

from __future__ import annotations

from itertools import product

from ood_fashion.errors import InvalidValueError
from ood_fashion.shifts import Rotate, Shift, Translate

USAGE = "c4, or translate:N with N from 1 to 14"
MOST_PIXELS = 14

Orbit = tuple[Shift, ...]


def parse_orbit(text: str) -> Orbit:
    """Read an orbit's text form.

    Raises:
        InvalidValueError: it is none.
    """
    if text == "c4":
        return tuple(Shift((Rotate(degrees),)) for degrees in (0, 90, 180, 270))
    keyword, _, pixels = text.partition(":")
    if keyword != "translate" or not pixels.isdecimal() or not 1 <= int(pixels) <= MOST_PIXELS:
        raise InvalidValueError(f"test-time averaging: expected {USAGE}. Received: '{text}'.")
    distances = range(-int(pixels), int(pixels) + 1)
    return tuple(Shift((Translate(dx, dy),)) for dy, dx in product(distances, distances))
