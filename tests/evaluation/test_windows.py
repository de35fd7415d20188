from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from ood_fashion.data.dataset import Dataset
from ood_fashion.evaluation.scorer import IDENTITY_ORBIT, make_joint_scorer, make_row_scorer
from ood_fashion.evaluation.sweeps import MAX_ROW, Row, rotations, rows, translations
from ood_fashion.evaluation.windows import WindowedModel
from ood_fashion.models.build import build_model
from ood_fashion.models.specs import MODELS
from ood_fashion.shifts.orbits import parse_orbit
from ood_fashion.shifts.shift import Shift


def strided() -> keras.Model:
    parts = [
        layers.Conv2D(4, (3, 5), strides=(1, 3), activation="softmax"),
        *(layers.BatchNormalization(), layers.AveragePooling2D((2, 3), strides=(3, 2)), layers.LeakyReLU()),
        *(layers.Conv2D(6, 2, dilation_rate=2), layers.Activation("tanh"), layers.Dropout(0.5)),
        *(layers.Flatten(), layers.Dense(10)),
    ]
    return keras.Sequential([keras.Input((28, 28, 1)), *parts])


def along_columns() -> keras.Model:
    """Normalize columns by statistics of their own, so that a window's place matters."""
    parts = [layers.Conv2D(3, 3), layers.BatchNormalization(axis=2), layers.Flatten(), layers.Dense(10)]
    return keras.Sequential([keras.Input((28, 28, 1)), *parts])


def over_columns() -> keras.Model:
    """Activate by a function that sees all columns."""
    parts = [layers.Conv2D(3, 3, activation=lambda maps: maps - keras.ops.mean(maps, axis=2, keepdims=True))]
    return keras.Sequential([keras.Input((28, 28, 1)), *parts, layers.Flatten(), layers.Dense(10)])


def any_size() -> keras.Model:
    parts = [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(3), layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input((None, None, 1)), *parts, layers.Dense(10)])


def branched() -> keras.Model:
    image = keras.Input((28, 28, 1))
    maps = layers.Conv2D(3, 3)(image)
    maps = layers.Add()([maps, layers.Conv2D(3, 3, padding="same")(maps)])
    return keras.Model(image, layers.Dense(10)(layers.Flatten()(maps)))


def shared() -> keras.Model:
    """Use one convolution twice."""
    image, twice = keras.Input((28, 28, 1)), layers.Conv2D(1, 5)
    return keras.Model(image, layers.Dense(10)(layers.Flatten()(twice(twice(image)))))


def of_rows() -> keras.Model:
    return keras.Sequential([keras.Input((28 * 28,)), layers.Dense(10)])


def scattered(model: keras.Model) -> keras.Model:
    """Draw weights anew, so that biases and means are not 0."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if "float" in variable.dtype:
            variable.assign(rng.uniform(0.05, 0.15, variable.shape) * rng.choice([-1, 1, 1], variable.shape) ** 2)
    return model


OWN = {of.__name__: of for of in (strided, along_columns, over_columns, any_size, branched, shared, of_rows)}
SEEN_AT_ONCE = {
    **{"mlp": 0, "cnn2": 2, "cnn3": 4, "p4cnn": 12, "p4mcnn": 11, "p4mgap": 0, "p4mres": 0, "gapcnn": 0},
    **{"strided": 7, "along_columns": 1, "over_columns": 0, "any_size": 2, "branched": 0, "shared": 0, "of_rows": 0},
}
"""How many first layers see the whole image: up to one that pads, flattens, or treats places apart."""


@pytest.mark.parametrize("name", [*MODELS, *OWN])
def test_windows_are_scored_as_images_of_their_own(name: str) -> None:
    model = scattered(OWN[name]() if name in OWN else build_model(name))
    images = np.random.default_rng(1).random((3, 28, 28 + 6), np.float32)
    shape = (28 * 28,) if name == "of_rows" else (28, 28, 1)
    windowed = WindowedModel(model, shape)
    received = windowed(keras.ops.convert_to_tensor(images), 7)
    expected = [model(images[:, :, i : i + 28].reshape(-1, *shape)) for i in range(7)]
    assert len(np.unique(np.round(expected, 6), axis=0)) == 7
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert len(windowed._layers) == SEEN_AT_ONCE[name]


def test_rows_keep_the_order_and_end_where_a_translation_is_not_the_next() -> None:
    assert [len(row.shifts) for row in rows(translations(8).shifts)] == [17] * 17
    assert [len(row.shifts) for row in rows(translations(9).shifts)[:2]] == [MAX_ROW, 2]
    assert [len(row.shifts) for row in rows(rotations(90).shifts)] == [1] * 4
    texts = ["translate:-1,0", "none", "translate:1,0", "translate:2.5,0", "translate:3,0", "translate:4,1", "rotate90"]
    texts += ["translate:5,1", "translate:6,1+fog:1", "translate:7,1", "translate:6,1"]
    found = rows(map(Shift.parse, texts))
    assert [len(row.shifts) for row in found] == [3, 1, 1, 1, 1, 1, 1, 1, 1]
    assert [str(shift) for row in found for shift in row.shifts] == texts
    assert [str(row) for row in found[:2]] == ["translate:-1,0 to translate:1,0", "translate:2.5,0"]


@pytest.mark.parametrize(("least", "dy"), [(-8, 0), (-40, 3), (20, -30), (-3, 28)])
def test_the_windows_of_a_wide_image_are_the_translated_images(least: int, dy: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    (row,) = rows(Shift.parse(f"translate:{dx},{dy}") for dx in range(least, least + 17))
    wide = row.wide_images(images)
    for place, shift in enumerate(reversed(row.shifts)):
        np.testing.assert_array_equal(wide[:, :, place : place + 28], shift.apply_uint8(images))


@pytest.mark.parametrize(("method", "names"), [("", "p4cnn cnn3"), ("c4", "p4cnn cnn3"), ("batch-statistics", "p4cnn")])
def test_a_row_is_scored_as_its_shifts_are(small_fashion: Dataset, method: str, names: str) -> None:
    models, orbit = list(map(build_model, names.split())), parse_orbit(method) if method else IDENTITY_ORBIT
    (row,) = rows(Shift.parse(f"translate:{dx},-2") for dx in range(-2, 3))
    received = make_row_scorer(models, small_fashion, orbit=orbit)(row)
    alone = make_joint_scorer(models, small_fashion, orbit=orbit)
    expected = [alone(shift) for shift in row.shifts]
    assert received.shape == (5, len(models), 200, 10)
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
    single = make_row_scorer(models, small_fashion, orbit=orbit)(Row(row.shifts[:1]))
    np.testing.assert_array_equal(single[0], expected[0])
