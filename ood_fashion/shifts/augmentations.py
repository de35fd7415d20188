"""Random changes of training images as data.

An augmentation is written NAME, NAME:NUMBER, or either with `@SHARE` after it, as in `rotate:45@0.5`, which leaves all
images but so large a share of them as they are. What it does is drawn for every image anew, uniformly.
`ood_fashion.training.augmentation` applies them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ood_fashion.errors import InvalidValueError
from ood_fashion.shifts.shift import number_text, read_number


class Kind(NamedTuple):
    """How an augmentation is written, the most that its number may be, 0 if it has none, and the numbers it draws.

    `overlaps` names the corruptions of the test suite that do the same to an image, or nearly.
    """

    usage: str
    most: float
    draws: int
    overlaps: tuple[str, ...] = ()


def _strength(form: str, draws: int, *overlaps: str) -> Kind:
    return Kind(f"{form} with a strength {form[-1]} above 0, to 1", 1, draws, overlaps)


KINDS: dict[str, Kind] = {
    "translate": Kind("translate:N with whole pixels N from 1 to 28", 28, 2),
    "rotate90": Kind("rotate90", 0, 1),
    "mirror": Kind("mirror", 0, 1),
    "rotate": Kind("rotate:D with degrees D above 0, to 180", 180, 1),
    "tone": _strength("tone:S", 3),
    "filter": _strength("filter:S", 10),
    "spectrum": _strength("spectrum:S", 4),
    "wave": _strength("wave:S", 4),
    "pixmix": _strength("pixmix:S", 4),
    "noise": _strength("noise:S", 2, "gaussian_noise", "shot_noise"),
    "impulse": _strength("impulse:S", 2, "impulse_noise"),
    "blur": Kind(
        "blur:P with pixels P above 0, to 5",
        5,
        1,
        tuple(f"{name}_blur" for name in ("gaussian", "defocus", "motion", "glass", "zoom")),
    ),
    "line": Kind("line:P with pixels P above 0, to 5", 5, 3, ("dotted_line", "zigzag")),
    "erase": _strength("erase:S", 5, "erase"),
}
_FORMS = [kind.usage.partition(" ")[0] for kind in KINDS.values()]
USAGE = f"{', '.join(_FORMS[:-1])} or {_FORMS[-1]}, with @SHARE or without"


@dataclass(frozen=True)
class Augmentation:
    """Its keyword in `KINDS`, its number, 0 if it has none, and the share of the images to change."""

    kind: str
    most: float = 0
    share: float = 1

    def __str__(self) -> str:
        number = f":{number_text(self.most)}" if KINDS[self.kind].most else ""
        return f"{self.kind}{number}" + (f"@{number_text(self.share)}" if self.share < 1 else "")

    @property
    def draws(self) -> int:
        """How many uniform random numbers it takes for an image."""
        return KINDS[self.kind].draws + (self.share < 1)

    @classmethod
    def parse(cls, text: str) -> Augmentation:
        """Read the text form."""
        change, at, part = text.partition("@")
        keyword, colon, number = change.partition(":")
        if keyword not in KINDS:
            raise InvalidValueError(f"`augment`: expected {USAGE}. Received: '{text}'.")
        kind, most = KINDS[keyword], read_number(number) or 0.0
        fits = 0 < most <= kind.most if kind.most else not colon
        if not fits or (keyword == "translate" and not most.is_integer()):
            raise InvalidValueError(f"`augment`: expected {kind.usage}. Received: '{text}'.")
        share = (read_number(part) or 0.0) if at else 1.0
        if not 0 < share <= 1:
            raise InvalidValueError(f"`augment`: expected @SHARE with a share above 0, to 1. Received: '{text}'.")
        return cls(keyword, most, share)


def overlaps(augmentations: Iterable[Augmentation]) -> list[str]:
    """Name the corruptions of the test suite that training images with these augmentations show, sorted."""
    return sorted({name for augmentation in augmentations for name in KINDS[augmentation.kind].overlaps})
