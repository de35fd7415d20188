from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy import fft, ndimage, signal, stats

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.models.build import build_model
from ood_fashion.runs.config import TrainConfig
from ood_fashion.shifts.augmentations import KINDS, Augmentation
from ood_fashion.shifts.shift import Shift
from ood_fashion.training import engine
from ood_fashion.training.augmentation import _MAPS, _PIXEL_OPS, augment
from ood_fashion.training.batches import training_batches, training_stacks
from ood_fashion.training.optimizers import compile_as_configured

WHOLE = [
    ["translate:4"],
    ["rotate90"],
    ["mirror"],
    ["translate:2", "rotate90", "mirror"],
    ["mirror", "translate:28"],
    ["translate:3@0.5", "mirror@0.2"],
]
BILINEAR = [
    ["rotate:30"],
    ["rotate90", "rotate:180"],
    ["mirror", "translate:3", "rotate:10"],
    ["translate:2", "rotate:45@0.4"],
]


def parse(texts: list[str]) -> tuple[Augmentation, ...]:
    return tuple(map(Augmentation.parse, texts))


def test_every_kind_is_implemented() -> None:
    assert {**_MAPS, **_PIXEL_OPS}.keys() == KINDS.keys()


def change(kind: str, strength: float, pixels: np.ndarray, u: np.ndarray, before: tuple[np.ndarray, ...]) -> Any:
    """One image in [0, 1], by NumPy and SciPy in double precision, from the formulas in the docstrings.

    `before` are the image before it in the batch and the one before that.
    """
    rows, columns = np.indices(pixels.shape)
    match kind:
        case "tone":
            return pixels + strength * sum((2 * u[k - 1] - 1) / k * np.sin(np.pi * k * pixels) for k in (1, 2, 3))
        case "filter":
            kernel = strength * u[9] / np.sqrt(3) * (2 * u[:9] - 1).reshape(3, 3)
            return pixels + signal.correlate2d(pixels, kernel, "same")
        case "spectrum":
            steps = [np.arange(size) / (size - 1) for size in pixels.shape]
            radius = np.hypot(steps[0][:, np.newaxis], steps[1]) / np.sqrt(2)
            weights = 1 + strength * sum((2 * u[k - 1] - 1) * np.sin(np.pi / 2 * k * radius) for k in (1, 2, 3, 4))
            return fft.idctn(weights * fft.dctn(pixels, norm="ortho"), norm="ortho")
        case "wave":
            frequency, angle = u[1] / 2, 2 * np.pi * u[2]  # cycles a pixel: at most that of a chessboard's rows
            along = rows * np.cos(angle) + columns * np.sin(angle)
            return pixels + strength * u[0] * np.sin(2 * np.pi * (frequency * along + u[3]))
        case "pixmix":
            step = (2, 4, 7)[int(3 * u[1])]
            small = before[0][::step, ::step]
            flipped = small[:: -1 if u[2] < 0.5 else 1, :: -1 if u[3] < 0.5 else 1]
            return pixels + strength * (2 * u[0] - 1) * np.tile(flipped, (step, step)) * (before[1] > 0.3)
        case "impulse":
            uniform = hashed(u[1], pixels.size).reshape(pixels.shape)
            return np.select([uniform < strength * u[0] / 2, uniform >= 1 - strength * u[0] / 2], [0, 1], pixels)
        case "blur":
            return ndimage.gaussian_filter(pixels, strength * u[0], mode="constant", radius=27)
        case "line":
            towards = np.cos(np.pi * u[0]), np.sin(np.pi * u[0])
            lengths = [(size - 1) / 2 for size in pixels.shape]
            distance = (rows - lengths[0]) * towards[0] + (columns - lengths[1]) * towards[1]
            place = (u[1] - 0.5) * np.dot(np.abs(towards), pixels.shape)
            return np.where(np.abs(distance - place) <= strength / 2, u[2], pixels)
        case "erase":
            height, width = (int(part * (strength * size + 1)) for part, size in zip(u[:2], pixels.shape, strict=True))
            top, left = int(u[2] * (len(pixels) - height + 1)), int(u[3] * (pixels.shape[1] - width + 1))
            erased = pixels.copy()
            erased[top : top + height, left : left + width] = u[4]
            return erased
    uniform = hashed(u[1], 2 * pixels.size)
    normal = np.sqrt(-2 * np.log1p(-uniform[: pixels.size])) * np.cos(2 * np.pi * uniform[pixels.size :])
    return pixels + strength * u[0] * normal.reshape(pixels.shape)


