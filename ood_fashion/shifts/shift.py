"""Shifts of images as data: their grammar, the named ones, and the reference implementation in NumPy and SciPy.

A shift is written as its steps joined by `+`, applied from left to right. A step is a name in `SHIFTS`,
`translate:DX,DY` (pixels, right and down positive, fractions allowed), `rotate:DEGREES` (counter-clockwise about the
image's centre, any angle), or a corruption: `NAME:SEVERITY`, or `NAME:SEVERITY,SEED` where it is random. Severities go
from 0, which changes nothing, to 5. Whatever comes in from outside the image is 0; between pixels, interpolation is
bilinear.

`ood_fashion.evaluation.pipelines` applies the same shifts inside `tf.data`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ood_fashion.errors import InvalidValueError
from ood_fashion.images import blocks, to_unit_range
from ood_fashion.shifts.affine import Floats, SourceMap
from ood_fashion.shifts.corruptions import CORRUPTIONS, MAX_SEED, SEVERITIES, Corruption, random_key

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Translate:
    """Move the content `dx` pixels to the right and `dy` pixels down."""

    dx: float
    dy: float

    def __str__(self) -> str:
        return f"translate:{number_text(self.dx)},{number_text(self.dy)}"

    @property
    def is_identity(self) -> bool:
        """Whether this moves nothing."""
        return self.dx == 0 and self.dy == 0

    @property
    def is_whole(self) -> bool:
        """Whether this moves by whole pixels."""
        return float(self.dx).is_integer() and float(self.dy).is_integer()

    def source_map(self, height: int, width: int) -> SourceMap:
        """Say where each pixel of the moved image comes from."""
        return SourceMap(((1, 0), (0, 1)), (-self.dy, -self.dx))

    def apply(self, images: Floats, indices: Indices) -> Floats:
        """Move a float array (n, height, width)."""
        if not self.is_whole:
            return self.source_map(*images.shape[1:]).interpolate(images)
        (to_rows, from_rows), (to_columns, from_columns) = _slices(self.dy), _slices(self.dx)
        moved = np.zeros_like(images)
        moved[:, to_rows, to_columns] = images[:, from_rows, from_columns]
        return moved


@dataclass(frozen=True)
class Rotate:
    """Turn the content counter-clockwise about the image's centre by `degrees`, taken modulo 360."""

    degrees: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.degrees):
            raise InvalidValueError(f"degrees: expected a finite number. Received: {self.degrees}.")
        # Of the decimal number: -350.1 is 9.9, where the binary fraction gives 9.899999999999977. Twice, because a tiny
        # negative angle modulo 360 rounds to 360 itself.
        object.__setattr__(self, "degrees", float(Fraction(str(float(self.degrees))) % 360) % 360)

    def __str__(self) -> str:
        return f"rotate:{number_text(self.degrees)}"

    @property
    def is_identity(self) -> bool:
        """Whether this turns nothing."""
        return self.degrees == 0

    def source_map(self, height: int, width: int) -> SourceMap:
        """Say where each pixel of the turned image comes from."""
        quarter_turns, rest = divmod(self.degrees, 90)
        cos, sin = math.cos(math.radians(rest)), math.sin(math.radians(rest))
        for _ in range(int(quarter_turns)):  # exact where cos(pi / 2) is not
            cos, sin = -sin, cos
        return SourceMap.about_centre(((cos, sin), (-sin, cos)), height, width)

    def apply(self, images: Floats, indices: Indices) -> Floats:
        """Turn a float array (n, height, width)."""
        quarter_turns, rest = divmod(self.degrees, 90)
        height, width = images.shape[1:]
        if rest == 0 and height == width:
            return np.rot90(images, int(quarter_turns), axes=(1, 2))
        return self.source_map(height, width).interpolate(images)


