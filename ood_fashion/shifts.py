"""Shifts of images as data: their grammar, the named ones, and the reference implementation in NumPy and SciPy.

A shift is written as its steps joined by `+`, applied from left to right. A step is a name in `SHIFTS`,
`translate:DX,DY` (pixels, right and down positive, fractions allowed) or `rotate:DEGREES` (counter-clockwise about the
image's centre, any angle). Whatever comes in from outside the image is 0; between pixels, interpolation is bilinear.

`ood_fashion.nn.pipelines` applies the same shifts inside `tf.data`.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ood_fashion.errors import InvalidValueError

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SourceMap:
    """Where each output pixel comes from: source = matrix @ (row, column) + offset, in pixels of the input."""

    matrix: tuple[tuple[float, float], tuple[float, float]]
    offset: tuple[float, float]


@dataclass(frozen=True)
class Translate:
    """Move the content `dx` pixels to the right and `dy` pixels down."""

    dx: float
    dy: float
    keyword: ClassVar[str] = "translate"
    usage: ClassVar[str] = "translate:DX,DY"

    @property
    def is_identity(self) -> bool:
        """Whether this moves nothing."""
        return self.dx == 0 and self.dy == 0

    def source_map(self, height: int, width: int) -> SourceMap:
        """Say where each pixel of the moved image comes from."""
        return SourceMap(((1, 0), (0, 1)), (-self.dy, -self.dx))

    def apply(self, images: Floats) -> Floats:
        """Move a float array (n, height, width)."""
        if not (float(self.dx).is_integer() and float(self.dy).is_integer()):
            return _interpolate(images, self)
        (to_rows, from_rows), (to_columns, from_columns) = _slices(self.dy), _slices(self.dx)
        moved = np.zeros_like(images)
        moved[:, to_rows, to_columns] = images[:, from_rows, from_columns]
        return moved


@dataclass(frozen=True)
class Rotate:
    """Turn the content counter-clockwise about the image's centre by `degrees`, taken modulo 360."""

    degrees: float
    keyword: ClassVar[str] = "rotate"
    usage: ClassVar[str] = "rotate:DEGREES"

    def __post_init__(self) -> None:
        # Twice, because a tiny negative angle modulo 360 rounds to 360 itself.
        object.__setattr__(self, "degrees", self.degrees % 360 % 360)

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
        row, column = (height - 1) / 2, (width - 1) / 2
        return SourceMap(((cos, sin), (-sin, cos)), (row - cos * row - sin * column, column + sin * row - cos * column))

    def apply(self, images: Floats) -> Floats:
        """Turn a float array (n, height, width)."""
        quarter_turns, rest = divmod(self.degrees, 90)
        height, width = images.shape[1:]
        if rest == 0 and height == width:
            return np.rot90(images, int(quarter_turns), axes=(1, 2))
        return _interpolate(images, self)


Step = Translate | Rotate
STEPS: dict[str, type[Step]] = {step.keyword: step for step in (Translate, Rotate)}


def _slices(distance: float) -> tuple[slice, slice]:
    """Return the target and the source slice of an axis whose content moves by a whole `distance`."""
    length = int(abs(distance))
    ahead, behind = slice(length, None), slice(None, -length or None)
    return (ahead, behind) if distance > 0 else (behind, ahead)


def _interpolate(images: Floats, step: Step) -> Floats:
    """Apply a step to (n, height, width) bilinearly, with zeros around the image."""
    from scipy import ndimage  # takes a quarter of a second, which `ood-fashion params` need not wait for

    source = step.source_map(*images.shape[1:])
    matrix = np.eye(3)
    matrix[1:, 1:] = source.matrix
    return np.asarray(
        ndimage.affine_transform(images, matrix, offset=(0.0, *source.offset), order=1, mode="grid-constant", cval=0.0)
    )


@dataclass(frozen=True)
class Shift:
    """A chain of steps, applied from left to right, without those that change nothing. `str` gives its text form."""

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(step for step in self.steps if not step.is_identity))

    def __str__(self) -> str:
        return "+".join(map(_step_text, self.steps)) or "none"

    @classmethod
    def parse(cls, text: str) -> Shift:
        """Read a shift's text form.

        Raises:
            InvalidValueError: a step is unknown, or its numbers are not finite numbers of the right count.
        """
        steps: list[Step] = []
        position = 1
        for term in text.split("+"):
            try:
                steps += _parse_term(term.strip())
            except InvalidValueError as error:
                where = f", at character {position} of '{text}'" if "+" in text else ""
                raise InvalidValueError(f"shift '{term.strip()}'{where}: {error}") from None
            position += len(term) + 1
        return cls(tuple(steps))

    def apply(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Shift images: the reference implementation.

        Args:
            images: (n, height, width); uint8 in 0-255 is scaled to 0-1, floats are taken as they are.

        Returns:
            float32 (n, height, width).
        """
        shifted: Floats = to_unit_range(images)
        for step in self.steps:
            shifted = step.apply(shifted)
        return np.ascontiguousarray(shifted, dtype=np.float32)


def to_unit_range(images: NDArray[Any]) -> NDArray[np.float32]:
    """Convert uint8 pixels in 0-255 to float32 in 0-1; floats only change their type."""
    pixels = images.astype(np.float32)
    return pixels / np.float32(255) if images.dtype == np.uint8 else pixels


SHIFTS: dict[str, Shift] = {
    "none": Shift(),
    "up4": Shift((Translate(0, -4),)),
    "rotate90": Shift((Rotate(90),)),
    "rotate180": Shift((Rotate(180),)),
    "rotate270": Shift((Rotate(270),)),
}
_NAME_OF_STEPS = {shift.steps: name for name, shift in SHIFTS.items()}


def _step_text(step: Step) -> str:
    numbers = ",".join(repr(int(v) if float(v).is_integer() else v) for v in vars(step).values())
    return _NAME_OF_STEPS.get((step,), f"{step.keyword}:{numbers}")


def _parse_term(term: str) -> tuple[Step, ...]:
    if term in SHIFTS:
        return SHIFTS[term].steps
    keyword, colon, arguments = term.partition(":")
    if not colon or keyword not in STEPS:
        usages = [step.usage for step in STEPS.values()]
        close = difflib.get_close_matches(term, [*SHIFTS, *STEPS], n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise InvalidValueError(
            f"unknown. Expected {', '.join([*SHIFTS, *usages])}, or a chain of these with '+'.{hint}"
        )
    kind = STEPS[keyword]
    try:
        numbers = [float(number) for number in arguments.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != kind.usage.count(",") + 1 or not all(map(math.isfinite, numbers)):
        raise InvalidValueError(f"expected {kind.usage} with finite numbers. Received: '{term}'.")
    return (kind(*numbers),)