def hashed(draw: float, count: int) -> np.ndarray:
    """The random numbers of an image, by Python's whole numbers."""
    start = int(draw * 2**24) * 0x2C1B3C6D
    numbers = []
    for i in range(count):
        value = (start + i * 0x9E3779B9) % 2**32
        for bits, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            value = (value ^ value >> bits) * factor % 2**32
        numbers.append((value ^ value >> 16) >> 8)
    return np.array(numbers) / 2**24


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "texts",
    [
        *(["tone:0.5"], ["filter:1"], ["spectrum:1"], ["wave:0.6"], ["noise:0.4"], ["mirror", "noise:0.2@0.5"]),
        *(["pixmix:0.7@0.8"], ["impulse:0.3"], ["blur:2"], ["line:2.5"], ["erase:0.5"]),
    ],
)
def test_pixels_follow_the_formulas(fashion: Dataset, texts: list[str], compiled: bool) -> None:
    augmentations, n = parse(texts), 20
    images = fashion.test.images[:n]
    draws = np.random.default_rng(0).random((n, sum(a.draws for a in augmentations)), np.float32)
    run = tf.function(lambda x, u: augment(x, u, augmentations), jit_compile=compiled, autograph=False)
    received = run(tf.constant(images[..., np.newaxis]), tf.constant(draws)).numpy()[..., 0]
    last = augmentations[-1]
    all_before = zip(*(np.roll(images, places, axis=0) / 255 for places in (1, 2)), strict=True)
    for image, before, numbers, pixels in zip(images, all_before, draws.astype(np.float64), received, strict=True):
        mirrored = texts[0] == "mirror" and numbers[0] < 0.5
        expected = np.array(image[:, ::-1] if mirrored else image) / 255
        if last.share == 1 or numbers[-1] < last.share:
            expected = np.clip(change(last.kind, last.most, expected, numbers[texts[0] == "mirror" :], before), 0, 1)
        np.testing.assert_allclose(pixels / 255, expected, atol=2e-5)


def test_noise_is_normal_and_differs_between_images() -> None:
    images, n = np.full((400, 10, 10, 1), 128, np.uint8), 40_000
    draws = np.random.default_rng(0).random((400, 2), np.float32)
    noise = (augment(images, tf.constant(draws), parse(["noise:0.1"])).numpy() - 128) / 25.5
    standard = noise.reshape(400, -1) / draws[:, :1]
    assert stats.kstest(standard.ravel(), "norm").pvalue > 0.001
    correlations = np.corrcoef(standard[:100])[np.triu_indices(100, 1)]
    assert abs(correlations).max() < 0.5
    assert abs(correlations.mean()) < 4 / np.sqrt(n)


def reference(image: np.ndarray, draws: np.ndarray, augmentations: tuple[Augmentation, ...]) -> np.ndarray:
    """One image (height, width), one step after another, by the shifts' own reference and NumPy's flip."""
    numbers = iter(draws.astype(np.float64))
    pixels = image[np.newaxis].astype(np.float32)
    for augmentation in augmentations:
        most = augmentation.most
        first, *others = (next(numbers) for _ in range(augmentation.draws))
        if augmentation.share < 1 and others[-1] >= augmentation.share:
            continue
        if augmentation.kind == "mirror":
            pixels = pixels[:, :, ::-1] if first < 0.5 else pixels
            continue
        if augmentation.kind == "translate":
            dx, dy = (int(draw * (2 * most + 1)) - most for draw in (first, others[0]))
            text = f"translate:{dx},{dy}"
        elif augmentation.kind == "rotate90":
            text = f"rotate:{90 * int(first * 4)}"
        else:
            text = f"rotate:{(2 * first - 1) * most}"
        pixels = Shift.parse(text).apply(pixels)
    return np.asarray(pixels[0])


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("texts", WHOLE + BILINEAR)
def test_every_image_equals_the_chain_of_its_shifts(fashion: Dataset, texts: list[str], compiled: bool) -> None:
    augmentations = parse(texts)
    # Content that no step moves out of the frame: one map and a chain of steps differ where it comes back in.
    images = np.zeros((60, 28, 28), np.uint8)
    images[:, 8:20, 9:20] = fashion.test.images[:60, 8:20, 9:20]
    draws = np.random.default_rng(0).random((60, sum(a.draws for a in augmentations)), np.float32)
    draws[0], draws[1] = 0, np.nextafter(np.float32(1), np.float32(0))
    run = tf.function(lambda x, u: augment(x, u, augmentations), jit_compile=compiled, autograph=False)
    received = run(tf.constant(images[..., np.newaxis]), tf.constant(draws)).numpy()[..., 0]
    expected = np.stack([reference(*pair, augmentations) for pair in zip(images, draws, strict=True)])
    np.testing.assert_allclose(received, expected, atol=0 if texts in WHOLE else 0.05)  # of 255