@dataclass(frozen=True)
class Corrupt:
    """Corrupt the content as `CORRUPTIONS[name]` says, at a severity from 0 to 5."""

    name: str
    severity: float
    seed: float = 0

    def __post_init__(self) -> None:
        if self.name not in CORRUPTIONS:
            raise InvalidValueError(f"expected one of {', '.join(CORRUPTIONS)}. Received: '{self.name}'.")
        for field, most in (("severity", SEVERITIES[-1]), ("seed", MAX_SEED)):
            value = getattr(self, field)
            if not (float(value).is_integer() and 0 <= value <= most):
                raise InvalidValueError(
                    f"expected a {field} from 0 to {most:,}. Received: {self.name} with {field} {number_text(value)}."
                )
            object.__setattr__(self, field, int(value))

    def __str__(self) -> str:
        return f"{self.name}:{self.severity}" + (f",{self.seed}" if self.seed else "")

    @property
    def corruption(self) -> Corruption:
        """What it does."""
        return CORRUPTIONS[self.name]

    @property
    def is_identity(self) -> bool:
        """Whether this changes nothing."""
        return self.severity == 0

    def source_map(self, height: int, width: int) -> SourceMap | None:
        """Say where each pixel comes from, or None if this is no affine map."""
        return None if self.is_identity else self.corruption.source_map(int(self.severity), height, width)

    def apply(self, images: Floats, indices: Indices) -> Floats:
        """Corrupt a float array (n, height, width) of the images with these indices."""
        if self.is_identity:
            return images
        key = random_key(self.name, int(self.seed))
        return self.corruption.apply(images, int(self.severity), key, indices)


Step = Translate | Rotate | Corrupt


class Form(NamedTuple):
    """How a step is written, how many numbers it takes, and what makes it of them."""

    usage: str
    least: int
    most: int
    make: Callable[..., Step]


_SEVERITY = f"a severity from {SEVERITIES[0]} to {SEVERITIES[-1]}"
FORMS: dict[str, Form] = {
    "translate": Form("translate:DX,DY with finite numbers", 2, 2, Translate),
    "rotate": Form("rotate:DEGREES with finite numbers", 1, 1, Rotate),
    **{
        name: Form(f"{name}:SEVERITY[,SEED] with {_SEVERITY}", 1, 2, partial(Corrupt, name))
        if corruption.is_random
        else Form(f"{name}:SEVERITY with {_SEVERITY}", 1, 1, partial(Corrupt, name))
        for name, corruption in CORRUPTIONS.items()
    },
}
"""The steps by their keywords."""


def _slices(distance: float) -> tuple[slice, slice]:
    """Return the target and the source slice of an axis whose content moves by a whole `distance`."""
    length = int(abs(distance))
    ahead, behind = slice(length, None), slice(None, -length or None)
    return (ahead, behind) if distance > 0 else (behind, ahead)


def number_text(value: float) -> str:
    """Write a number as short as it can be read back, a whole one without a point."""
    return repr(int(value) if float(value).is_integer() else value)


