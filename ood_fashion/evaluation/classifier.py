"""Measuring any classifier on shifted images, by what gives its scores under a shift.

`score_callable` makes that of a function from arrays to arrays, `ood_fashion.evaluation.scorer` of Keras models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ood_fashion.data.dataset import CLASS_NAMES, Split
from ood_fashion.data.readers import describe_faulty
from ood_fashion.errors import DataError, InvalidValueError, ModelError
from ood_fashion.evaluation import baseline
from ood_fashion.evaluation.metrics import (
    are_scores,
    fit_temperature,
    measure,
    measure_accuracy,
    measure_calibration,
    to_logits,
    to_probabilities,
)
from ood_fashion.evaluation.results import AccuracyResult, ClassProbability, Metrics
from ood_fashion.shifts.shift import Shift

PIXEL_RANGES = ("0-1", "0-255")
OUTPUTS = ("auto", "probabilities", "logits", "classes")
"""What a classifier may be declared to give; "auto" looks at the values."""
_ROUNDING = 0.01
"""How far two decimals or half precision may carry a probability out of [0, 1]."""

Classifier = Callable[[NDArray[np.float32]], ArrayLike]
"""From images, float32 (n, height, width) in [0, 1], to scores (n, classes) or class labels (n,)."""

Scorer = Callable[[Shift], NDArray[Any]]
"""From a shift to a model's logits for the shifted images of a test set, (n, classes), or its class labels (n,)."""

Shifts = Shift | str | Iterable[Shift | str]


@overload
def evaluate(
    score: Scorer, test: Split, shifts: Shifts, *, full: Literal[True], temperature: float | None = None
) -> Sequence[Metrics]: ...
@overload
def evaluate(
    score: Scorer, test: Split, shifts: Shifts, *, full: bool = False, temperature: float | None = None
) -> Sequence[AccuracyResult]: ...
def evaluate(
    score: Scorer, test: Split, shifts: Shifts, *, full: bool = False, temperature: float | None = None
) -> Sequence[AccuracyResult]:
    """Measure a model's accuracy under each shift, by its scores of the images of `test`; or if `full` all metrics.

    These have `baseline.effective_robustness` where there is a baseline. The images as they are, are then scored first,
    and once. With a temperature, as `calibrate` finds it, the calibrated scores are measured beside those as they are.
    """
    chosen = read_shifts(shifts)
    if not full:
        return [measure_accuracy(str(shift), _largest(score(shift)), test.labels) for shift in chosen]
    unshifted = score(Shift())
    if unshifted.ndim == 1:
        raise ModelError("predict: expected scores (n, classes), for all metrics. Received: class labels (n,).")
    before, has_baseline = to_probabilities(unshifted), baseline.applies(test)
    in_domain = measure_accuracy("none", _largest(unshifted), test.labels).accuracy
    results = []
    for shift in chosen:
        logits = score(shift) if shift.steps else unshifted
        result = measure(str(shift), to_probabilities(logits), test.labels, before)
        if has_baseline:
            result = replace(result, **baseline.effective_robustness(str(shift), result.accuracy, in_domain))
        if temperature is not None:
            calibrated = measure_calibration(to_probabilities(logits, temperature), test.labels)
            result = replace(result, temperature=temperature, calibrated=calibrated)
        results.append(result)
    return results


def predict_classes(score: Scorer, shifts: Shifts) -> dict[str, NDArray[np.int64]]:
    """Return the classes that a model predicts, (n,), by the text form of the shift."""
    return {str(shift): _largest(score(shift)) for shift in read_shifts(shifts)}


def calibrate(score: Scorer, validation: Split) -> float:
    """Return the temperature of `metrics.fit_temperature` for a model that scores validation images as they are."""
    return fit_temperature(score(Shift()), validation.labels)