@pytest.mark.parametrize("shape", [(5, 8), (7, 4)])
def test_images_that_are_not_square(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, *shape), np.uint8)
    draws = np.random.default_rng(1).random((9, 3), np.float32)
    for texts in (["translate:2", "mirror"], ["rotate90"]):
        augmentations = parse(texts)
        received = augment(tf.constant(images[..., np.newaxis]), tf.constant(draws), augmentations).numpy()[..., 0]
        expected = np.stack([reference(*pair, augmentations) for pair in zip(images, draws, strict=True)])
        np.testing.assert_allclose(received, expected, atol=0.02)


def test_draws_are_uniform_and_independent_of_the_order() -> None:
    """Over 5 epochs of 2,000 images, each of the 9 x 9 moves of a single pixel comes as often as expected."""
    n = 2_000
    images = np.zeros((n, 9, 9), np.uint8)
    images[:, 4, 4] = 255
    batches = training_batches(
        Split(images, np.arange(n)), 500, seed=3, epochs=range(5), augmentations=parse(["translate:4"])
    )
    pixels, labels = (np.concatenate(parts) for parts in zip(*batches.as_numpy_iterator(), strict=True))
    rows, columns = np.divmod(pixels.reshape(len(pixels), -1).argmax(axis=1), 9)
    counts = np.bincount(9 * rows + columns, minlength=81)
    expected = 5 * n / 81
    assert ((counts - expected) ** 2 / expected).sum() < 124.8  # chi-square, 80 degrees of freedom, p = 0.001
    for values in (rows, columns):
        for other in (np.tile(np.arange(n), 5), labels):
            assert abs(np.corrcoef(values, other)[0, 1]) < 0.04


def test_draws_depend_on_seed_and_epoch_alone() -> None:
    split = Split(np.random.default_rng(0).integers(0, 256, (23, 6, 6), np.uint8), np.arange(23))

    def pixels(seed: int, epochs: range) -> np.ndarray:
        batches = training_batches(split, 5, seed=seed, epochs=epochs, augmentations=parse(["translate:2", "mirror"]))
        return np.concatenate([images for images, _ in batches])

    in_one_go = pixels(0, range(3))
    np.testing.assert_array_equal(np.concatenate([pixels(0, range(1)), pixels(0, range(1, 3))]), in_one_go)
    assert not np.array_equal(in_one_go[:23], in_one_go[23:46])
    assert not np.array_equal(pixels(1, range(3)), in_one_go)


def test_augmenting_leaves_the_order_as_it_is() -> None:
    split = Split(np.zeros((23, 6, 6), np.uint8), np.arange(23))
    plain, changed = (
        [labels.numpy().tolist() for _, labels in training_batches(split, 5, seed=0, epochs=range(2), augmentations=a)]
        for a in ((), parse(["translate:2"]))
    )
    assert changed == plain


def test_stacks_hold_the_draws_of_the_batches() -> None:
    options: dict[str, Any] = {"seed": 0, "epochs": range(2), "augmentations": parse(["translate:2", "rotate90"])}
    split = Split(np.random.default_rng(0).integers(0, 256, (23, 6, 6), np.uint8), np.arange(23))
    batches = iter(training_batches(split, 5, **options))
    for indices, draws, count in training_stacks(23, 5, 3, **options):
        for i in range(int(count)):
            images, labels = next(batches)
            np.testing.assert_array_equal(labels, indices[i])
            pixels = tf.constant(split.images[indices[i].numpy(), ..., np.newaxis])
            np.testing.assert_array_equal(augment(pixels, draws[i], options["augmentations"]) / 255, images)
    assert next(batches, None) is None


@pytest.mark.parametrize(
    "texts", [["mirror", "rotate:20"], pytest.param(["translate:4", "rotate90", "mirror"], marks=pytest.mark.slow)]
)
def test_both_engines_train_alike(small_fashion: Dataset, texts: list[str]) -> None:
    config = TrainConfig(model="mlp", train_size=103, epochs=2, augment=tuple(texts))
    split = Split(small_fashion.train.images[:103], small_fashion.train.labels[:103])
    weights, losses = [], []
    for stack in (None, 8):
        model = build_model("mlp", seed=1)
        trainer = model if stack is None else engine.CompiledTrainer.of(model, split, 5, config.augmentations)
        compile_as_configured(trainer, config)
        data = engine.training_data(split, config, stack, range(2))
        steps = engine.calls_per_epoch(config, stack)
        history = trainer.fit(data, steps_per_epoch=steps, epochs=2, shuffle=False, verbose=0)
        weights.append(trainer.get_weights())
        losses.append(history.history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    for received, expected in zip(*reversed(weights), strict=True):
        np.testing.assert_allclose(received, expected, atol=1e-4 * np.abs(expected).max())
