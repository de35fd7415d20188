from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import ModelError
from ood_fashion.evaluation import scorer
from ood_fashion.evaluation.metrics import to_probabilities
from ood_fashion.evaluation.scorer import Scorer, calibrate, evaluate, evaluate_fully, make_scorer, predict
from ood_fashion.evaluation.stats import wilson_interval
from ood_fashion.models.build import build_model
from ood_fashion.shifts.orbits import parse_orbit
from ood_fashion.shifts.shift import SHIFTS, TEST_SETS, Shift
from tests.test_default_settings import other_settings


def test_accuracies_equal_those_computed_by_hand(fashion: Dataset) -> None:
    """Shift with plain NumPy, predict on the arrays, count."""
    labels = fashion.test.labels[:1000]
    images = fashion.test.images[:1000]
    some = Dataset(fashion.train, Split(images, labels), "some")
    model = build_model("cnn3", seed=3)
    # Twenty updates, so that accuracies differ from shift to shift.
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(fashion.train.images[:2000, ..., None] / 255.0, fashion.train.labels[:2000], batch_size=100, verbose=0)
    scaled = images.astype(np.float32) / 255
    by_hand = {
        "none": scaled,
        "up4": np.concatenate([scaled[:, 4:], np.zeros((1000, 4, 28), np.float32)], axis=1),
        "rotate90": np.stack([image.T[::-1] for image in scaled]),
        "rotate180": scaled[:, ::-1, ::-1],
        "rotate270": np.stack([image.T[:, ::-1] for image in scaled]),
    }
    records = evaluate(model, some, [SHIFTS[name] for name in TEST_SETS])
    for record, (name, shifted) in zip(records, by_hand.items(), strict=True):
        correct = int((model.predict(shifted[..., None], verbose=0).argmax(axis=1) == labels).sum())
        assert record == {
            "shift": name,
            "accuracy": correct / 1000,
            "correct": correct,
            "n": 1000,
            "ci95": list(wilson_interval(correct, 1000)),
        }
    assert len({record["correct"] for record in records}) >= 4


@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28), (784,)])
def test_every_input_shape_gives_the_same_accuracy(small_fashion: Dataset, shape: tuple[int, ...]) -> None:
    kernel = np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32)
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(10, use_bias=False)])
    model.set_weights([kernel])
    shifted = Shift.parse("rotate:30").apply(small_fashion.test.images).reshape(-1, 784)
    expected = int(((shifted @ kernel).argmax(axis=1) == small_fashion.test.labels).sum())
    assert evaluate(model, small_fashion, [Shift.parse("rotate:30")])[0]["correct"] == expected


def test_models_of_different_kinds_are_scored_together(small_fashion: Dataset) -> None:
    alone = Dataset(Split(small_fashion.test.images[:0], small_fashion.test.labels[:0]), small_fashion.test, "alone")
    half, whole, wide = (
        keras.Sequential([keras.Input((784,)), keras.layers.Dense(size, dtype=dtype)])
        for size, dtype in ((10, "float16"), (10, "float32"), (12, "float32"))
    )
    whole.set_weights([weights.astype(np.float32) for weights in half.get_weights()])
    scores = make_scorer([half, whole], alone)(Shift())
    assert scores.shape == (2, 200, 10)
    np.testing.assert_allclose(scores[0], scores[1], atol=0.02)
    with pytest.raises(ModelError, match=r"expected as many scores from each. Received: \[10, 12\]"):
        make_scorer([whole, wide], alone)


def test_a_model_for_other_data_is_refused(small_fashion: Dataset) -> None:
    with pytest.raises(ModelError, match="a score per class"):
        evaluate(build_model("mlp", num_classes=3), small_fashion, [Shift()])


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_a_model_that_gives_no_numbers_is_refused(small_fashion: Dataset, score: float) -> None:
    model = build_model("mlp")
    model.layers[-1].bias.assign(np.full(10, score))
    for measure in (evaluate, evaluate_fully, predict):
        with pytest.raises(ModelError, match="expected finite scores"):
            measure(model, small_fashion, [Shift()])


