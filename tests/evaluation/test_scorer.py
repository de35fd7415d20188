from __future__ import annotations

import itertools
import logging

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import InvalidValueError, ModelError
from ood_fashion.evaluation.classifier import calibrate, evaluate
from ood_fashion.evaluation.metrics import to_probabilities
from ood_fashion.evaluation.results import AccuracyResult
from ood_fashion.evaluation.scorer import classify, make_image_scorer, make_joint_scorer, make_scorer
from ood_fashion.evaluation.stats import wilson_interval
from ood_fashion.models.build import build_model
from ood_fashion.shifts.orbits import parse_orbit
from ood_fashion.shifts.shift import SHIFTS, TEST_SETS, Shift
from tests.test_default_settings import other_settings


def test_accuracies_equal_those_computed_by_hand(fashion: Dataset) -> None:
    """Shift with plain NumPy, predict on the arrays, count."""
    labels = fashion.test.labels[:300]
    images = fashion.test.images[:300]
    some = Dataset(fashion.train, Split(images, labels), "some")
    model = build_model("cnn2", seed=3)
    # Twenty updates, so that accuracies differ from shift to shift.
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(fashion.train.images[:2000, ..., None] / 255.0, fashion.train.labels[:2000], batch_size=100, verbose=0)
    scaled = images.astype(np.float32) / 255
    by_hand = {
        "none": scaled,
        "up4": np.concatenate([scaled[:, 4:], np.zeros((300, 4, 28), np.float32)], axis=1),
        "rotate90": np.stack([image.T[::-1] for image in scaled]),
        "rotate180": scaled[:, ::-1, ::-1],
        "rotate270": np.stack([image.T[:, ::-1] for image in scaled]),
    }
    results = evaluate(make_scorer(model, some), some.test, [SHIFTS[name] for name in TEST_SETS])
    for result, (name, shifted) in zip(results, by_hand.items(), strict=True):
        correct = int((model.predict(shifted[..., None], verbose=0).argmax(axis=1) == labels).sum())
        assert result == AccuracyResult(name, correct / 300, correct, 300, wilson_interval(correct, 300))
    assert len({result.correct for result in results}) >= 4


@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28), (784,)])
def test_every_input_shape_gives_the_same_accuracy(small_fashion: Dataset, shape: tuple[int, ...]) -> None:
    kernel = np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32)
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(10, use_bias=False)])
    model.set_weights([kernel])
    shifted = Shift.parse("rotate:30").apply(small_fashion.test.images).reshape(-1, 784)
    expected = int(((shifted @ kernel).argmax(axis=1) == small_fashion.test.labels).sum())
    (result,) = evaluate(make_scorer(model, small_fashion), small_fashion.test, Shift.parse("rotate:30"))
    assert result.correct == expected


def test_models_of_different_kinds_are_scored_together(small_fashion: Dataset) -> None:
    alone = Dataset(Split(small_fashion.test.images[:0], small_fashion.test.labels[:0]), small_fashion.test, "alone")
    half, whole, wide = (
        keras.Sequential([keras.Input((784,)), keras.layers.Dense(size, dtype=dtype)])
        for size, dtype in ((10, "float16"), (10, "float32"), (12, "float32"))
    )
    whole.set_weights([weights.astype(np.float32) for weights in half.get_weights()])
    scores = make_joint_scorer([half, whole], alone)(Shift())
    assert scores.shape == (2, 200, 10)
    np.testing.assert_allclose(scores[0], scores[1], atol=0.02)
    with pytest.raises(ModelError, match=r"expected as many scores from each. Received: \[10, 12\]"):
        make_joint_scorer([whole, wide], alone)


def test_a_model_for_other_data_is_refused(small_fashion: Dataset) -> None:
    with pytest.raises(ModelError, match="a score per class"):
        make_scorer(build_model("mlp", num_classes=3), small_fashion)


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_a_model_that_gives_no_numbers_is_refused(small_fashion: Dataset, score: float) -> None:
    model = build_model("mlp")
    model.layers[-1].bias.assign(np.full(10, score))
    with pytest.raises(ModelError, match="expected finite scores"):
        make_scorer(model, small_fashion)(Shift())


def test_all_metrics_hold_the_accuracies(small_fashion: Dataset) -> None:
    """The last layer's logits, four times as large, are too confident: calibration finds a larger temperature."""
    model = build_model("mlp", seed=1)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(small_fashion.train.images / 255.0, small_fashion.train.labels, epochs=5, batch_size=20, verbose=0)
    shifts = [SHIFTS["none"], SHIFTS["up4"]]
    confident = build_model("mlp")
    weights = model.get_weights()
    confident.set_weights([*weights[:2], 4 * weights[2], 4 * weights[3]])
    validation = Split(small_fashion.train.images[400:], small_fashion.train.labels[400:])
    scorers = [make_scorer(m, small_fashion) for m in (confident, model)]
    high, low = (calibrate(make_scorer(m, small_fashion, validation), validation) for m in (confident, model))
    plain, calm = (
        evaluate(score, small_fashion.test, shifts, full=True, temperature=temperature)
        for score, temperature in zip(scorers, (high, low), strict=True)
    )
    for result, short in zip(plain, evaluate(scorers[0], small_fashion.test, shifts), strict=True):
        assert vars(result).items() >= vars(short).items()
    assert plain[0].temperature == high == pytest.approx(4 * low, rel=0.01)
    assert plain[0].calibrated is not None
    assert calm[0].calibrated is not None
    assert plain[0].calibrated.nll == pytest.approx(calm[0].calibrated.nll, rel=1e-3)
    assert plain[0].calibrated.nll < plain[0].nll
    assert plain[0].flip_rate == 0
    assert plain[1].flip_rate > 0
    assert evaluate(scorers[1], small_fashion.test, shifts[:1], full=True)[0].calibrated is None


