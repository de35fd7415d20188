from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import DataError, InvalidValueError, ModelError
from ood_fashion.evaluation import scorer as keras_evaluation
from ood_fashion.evaluation.classifier import evaluate, read_outputs
from ood_fashion.evaluation.metrics import to_probabilities
from ood_fashion.evaluation.stats import wilson_interval
from ood_fashion.models.build import build_model
from ood_fashion.shifts.shift import SHIFTS, TEST_SETS, Shift

KERNEL = np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32)


def linear(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(images.reshape(-1, 784) @ KERNEL)


def test_a_callable_is_measured_as_by_hand(small_fashion: Dataset) -> None:
    images, labels = small_fashion.test.images, small_fashion.test.labels
    turned = np.stack([np.rot90(image) for image in images]).astype(np.float32) / np.float32(255)
    correct = int((linear(turned).argmax(axis=1) == labels).sum())
    (record,) = evaluate(linear, images, labels, ["rotate:90"])
    expected = {"shift": "rotate90", "accuracy": correct / 200, "correct": correct, "n": 200}
    assert record == {**expected, "ci95": list(wilson_interval(correct, 200))}


def test_a_keras_model_in_a_callable_has_the_pipelines_accuracies(small_fashion: Dataset) -> None:
    model = build_model("mlp", seed=2)
    shifts = [*(SHIFTS[name] for name in TEST_SETS), Shift.parse("up4+shot_noise:2")]
    test = small_fashion.test
    records = evaluate(lambda batch: model(batch[..., None]), test.images, test.labels, shifts)
    assert records == keras_evaluation.evaluate(model, small_fashion, shifts)


@pytest.mark.parametrize("batch_size", [1, 7, 199, 200, 1000])
def test_the_batch_size_changes_nothing(small_fashion: Dataset, batch_size: int) -> None:
    sizes = []

    def classify(images: NDArray[np.float32]) -> Any:
        assert images.dtype == np.float32
        assert images.shape[1:] == (28, 28)
        sizes.append(len(images))
        return np.argmax(linear(images), axis=1)

    images, labels = small_fashion.test.images, small_fashion.test.labels
    shifts: list[Shift | str] = ["up4", Shift(), "gaussian_noise:3"]  # the noise of an image depends on its place
    records = evaluate(classify, images, labels, shifts, batch_size=batch_size)
    assert max(sizes) <= batch_size
    assert records == evaluate(linear, images / np.float32(255), labels, shifts)


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
    (record,) = evaluate(lambda batch: given, np.full((500, 2, 2), 9, np.uint8), labels, ["none"], full=True)
    assert record["nll"] == pytest.approx(-np.log(np.maximum(values[np.arange(500), labels], 1e-15)).mean(), abs=1e-9)
    assert record["brier"] == pytest.approx(((values - np.eye(10)[labels]) ** 2).sum(axis=1).mean(), abs=1e-9)
    assert record["correct"] == (np.argmax(given, axis=1) == labels).sum()


@pytest.mark.parametrize("outputs", ["auto", "logits"])
def test_what_is_given_is_decided_once(outputs: str, small_fashion: Dataset) -> None:
    """Logits of 0 to 5 for the images, and for what is moved out of sight logits that could be probabilities."""
    images, labels = small_fashion.test.images, small_fashion.test.labels
    bias = np.full(10, 0.1, np.float32) + np.eye(10, dtype=np.float32)[3] * 0.5

    def classify(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = bias + 5 * batch.reshape(-1, 784)[:, 280:290]
        assert (scores >= 0).all()
        return scores

    (record,) = evaluate(classify, images, labels, ["translate:28,0"], full=True, outputs=outputs)
    assert record["nll"] == pytest.approx(-np.log(softmax(bias[None])[0, labels]).mean(), rel=1e-6)
    with pytest.raises(ModelError, match=r"expected probabilities, from 0 to 1. Received: scores from 0\.1 to "):
        evaluate(classify, images, labels, ["none"], full=True, outputs="probabilities")


def test_the_largest_of_nearly_equal_probabilities_stays_the_largest() -> None:
    """Two whose logarithms are equal: a sum of a forest's leaves may differ by its order."""
    low = next(p for p in np.linspace(0.3, 0.35, 1_000) if np.log(p) == np.log(np.nextafter(p, 1)))
    high = np.nextafter(low, 1)
    received = read_outputs(np.array([[low, high, 0.1], [high, low, 0.1]]), 3)
    assert received.argmax(axis=1).tolist() == [1, 0]
    assert to_probabilities(received).argmax(axis=1).tolist() == [1, 0]


def test_scores_are_not_kept_by_reference(small_fashion: Dataset) -> None:
    """A classifier may write into the same array at every call."""
    images, labels = small_fashion.test.images, small_fashion.test.labels
    one = np.empty((50, 10), np.float32)

    def classify(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        one[:] = linear(batch)
        return one

    received = evaluate(classify, images, labels, ["none", "up4"], batch_size=50)
    assert received == evaluate(linear, images, labels, ["none", "up4"], batch_size=50)
    assert evaluate(classify, images, labels, "up4", batch_size=50) == received[1:]
    assert evaluate(classify, images, labels, Shift.parse("up4"), batch_size=50) == received[1:]


def test_all_metrics(small_fashion: Dataset) -> None:
    """Those of a Keras model, from a callable; without scores there are none."""
    model, shifts = build_model("mlp", seed=2), [Shift(), Shift.parse("rotate:30")]
    images, labels = small_fashion.test.images, small_fashion.test.labels
    records = evaluate(lambda batch: model(batch[..., None]), images, labels, shifts, full=True)
    expected = keras_evaluation.evaluate_fully(model, small_fashion, shifts)
    for record, other in zip(records, expected, strict=True):
        assert record["correct"] == other["correct"]
        assert record.keys() == other.keys()
        for name in ("nll", "brier", "ece"):
            assert record[name] == pytest.approx(other[name], rel=1e-4)
    with pytest.raises(ModelError, match=r"expected scores \(n, classes\), for all metrics. Received: class labels"):
        evaluate(lambda batch: np.argmax(linear(batch), axis=1), images, labels, shifts, full=True)


def test_unshifted_images_are_scored_once_for_all_metrics(small_fashion: Dataset) -> None:
    images, labels = small_fashion.test.images, small_fashion.test.labels
    seen: list[NDArray[Any]] = []

    def predict(batch: NDArray[Any]) -> NDArray[Any]:
        seen.extend(batch)
        return linear(batch)

    records = evaluate(predict, images, labels, ["up4", "none", "rotate:360"], full=True)
    assert [record["shift"] for record in records] == ["up4", "none", "none"]
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
    (record,) = evaluate(lambda images: scores, IMAGES[:2], LABELS[1:3], ["none"], full=True)
    assert (record["accuracy"], np.isfinite(record["nll"])) == (1, True)


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
        evaluate(lambda images: given, IMAGES, LABELS, ["none"])


def test_scores_that_change_their_number_are_refused() -> None:
    with pytest.raises(ModelError, match=r"expected as many scores for every image. Received: \[\(3,\), \(4,\)\]"):
        evaluate(
            lambda images: np.zeros((len(images), 2 + len(images))), IMAGES[:3], LABELS[:3], ["none"], batch_size=2
        )


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
        evaluate(linear, images, labels, ["none"])


def test_other_arguments_are_checked() -> None:
    for batch_size in (0, 2.5, None, "2"):
        with pytest.raises(InvalidValueError, match=rf"^batch_size: expected a whole .* Received: {batch_size!r}\.$"):
            evaluate(linear, IMAGES, LABELS, ["none"], batch_size=batch_size)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="shift 'upp': unknown"):
        evaluate(linear, IMAGES, LABELS, ["upp"])
