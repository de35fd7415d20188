from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import InvalidValueError
from ood_fashion.images import to_unit_range
from ood_fashion.shifts.corruptions import CORRUPTIONS
from ood_fashion.shifts.shift import SHIFTS, Corrupt, Rotate, Shift, Step, Translate

CORNER = np.array([[[1, 2, 0], [3, 0, 0], [0, 0, 0]]], np.float32)
"""Nothing about it is symmetric: 1 in the upper left, 2 to its right, 3 below it."""


def apply(text: str, images: np.ndarray) -> np.ndarray:
    return Shift.parse(text).apply(images)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", [[1, 2, 0], [3, 0, 0], [0, 0, 0]]),
        ("translate:1,0", [[0, 1, 2], [0, 3, 0], [0, 0, 0]]),  # right
        ("translate:0,1", [[0, 0, 0], [1, 2, 0], [3, 0, 0]]),  # down
        ("translate:0,-1", [[3, 0, 0], [0, 0, 0], [0, 0, 0]]),  # up, zeros from below
        ("translate:-1,0", [[2, 0, 0], [0, 0, 0], [0, 0, 0]]),
        ("translate:5,0", [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
        ("rotate:90", [[0, 0, 0], [2, 0, 0], [1, 3, 0]]),  # counter-clockwise: the upper left goes to the lower left
        ("rotate:180", [[0, 0, 0], [0, 0, 3], [0, 2, 1]]),
        ("rotate:270", [[0, 3, 1], [0, 0, 2], [0, 0, 0]]),
        ("translate:0.5,0", [[0.5, 1.5, 1], [1.5, 1.5, 0], [0, 0, 0]]),
        ("translate:0,-0.25", [[1.5, 1.5, 0], [2.25, 0, 0], [0, 0, 0]]),
        ("rotate90+translate:1,0", [[0, 0, 0], [0, 2, 0], [0, 1, 3]]),
        ("translate:1,0+rotate90", [[2, 0, 0], [1, 3, 0], [0, 0, 0]]),
    ],
)
def test_hand_worked(text: str, expected: list[list[float]]) -> None:
    np.testing.assert_array_equal(apply(text, CORNER), np.array([expected], np.float32))


def test_the_assignments_shifts_on_real_images(fashion: Dataset) -> None:
    images = fashion.test.images[:50]
    scaled = images.astype(np.float32) / np.float32(255)
    up = np.zeros_like(scaled)
    up[:, :24] = scaled[:, 4:]
    np.testing.assert_array_equal(apply("up4", images), up)
    for k, name in enumerate(("rotate90", "rotate180", "rotate270"), start=1):
        turned = np.stack([np.rot90(image, k) for image in scaled])
        np.testing.assert_array_equal(apply(name, images), turned)


@pytest.mark.parametrize("degrees", [1.0, 30.0, 45.0, 89.999, 133.7, 300.0])
def test_rotation_equals_scipys_rotate(fashion: Dataset, degrees: float) -> None:
    images = to_unit_range(fashion.test.images[:20])
    expected = ndimage.rotate(images, degrees, axes=(2, 1), reshape=False, order=1, mode="grid-constant")
    np.testing.assert_allclose(apply(f"rotate:{degrees}", images), expected, atol=1e-6)


def test_a_rotation_close_to_a_quarter_turn_is_close_to_it(fashion: Dataset) -> None:
    images = to_unit_range(fashion.test.images[:20])
    np.testing.assert_allclose(apply("rotate:90.0001", images), apply("rotate90", images), atol=1e-4)


def test_oblong_images_keep_their_frame() -> None:
    image = np.zeros((1, 3, 5), np.float32)
    image[0, 1, 3] = 1  # one pixel right of the centre
    for text in ("rotate:90", "rotate:180", "translate:1,0", "rotate:33"):
        assert apply(text, image).shape == image.shape
    assert apply("rotate:90", image)[0, 0, 2] == 1  # now above the centre


@pytest.mark.parametrize("n", [0, 1])
def test_no_image_and_one_image(n: int) -> None:
    for text in ("none", "up4", "rotate90", "rotate:10"):
        assert apply(text, np.zeros((n, 28, 28), np.uint8)).shape == (n, 28, 28)


finite = st.floats(-1e6, 1e6)
corruptions = st.builds(
    lambda name, severity, seed: Corrupt(name, severity, seed if CORRUPTIONS[name].is_random else 0),
    st.sampled_from(list(CORRUPTIONS)),
    st.integers(0, 5),
    st.integers(0, 2**31 - 1),
)
steps: st.SearchStrategy[Step] = st.one_of(st.builds(Translate, finite, finite), st.builds(Rotate, finite), corruptions)
shifts = st.lists(steps, max_size=4).map(lambda chain: Shift(tuple(chain)))


@given(shifts)
def test_what_is_printed_is_parsed_back(shift: Shift) -> None:
    assert Shift.parse(str(shift)) == shift
    assert str(Shift.parse(str(shift))) == str(shift)


FAULTS = [
    ("sideways", 0),
    ("fogg:3", 0),
    ("", 0),
    ("fog:6", 4),
    ("fog:-1", 4),
    ("fog:nan", 4),
    ("fog:2.5", 4),
    ("fog:1,-1", 6),
    ("fog:1,2,3", 8),
    ("fog:1,2147483648", 6),
    ("jpeg:1,2", 7),
    ("rotate:1e400", 7),
    ("rotate:-inf", 7),
    ("rotate:4x", 7),
    ("translate:1,", 12),
    ("translate:1", 11),
    ("translate:,1", 10),
]
"""Terms that are refused, and the offset of what is wrong with them."""