def test_unshifted_images_are_scored_once_for_all_metrics(
    small_fashion: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counting(*arguments: Any, **options: Any) -> Scorer:
        score = make_scorer(*arguments, **options)

        def counted(shift: Shift) -> NDArray[np.float32]:
            asked.append(str(shift))
            return score(shift)

        return counted

    monkeypatch.setattr(scorer, "make_scorer", counting)
    records = evaluate_fully(build_model("mlp"), small_fashion, [SHIFTS[name] for name in TEST_SETS])
    assert [record["shift"] for record in records] == list(TEST_SETS)
    assert sorted(asked) == sorted(TEST_SETS)


def test_full_records_hold_the_short_ones(small_fashion: Dataset) -> None:
    """The last layer's logits, four times as large, are too confident: calibration finds a larger temperature."""
    model = build_model("mlp", seed=1)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(small_fashion.train.images / 255.0, small_fashion.train.labels, epochs=5, batch_size=20, verbose=0)
    shifts = [SHIFTS["none"], SHIFTS["up4"]]
    confident = build_model("mlp")
    weights = model.get_weights()
    confident.set_weights([*weights[:2], 4 * weights[2], 4 * weights[3]])
    validation = Split(small_fashion.train.images[400:], small_fashion.train.labels[400:])
    plain, calm = (
        evaluate_fully(m, small_fashion, shifts, calibrate(m, small_fashion, validation)) for m in (confident, model)
    )
    for record, short in zip(plain, evaluate(confident, small_fashion, shifts), strict=True):
        assert {name: record[name] for name in short} == short
    assert plain[0]["temperature"] == pytest.approx(4 * calm[0]["temperature"], rel=0.01)
    assert plain[0]["calibrated"]["nll"] == pytest.approx(calm[0]["calibrated"]["nll"], rel=1e-3)
    assert plain[0]["calibrated"]["nll"] < plain[0]["nll"]
    assert plain[0]["flip_rate"] == 0
    assert plain[1]["flip_rate"] > 0
    assert "calibrated" not in evaluate_fully(model, small_fashion, shifts[:1])[0]


@pytest.mark.parametrize("orbit", ["c4", "c4/sharpest"])
@pytest.mark.parametrize("name", ["cnn2", "mlp"])
def test_the_orbit_of_turns_makes_any_model_invariant_to_them(small_fashion: Dataset, name: str, orbit: str) -> None:
    """Bit for bit, with random weights; the model alone is far from it."""
    model, turns = build_model(name, seed=3), [SHIFTS[f"rotate{degrees}"] for degrees in (90, 180, 270)]
    plain, averaged = make_scorer([model], small_fashion), make_scorer([model], small_fashion, orbit=parse_orbit(orbit))
    upright = averaged(Shift())
    for turn in turns:
        np.testing.assert_array_equal(averaged(turn), upright)
        assert not np.allclose(plain(turn), plain(Shift()), atol=0.01)
    corrupted = Shift.parse("up4+fog:3"), Shift.parse("up4+fog:3+rotate90")
    np.testing.assert_array_equal(averaged(corrupted[1]), averaged(corrupted[0]))


def test_averages_are_those_of_the_chains(small_fashion: Dataset) -> None:
    """Two models at once, against the mean of the probabilities under each chain of shift and element."""
    models = [build_model("mlp", seed=1), build_model("cnn2", seed=2)]
    plain, orbit = make_scorer(models, small_fashion), parse_orbit("translate:1")
    received = make_scorer(models, small_fashion, orbit=orbit)(Shift.parse("gaussian_noise:2+rotate:20"))
    chains = [plain(Shift.parse(f"gaussian_noise:2+rotate:20+{element}")) for element in orbit.shifts]
    probabilities = np.array([[to_probabilities(scores) for scores in chain] for chain in chains])
    for of_one, mean in zip(received, probabilities.mean(axis=0), strict=True):
        np.testing.assert_allclose(to_probabilities(of_one), mean, atol=1e-6)

    sharpest = make_scorer(models, small_fashion, orbit=orbit._replace(sharpest=True))(
        Shift.parse("gaussian_noise:2+rotate:20")
    )
    for m, image in itertools.product(range(2), range(20)):
        entropies = [stats.entropy(element[m, image]) for element in probabilities]
        received = to_probabilities(sharpest[m, image : image + 1])[0]
        np.testing.assert_allclose(received, probabilities[np.argmin(entropies), m, image], atol=1e-6)


def test_both_kinds_of_record_average(small_fashion: Dataset) -> None:
    model, turned, orbit = build_model("mlp", seed=2), [Shift(), SHIFTS["rotate180"]], parse_orbit("c4")
    validation = Split(small_fashion.train.images[:100], small_fashion.train.labels[:100])
    short = evaluate(model, small_fashion, turned, orbit)
    temperature = calibrate(model, small_fashion, validation, orbit)
    full = evaluate_fully(model, small_fashion, turned, temperature, orbit)
    assert [record["accuracy"] for record in full] == [record["accuracy"] for record in short]
    assert full[1]["flip_rate"] == 0
    assert full[1]["calibrated"] == full[0]["calibrated"]


def test_scores_are_the_same_under_other_global_settings(fashion: Dataset) -> None:
    """Two calls of 500 images are the most that Keras makes under these settings."""
    test = Split(fashion.test.images[:1100], fashion.test.labels[:1100])
    some = Dataset(fashion.train, test, "some")
    model = build_model("cnn2", seed=3)

    def scores() -> list[NDArray[np.floating]]:
        return [make_scorer([model], some)(Shift.parse("up4+rotate:30"))[0], scorer.classify(model, test.images)]

    expected = scores()
    with other_settings() as settings:
        before = settings()
        received = scores()
        assert settings() == before
    for array, reference in zip(received, expected, strict=True):
        np.testing.assert_array_equal(array, reference)
