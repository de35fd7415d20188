from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import DataError, InvalidValueError, ModelError
from ood_fashion.evaluation.classifier import evaluate, predict_classes, read_outputs, score_callable
from ood_fashion.evaluation.metrics import to_probabilities
from ood_fashion.evaluation.results import AccuracyResult
from ood_fashion.evaluation.scorer import make_scorer
from ood_fashion.evaluation.stats import wilson_interval
from ood_fashion.images import to_unit_range
from ood_fashion.models.build import build_model
from ood_fashion.shifts.shift import SHIFTS, TEST_SETS, Shift

KERNEL = np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32)


def linear(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(images.reshape(-1, 784) @ KERNEL)


def test_a_callable_is_measured_as_by_hand(small_fashion: Dataset) -> None:
    images, labels = small_fashion.test.images, small_fashion.test.labels
    turned = np.stack([np.rot90(image) for image in images]).astype(np.float32) / np.float32(255)
    correct = int((linear(turned).argmax(axis=1) == labels).sum())
    score = score_callable(linear, small_fashion.test)
    (result,) = evaluate(score, small_fashion.test, ["rotate:90"])
    assert result == AccuracyResult("rotate90", correct / 200, correct, 200, wilson_interval(correct, 200))
    np.testing.assert_array_equal(predict_classes(score, "rotate:90")["rotate90"], linear(turned).argmax(axis=1))


def test_a_keras_model_in_a_callable_has_the_pipelines_accuracies(small_fashion: Dataset) -> None:
    model = build_model("mlp", seed=2)
    shifts = [*(SHIFTS[name] for name in TEST_SETS), Shift.parse("up4+shot_noise:2")]
    test = small_fashion.test
    results = evaluate(score_callable(lambda batch: model(batch[..., None]), test), test, shifts)
    assert results == evaluate(make_scorer(model, small_fashion), test, shifts)


@pytest.mark.parametrize("batch_size", [1, 7, 199, 200, 1000])
def test_the_batch_size_changes_nothing(small_fashion: Dataset, batch_size: int) -> None:
    sizes = []

    def classify(images: NDArray[np.float32]) -> Any:
        assert images.dtype == np.float32
        assert images.shape[1:] == (28, 28)
        sizes.append(len(images))
        return np.argmax(linear(images), axis=1)

    test = small_fashion.test
    shifts: list[Shift | str] = ["up4", Shift(), "gaussian_noise:3"]  # the noise of an image depends on its place
    results = evaluate(score_callable(classify, test, batch_size=batch_size), test, shifts)
    assert max(sizes) <= batch_size
    in_unit_range: Any = test.images / np.float32(255)
    assert results == evaluate(score_callable(linear, Split(in_unit_range, test.labels)), test, shifts)


SOFTMAX = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])


def probabilities(scores: NDArray[Any], outputs: str = "auto") -> NDArray[np.float64]:
    return to_probabilities(read_outputs(scores, scores.shape[1], outputs))


def softmax(scores: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))


def test_probabilities_are_told_from_logits() -> None:
    np.testing.assert_allclose(probabilities(SOFTMAX), SOFTMAX, atol=1e-300)
    for scores in (SOFTMAX * 2, SOFTMAX - 1 / 3, np.array([[1, 2, 3]]), np.array([[0.0, -np.inf, 1.0]])):
        np.testing.assert_allclose(probabilities(scores), softmax(scores))
    # One image whose scores sum to 1 by chance does not make the others probabilities.
    chance = np.array([[0.5, 0.5], [2.0, 0.0]])
    np.testing.assert_allclose(probabilities(chance), softmax(chance))


PROBABILITIES: dict[str, Callable[[NDArray[np.float64]], NDArray[Any]]] = {
    "float64": softmax,
    "float32": lambda logits: softmax(logits).astype(np.float32),
    "float16": lambda logits: softmax(logits).astype(np.float16),
    "bfloat16": lambda logits: softmax(logits).astype(ml_dtypes.bfloat16),
    "two decimals": lambda logits: softmax(logits).round(2),
    "sigmoids": special.expit,
    "one-hot": lambda logits: np.eye(10, dtype=np.uint8)[logits.argmax(axis=1)],
    "a hair outside": lambda logits: softmax(logits) * (1 + 2e-7) - 1e-7,
}


@pytest.mark.parametrize("kind", PROBABILITIES)
def test_probabilities_are_taken_as_they_are_divided_by_their_sums(kind: str) -> None:
    """Of every precision, without a word about the outputs; the likelihood and the Brier score by hand."""
    rng = np.random.default_rng(1)
    given = PROBABILITIES[kind](4 * rng.normal(size=(500, 10)))
    labels = np.argmax(given, axis=1) if kind == "one-hot" else rng.integers(0, 10, 500)
    values = np.maximum(np.asarray(given, np.float64), 0)
    values /= values.sum(axis=1, keepdims=True)
    test = Split(np.full((500, 2, 2), 9, np.uint8), labels)
    (result,) = evaluate(score_callable(lambda batch: given, test), test, ["none"], full=True)
    assert result.nll == pytest.approx(-np.log(np.maximum(values[np.arange(500), labels], 1e-15)).mean(), abs=1e-9)
    assert result.brier == pytest.approx(((values - np.eye(10)[labels]) ** 2).sum(axis=1).mean(), abs=1e-9)
    assert result.correct == (np.argmax(given, axis=1) == labels).sum()


