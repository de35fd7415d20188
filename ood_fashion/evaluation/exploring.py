"""One picture under a shift: the shift as sliders set it, what models answer, and where their answers change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlencode

import numpy as np
from numpy.typing import NDArray

from ood_fashion.errors import InvalidValueError
from ood_fashion.evaluation.records import JsonRecord
from ood_fashion.evaluation.results import ClassProbability
from ood_fashion.evaluation.stats import Accuracy
from ood_fashion.shifts.corruptions import CORRUPTIONS, SEVERITIES
from ood_fashion.shifts.shift import SHIFTS, Corrupt, Rotate, Shift, Step, Translate

MAX_MOVE = 14
"""The largest distance that a slider moves a picture by, in pixels."""
AXES = {
    "dx": tuple(range(-10, 11, 2)),
    "dy": tuple(range(-10, 11, 2)),
    "angle": tuple(range(-180, 181, 15)),
    "severity": (0, *SEVERITIES),
}
"""The sliders over which accuracy is shown, and the values at which it is measured."""
_MAX_QUERY = 4_000
_ANGLES = tuple(sign * angle for angle in range(3, 181, 3) for sign in (1, -1) if sign * angle > -180)
_REACH = range(-6, 7)
_MOVES = tuple((dx, dy) for dy in _REACH for dx in _REACH if dx or dy)


@dataclass(frozen=True)
class Controls:
    """Where the sliders stand: a move in pixels, then a rotation in degrees, then a corruption.

    Examples:
        >>> str(Controls(dx=2, angle=-30, corruption="fog", severity=3).shift)
        'translate:2,0+rotate:330+fog:3'
    """

    dx: float = 0
    dy: float = 0
    angle: float = 0
    corruption: str = "fog"
    severity: int = 0
    seed: int = 0

    @property
    def shift(self) -> Shift:
        """The shift that they stand for."""
        seed = self.seed if CORRUPTIONS[self.corruption].is_random else 0
        return Shift(
            (Translate(self.dx, self.dy), Rotate(self.angle), Corrupt(self.corruption, int(self.severity), int(seed)))
        )

    def at(self, shift: Shift) -> Controls | None:
        """Return where the sliders stand for a shift, or None where they cannot; what it leaves open stays."""
        found = replace(self, dx=0, dy=0, angle=0, severity=0)
        order = [(Translate, Rotate, Corrupt).index(type(step)) for step in shift.steps]
        if order != sorted(set(order)):
            return None
        for step in shift.steps:
            found = replace(found, **_positions(step))
        return found if max(abs(found.dx), abs(found.dy)) <= MAX_MOVE else None

    def moved(self, before: Controls) -> str | None:
        """Name the slider of `AXES` that is elsewhere than before, or that of the severity for a corruption."""
        changed = [one.name for one in fields(self) if getattr(self, one.name) != getattr(before, one.name)]
        return next((name if name in AXES else "severity" for name in changed), None)


def _positions(step: Step) -> dict[str, Any]:
    if isinstance(step, Rotate):
        return {"angle": step.degrees - 360 * (step.degrees > 180)}
    if isinstance(step, Translate):
        return {"dx": step.dx, "dy": step.dy}
    return {"corruption": step.name, "severity": step.severity, "seed": step.seed}


@dataclass(frozen=True)
class ShownImage:
    """A picture to ask models about.

    Attributes:
        pixels: uint8 (height, width).
        index: its place in the test set, which the random numbers of corruptions depend on; None for a picture of
            one's own, whose place is 0.
        label: its class, None if that is not known.
    """

    pixels: NDArray[np.uint8] = field(repr=False, compare=False)
    index: int | None = None
    label: int | None = None

    @property
    def key(self) -> bytes:
        """What tells it from other pictures."""
        return f"{self.index} {self.pixels.shape} ".encode() + self.pixels.tobytes()


@dataclass(frozen=True)
class Answer(JsonRecord):
    """What a model sees in a picture: its most probable classes, and whether the first is right, None if unknown."""

    model: str
    top: tuple[ClassProbability, ...]
    correct: bool | None


@dataclass(frozen=True)
class BreakingPoints:
    """Where a model's answer for a picture is no longer what it is without a shift.

    Attributes:
        model: what it is called.
        answer: the class that it sees in the picture as it is.
        corruption: the one whose severities were tried.
        angles: whether the answer stays, by the angle from -177 to 180 degrees, every 3.
        moves: whether it stays, by (dx, dy), up to 6 pixels in each axis.
        severities: whether it stays, by the severity.
    """

    model: str
    answer: str
    corruption: str
    angles: Mapping[int, bool] = field(repr=False)
    moves: Mapping[tuple[int, int], bool] = field(repr=False)
    severities: Mapping[int, bool] = field(repr=False)

    @property
    def angle(self) -> int | None:
        """The smallest angle that changes the answer, in degrees; None if none does."""
        return min((angle for angle, stays in self.angles.items() if not stays), key=abs, default=None)

    @property
    def move(self) -> tuple[int, int] | None:
        """The shortest move that changes the answer, (dx, dy) in pixels; None if none does."""
        return min(
            (move for move, stays in self.moves.items() if not stays), key=lambda d: math.hypot(*d), default=None
        )

    @property
    def severity(self) -> int | None:
        """The least severity that changes the answer; None if none does."""
        return min((severity for severity, stays in self.severities.items() if not stays), default=None)

    def __str__(self) -> str:
        corruption = self.corruption.replace("_", " ")
        parts = [
            "no angle" if self.angle is None else f"{abs(self.angle)}° {'left' if self.angle > 0 else 'right'}",
            "no move" if self.move is None else f"{describe_move(*self.move)}",
            f"no {corruption}" if self.severity is None else f"{corruption} {self.severity}",
        ]
        return " · ".join(parts)


def describe_move(dx: float, dy: float) -> str:
    """Write a move as people say it, such as "2 right, 1 up"."""
    parts = [f"{abs(value):g} {names[value > 0]}" for value, names in ((dx, ("left", "right")), (dy, ("up", "down")))
             if value]  # fmt: skip
    return ", ".join(parts) or "0"


def trials(corruption: str, seed: int) -> dict[object, Shift]:
    """Return the shifts that are tried for `BreakingPoints`, by the angle, the move or the text of the severity."""
    shifts: dict[object, Shift] = {angle: Shift((Rotate(angle),)) for angle in _ANGLES}
    shifts |= {move: Shift((Translate(*move),)) for move in _MOVES}
    settings = Controls(corruption=corruption, seed=seed)
    return shifts | {f"severity {severity}": replace(settings, severity=severity).shift for severity in SEVERITIES}


def breaking_points(model: str, answer: str, corruption: str, stays: Mapping[object, bool]) -> BreakingPoints:
    """Collect whether the answer stays, by the keys of `trials`."""
    return BreakingPoints(
        model, answer, corruption,
        angles={angle: stays[angle] for angle in sorted(_ANGLES)},
        moves={(0, 0): True} | {move: stays[move] for move in _MOVES},
        severities={severity: stays[f"severity {severity}"] for severity in SEVERITIES},
    )  # fmt: skip


@dataclass(frozen=True)
class CurvePoint:
    """A model's accuracy on the first test images at one value of a slider, with all others at 0."""

    model: str
    value: float
    accuracy: Accuracy


