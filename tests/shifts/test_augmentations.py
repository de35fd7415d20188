from __future__ import annotations

import pytest

from ood_fashion.errors import InvalidValueError
from ood_fashion.shifts.augmentations import KINDS, Augmentation, overlaps
from ood_fashion.shifts.corruptions import CORRUPTIONS

FORMS = (
    "translate:N, rotate90, mirror, rotate:D, tone:S, filter:S, spectrum:S, wave:S, pixmix:S, noise:S, impulse:S, "
    "blur:P, line:P or erase:S"
)


@pytest.mark.parametrize(
    ("text", "canonical", "draws"),
    [
        ("translate:4", "translate:4", 2),
        ("translate:4.0", "translate:4", 2),
        ("rotate90", "rotate90", 1),
        ("mirror", "mirror", 1),
        ("rotate:22.50", "rotate:22.5", 1),
        ("rotate:45@.50", "rotate:45@0.5", 2),
        ("rotate:12.3456789@0.9999999", "rotate:12.3456789@0.9999999", 2),
        ("mirror@1", "mirror", 1),
        ("wave:.5@0.3", "wave:0.5@0.3", 5),
    ],
)
def test_text_forms(text: str, canonical: str, draws: int) -> None:
    augmentation = Augmentation.parse(text)
    assert (str(augmentation), augmentation.draws) == (canonical, draws)
    assert Augmentation.parse(canonical) == augmentation


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", f"{FORMS}, with @SHARE or without"),
        ("flip", FORMS),
        ("noise:1.5", "noise:S with a strength S above 0, to 1"),
        ("wave", "wave:S with a strength S above 0, to 1"),
        ("translate", "translate:N with whole pixels N from 1 to 28"),
        ("translate:0", "translate:N"),
        ("translate:1.5", "translate:N"),
        ("translate:29", "translate:N"),
        ("translate:nan", "translate:N"),
        ("rotate90:2", "rotate90"),
        ("mirror:", "mirror"),
        ("rotate:181", "rotate:D with degrees D above 0, to 180"),
        ("rotate:x", "rotate:D"),
        ("mirror@", "@SHARE with a share above 0, to 1"),
        ("mirror@0", "@SHARE"),
        ("translate:4@1.01", "@SHARE"),
        ("translate:4@nan", "@SHARE"),
        ("translate@0.5", "translate:N"),
    ],
)
def test_what_is_no_augmentation_is_refused(text: str, expected: str) -> None:
    with pytest.raises(InvalidValueError, match=f"`augment`: expected {expected}.* Received: '{text}'"):
        Augmentation.parse(text)


def test_overlaps_are_corruptions() -> None:
    assert {name for kind in KINDS.values() for name in kind.overlaps} <= CORRUPTIONS.keys()
    assert overlaps(map(Augmentation.parse, ["translate:4", "wave:0.5"])) == []
    assert overlaps(map(Augmentation.parse, ["noise:0.4", "mirror"])) == ["gaussian_noise", "shot_noise"]