def read_shifts(shifts: Shifts) -> list[Shift]:
    """Return shifts as a list, from one or several of them or of their text forms."""
    several = [shifts] if isinstance(shifts, Shift | str) else list(shifts)
    if not several:
        raise InvalidValueError("`shifts`: expected one or more. Received: none.")
    return [Shift.parse(shift) if isinstance(shift, str) else shift for shift in several]


def _largest(scores: NDArray[Any]) -> NDArray[np.int64]:
    return scores if scores.ndim == 1 else np.argmax(scores, axis=1)


def score_callable(
    predict: Classifier, test: Split, *, outputs: str = "auto", batch_size: int = 500, decide_once: bool = True
) -> Scorer:
    """Make a scorer of any classifier: from a shift to what `read_outputs` makes of its answers.

    Args:
        predict: called on batches of images, float32 (n, height, width) in [0, 1]. It gives scores, (n, classes), of
            which the largest is the predicted class's, or the classes themselves, integers (n,).
        test: images (n, height, width), uint8 in 0-255 or floats in [0, 1], and the true classes, integers (n,).
        outputs: what `predict` gives, as in `read_outputs`.
        batch_size: images a call; no more than these are held shifted at a time.
        decide_once: with `outputs` "auto", find out from the scores under the first shift whether they are logits or
            probabilities, and take those under all others for the same.
    """
    _check(test)
    images, num_classes = test.images, int(test.labels.max()) + 1
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise InvalidValueError(f"batch_size: expected a whole number of 1 or more. Received: {batch_size!r}.")

    def score(shift: Shift) -> NDArray[Any]:
        nonlocal outputs
        given = []
        for start in range(0, len(images), batch_size):
            places = np.arange(start, min(start + batch_size, len(images)))
            given.append(_answers(predict, shift.apply(images[places], places)))
        if len(shapes := {array.shape[1:] for array in given}) > 1:
            raise ModelError(f"predict: expected as many scores for every image. Received: {sorted(shapes)} by batch.")
        answers = np.concatenate(given)
        scores = read_outputs(answers, num_classes, outputs)
        if decide_once and outputs == "auto" and scores.ndim == 2:
            outputs = output_kind(answers)
        return scores

    return score


def output_kind(scores: NDArray[Any]) -> str:
    """Say whether scores (n, classes) are probabilities or logits, from those of many images at once.

    They are "probabilities" if none is below 0 or above 1 but for rounding (0.01), as with softmax and sigmoids in
    every precision, whatever their sums; else "logits".
    """
    within = (scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING)
    return "probabilities" if within.all() else "logits"


def read_outputs(given: NDArray[Any], num_classes: int, outputs: str = "auto") -> NDArray[Any]:
    """Check what a classifier gives for a whole set of images; return the classes, int64 (n,), or logits (n, classes).

    Outputs are one of `OUTPUTS`. "auto" takes integers (n,) for classes, and scores (n, classes), of `num_classes` at
    least, for what `output_kind` says. Probabilities need not sum to 1: they are divided by their sum, and their logits
    are those of `metrics.to_logits`.
    """
    if outputs not in OUTPUTS:
        raise InvalidValueError(f"outputs: expected one of {', '.join(OUTPUTS)}. Received: {outputs!r}.")
    if given.ndim == 1 and np.issubdtype(given.dtype, np.integer) and outputs in ("auto", "classes"):
        return given.astype(np.int64)
    if given.ndim != 2 or outputs == "classes" or given.dtype.kind not in "iuf":
        wanted = {"auto": "scores (n, classes) or class labels, integers (n,)", "classes": "integers (n,)"}
        expected = wanted.get(outputs, f"{outputs}, (n, classes)")
        raise ModelError(f"model outputs: expected {expected}. Received: {given.dtype} {given.shape}.")
    if given.shape[1] < num_classes:
        raise ModelError(
            f"model outputs: expected scores for {num_classes} classes at least, those of the labels. "
            f"Received: {given.shape[1]}."
        )
    if faulty := int((~are_scores(given)).sum()):
        raise ModelError(
            f"model outputs: expected numbers. Received: NaN or infinity for {faulty:,} of {len(given):,} images."
        )
    kind = output_kind(given)
    if "logits" in (outputs, kind) and outputs != "probabilities":
        return given.astype(np.result_type(given.dtype, np.float32))
    if kind != "probabilities":
        raise ModelError(
            f"model outputs: expected probabilities, from 0 to 1. "
            f"Received: scores from {given.min():.4g} to {given.max():.4g}. Declare logits."
        )
    return to_logits(given)


