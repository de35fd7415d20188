"""Models of every kind of input and output, in memory and from files: each has the figures of the model that it is."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import InvalidValueError, ModelError, PixelRangeWarning
from ood_fashion.evaluation.classifier import calibrate, evaluate
from ood_fashion.evaluation.metrics import measure, predictions
from ood_fashion.evaluation.model_io import find_outputs, with_pixel_range
from ood_fashion.evaluation.results import Metrics
from ood_fashion.evaluation.scorer import classify, make_scorer
from ood_fashion.runs.model_files import load_model
from ood_fashion.shifts.orbits import parse_orbit
from ood_fashion.shifts.shift import Shift
from tests.conftest import Invoke

SHIFTS = ["none", "up4", "gaussian_noise:3"]
IMAGE = (28, 28, 1)


@pytest.fixture(scope="module")
def weights(small_fashion: Dataset) -> list[np.ndarray]:
    """A kernel and a bias that recognise some images: class means, as logits of a few units."""
    train = small_fashion.train
    means = np.stack([train.images[train.labels == k].mean(axis=0).ravel() / 255 for k in range(10)], axis=1)
    kernel = means - means.mean(axis=1, keepdims=True)
    return [0.2 * kernel.astype(np.float32), -0.1 * (means**2).sum(axis=0).astype(np.float32)]


def build(
    weights: list[np.ndarray], activation: str | None = "softmax", *before: Any, policy: str = "float32", **taken: Any
) -> keras.Model:
    last = layers.Dense(10, activation=activation, dtype=policy)
    model = keras.Sequential([keras.Input(IMAGE, **taken), *before, layers.Flatten(dtype=policy), last])
    last.set_weights(weights)
    return model


def hide_activation(model: keras.Model) -> keras.Model:
    """Give the same model with a last layer that does not say what it gives."""
    image = keras.Input(IMAGE)
    return keras.Model(image, layers.Average(dtype="float32")([model(image), model(image)]))


def exactly(weights: list[np.ndarray], dataset: Dataset, shift: str) -> Metrics:
    """Measure the softmax model in float64 NumPy."""
    pixels = Shift.parse(shift).apply(dataset.test.images).reshape(len(dataset.test), -1).astype(np.float64)
    scores = np.exp(pixels @ weights[0] + weights[1])
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    return measure(shift, probabilities, dataset.test.labels, probabilities)


@pytest.mark.parametrize("way", [lambda model: model, hide_activation], ids=["softmax", "hidden"])
@pytest.mark.parametrize("policy", ["float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_probabilities_of_every_precision(
    weights: list[np.ndarray], small_fashion: Dataset, policy: str, way: Callable[[keras.Model], keras.Model]
) -> None:
    model = way(build(weights, policy=policy))
    slack = 0.03 if "bfloat16" in policy else 0.005 if "float16" in policy else 1e-5
    for record in evaluate(make_scorer(model, small_fashion), small_fashion.test, SHIFTS, full=True):
        expected = exactly(weights, small_fashion, record.shift)
        assert record.nll == pytest.approx(expected.nll, abs=slack)
        assert record.brier == pytest.approx(expected.brier, abs=slack)
        assert record.correct == pytest.approx(expected.correct, abs=400 * slack)
        assert expected.nll < 2.3
    # An orbit of one element, or of equal answers, changes nothing.
    equal = parse_orbit("c4")._replace(shifts=(Shift(), Shift()))
    scorers = make_scorer(model, small_fashion), make_scorer(model, small_fashion, orbit=equal)
    plain, alone = (evaluate(score, small_fashion.test, "none") for score in scorers)
    assert alone == plain


def test_what_a_model_gives_is_read_from_its_last_activation(weights: list[np.ndarray]) -> None:
    for activation, expected in {"softmax": "probabilities", "sigmoid": "probabilities", None: "logits"}.items():
        model = build(weights, activation)
        image = keras.Input(IMAGE)
        assert find_outputs(model, IMAGE) == expected
        assert find_outputs(keras.Model(image, model(image)), IMAGE) == expected
        assert find_outputs(hide_activation(model), IMAGE) == expected
    raw = build(weights, None)
    for last in (layers.Softmax(), layers.Activation("softmax"), keras.ops.softmax, keras.ops.sigmoid):
        assert find_outputs(keras.Model(raw.inputs, last(raw.outputs[0])), IMAGE) == "probabilities"
    # The type of a last layer that does nothing else says nothing about the scores.
    assert find_outputs(keras.Model(raw.inputs, layers.Activation("linear")(raw.outputs[0])), IMAGE) == "logits"


def test_logits_may_look_like_probabilities(small_fashion: Dataset) -> None:
    """All from 0 to 1, with sums of 1 in some rows: a dense layer without activation gives logits nevertheless."""
    model = build([np.full((784, 10), 1e-4, np.float32), np.linspace(0, 0.19, 10, dtype=np.float32)], None)
    scores = model(small_fashion.test.images[..., None] / np.float32(255)).numpy()
    assert scores.min() >= 0
    assert scores.max() < 1
    assert np.isclose(scores.sum(axis=1), 1, atol=0.05).any()
    (record,) = evaluate(make_scorer(model, small_fashion), small_fashion.test, "none", full=True)
    by_hand = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(200), small_fashion.test.labels]
    assert record.nll == pytest.approx(by_hand.mean(), rel=1e-5)


def test_sigmoids_are_divided_by_their_sum(weights: list[np.ndarray], small_fashion: Dataset) -> None:
    model, images = build(weights, "sigmoid"), small_fashion.test.images
    values = model(images[..., None] / np.float32(255)).numpy().astype(np.float64)
    assert abs(values.sum(axis=1) - 1).min() > 0.1
    np.testing.assert_allclose(classify(model, images), values / values.sum(axis=1, keepdims=True), rtol=1e-5)


def test_what_is_said_of_the_outputs_goes(weights: list[np.ndarray], small_fashion: Dataset) -> None:
    model, some = build(weights), Split(small_fashion.test.images[:50], small_fashion.test.labels[:50])
    few = Dataset(small_fashion.train, some, "few")
    as_logits = [
        make_scorer(model, few, outputs="logits")(Shift()),
        np.log(classify(model, some.images, outputs="logits")),
    ]
    values = model(some.images[..., None] / np.float32(255)).numpy()
    for received in as_logits:
        np.testing.assert_allclose(np.diff(received), np.diff(values), atol=1e-5)
    assert predictions(make_scorer(model, few, outputs="logits")(Shift())).confidences.max() < 0.25
    scorers = (make_scorer(model, few, outputs=outputs) for outputs in ("logits", "auto"))
    declared, found = (calibrate(score, some) for score in scorers)
    assert declared < 0.5 < found
    with pytest.raises(ModelError, match=r"expected probabilities, .* Received: scores from .* Declare logits"):
        make_scorer(build(weights, None), few, outputs="probabilities")(Shift())
    with pytest.raises(InvalidValueError, match=r"outputs: expected one of auto, probabilities, logits. Received: 'cl"):
        make_scorer(model, few, outputs="classes")


RESCALINGS: dict[str, Callable[[Any], Any]] = {
    "1/255": layers.Rescaling(1 / 255),
    "-1 to 1": layers.Rescaling(1 / 127.5, offset=-1),
    "division": lambda image: image / 255,
    "product": lambda image: image * (1 / 255),
    "deviations": layers.Normalization(mean=72.9, variance=90.0**2),
}


def test_a_model_of_integers_gets_0_to_255(weights: list[np.ndarray], small_fashion: Dataset) -> None:
    """Interpolated pixels are rounded: under an angle a prediction or two may differ."""
    shifts = ["none", "up4", "rotate:30"]
    expected = evaluate(make_scorer(build(weights), small_fashion), small_fashion.test, shifts)
    for dtype in ("uint8", "int32"):
        model = build(weights, "softmax", layers.Rescaling(1 / 255), dtype=dtype)
        received = evaluate(make_scorer(model, small_fashion), small_fashion.test, shifts)
        assert received[:2] == expected[:2]
        assert received[2].correct == pytest.approx(expected[2].correct, abs=2)
        np.testing.assert_allclose(
            classify(model, small_fashion.test.images),
            classify(build(weights), small_fashion.test.images),
            rtol=1e-5,
        )
    assert with_pixel_range(model, "0-1")(np.full((1, *IMAGE), 0.7)).numpy() == pytest.approx(
        model(np.ones((1, *IMAGE), "int32")).numpy()
    )


@pytest.mark.parametrize("name", RESCALINGS)
def test_a_model_that_scales_pixels_down_is_noticed(
    weights: list[np.ndarray], tmp_path: Path, small_fashion: Dataset, name: str
) -> None:
    image = keras.Input(IMAGE)
    inner = build(weights)
    made = keras.Model(image, inner(RESCALINGS[name](image)))
    made.save(tmp_path / "m.keras")
    with pytest.warns(PixelRangeWarning, match="expected a model of pixels in 0-1, .* its pixel range is 0-255"):
        load_model(tmp_path / "m.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told, as_is = (load_model(tmp_path / "m.keras", pixel_range) for pixel_range in ("0-255", "0-1"))
        for model, factor in ((told, 255.0), (as_is, 1.0)):
            pixels = small_fashion.test.images[..., None] * np.float32(factor / 255)
            expected = int((made(pixels).numpy().argmax(axis=1) == small_fashion.test.labels).sum())
            assert evaluate(make_scorer(model, small_fashion), small_fashion.test, "none")[0].correct == expected


def test_other_layers_are_not_noticed(weights: list[np.ndarray]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for layer in (layers.Rescaling(2, offset=-1), layers.Normalization(mean=0.29, variance=0.1)):
            model = build(weights, "softmax", layer)
            assert with_pixel_range(model) is model
    with pytest.raises(InvalidValueError, match=r"pixel_range: expected one of 0-1, 0-255, or None. Received: '255'"):
        with_pixel_range(model, "255")


@pytest.mark.filterwarnings("default::ood_fashion.errors.PixelRangeWarning")
def test_the_command_line_can_say_both(
    invoke: Invoke, weights: list[np.ndarray], small_fashion: Dataset, tmp_path: Path
) -> None:
    build(weights, "softmax", layers.Rescaling(1 / 255)).save(tmp_path / "m.keras")
    build(weights).save(tmp_path / "plain.keras")
    np.savez(tmp_path / "few.npz", x_test=small_fashion.test.images, y_test=small_fashion.test.labels)
    data = ("--data-dir", "few.npz", "--json")

    def measure(*arguments: str) -> tuple[Any, list[str]]:
        done = invoke(*arguments, *data)
        assert done.exit_code == 0, done.stderr
        notes = [line for line in done.stderr.splitlines() if line.startswith("Note: ")]
        return json.loads(done.stdout)["results"], notes

    plain, none = measure("evaluate", "--model-file", "plain.keras", "--metrics", "all")
    dark, note = measure("evaluate", "--model-file", "m.keras", "--metrics", "all")
    told, quiet = measure("evaluate", "--model-file", "m.keras", "--metrics", "all", "--pixels", "0-255")
    assert (len(none), len(note), len(quiet)) == (0, 1, 0)
    assert note[0].startswith("Note: model sequential")
    assert told[0]["correct"] == plain[0]["correct"] > dark[0]["correct"]
    logits, _ = measure("evaluate", "--model-file", "plain.keras", "--metrics", "all", "--outputs", "logits")
    assert logits[0]["correct"] == plain[0]["correct"]
    assert logits[0]["nll"] > plain[0]["nll"] + 0.1
    swept, quiet = measure(
        "sweep", "rotate", "--step", "360", "--quiet", "--model-file", "m.keras", "--pixels", "0-255"
    )
    assert (swept[0]["correct"], quiet) == (plain[0]["correct"], [])
    other, note = measure("sweep", "rotate", "--step", "360", "--quiet", "--model-file", "m.keras")
    assert (other[0]["correct"], len(note)) == (dark[0]["correct"], 1)
    same, quiet = measure("compare", "m.keras", "plain.keras", "--shift", "none", "--pixels", "0-255")
    assert same[0]["accuracy_b"] < same[0]["accuracy_a"]  # the option is for both files
    assert quiet == []
    done = invoke("evaluate", "--model", "mlp", "--pixels", "0-255")
    assert (done.exit_code, "--pixels and --outputs need --model-file" in done.stderr) == (2, True)