@lru_cache(maxsize=64)  # the page asks at every change
def curve_shifts(axis: str, corruption: str, seed: int = 0) -> Mapping[int, Shift]:
    """Return the shift at each value of a slider, with all others at 0.

    Raises:
        InvalidValueError: there is no such slider.
    """
    if axis not in AXES:
        raise InvalidValueError(f"`axis`: expected one of {', '.join(AXES)}. Received: {axis!r}.")
    still = Controls(corruption=corruption, seed=seed)
    places: list[dict[str, Any]] = [{axis: value} for value in AXES[axis]]
    shifts = [replace(still, **place).shift for place in places]
    return MappingProxyType(dict(zip(AXES[axis], shifts, strict=True)))


@dataclass(frozen=True)
class View:
    """What is looked at: a test image by its number, a shift, and models; `query` writes it as part of a link.

    Examples:
        >>> View(12, Shift.parse("rotate:30"), ("mlp", "cnn3")).query
        'image=12&shift=rotate:30&model=mlp&model=cnn3'
    """

    image: int | None = 0
    shift: Shift = SHIFTS["none"]
    models: tuple[str, ...] | None = None

    @property
    def query(self) -> str:
        """The text after the question mark of a link; a picture of one's own is left out."""
        values = {"image": self.image, "shift": str(self.shift), "model": self.models}
        return urlencode({name: value for name, value in values.items() if value is not None}, doseq=True, safe=":,+/")

    @classmethod
    def parse(cls, query: str, images: int, models: Sequence[str]) -> View:
        """Read a query of a test set of so many images, and of these models.

        Raises:
            InvalidValueError: there is no such image, shift or model.
        """
        given = parse_qs(query.removeprefix("?")[:_MAX_QUERY].replace("+", "%2B"), errors="backslashreplace")
        text, named = given.get("image", ["0"])[-1], tuple(given["model"]) if "model" in given else None
        if not (text.isascii() and text.isdecimal()) or int(text) >= images:
            raise InvalidValueError(f"`image`: expected a number from 0 to {images - 1:,}. Received: {text[:20]!r}.")
        if unknown := [name for name in named or () if name not in models]:
            raise InvalidValueError(f"`models`: expected of {', '.join(models)}. Received: {unknown[0][:40]!r}.")
        return cls(int(text), Shift.parse(given.get("shift", ["none"])[-1]), named)