def class_names(dataset: str | None, scores: int) -> tuple[str, ...]:
    """Name the classes that a model scores.

    A dataset is a name in `dataset.CLASS_NAMES`; None takes Fashion-MNIST where that has as many classes, else numbers.
    The labels of `emnist/letters` are 1 to 26. Models of it score 26 classes, from A on; 27, of which class 0 is none;
    or the 37 that TensorFlow Datasets declares, of which the last ten are none either, and have numbers for names.
    """
    names = CLASS_NAMES[dataset or "fashion_mnist"]
    fitting = {len(names): names}
    if dataset == "emnist/letters":
        fitting = {26: names[1:], 27: names, 37: (*names, *map(str, range(27, 37)))}
    if dataset is not None and scores not in fitting:
        *most, last = map(str, fitting)
        expected = f"{', '.join(most)} or {last}" if most else last
        raise InvalidValueError(
            f"`class_names` {dataset}: expected a model of {expected} classes. Received: one of {scores}. "
            "Leave it out to name classes by their numbers."
        )
    return fitting.get(scores, tuple(map(str, range(scores))))


def top_classes(
    probabilities: NDArray[np.floating[Any]], names: Sequence[str], count: int = 3
) -> list[tuple[ClassProbability, ...]]:
    """Return the most probable classes of each image by probabilities (n, classes), the first of equals first.

    With more or fewer names than there are classes, these are named by their numbers.
    """
    if len(names) != probabilities.shape[1]:
        names = [str(label) for label in range(probabilities.shape[1])]
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return [
        tuple(ClassProbability(int(k), names[k], float(row[k])) for k in best)
        for row, best in zip(probabilities, order, strict=True)
    ]


def _answers(predict: Classifier, batch: NDArray[np.float32]) -> NDArray[Any]:
    given = np.array(predict(batch))  # a copy: it may be an array that the next call writes to
    if given.dtype.name == "bfloat16":  # no type of NumPy's own
        given = given.astype(np.float32)
    if given.ndim not in (1, 2) or len(given) != len(batch):
        raise ModelError(
            f"predict: expected scores ({len(batch)}, classes) or class labels ({len(batch)},) for images "
            f"{batch.shape}. Received: an array {given.shape}."
        )
    return given


def _check(test: Split) -> None:
    """Check that images and labels are what `score_callable` takes."""
    pixels, labels = test
    is_float = np.issubdtype(pixels.dtype, np.floating)
    if pixels.ndim != 3 or not pixels.size or not (is_float or pixels.dtype == np.uint8):
        raise DataError(
            f"images: expected (n, height, width), uint8 or floats in [0, 1]. Received: {pixels.dtype} {pixels.shape}."
        )
    low, high = pixels.min(), pixels.max()
    if is_float and not 0 <= low <= high <= 1:
        received = describe_faulty(pixels) or f"{low:.4g} to {high:.4g}. Scale them"
        raise DataError(f"images: expected floats in [0, 1]. Received: {received}.")
    if not is_float and high == 1:
        raise DataError("images: expected uint8 in 0-255. Received: 0 to 1, almost black. Multiply them by 255.")
    if labels.shape != (len(pixels),) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise DataError(
            f"labels: expected {len(pixels):,} integers of 0 or more, one for each image. "
            f"Received: {labels.dtype} {labels.shape}."
        )
