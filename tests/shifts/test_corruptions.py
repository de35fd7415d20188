from __future__ import annotations

import hashlib
import io
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage import feature, transform
from skimage.util import random_noise

from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import InvalidValueError
from ood_fashion.images import to_unit_range
from ood_fashion.shifts.corruptions import CORRUPTIONS, SEVERITIES, random_key
from ood_fashion.shifts.shift import Corrupt, Shift

NAMES = list(CORRUPTIONS)
RANDOM = [name for name in NAMES if CORRUPTIONS[name].is_random]


def apply(text: str, images: np.ndarray, indices: np.ndarray | None = None) -> np.ndarray:
    return Shift.parse(text).apply(images, indices)


@pytest.fixture(scope="module")
def images(fashion: Dataset) -> np.ndarray:
    return fashion.test.images[:60]


@pytest.mark.parametrize("name", NAMES)
def test_severity_0_is_the_identity(images: np.ndarray, name: str) -> None:
    assert str(Shift.parse(f"{name}:0")) == "none"
    step = Corrupt(name, 0)
    assert step.source_map(28, 28) is None
    np.testing.assert_array_equal(step.apply(to_unit_range(images), np.arange(60)), to_unit_range(images))
    np.testing.assert_array_equal(apply(f"{name}:0", images), to_unit_range(images))


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_severity_is_a_larger_difference(images: np.ndarray, name: str) -> None:
    given = images.copy()
    shifted = [apply(f"{name}:{severity}", images) for severity in SEVERITIES]
    np.testing.assert_array_equal(images, given)
    for pixels in shifted:
        assert pixels.shape == images.shape
        assert pixels.dtype == np.float32
        assert 0 <= pixels.min() <= pixels.max() <= 1
    differences = [float(abs(pixels - to_unit_range(images)).mean()) for pixels in shifted]
    assert differences[0] > 0.005
    assert all(np.diff(differences) > 0.001), differences


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_the_same_whatever_the_batch_and_order(
    images: np.ndarray, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = apply(f"{name}:4", images)
    order = np.random.default_rng(0).permutation(len(images))
    np.testing.assert_array_equal(apply(f"{name}:4", images[order], order), together[order])
    np.testing.assert_array_equal(apply(f"{name}:4", images[7:8], np.array([7])), together[7:8])
    monkeypatch.setattr("ood_fashion.images.BLOCK_PIXELS", 7 * 784)
    np.testing.assert_array_equal(apply(f"{name}:4", images), together)
    np.testing.assert_array_equal(to_unit_range(Shift.parse(f"{name}:4+jpeg:1").apply_uint8(images)),
                                  apply(f"{name}:4+jpeg:1", images))  # fmt: skip


@pytest.mark.parametrize("name", RANDOM)
def test_images_and_seeds_have_their_own_random_numbers(images: np.ndarray, name: str) -> None:
    same = np.broadcast_to(images[:1], (8, 28, 28))
    zero, one = apply(f"{name}:5", same), apply(f"{name}:5,1", same)
    assert len({image.tobytes() for image in (*zero, *one)}) > 8
    np.testing.assert_array_equal(apply(f"{name}:5,0", same), zero)
    np.testing.assert_array_equal(apply(f"{name}:5,1", same), one)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(RANDOM)))
def test_the_others_have_none(images: np.ndarray, name: str) -> None:
    same = np.broadcast_to(images[:1], (3, 28, 28))
    assert len({image.tobytes() for image in apply(f"{name}:3", same)}) == 1
    with pytest.raises(InvalidValueError, match=f"expected {name}:SEVERITY with"):
        Shift.parse(f"{name}:3,1")


def digest(images: np.ndarray) -> str:
    content = hashlib.sha256()
    for name in NAMES:
        content.update(apply(f"{name}:3,5" if name in RANDOM else f"{name}:3", images).tobytes())
    return content.hexdigest()


