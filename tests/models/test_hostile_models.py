"""`.keras` files made to harm: no code of theirs is run."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ood_fashion.models.build import build_model
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.model_files import load_model
from ood_fashion.runs.run import Run
from tests.hostile import (
    JSON,
    RARELY,
    check_refused,
    contained,
    damaged,
    places,
    put,
    read_or_refuse,
)


@pytest.fixture(scope="module")
def run(hostile_folder: Path) -> Run:
    """A run of the MLP, whose model file is written anew for every example."""
    run = Run.create(hostile_folder / "run", TrainConfig(model="mlp"), dataset={})
    run.model_path.touch()
    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The members of an honest .keras file."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    build_model("mlp").save(path)
    with ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def put_model(folder: Path, members: dict[str, Any], name: str = "hostile.keras") -> Path:
    path = folder / name
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in members.items():
            file.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return path


@RARELY
@given(data=st.data())
def test_models_with_other_settings(hostile_folder: Path, model: dict[str, bytes], data: st.DataObject) -> None:
    config = json.loads(model["config.json"])
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(places(config))))
        container[key] = data.draw(st.one_of(JSON, st.integers(0, 10**12)))
    path = put_model(hostile_folder, {**model, "config.json": config})
    read_or_refuse(lambda: load_model(path), hostile_folder)


@RARELY
@given(data=st.data())
def test_model_files_of_a_run_with_other_settings(run: Run, model: dict[str, bytes], data: st.DataObject) -> None:
    config = json.loads(model["config.json"])
    read = (config["config"]["layers"][0]["config"]["batch_shape"], config["config"]["layers"][-1]["config"])
    places_read = [*((read[0], index) for index in range(4)), (read[1], "units"), *places(config)]
    container, key = data.draw(st.sampled_from(places_read))
    container[key] = data.draw(st.one_of(JSON, st.integers(0, 10**12)))
    put_model(run.path, {**model, "config.json": config}, "model.keras")
    read_or_refuse(lambda: load_model(run.model_path), run.path)


@RARELY
@given(data=st.data())
def test_damaged_model_files_of_a_run(run: Run, model: dict[str, bytes], data: st.DataObject) -> None:
    put_model(run.path, {**model, "model.weights.h5": data.draw(damaged(model["model.weights.h5"]))}, "model.keras")
    read_or_refuse(lambda: load_model(run.model_path), run.path)


@RARELY
@given(data=st.data())
def test_damaged_models(hostile_folder: Path, model: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["config.json", "model.weights.h5", ""]))
    if name:
        path = put_model(hostile_folder, {**model, name: data.draw(damaged(model[name]))})
    else:
        path = put(hostile_folder, "hostile.keras", data.draw(damaged(put_model(hostile_folder, model).read_bytes())))
    read_or_refuse(lambda: load_model(path), hostile_folder)


def with_layer(model: dict[str, bytes], module: str, name: str, **config: Any) -> dict[str, Any]:
    whole = json.loads(model["config.json"])
    layer = {"module": module, "class_name": name, "config": config, "registered_name": None}
    whole["config"]["layers"][1] = layer
    return {**model, "config.json": whole}


def with_units(model: dict[str, bytes], units: int) -> dict[str, Any]:
    """Give a model with a huge last layer, in itself consistent."""
    whole = json.loads(model["config.json"])
    whole["config"]["layers"][-1]["config"]["units"] = units
    return {**model, "config.json": whole}


def with_kernel(model: dict[str, bytes], change: Callable[[h5py.Group], object]) -> dict[str, Any]:
    """Give a model whose first kernel is something else in the HDF5 file."""
    stream = io.BytesIO(model["model.weights.h5"])
    with h5py.File(stream, "r+") as file:
        variables = file["layers/dense/vars"]
        del variables["0"]
        change(variables)
    return {**model, "model.weights.h5": stream.getvalue()}


SECRET = Path("/etc/passwd")

HOSTILE_MODELS: dict[str, Callable[[dict[str, bytes]], dict[str, Any]]] = {
    "huge layer": lambda model: with_units(model, 10**8),
    "huger layer": lambda model: with_units(model, 10**15),
    "many layers": lambda model: with_layer(model, "keras", "Sequential", layers=[{"class_name": "ReLU"}] * 10**5),
    "nested": lambda model: {**model, "config.json": b'{"config":' * 10**5},
    "bomb config": lambda model: {**model, "config.json": b" " * 10**8},
    "bomb weights": lambda model: {**model, "model.weights.h5": bytes(10**8)},
    "traversing member": lambda model: {**model, "../outside": b"x"},
    "traversing asset": lambda model: {**model, "assets/../../outside": b"x"},
    "no weights": lambda model: {name: model[name] for name in ("config.json", "metadata.json")},
    "os.system": lambda model: with_layer(model, "os", "system", command="touch exploded"),
    "get_file": lambda model: with_layer(model, "keras.utils", "get_file", fname="x", origin="http://127.0.0.1:1"),
    "SavedModel": lambda model: with_layer(model, "keras.layers", "TFSMLayer", filepath="/", call_endpoint="serve"),
    "lambda": lambda model: with_layer(
        model, "keras.layers", "Lambda", function={"class_name": "__lambda__", "config": {"code": "4wAAAAA="}}
    ),
    "function": lambda model: with_layer(
        model, "keras.layers", "Activation", activation={"module": "os", "class_name": "function", "config": "system"}
    ),
    "vocabulary": lambda model: with_layer(model, "keras.layers", "StringLookup", vocabulary=str(SECRET)),
    "external link": lambda model: with_kernel(model, lambda g: g.__setitem__("0", h5py.ExternalLink(SECRET, "/x"))),
    "external storage": lambda model: with_kernel(
        model, lambda g: g.create_dataset("0", (784, 128), "f4", external=[(str(SECRET), 0, h5py.h5f.UNLIMITED)])
    ),
    "huge dataset": lambda model: with_kernel(
        model, lambda g: g.create_dataset("0", (10**6, 10**6), "f4", chunks=(1000, 1000))
    ),
    "soft link": lambda model: with_kernel(model, lambda g: g.__setitem__("0", h5py.SoftLink("/layers/dense/vars/0"))),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_MODELS)
def test_hostile_models(
    hostile_folder: Path, model: dict[str, bytes], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hostile_folder)
    path = put_model(hostile_folder, HOSTILE_MODELS[name](model))
    check_refused(lambda: load_model(path), hostile_folder, "expected a model that Keras can load safely")


WEIGHTS_ALONE = ("many layers", "os.system", "get_file", "SavedModel", "lambda", "function", "vocabulary")
"""Layers that are described are not made, since the run says which there are."""


@pytest.mark.parametrize("name", HOSTILE_MODELS)
def test_hostile_model_files_of_a_run(
    run: Run, model: dict[str, bytes], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.path)
    put_model(run.path, HOSTILE_MODELS[name](model), "model.keras")
    if name in WEIGHTS_ALONE:
        with contained(run.path):
            assert load_model(run.model_path).count_params() == 101_770
    else:
        check_refused(lambda: load_model(run.model_path), run.path, "expected the weights of mlp")


def test_a_lambda_is_not_loaded(hostile_folder: Path) -> None:
    keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Lambda(lambda x: x)]).save(hostile_folder / "lambda.keras")
    check_refused(lambda: load_model(hostile_folder / "lambda.keras"), hostile_folder, "Lambda")


def test_honest_models_are_not_refused(tmp_path: Path) -> None:
    layers = keras.layers
    image = keras.Input((28, 28, 1))
    both = layers.Add()([layers.SeparableConv2D(4, 3)(image), layers.Conv2D(4, 3, dtype="mixed_float16")(image)])
    scores = layers.Dense(10)(layers.SpectralNormalization(layers.Dense(5))(layers.Flatten()(both)))
    chain = [layers.RandomFlip(), layers.Dropout(0.5), layers.BatchNormalization(), layers.Flatten(), layers.Dense(10)]
    for made in (keras.Model(image, scores), keras.Sequential([keras.Input((28, 28, 1)), *chain])):
        made.compile("adam", "mse")
        made.save(tmp_path / "honest.keras")
        loaded = load_model(tmp_path / "honest.keras")
        for received, expected in zip(loaded.get_weights(), made.get_weights(), strict=True):
            np.testing.assert_array_equal(received, expected)
