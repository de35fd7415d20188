"""Scores of Keras models on shifted images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from ood_fashion._tensorflow import default_settings, keras, tf
from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import InvalidValueError, ModelError, summarize_error
from ood_fashion.evaluation.classifier import OUTPUTS, Scorer, read_outputs
from ood_fashion.evaluation.metrics import are_scores, to_logits, to_probabilities
from ood_fashion.evaluation.model_io import find_outputs, with_batch_statistics, with_pixel_range
from ood_fashion.evaluation.pipelines import (
    EVALUATION_BATCH_SIZE,
    UNSHIFTED,
    Taps,
    shift_beforehand,
    shift_within,
    to_unit_range,
)
from ood_fashion.evaluation.sweeps import Row
from ood_fashion.evaluation.windows import WindowedModel
from ood_fashion.models.files import check_fit
from ood_fashion.models.layer_specs import Shape
from ood_fashion.shifts.orbits import Orbit
from ood_fashion.shifts.shift import Shift

_IMAGES_AT_A_TIME = 50 * EVALUATION_BATCH_SIZE
"""More are scored one part after another, so that a large set takes little more memory than its own."""

IDENTITY_ORBIT = Orbit()
"""The orbit of the image as it is."""
ImageScorer = Callable[[NDArray[np.float32]], NDArray[np.floating[Any]]]
"""From images, (n, height, width) in [0, 1], to logits (n, classes)."""
RowScorer = Callable[[Row], NDArray[np.floating[Any]]]
"""From a row of shifts to the logits of several models, (shifts, models, n, classes)."""
_OUTPUTS = [kind for kind in OUTPUTS if kind != "classes"]


def make_scorer(
    model: keras.Model,
    dataset: Dataset,
    split: Split | None = None,
    orbit: Orbit = IDENTITY_ORBIT,
    outputs: str = "auto",
) -> Scorer:
    """Prepare to score the same images under many shifts, (n, classes): `make_joint_scorer` of one model."""
    score = make_joint_scorer([model], dataset, split, orbit, outputs)
    return lambda shift: score(shift)[0]


def make_joint_scorer(
    models: Sequence[keras.Model],
    dataset: Dataset,
    split: Split | None = None,
    orbit: Orbit = IDENTITY_ORBIT,
    outputs: str = "auto",
) -> Scorer:
    """Prepare to score the same images under many shifts with several models, (models, n, classes).

    Each shift's images are made once for all models, batch by batch in a compiled function that is traced once for all
    shifts of a kind. The logits are float32 where all models give logits themselves, else float64.

    Args:
        models: each takes (n, height, width, 1), (n, height, width) or (n, height * width), floats in [0, 1] or
            integers in 0-255 (`model_io.with_pixel_range`), and gives logits or probabilities.
        dataset: tells the shape of the images and the number of classes.
        split: the images; the dataset's test set unless given.
        orbit: geometric shifts g that follow each shift. With more than one, the logits are those of the mean
            p(x) = 1/|G| * sum over g of softmax(f(g x)), or of the softmax(f(g x)) of lowest entropy. Over a group,
            such as the quarter turns, p does not change when x is moved by one of its elements: the same terms come in
            another order. They are added in order of size, so not a bit changes. Or another method of test time.
        outputs: "probabilities" or "logits", what the models give; "auto" asks `model_io.find_outputs` of each.
    """
    models, shapes, kinds = _prepare(models, dataset, outputs)
    given = (split or dataset.test).images
    if orbit.batch_statistics:
        models = list(map(with_batch_statistics, models))
    orbit_taps = [shift_beforehand(given[:0], element)[1] for element in orbit.shifts]
    combine = sharpest_probabilities if orbit.sharpest else mean_probabilities

    @tf.function(autograph=False)  # type: ignore[untyped-decorator] # TensorFlow gives it no types
    def score(images: tf.Tensor, taps: Any) -> tf.Tensor:
        pairs = zip(models, shapes, strict=True)
        scores = [model(shift_within(images, taps, shape), training=False) for model, shape in pairs]
        return tf.stack([tf.cast(one, tf.float32) for one in scores])

    def score_once(images: tf.Tensor, taps: Taps) -> NDArray[np.floating[Any]]:
        tensors = [tuple(map(tf.constant, pair)) for pair in taps]
        starts = range(0, len(images), EVALUATION_BATCH_SIZE)
        with _model_errors(models):
            batches = [score(images[start : start + EVALUATION_BATCH_SIZE], tensors) for start in starts]
        scores: NDArray[np.float32] = np.concatenate(batches, axis=1)
        return np.stack(list(map(_read_scores, models, scores, kinds)))

    @default_settings()
    def score_under(shift: Shift) -> NDArray[np.floating[Any]]:
        starts = range(0, len(given), _IMAGES_AT_A_TIME)
        return np.concatenate([score_some(shift, start) for start in starts], axis=1)

    def score_some(shift: Shift, start: int) -> NDArray[np.floating[Any]]:
        chosen = given[start : start + _IMAGES_AT_A_TIME]
        pixels, taps = shift_beforehand(chosen, shift, np.arange(start, start + len(chosen)))
        images = tf.constant(pixels)
        scores = [score_once(images, [*taps, *more]) for more in orbit_taps]
        if len(scores) == 1:
            return scores[0]
        probabilities = np.stack([[to_probabilities(one) for one in models] for models in scores]).astype(np.float32)
        return np.stack([to_logits(of_one) for of_one in combine(probabilities)])

    return score_under


def make_row_scorer(
    models: Sequence[keras.Model], dataset: Dataset, split: Split | None = None, orbit: Orbit = IDENTITY_ORBIT
) -> RowScorer:
    """Prepare to score the same images under rows of shifts with several models, (shifts, models, n, classes).

    The arguments are those of `make_joint_scorer`. Of a row of translations the images are made once, and so is what
    the models' first layers give for them (`windows.WindowedModel`): the scores equal those of the shifts one by one
    but for float32 rounding.
    """
    score_alone = make_joint_scorer(models, dataset, split, orbit)
    models, shapes, kinds = _prepare(models, dataset, "auto")
    given = (split or dataset.test).images
    windowed = list(map(WindowedModel, models, shapes))

    @tf.function(autograph=False)  # type: ignore[untyped-decorator] # TensorFlow gives it no types
    def score_windows(images: tf.Tensor, count: int) -> tf.Tensor:
        scores: list[tf.Tensor] = []
        for score in windowed:
            with tf.control_dependencies(scores[-1:]):  # so that the models do not take memory at once
                scores.append(score(to_unit_range(images), count))
        return tf.stack(scores)

    @default_settings()
    def score_row(row: Row) -> NDArray[np.floating[Any]]:
        if len(row.shifts) == 1 or orbit != IDENTITY_ORBIT:
            return np.stack(list(map(score_alone, row.shifts)))
        size = EVALUATION_BATCH_SIZE // 4  # the images are wider, and there are many windows
        with _model_errors(models):
            batches = [
                score_windows(tf.constant(row.wide_images(given[start : start + size])), len(row.shifts))
                for start in range(0, len(given), size)
            ]
        scores: NDArray[np.float32] = np.concatenate(batches, axis=2)
        read = [[_read_scores(m, one, kind) for one in of] for m, of, kind in zip(models, scores, kinds, strict=True)]
        return np.stack(read, axis=1)[::-1]  # the leftmost window is of the last shift

    return score_row


def _prepare(
    models: Sequence[keras.Model], dataset: Dataset, outputs: str
) -> tuple[list[keras.Model], list[Shape], list[str]]:
    """Return the models with their pixels scaled, the shape in which each takes an image, and what each gives."""
    if outputs not in _OUTPUTS:
        raise InvalidValueError(f"outputs: expected one of {', '.join(_OUTPUTS)}. Received: {outputs!r}.")
    models = [with_pixel_range(model) for model in models]
    or_more = not dataset.knows_all_classes
    shapes = [check_fit(model, dataset.image_shape, dataset.num_classes, or_more=or_more) for model in models]
    if len(widths := {model.output_shape[1] for model in models}) > 1:
        raise ModelError(
            f"models: expected as many scores from each. Received: {sorted(widths)}. Take them one by one."
        )
    with _model_errors(models):
        kinds = [
            find_outputs(model, shape) if outputs == "auto" else outputs
            for model, shape in zip(models, shapes, strict=True)
        ]
    return models, shapes, kinds


def _read_scores(model: keras.Model, scores: NDArray[np.float32], kind: str) -> NDArray[np.floating[Any]]:
    if not are_scores(scores).all():
        raise ModelError(f"model {model.name}: expected finite scores. Received: NaN or infinity.")
    return np.asarray(read_outputs(scores, 1, kind))


def make_image_scorer(model: keras.Model, dataset: Dataset, outputs: str = "auto") -> ImageScorer:
    """Prepare to score images that are shifted already: float32 (n, height, width) in [0, 1] to logits (n, classes).

    The model is compiled twice, for any number of images and, by XLA, for a single one.
    """
    (model,), (shape,), (kind,) = _prepare([model], dataset, outputs)

    def score(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(tf.reshape(images, (-1, *shape)), training=False), tf.float32)

    def signature(count: int | None) -> dict[str, Any]:
        return {"input_signature": [tf.TensorSpec((count, *dataset.image_shape), tf.float32)]}

    score_many = tf.function(score, **signature(None))
    # One image is little work: most of the time would go into starting a hundred kernels, one after another.
    by_xla = all(layer.supports_jit for layer in model.layers)
    score_one = tf.function(score, **signature(1), jit_compile=by_xla)

    @default_settings()
    def score_images(images: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        starts = range(0, len(images), EVALUATION_BATCH_SIZE)
        with _model_errors([model]):
            # Called itself, TensorFlow would take one function a model for one that is traced again and again.
            program = (score_one if len(images) == 1 else score_many).get_concrete_function()
            batches = [program(images[start : start + EVALUATION_BATCH_SIZE]) for start in starts]
        return _read_scores(model, np.concatenate(batches), kind)

    return score_images


@contextmanager
def _model_errors(models: Sequence[keras.Model]) -> Iterator[None]:
    """Raise whatever Keras and TensorFlow raise as a ModelError."""
    try:
        yield
    except Exception as error:  # a model may do anything, and fail at it in any way
        names = ", ".join(model.name for model in models)
        raise ModelError(
            f"model {names}: expected a model that TensorFlow can run. Received: {summarize_error(error)}"
        ) from error


def mean_probabilities(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average (elements, models, n, classes) over the elements, whatever their order, bit for bit."""
    return np.asarray(np.sort(probabilities, axis=0).mean(axis=0, dtype=np.float64), np.float32)


def sharpest_probabilities(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take from (elements, models, n, classes) the element of lowest entropy, for each model and image."""
    chosen = entr(probabilities).sum(axis=-1, keepdims=True).argmin(axis=0, keepdims=True)
    return np.asarray(np.take_along_axis(probabilities, chosen, axis=0)[0])


def classify(
    model: keras.Model, images: NDArray[np.uint8], temperature: float = 1.0, outputs: str = "auto"
) -> NDArray[np.float64]:
    """Return the probability of each class for each image, uint8 (n, height, width): (n, classes).

    The temperature is what `classifier.calibrate` found, `outputs` as for `make_scorer`.
    """
    check_fit(model, images.shape[1:], None)
    unlabelled = Split(images, np.zeros(len(images), np.int64))
    pictures = Dataset(Split(images[:0], unlabelled.labels[:0]), unlabelled, "pictures")
    return to_probabilities(make_scorer(model, pictures, outputs=outputs)(UNSHIFTED), temperature)