@pytest.mark.parametrize("orbit", ["c4", "c4/sharpest"])
@pytest.mark.parametrize("name", ["cnn2", "mlp"])
def test_the_orbit_of_turns_makes_any_model_invariant_to_them(small_fashion: Dataset, name: str, orbit: str) -> None:
    """Bit for bit, with random weights; the model alone is far from it."""
    model, turns = build_model(name, seed=3), [SHIFTS[f"rotate{degrees}"] for degrees in (90, 180, 270)]
    plain, averaged = make_scorer(model, small_fashion), make_scorer(model, small_fashion, orbit=parse_orbit(orbit))
    upright = averaged(Shift())
    for turn in turns:
        np.testing.assert_array_equal(averaged(turn), upright)
        assert not np.allclose(plain(turn), plain(Shift()), atol=0.01)
    corrupted = Shift.parse("up4+fog:3"), Shift.parse("up4+fog:3+rotate90")
    np.testing.assert_array_equal(averaged(corrupted[1]), averaged(corrupted[0]))


def test_batch_statistics_are_those_of_the_shifted_images(small_fashion: Dataset) -> None:
    """One batch has all images, so the scores are those of `training=True`; no weight of the model changes."""
    model, shift = build_model("p4cnn", seed=3), Shift.parse("contrast:3")
    before, images = model.get_weights(), shift.apply(small_fashion.test.images)[..., np.newaxis]
    score = make_scorer(model, small_fashion, orbit=parse_orbit("batch-statistics"))
    received, again = score(shift), score(shift)
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)
    np.testing.assert_array_equal(again, received)
    np.testing.assert_allclose(received, model(images, training=True), atol=1e-4)
    assert not np.allclose(received, make_scorer(build_model("p4cnn", seed=3), small_fashion)(shift), atol=0.1)
    with pytest.raises(InvalidValueError, match="expected a functional or sequential model with batch normalisation"):
        make_scorer(build_model("cnn3"), small_fashion, orbit=parse_orbit("batch-statistics"))


def test_averages_are_those_of_the_chains(small_fashion: Dataset) -> None:
    """Two models at once, against the mean of the probabilities under each chain of shift and element."""
    models = [build_model("mlp", seed=1), build_model("cnn2", seed=2)]
    plain, orbit = make_joint_scorer(models, small_fashion), parse_orbit("translate:1")
    received = make_joint_scorer(models, small_fashion, orbit=orbit)(Shift.parse("gaussian_noise:2+rotate:20"))
    chains = [plain(Shift.parse(f"gaussian_noise:2+rotate:20+{element}")) for element in orbit.shifts]
    probabilities = np.array([[to_probabilities(scores) for scores in chain] for chain in chains])
    for of_one, mean in zip(received, probabilities.mean(axis=0), strict=True):
        np.testing.assert_allclose(to_probabilities(of_one), mean, atol=1e-6)

    sharpest = make_joint_scorer(models, small_fashion, orbit=orbit._replace(sharpest=True))(
        Shift.parse("gaussian_noise:2+rotate:20")
    )
    for m, image in itertools.product(range(2), range(20)):
        entropies = [stats.entropy(element[m, image]) for element in probabilities]
        received = to_probabilities(sharpest[m, image : image + 1])[0]
        np.testing.assert_allclose(received, probabilities[np.argmin(entropies), m, image], atol=1e-6)


def test_accuracies_and_all_metrics_average(small_fashion: Dataset) -> None:
    model, turned, orbit = build_model("mlp", seed=2), [Shift(), SHIFTS["rotate180"]], parse_orbit("c4")
    validation = Split(small_fashion.train.images[:100], small_fashion.train.labels[:100])
    score = make_scorer(model, small_fashion, orbit=orbit)
    temperature = calibrate(make_scorer(model, small_fashion, validation, orbit), validation)
    short = evaluate(score, small_fashion.test, turned)
    full = evaluate(score, small_fashion.test, turned, full=True, temperature=temperature)
    assert [result.accuracy for result in full] == [result.accuracy for result in short]
    assert full[1].flip_rate == 0
    assert full[1].calibrated == full[0].calibrated


def test_scores_are_the_same_under_other_global_settings(fashion: Dataset) -> None:
    """Two calls of 500 images are the most that Keras makes under these settings."""
    test = Split(fashion.test.images[:1100], fashion.test.labels[:1100])
    some = Dataset(fashion.train, test, "some")
    model = build_model("cnn2", seed=3)

    def scores() -> list[NDArray[np.floating]]:
        return [make_scorer(model, some)(Shift.parse("up4+rotate:30")), classify(model, test.images)]

    expected = scores()
    with other_settings() as settings:
        before = settings()
        received = scores()
        assert settings() == before
    for array, reference in zip(received, expected, strict=True):
        np.testing.assert_array_equal(array, reference)


def test_many_models_are_not_taken_for_one_traced_again(
    small_fashion: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a warning of TensorFlow's, which would count their programs as one that changes."""
    monkeypatch.setattr(logging.getLogger("tensorflow"), "propagate", True)
    images = np.asarray(small_fashion.test.images[:3] / 255, np.float32)
    for seed in range(6):
        scores = make_image_scorer(build_model("mlp", seed=seed), small_fashion)(images)
        assert scores.shape == (3, 10)
    assert "retracing" not in caplog.text