@dataclass(frozen=True)
class Shift:
    """A chain of steps, applied from left to right, without those that change nothing. `str` gives its text form.

    Examples:
        >>> import ood_fashion as ood
        >>> shift = ood.Shift.parse("translate:0,-4+fog:3")
        >>> str(shift), len(shift.steps)
        ('up4+fog:3', 2)
    """

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(step for step in self.steps if not step.is_identity))

    def __str__(self) -> str:
        return "+".join(_NAME_OF_STEPS.get((step,), str(step)) for step in self.steps) or "none"

    @property
    def family(self) -> str:
        """The text form without severities and seeds, which all shifts that differ in nothing else share."""
        steps = (step.name if isinstance(step, Corrupt) else str(Shift((step,))) for step in self.steps)
        return "+".join(steps) or "none"

    @classmethod
    def parse(cls, text: str) -> Shift:
        """Read a shift's text form.

        Raises:
            InvalidValueError: a step is unknown, or its numbers are not finite, too many, too few or out of range; the
                message says at which character.
        """
        steps: list[Step] = []
        position = 1
        for term in text.split("+"):
            try:
                steps += _parse_term(term.strip())
            except _FaultError as fault:
                at = position + len(term) - len(term.lstrip()) + fault.offset
                where = f", at character {at} of '{text}'" if at > 1 else ""
                raise InvalidValueError(f"shift '{term.strip()}'{where}: {fault}") from None
            position += len(term) + 1
        return cls(tuple(steps))

    def apply(self, images: NDArray[Any], indices: Indices | None = None) -> NDArray[np.float32]:
        """Shift images: the reference implementation.

        Args:
            images: (n, height, width); uint8 in 0-255 is scaled to 0-1, floats are taken as they are.
            indices: each image's place in its dataset, (n,), which its random numbers depend on; 0 to n - 1 if None.

        Returns:
            float32 (n, height, width).
        """
        shifted: Floats = to_unit_range(images)
        places = np.arange(len(images)) if indices is None else np.asarray(indices, np.int64)
        for step in self.steps:
            shifted = step.apply(shifted, places)
        return np.ascontiguousarray(shifted, dtype=np.float32)

    def apply_uint8(self, images: NDArray[np.uint8], indices: Indices | None = None) -> NDArray[np.uint8]:
        """Shift uint8 images as `apply` does and round to 8 bits, block by block, so that little more memory is needed.

        After a corruption of pixels nothing is lost: `to_unit_range` of the result equals `apply`'s.
        """
        shifted = np.empty_like(images)
        places = np.arange(len(images)) if indices is None else np.asarray(indices, np.int64)
        for block in blocks(images.shape):
            shifted[block] = np.rint(self.apply(images[block], places[block]) * np.float32(255))
        return shifted


SHIFTS: dict[str, Shift] = {
    "none": Shift(),
    "up4": Shift((Translate(0, -4),)),
    "rotate90": Shift((Rotate(90),)),
    "rotate180": Shift((Rotate(180),)),
    "rotate270": Shift((Rotate(270),)),
}

TEST_SETS = ("none", "up4", "rotate90", "rotate180", "rotate270")
"""The assignment's five test sets, by the names of `ood_fashion.shifts.shift.SHIFTS`."""

_NAME_OF_STEPS = {shift.steps: name for name, shift in SHIFTS.items()}
USAGE = f"{', '.join(SHIFTS)}, translate:DX,DY, rotate:DEGREES, CORRUPTION:SEVERITY, or a chain of these with '+'"


def file_name(shift: Shift) -> str:
    """Write a shift as part of a file's name: `-` for the colon, `_` for the comma."""
    return str(shift).replace(":", "-").replace(",", "_")


class _FaultError(Exception):
    """What is wrong with a term, and where in it."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


def _parse_term(term: str) -> tuple[Step, ...]:
    if term in SHIFTS:
        return SHIFTS[term].steps
    keyword, colon, arguments = term.partition(":")
    form = FORMS.get(keyword)
    if form is None:
        close = _with_colon(term) or difflib.get_close_matches(keyword, [*SHIFTS, *FORMS], n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise _FaultError(0, f"unknown. Expected {USAGE}.{hint}")
    step: Step | None = None
    numbers: list[float] = []
    offset = len(keyword) + len(colon)
    for text in arguments.split(","):
        number = read_number(text)
        if number is not None and len(numbers) < form.most:
            numbers.append(number)
        else:
            raise _FaultError(offset, f"expected {form.usage}. Received: '{term}'.")
        if len(numbers) >= form.least:
            try:
                step = form.make(*numbers)
            except InvalidValueError as error:
                raise _FaultError(offset, str(error)) from None
        offset += len(text) + 1
    if step is None:
        raise _FaultError(len(term), f"expected {form.usage}. Received: '{term}'.")
    return (step,)


def _with_colon(term: str) -> list[str]:
    """Return a term in which the colon before the numbers was forgotten with its colon, if it is a step then."""
    corrected = re.sub(r"^([a-z_]+?)[_ =]?(-?[\d.].*)$", r"\1:\2", term)
    try:
        return [corrected] if corrected != term and _parse_term(corrected) else []
    except _FaultError:
        return []


def read_number(text: str) -> float | None:
    """Read a finite number; None where there is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
