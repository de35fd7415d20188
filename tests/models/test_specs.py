from __future__ import annotations

from typing import Any

import pytest

from ood_fashion.errors import InvalidValueError
from ood_fashion.models.layer_specs import (
    Conv2D,
    GroupConv2D,
    GroupMaxPool,
    LiftingConv2D,
    MaxBlurPool2D,
    MaxPool2D,
    ZeroPad2D,
)
from ood_fashion.models.specs import MODELS, ModelSpec, describe
from ood_fashion.studies import assignment


@pytest.mark.parametrize("name", assignment.PARAMETERS)
def test_totals_are_the_documents(name: str) -> None:
    assert describe(name)["parameters"] == assignment.PARAMETERS[name]


def test_cnn3_layer_by_layer_as_the_document_counts_it() -> None:
    rows = describe("cnn3")["layers"]
    assert [(row["output_shape"], row["formula"], row["parameters"]) for row in rows] == [
        ([22, 22, 64], "(7*7*1+1)*64", 3_200),
        ([11, 11, 64], "", 0),
        ([10, 10, 128], "(2*2*64+1)*128", 32_896),
        ([5, 5, 128], "", 0),
        ([3200], "", 0),
        ([10], "(3200+1)*10", 32_010),
    ]


@pytest.mark.parametrize("name", MODELS)
def test_formulas_evaluate_to_the_counts(name: str) -> None:
    for row in describe(name)["layers"]:
        assert eval(row["formula"] or "0") == row["parameters"]


def test_pooling_drops_what_is_left_over() -> None:
    assert MaxPool2D(2).output_shape((11, 10, 3)) == (5, 5, 3)


def test_other_sizes_and_class_counts() -> None:
    rows = MODELS["mlp"].summary((8, 8, 1), 3)
    assert [row.parameters.value for row in rows] == [0, 65 * 128, 129 * 3]


def test_a_window_larger_than_its_input_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"conv2d: expected an input of at least 7x7 pixels. Received: 6x9"):
        Conv2D(1, 7).output_shape((6, 9, 1))
    with pytest.raises(InvalidValueError, match="Use larger images"):
        MODELS["cnn3"].summary((8, 8, 1))


def test_a_window_needs_an_image() -> None:
    with pytest.raises(InvalidValueError, match=r"\(height, width, channels\). Received: \(784,\)"):
        Conv2D(1, 7).output_shape((784,))


@pytest.mark.parametrize("name", MODELS)
def test_no_new_model_is_larger_than_the_assignments_last(name: str) -> None:
    assert name in assignment.PARAMETERS or describe(name)["parameters"] <= assignment.PARAMETERS["cnn3"]


def test_p4cnn_has_the_geometry_of_cnn3() -> None:
    rows = describe("p4cnn")["layers"]
    assert [row["output_shape"][0] for row in rows if row["parameters"]] == [22, 22, 10, 10, 1, 1, 10]
    assert [row["formula"] for row in rows if "conv" in row["layer"]] == ["7*7*1*16", "2*2*4*16*32", "5*5*4*32*16"]


@pytest.mark.parametrize(
    ("layers", "size", "message"),
    [
        ((MaxPool2D(2),), 27, r"max_pool2d_2: expected a map that its windows tile.*Received: 21x21, of which 1 rows"),
        ((MaxBlurPool2D(3),), 28, r"max_blur_pool2d_2: .* Received: 22x22, of which 2"),
        ((ZeroPad2D(2), MaxPool2D(3)), 28, r"max_pool2d_3: .* Received: 26x26"),
    ],
)
def test_maps_that_do_not_turn_exactly_are_refused(layers: tuple[Any, ...], size: int, message: str) -> None:
    spec = ModelSpec("", (LiftingConv2D(2, 7), *layers))
    with pytest.raises(InvalidValueError, match=message):
        spec.summary((size, size, 1))
    assert ModelSpec("", (Conv2D(2, 7), *layers)).summary((size, size, 1))


def test_p4cnn_names_the_size_that_does_not_fit() -> None:
    with pytest.raises(InvalidValueError, match=r"max_pool2d_4: .* Received: 21x21"):
        MODELS["p4cnn"].summary((27, 27, 1))


@pytest.mark.parametrize(("reflections", "order"), [(False, 4), (True, 8)])
def test_layers_on_the_group_need_a_map_on_it(reflections: bool, order: int) -> None:
    message = rf"a multiple of {order} channels\. Received: {order + 2}"
    with pytest.raises(InvalidValueError, match=f"group_conv2d: expected .* {message}"):
        GroupConv2D(2, 3, reflections).parameters((5, 5, order + 2))
    with pytest.raises(InvalidValueError, match=f"group_max_pool: expected .* {message}"):
        GroupMaxPool(reflections).output_shape((5, 5, order + 2))
