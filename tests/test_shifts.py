from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from ood_fashion.datasets import Dataset
from ood_fashion.errors import InvalidValueError
from ood_fashion.shifts import SHIFTS, Rotate, Shift, Step, Translate, to_unit_range

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


def test_the_documents_shifts_on_real_images(fashion: Dataset) -> None:
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
steps: st.SearchStrategy[Step] = st.one_of(st.builds(Translate, finite, finite), st.builds(Rotate, finite))


@given(st.lists(steps, max_size=4))
def test_what_is_printed_is_parsed_back(chain: list[Step]) -> None:
    shift = Shift(tuple(chain))
    assert Shift.parse(str(shift)) == shift


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("translate:0,-4", "up4"),
        ("rotate:90", "rotate90"),
        ("rotate:-90", "rotate270"),
        ("rotate:450", "rotate90"),
        ("rotate:-1e-30", "none"),
        ("rotate:360+translate:0,-0.0", "none"),
        (" none + translate:1.50,2 ", "translate:1.5,2"),
        ("rotate:90+up4", "rotate90+up4"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert str(Shift.parse(text)) == canonical


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
        ("rotate", "'rotate': unknown"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Shift.parse(text)
