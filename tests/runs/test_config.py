from __future__ import annotations

import json
import pickle
import re
from typing import Any

import attrs
import pytest

from ood_fashion.errors import InvalidValueError
from ood_fashion.runs.config import PROTOCOLS, SETTINGS, TrainConfig
from ood_fashion.studies.assignment import comparable_model, comparable_models


def test_the_defaults_are_the_assignments_protocol() -> None:
    config = TrainConfig()
    assert (config.train_size, config.val_size) == (10_000, 2_000)
    assert (config.batch_size, config.learning_rate, config.momentum) == (5, 0.01, 0)
    assert (config.epochs, config.patience) == (30, 3)


@pytest.mark.parametrize("sizes", PROTOCOLS.values())
def test_protocols_name_settings(sizes: dict[str, Any]) -> None:
    assert TrainConfig(**sizes).to_json().items() >= sizes.items()


def test_json_round_trip() -> None:
    config = TrainConfig(model="mlp", momentum=0.9, patience=None, split_seed=3, augment=("translate:4.0", "mirror"))
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config.augment == ("translate:4", "mirror")
    assert json.loads(json.dumps(config.to_json())) == config.to_json()
    assert [augmentation.most for augmentation in config.augmentations] == [4, 0]


def test_a_config_is_a_frozen_value() -> None:
    config = TrainConfig(model="mlp", augment=("mirror",))
    assert pickle.loads(pickle.dumps(config)) == config
    assert len({config, attrs.evolve(config), attrs.evolve(config, seed=2)}) == 2
    with pytest.raises(AttributeError):
        config.seed = 2  # type: ignore[misc] # which is refused
    assert not hasattr(config, "__dict__")
    with pytest.raises(
        InvalidValueError, match=r"`seed`: expected a whole number from 0 to 2,147,483,647\. Received: -1"
    ):
        attrs.evolve(config, seed=-1)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_docstring_says_all_of_a_setting(name: str) -> None:
    field = SETTINGS[name]
    said = " ".join(re.split(r"\n {8}(?=\w)|\n\n", (TrainConfig.__doc__ or "").partition(f" {name}: ")[2])[0].split())
    assert said.startswith(field.metadata["help"])
    assert f"; {field.default!r} unless given." in said
    assert all(choice in said for choice in field.metadata["rule"].choices)


def test_a_setting_rules_out_only_what_exists() -> None:
    for field in SETTINGS.values():
        for choice, others in field.metadata["requires"].items():
            assert choice in field.metadata["rule"].choices
            assert all(SETTINGS[name].metadata["rule"].holds(only) for name, only in others.items())


def test_what_an_implementation_can_train() -> None:
    assert TrainConfig(model="mlp", implementation="numpy", dtype="float64").dtype == "float64"
    with pytest.raises(InvalidValueError, match=r"`implementation` numpy: expected `model` 'mlp'\. Received: 'cnn3'"):
        TrainConfig(model="cnn3", implementation="numpy")
    with pytest.raises(
        InvalidValueError, match=r"`implementation` numpy: expected `augment` \(\)\. Received: \('mirror',\)"
    ):
        TrainConfig(model="mlp", implementation="numpy", augment=("mirror",))
    with pytest.raises(InvalidValueError, match=r"`implementation` numpy: expected `calibrate` False\. Received: True"):
        TrainConfig(model="mlp", implementation="numpy", calibrate=True)
    with pytest.raises(
        InvalidValueError, match=r"`implementation` keras: expected `dtype` 'float32'\. Received: 'float64'"
    ):
        TrainConfig(dtype="float64")
    with pytest.raises(InvalidValueError, match=r"`optimizer` adamw: expected `momentum` 0\.0\. Received: 0\.5"):
        TrainConfig(optimizer="adamw", momentum=0.5)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("model", ["resnet", 3, None]),
        ("implementation", ["torch", None]),
        ("dtype", ["float16"]),
        ("train_size", [0, -5, 1.5, None, True, 2**31]),
        ("val_size", [0]),
        ("split_seed", [-1, 0.5]),
        ("epochs", [0]),
        ("batch_size", [0, "5"]),
        ("optimizer", ["adam", None]),
        ("schedule", ["linear"]),
        ("weight_decay", [-0.1, float("inf"), None]),
        ("label_smoothing", [-0.1, 1.0, float("nan")]),
        ("learning_rate", [0, -0.1, float("nan"), float("inf"), 10**400, None]),
        ("momentum", [-0.1, 1.0, 1.5, float("nan")]),
        ("patience", [0, -1]),
        ("seed", [-1, 2**31, None]),
        ("calibrate", [1, None]),
        ("augment", ["mirror", ["flip"], [3], None, ("translate:4", "translate:1.5")]),
    ],
)
def test_values_out_of_range_are_refused(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(InvalidValueError, match=f"`{field}`: expected .* Received: "):
            TrainConfig(**{field: value})


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="unknown setting: 'colour'"):
        TrainConfig.from_json({"colour": "red"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "cnn3"),
        ({"seed": 9, "engine": "stock", "monitor_test": True, "calibrate": True}, "cnn3"),  # no part of a protocol
        ({"model": "mlp", "implementation": "numpy", "epochs": 200, "dtype": "float64"}, "mlp"),  # problem 3.1
        ({"model": "mlp", "implementation": "numpy"}, "mlp"),  # problem 3.5
        ({"model": "mlp", "epochs": 200}, None),
        ({"epochs": 1}, None),
        ({"train_size": 1_000}, None),
        ({"momentum": 0.9}, None),
        ({"split_seed": 1}, None),
        ({"augment": ("mirror",)}, None),
        (PROTOCOLS["full"], None),
        ({"model": "p4cnn"}, None),  # of which the assignment knows nothing
    ],
)
def test_the_assignments_figures_are_those_of_its_protocol(changes: dict[str, Any], expected: str | None) -> None:
    config = TrainConfig(**changes)
    assert comparable_model(config, genuine=True) == expected
    assert comparable_model(config, genuine=False) is None


def test_a_changed_study_has_no_figures_beside_it() -> None:
    assert comparable_models({}, genuine=True) == ["mlp", "cnn2", "cnn3"]
    assert comparable_models({"epochs": 1}, genuine=True) == comparable_models({}, genuine=False) == []