def test_another_process_gets_the_same_images(images: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images[:5])
    program = (
        "import sys, numpy; from tests.shifts.test_corruptions import digest; print(digest(numpy.load(sys.argv[1])))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "images.npy")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert result.stdout.strip() == digest(images[:5])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 64, 64), (3, 12, 20), (3, 1, 1), (0, 28, 28), (1, 28, 28)])
def test_other_sizes(name: str, shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    for severity in (1, 5):
        shifted = apply(f"{name}:{severity}", pixels)
        assert shifted.shape == shape
        assert np.isfinite(shifted).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_larger_copy_is_corrupted_alike(images: np.ndarray, name: str) -> None:
    """Lengths grow with the image: twice the side, about the same mean difference."""
    large = images.repeat(2, axis=1).repeat(2, axis=2)
    small_difference, large_difference = (
        float(abs(apply(f"{name}:5", pixels) - to_unit_range(pixels)).mean()) for pixels in (images, large)
    )
    assert 0.4 < large_difference / small_difference < 1.6


def rounded(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(np.clip(pixels, 0, 1) * 255) / 255, np.float32)


def generator(name: str, seed: int, index: int) -> np.random.Generator:
    bits = np.random.Philox(key=np.array(random_key(name, seed), np.uint64), counter=index << 192)
    return np.random.Generator(bits)


def test_noise_is_what_each_images_generator_gives(images: np.ndarray) -> None:
    scaled = to_unit_range(images)
    for i in (0, 59):
        normal = generator("gaussian_noise", 7, i).standard_normal((28, 28), np.float32)
        np.testing.assert_array_equal(apply("gaussian_noise:2,7", images)[i], rounded(scaled[i] + 0.12 * normal))
        photons = generator("shot_noise", 0, i).poisson(scaled[i] * 12.0)
        np.testing.assert_allclose(apply("shot_noise:3", images)[i], rounded(photons / 12), atol=1e-7)


def test_noise_has_the_spread_that_the_table_says() -> None:
    grey = np.full((500, 28, 28), 0.5, np.float32)
    assert np.std(apply("gaussian_noise:1", grey)) == pytest.approx(0.08, rel=0.01)
    assert np.std(apply("shot_noise:1", grey)) == pytest.approx((0.5 / 60) ** 0.5, rel=0.01)
    salted = apply("impulse_noise:4", grey)
    assert np.mean(salted == 0) == pytest.approx(0.085, rel=0.02)
    assert np.mean(salted == 1) == pytest.approx(0.085, rel=0.02)
    expected = random_noise(grey, mode="s&p", amount=0.17, rng=0)
    assert np.std(salted) == pytest.approx(np.std(expected), rel=0.01)


def test_blurs_equal_plain_convolutions(images: np.ndarray) -> None:
    scaled = to_unit_range(images)
    expected = np.stack([ndimage.gaussian_filter(image, 1.5, mode="constant") for image in scaled])
    np.testing.assert_array_equal(apply("gaussian_blur:4", images), rounded(expected))
    # A disk of radius 2: 1 up to a distance of 1.5, 0 from 2.5 on, sums over all places by hand.
    padded, total, weight = np.pad(scaled, ((0, 0), (2, 2), (2, 2))), np.zeros_like(scaled), 0.0
    for down in range(-2, 3):
        for right in range(-2, 3):
            w = min(1.0, max(0.0, 2.5 - (down**2 + right**2) ** 0.5))
            total += w * padded[:, 2 + down : 30 + down, 2 + right : 30 + right]
            weight += w
    np.testing.assert_allclose(apply("defocus_blur:3", images), rounded(total / weight), atol=1.01 / 255)


def test_motion_blurs_along_a_line_and_keeps_the_light() -> None:
    dot = np.zeros((40, 29, 29), np.float32)
    dot[:, 14, 14] = 1
    rows, columns = np.indices((29, 29)) - 14
    for image in apply("motion_blur:5", dot):
        spread = np.linalg.eigvalsh(np.cov(np.stack([rows.ravel(), columns.ravel()]), aweights=image.ravel(), ddof=0))
        assert spread[0] < 0.6  # across
        assert spread[1] == pytest.approx((11 * 29 / 28) ** 2 / 12, abs=1.5)  # along: a uniform line's variance
        assert image.sum() == pytest.approx(1, abs=0.06)  # rounded to 8 bits


def test_glass_blur_moves_pixels_without_changing_them() -> None:
    """What is swapped is still there: the mean of images with empty borders stays."""
    pixels = np.zeros((20, 28, 28), np.float32)
    pixels[:, 10:18, 10:18] = np.random.default_rng(0).random((20, 8, 8))
    np.testing.assert_allclose(apply("glass_blur:5", pixels).mean((1, 2)), pixels.mean((1, 2)), atol=1e-3)


def test_zoom_blur_is_the_mean_of_zooms(images: np.ndarray) -> None:
    zoomed = []
    for factor in np.linspace(1, 1.2, 11):
        offset = 13.5 * (1 - 1 / factor)
        zoomed.append(
            [
                ndimage.affine_transform(image, np.eye(2) / factor, offset, order=1)
                for image in to_unit_range(images[:20])
            ]
        )
    np.testing.assert_allclose(apply("zoom_blur:3", images[:20]), rounded(np.mean(zoomed, 0)), atol=1.01 / 255)


def test_contrast_and_brightness(images: np.ndarray) -> None:
    scaled = to_unit_range(images).astype(np.float64)
    mean = scaled.mean((1, 2))[:, np.newaxis, np.newaxis]
    np.testing.assert_allclose(apply("contrast:3", images), rounded(mean + 0.2 * (scaled - mean)), atol=1e-6)
    np.testing.assert_allclose(apply("brightness:3", images), rounded(scaled + 0.3), atol=1.01 / 255)


def test_stripe_is_mnist_cs_at_severity_3(images: np.ndarray) -> None:
    expected = images.copy()
    expected[:, :, :7] = 255 - expected[:, :, :7]
    expected[:, :, 21:] = 255 - expected[:, :, 21:]
    np.testing.assert_array_equal(apply("stripe:3", images), to_unit_range(expected))


def test_canny_edges_are_scikit_images(images: np.ndarray) -> None:
    expected = [feature.canny(np.pad(image, 6))[6:-6, 6:-6] for image in to_unit_range(images)]
    np.testing.assert_array_equal(apply("canny_edges:5", images), np.array(expected, np.float32))


def test_jpeg_and_pixelate_are_pillows(images: np.ndarray) -> None:
    for i in range(5):
        file = io.BytesIO()
        Image.fromarray(images[i]).save(file, "JPEG", quality=15)
        np.testing.assert_array_equal(apply("jpeg:3", images)[i], to_unit_range(np.array(Image.open(file))))
        means = images[i].reshape(14, 2, 14, 2).mean((1, 3)).repeat(2, 0).repeat(2, 1)
        np.testing.assert_allclose(apply("pixelate:2", images)[i], means / 255, atol=1.01 / 255)


@pytest.mark.parametrize(("text", "matrix"), [
    ("shear:3", [[1, 0.6, -0.6 * 13.5], [0, 1, 0], [0, 0, 1]]),
    ("scale:5", [[2, 0, -13.5], [0, 2, -13.5], [0, 0, 1]]),
])  # fmt: skip
def test_shear_and_scale_equal_scikit_images_warp(images: np.ndarray, text: str, matrix: list[list[float]]) -> None:
    # scikit-image's matrices take (x, y); its border is 0 from half a pixel outside, so the border is left out.
    expected = np.stack([transform.warp(image, np.array(matrix)) for image in to_unit_range(images).astype(np.float64)])
    np.testing.assert_allclose(apply(text, images)[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-5)


def test_fog_and_spatter_only_add_what_lies_before_a_black_image() -> None:
    black = np.zeros((30, 28, 28), np.uint8)
    fog = apply("fog:3", black)
    np.testing.assert_allclose(fog.max((1, 2)), 2 / 3, atol=1 / 255)
    assert fog.min() == 0
    # Neighbours are alike, distant places are not: noise with more power at low frequencies.
    close, far = (np.corrcoef(fog[:, :, :-d].ravel(), fog[:, :, d:].ravel())[0, 1] for d in (1, 12))
    assert close > 0.6 > 0.3 > far
    spattered = apply("spatter:3", black)
    assert spattered.max() == pytest.approx(0.5, abs=1 / 255)
    assert 0.1 < np.mean(spattered > 0.05) < 0.2


def test_lines_are_white_and_go_all_the_way() -> None:
    black = np.zeros((50, 28, 28), np.uint8)
    dotted, zigzag = apply("dotted_line:1", black), apply("zigzag:1", black)
    for image in dotted:
        inked = image.max(axis=0) > 0.5
        np.testing.assert_array_equal(inked, np.arange(28) % 4 >= 2)
    assert np.mean(zigzag.max(axis=1) > 0.5) > 0.9  # but where it leaves the image above or below
    assert 0.05 < zigzag.mean() < 0.15


def test_elastic_displaces_by_what_the_table_says() -> None:
    """Displace a ramp: what a pixel gains over its own column is its displacement."""
    ramp = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32), (50, 64, 64))
    middle = (slice(None), slice(16, 48), slice(16, 48))
    moved = (apply("elastic:3", ramp)[middle] - ramp[middle]) * 63
    assert np.sqrt(np.mean(moved**2)) == pytest.approx(1.0 * 64 / 28, rel=0.1)


def test_erase_blackens_one_square() -> None:
    white = np.ones((300, 28, 28), np.float32)
    erased = apply("erase:4", white) == 0
    assert erased.sum((1, 2)).max() == 14 * 14
    for black in erased:
        rows, columns = black.any(1), black.any(0)
        np.testing.assert_array_equal(black, rows[:, np.newaxis] & columns)
        assert rows.sum() <= 14
    assert erased.any(0).all()  # anywhere


@given(st.sampled_from(RANDOM), st.integers(0, 2**31 - 1), st.integers(0, 59_999))
def test_any_seed_and_index(name: str, seed: int, index: int) -> None:
    pixels = np.random.default_rng(index).integers(0, 256, (2, 9, 9), np.uint8)
    both = Shift((Corrupt(name, 5, seed),)).apply(pixels, np.array([index, index + 1]))
    alone = Shift((Corrupt(name, 5, seed),)).apply(pixels[1:], np.array([index + 1]))
    np.testing.assert_array_equal(both[1:], alone)


def test_pixels_outside_the_range_are_clipped() -> None:
    pixels = np.array([[[-3.0, 0.5], [2.0, 1.0]]], np.float32)
    np.testing.assert_array_equal(apply("shot_noise:1", pixels), apply("shot_noise:1", np.clip(pixels, 0, 1)))


def test_the_docs_show_the_table() -> None:
    root = Path(__file__).parents[2]
    corruption_tables = runpy.run_path(str(root / "scripts/corruptions.py"))["corruption_tables"]
    assert corruption_tables() in (root / "docs/corruptions.md").read_text()
