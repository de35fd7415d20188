from __future__ import annotations

import pytest

from ood_fashion import paper
from ood_fashion.errors import InvalidValueError
from ood_fashion.specs import MODELS, Conv2D, MaxPool2D, describe


@pytest.mark.parametrize("name", paper.PARAMETERS)
def test_totals_are_the_documents(name: str) -> None:
    assert describe(name)["parameters"] == paper.PARAMETERS[name]


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
