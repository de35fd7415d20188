"""What may be done at test time: asking about each image under several shifts, or heeding the images beside it.

An orbit is a set of shifts g that follow the one that is measured, and it is written `c4`, the four quarter turns;
`rotate:N`, N angles that divide a quarter turn evenly, from 0; or `translate:N`, the (2 N + 1)^2 translations by at
most N whole pixels in each axis. The answers' probabilities are averaged; or `/sharpest` follows, and for each image
the answer with the lowest entropy is taken. `batch-statistics` is no orbit: batch normalisation takes the mean and the
variance of the images that are asked about together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import product
from typing import NamedTuple

from ood_fashion.errors import InvalidValueError
from ood_fashion.shifts.shift import Rotate, Shift, Step, Translate


class Orbit(NamedTuple):
    """Geometric shifts, whether the answer of lowest entropy is taken instead of the mean, and the other method."""

    shifts: tuple[Shift, ...] = (Shift(),)
    sharpest: bool = False
    batch_statistics: bool = False


def _translations(most: int) -> Iterable[Step]:
    return (Translate(dx, dy) for dy, dx in product(range(-most, most + 1), repeat=2))


_FORMS: dict[str, tuple[int, int, Callable[[int], Iterable[Step]]]] = {
    "c4": (0, 0, lambda number: map(Rotate, (0, 90, 180, 270))),
    "rotate": (2, 45, lambda number: (Rotate(90 * i / number) for i in range(number))),
    "translate": (1, 14, _translations),
}
"""By keyword the range of the number after it, 0 if it has none, and what gives the orbit's steps."""

_BATCH_STATISTICS = "batch-statistics"

USAGE = (
    "c4, rotate:N with N from 2 to 45 or translate:N with N from 1 to 14, and /sharpest after it or not; "
    f"or {_BATCH_STATISTICS}"
)


def parse_orbit(text: str) -> Orbit:
    """Read the text form."""
    if text == _BATCH_STATISTICS:
        return Orbit(batch_statistics=True)
    found = re.fullmatch(r"(?:c4|(rotate|translate):0*(\d{1,2}))(/sharpest)?", text)
    if found:
        number = int(found[2] or 0)
        least, most, steps = _FORMS[found[1] or "c4"]
        if least <= number <= most:
            return Orbit(tuple(Shift((step,)) for step in steps(number)), bool(found[3]))
    raise InvalidValueError(f"test-time orbit: expected {USAGE}. Received: '{text}'.")