@given(st.lists(steps, min_size=1, max_size=3), st.sampled_from(FAULTS), st.lists(steps, max_size=2))
def test_what_is_refused_is_refused_with_its_position(
    before: list[Step], fault: tuple[str, int], after: list[Step]
) -> None:
    term, offset = fault
    text = "+".join([*map(str, before), term, *map(str, after)])
    position = len("+".join(map(str, before))) + 1 + offset + 1
    with pytest.raises(InvalidValueError, match=re.escape(f"shift '{term}', at character {position} of '{text}': ")):
        Shift.parse(text)


@given(st.text("abcdefgorst_:,+-.0123456789 naif", max_size=30))
def test_any_text_is_a_shift_or_refused(text: str) -> None:
    try:
        shift = Shift.parse(text)
    except InvalidValueError:
        return
    assert Shift.parse(str(shift)) == shift


@settings(max_examples=30, deadline=None)
@given(st.lists(steps, max_size=3), st.lists(steps, max_size=2))
def test_a_chain_is_one_after_the_other(first: list[Step], second: list[Step]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 9), np.uint8)
    one, other = Shift(tuple(first)), Shift(tuple(second))
    chain = Shift.parse(f"{one}+{other}")
    np.testing.assert_array_equal(chain.apply(images), other.apply(one.apply(images)))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("translate:0,-4", "up4"),
        ("rotate:90", "rotate90"),
        ("rotate:-90", "rotate270"),
        ("rotate:450", "rotate90"),
        ("rotate:-1e-30", "none"),
        ("rotate:-350.1", "rotate:9.9"),
        ("rotate:725.3", "rotate:5.3"),
        ("rotate:360+translate:0,-0.0", "none"),
        (" none + translate:1.50,2 ", "translate:1.5,2"),
        ("rotate:90+up4", "rotate90+up4"),
        ("fog:3.0", "fog:3"),
        ("fog:3,0", "fog:3"),
        ("fog:3,7", "fog:3,7"),
        ("fog:0,7", "none"),
        ("up4+ gaussian_noise:3", "up4+gaussian_noise:3"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert str(Shift.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("none", "none"),
        ("fog:0", "none"),
        ("translate:0,-4", "up4"),
        ("rotate:30", "rotate:30"),
        ("fog:3,7", "fog"),
        ("fog:1+up4", "fog+up4"),
        ("up4+fog:5+rotate:90+jpeg:2", "up4+fog+rotate90+jpeg"),
    ],
)
def test_a_family_has_no_severities_and_no_seeds(text: str, family: str) -> None:
    assert Shift.parse(text).family == family


def test_every_named_shift_prints_its_name() -> None:
    assert {name: str(shift) for name, shift in SHIFTS.items()} == {name: name for name in SHIFTS}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("roate90", "'roate90': unknown. Expected none, .*Did you mean rotate90"),
        ("up4+sideways", "'sideways', at character 5 of 'up4\\+sideways': unknown"),
        ("", "'': unknown"),
        ("up4+", "'', at character 5"),
        ("translate:1", "expected translate:DX,DY with finite numbers. Received: 'translate:1'"),
        ("translate:1,2,3", "expected translate:DX,DY"),
        ("translate:a,2", "expected translate:DX,DY"),
        ("rotate:", "expected rotate:DEGREES"),
        ("rotate:nan", "expected rotate:DEGREES"),
        ("rotate:inf", "expected rotate:DEGREES"),
        ("rotate", "expected rotate:DEGREES"),
        ("rotate:90,", "'rotate:90,', at character 11 of 'rotate:90,': expected rotate:DEGREES"),
        ("fog", "expected fog:SEVERITY\\[,SEED\\] with a severity from 1 to 5. Received: 'fog'"),
        ("fog:6", "at character 5 of 'fog:6': expected a severity from 0 to 5. Received: fog with severity 6"),
        ("fog:nan", "expected fog:SEVERITY"),
        ("fog:1.5", "expected a severity from 0 to 5. Received: fog with severity 1.5"),
        (
            "fog:1,-2",
            "at character 7 of 'fog:1,-2': expected a seed from 0 to 2,147,483,647. Received: fog with seed -2",
        ),
        ("jpeg:x", "expected jpeg:SEVERITY with a severity from 1 to 5. Received: 'jpeg:x'"),
        ("rotate30", "'rotate30': unknown. .* Did you mean rotate:30\\?$"),
        ("rotate-7.5", "Did you mean rotate:-7.5\\?$"),
        ("up4+translate1,-2", "Did you mean translate:1,-2\\?$"),
        ("fog3", "Did you mean fog:3\\?$"),
        ("fog_3,7", "Did you mean fog:3,7\\?$"),
        ("fog9", "Did you mean fog\\?$"),  # with a colon it would be out of range
        ("up5", "Did you mean up4"),
        ("gausian_blur:3", "Did you mean gaussian_blur"),
        ("gaussian:3", "Did you mean gaussian_blur or gaussian_noise"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Shift.parse(text)


def test_an_unknown_corruption_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"expected one of gaussian_noise, .*Received: 'smoke'"):
        Corrupt("smoke", 1)


@pytest.mark.parametrize("degrees", [float("nan"), float("inf"), -float("inf")])
def test_an_angle_that_is_not_finite_is_refused(degrees: float) -> None:
    with pytest.raises(InvalidValueError, match=r"degrees: expected a finite number\. Received: "):
        Rotate(degrees)