@pytest.mark.parametrize("outputs", ["auto", "logits"])
def test_what_is_given_is_decided_once(outputs: str, small_fashion: Dataset) -> None:
    """Logits of 0 to 5 for the images, and for what is moved out of sight logits that could be probabilities."""
    test = small_fashion.test
    bias = np.full(10, 0.1, np.float32) + np.eye(10, dtype=np.float32)[3] * 0.5

    def classify(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = bias + 5 * batch.reshape(-1, 784)[:, 280:290]
        assert (scores >= 0).all()
        return scores

    (result,) = evaluate(score_callable(classify, test, outputs=outputs), test, ["translate:28,0"], full=True)
    assert result.nll == pytest.approx(-np.log(softmax(bias[None])[0, test.labels]).mean(), rel=1e-6)
    with pytest.raises(ModelError, match=r"expected probabilities, from 0 to 1. Received: scores from 0\.1 to "):
        score_callable(classify, test, outputs="probabilities")(Shift())


def test_what_is_given_may_be_decided_for_each_shift(small_fashion: Dataset) -> None:
    """Probabilities for what is out of sight, then logits for the images: classes need no more."""
    bias = np.eye(10, dtype=np.float32)[3]

    def classify(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(bias + 5 * batch.reshape(-1, 784)[:, 280:290])

    test, shifts = small_fashion.test, ["translate:28,0", "none"]
    classes = predict_classes(score_callable(classify, test, decide_once=False), shifts)
    np.testing.assert_array_equal(classes["none"], classify(to_unit_range(test.images)).argmax(axis=1))
    with pytest.raises(ModelError, match="expected probabilities"):
        predict_classes(score_callable(classify, test), shifts)


def test_the_largest_of_nearly_equal_probabilities_stays_the_largest() -> None:
    """Two whose logarithms are equal: a sum of a forest's leaves may differ by its order."""
    low = next(p for p in np.linspace(0.3, 0.35, 1_000) if np.log(p) == np.log(np.nextafter(p, 1)))
    high = np.nextafter(low, 1)
    received = read_outputs(np.array([[low, high, 0.1], [high, low, 0.1]]), 3)
    assert received.argmax(axis=1).tolist() == [1, 0]
    assert to_probabilities(received).argmax(axis=1).tolist() == [1, 0]


def test_scores_are_not_kept_by_reference(small_fashion: Dataset) -> None:
    """A classifier may write into the same array at every call."""
    test = small_fashion.test
    one = np.empty((50, 10), np.float32)

    def classify(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        one[:] = linear(batch)
        return one

    reused, fresh = (score_callable(predict, test, batch_size=50) for predict in (classify, linear))
    received = evaluate(reused, test, ["none", "up4"])
    assert received == evaluate(fresh, test, ["none", "up4"])
    assert evaluate(reused, test, "up4") == received[1:]
    assert evaluate(reused, test, Shift.parse("up4")) == received[1:]


def test_all_metrics(small_fashion: Dataset) -> None:
    """Those of a Keras model, from a callable; without scores there are none."""
    model, shifts = build_model("mlp", seed=2), [Shift(), Shift.parse("rotate:30")]
    test = small_fashion.test
    results = evaluate(score_callable(lambda batch: model(batch[..., None]), test), test, shifts, full=True)
    expected = evaluate(make_scorer(model, small_fashion), test, shifts, full=True)
    for result, other in zip(results, expected, strict=True):
        assert result.correct == other.correct
        assert result.to_json().keys() == other.to_json().keys()
        for name in ("nll", "brier", "ece"):
            assert getattr(result, name) == pytest.approx(getattr(other, name), rel=1e-4)
    with pytest.raises(ModelError, match=r"expected scores \(n, classes\), for all metrics. Received: class labels"):
        evaluate(score_callable(lambda batch: np.argmax(linear(batch), axis=1), test), test, shifts, full=True)


def test_unshifted_images_are_scored_once_for_all_metrics(small_fashion: Dataset) -> None:
    images = small_fashion.test.images
    seen: list[NDArray[Any]] = []

    def predict(batch: NDArray[Any]) -> NDArray[Any]:
        seen.extend(batch)
        return linear(batch)

    score = score_callable(predict, small_fashion.test)
    results = evaluate(score, small_fashion.test, ["up4", "none", "rotate:360"], full=True)
    assert [result.shift for result in results] == ["up4", "none", "none"]
    assert sum(np.array_equal(pixels, images[0] / np.float32(255)) for pixels in seen) == 1
    assert len(seen) == 2 * len(images)


def test_what_is_declared_goes() -> None:
    np.testing.assert_allclose(probabilities(SOFTMAX, "logits"), softmax(SOFTMAX))
    np.testing.assert_allclose(probabilities(SOFTMAX, "probabilities"), SOFTMAX, atol=1e-300)
    np.testing.assert_allclose(probabilities(SOFTMAX / 2, "probabilities"), SOFTMAX, atol=1e-300)
    with pytest.raises(ModelError, match=r"expected probabilities, .* scores from 0 to 1\.8\. Declare logits"):
        read_outputs(SOFTMAX * 2, 3, "probabilities")
    with pytest.raises(ModelError, match=r"Received: scores from -0\.5 to 1\.5"):
        read_outputs(np.array([[1.5, -0.5]]), 2, "probabilities")
    with pytest.raises(ModelError, match=r"expected integers \(n,\). Received: float64 \(2, 3\)"):
        read_outputs(SOFTMAX, 3, "classes")
    with pytest.raises(ModelError, match=r"expected logits, \(n, classes\). Received: int64 \(2,\)"):
        read_outputs(np.array([1, 2]), 3, "logits")
    with pytest.raises(InvalidValueError, match="expected one of auto, probabilities, logits, classes"):
        read_outputs(SOFTMAX, 3, "scores")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64, np.float16, np.float64])
def test_logits_of_every_type_mean_the_same(dtype: type) -> None:
    votes = np.array([[3, 5, 2], [100, 0, 1]])
    received = read_outputs(votes.astype(dtype), 3, "logits")
    np.testing.assert_allclose(np.diff(received), np.diff(votes))


def test_a_class_may_be_ruled_out() -> None:
    scores = np.array([[-np.inf, 1.0, 0.0], [0.0, 1.0, 2.0]])
    test = Split(IMAGES[:2], LABELS[1:3])
    (result,) = evaluate(score_callable(lambda images: scores, test), test, ["none"], full=True)
    assert (result.accuracy, np.isfinite(result.nll)) == (1, True)


IMAGES, LABELS = np.zeros((4, 5, 6), np.uint8), np.array([0, 1, 2, 2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 2)), "scores for 3 classes at least, those of the labels. Received: 2"),
        (np.zeros((3, 3)), r"expected scores \(4, classes\) or class labels \(4,\) .* Received: an array \(3, 3\)"),
        (np.zeros((4, 5, 6)), r"Received: an array \(4, 5, 6\)"),
        (np.zeros(()), "Received: an array"),
        (np.zeros(4), r"expected scores \(n, classes\) or class labels, integers \(n,\). Received: float64 \(4,\)"),
        (np.array(["a", "b", "c", "d"]), r"Received: <U1 \(4,\)"),
        (np.full((4, 3), np.nan), "expected numbers. Received: NaN or infinity for 4 of 4 images"),
        (np.diag([1, np.inf, -np.inf, 1])[:, :3], "NaN or infinity for 1 of 4 images"),
        (np.full((4, 3), -np.inf), "NaN or infinity for 4 of 4 images"),
    ],
)
def test_what_is_no_prediction_is_refused(given: NDArray[Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        score_callable(lambda images: given, Split(IMAGES, LABELS))(Shift())


def test_scores_that_change_their_number_are_refused() -> None:
    test = Split(IMAGES[:3], LABELS[:3])
    score = score_callable(lambda images: np.zeros((len(images), 2 + len(images))), test, batch_size=2)
    with pytest.raises(ModelError, match=r"expected as many scores for every image. Received: \[\(3,\), \(4,\)\]"):
        score(Shift())


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((4, 30), np.uint8), LABELS, r"images: expected \(n, height, width\).* Received: uint8 \(4, 30\)"),
        (np.zeros((0, 5, 6), np.uint8), LABELS[:0], r"Received: uint8 \(0, 5, 6\)"),
        (np.zeros((4, 5, 6), int), LABELS, r"Received: int64 \(4, 5, 6\)"),
        (np.full((4, 5, 6), 16.0), LABELS, r"expected floats in \[0, 1\]. Received: 16 to 16"),
        (np.full((4, 5, 6), np.nan), LABELS, "Received: NaN or infinity for 120 of 120 pixels. Replace them."),
        (np.full((4, 5, 6), -np.inf), LABELS, "NaN or infinity for 120 of 120 pixels"),
        (np.ones((4, 5, 6), np.uint8), LABELS, "expected uint8 in 0-255. Received: 0 to 1, .* Multiply them by 255"),
        (IMAGES, LABELS[:3], r"labels: expected 4 integers of 0 or more.* Received: int64 \(3,\)"),
        (IMAGES, LABELS - 1, "expected 4 integers of 0 or more"),
        (IMAGES, np.eye(4), r"Received: float64 \(4, 4\)"),
    ],
)
def test_what_is_no_test_set_is_refused(images: NDArray[Any], labels: NDArray[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        score_callable(linear, Split(images, labels))


def test_other_arguments_are_checked() -> None:
    for batch_size in (0, 2.5, None, "2"):
        with pytest.raises(InvalidValueError, match=rf"^batch_size: expected a whole .* Received: {batch_size!r}\.$"):
            score_callable(linear, Split(IMAGES, LABELS), batch_size=batch_size)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="shift 'upp': unknown"):
        evaluate(score_callable(linear, Split(IMAGES, LABELS)), Split(IMAGES, LABELS), ["upp"])
