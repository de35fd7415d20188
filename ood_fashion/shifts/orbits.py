"""Sets of shifts under all of which a model is asked at test time, and how its answers become one.

An orbit is written `c4`, the four quarter turns, or `translate:N`, the (2 N + 1)^2 translations by at most N whole
pixels in each axis. The answers' probabilities are averaged; or `/sharpest` follows, and for each image the answer with
the lowest entropy is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product
from typing import NamedTuple

from ood_fashion.errors import InvalidValueError
from ood_fashion.shifts.shift import Rotate, Shift, Step, Translate

USAGE = "c4, or translate:N with N from 1 to 14, and /sharpest after it or not"


class Orbit(NamedTuple):
    """Geometric shifts, and whether the answer of lowest entropy is taken instead of the mean."""

    shifts: tuple[Shift, ...] = (Shift(),)
    sharpest: bool = False


def parse_orbit(text: str) -> Orbit:
    """Read an orbit's text form."""
    found = re.fullmatch(r"(?:c4|translate:0*(\d{1,2}))(/sharpest)?", text)
    if found is None or not 1 <= (most := int(found[1] or 1)) <= 14:
        raise InvalidValueError(f"test-time orbit: expected {USAGE}. Received: '{text}'.")
    moves = (Translate(dx, dy) for dy, dx in product(range(-most, most + 1), repeat=2))
    steps: Iterable[Step] = moves if found[1] else map(Rotate, (0, 90, 180, 270))
    return Orbit(tuple(Shift((step,)) for step in steps), bool(found[2]))
