"""Models for other tools: each file is read by the tool of its format, which scores images as the model does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

import ood_fashion as ood
from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import BackendError, ExportError, InvalidValueError, ModelError
from ood_fashion.models import exchange
from ood_fashion.models.build import build_model
from ood_fashion.models.specs import MODELS
from tests.conftest import Invoke

Scores = NDArray[np.float32]


def run_onnx(path: Path, images: Scores) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert given.type == "tensor(float)"
    return session.run(None, {given.name: images})[0]


def run_litert(path: Path, images: Scores) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    (given,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(given["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(output["index"])


def run_saved_model(path: Path, images: Scores) -> Any:
    return np.asarray(keras.layers.TFSMLayer(path, call_endpoint="serving_default")(images)["output_0"])


def run_keras(path: Path, images: Scores) -> Any:
    return np.asarray(keras.saving.load_model(path)(images))


RUN: dict[str, Callable[[Path, Scores], Any]] = {
    "onnx": run_onnx,
    "litert": run_litert,
    "saved_model": run_saved_model,
    "keras": run_keras,
}


def build(name: str) -> keras.Model:
    """A registered model with weights that make every layer count."""
    model, rng = build_model(name), np.random.default_rng(1)
    model.set_weights([rng.uniform(-0.2, 0.3, w.shape) + ("variance" in w.path) for w in model.weights])
    return model


@pytest.fixture(scope="module")
def images(small_fashion: Dataset) -> Scores:
    return np.asarray(small_fashion.test.images[..., None] / 255, np.float32)


USUAL = {"onnx": ("cnn3", "gapcnn", "p4cnn", "p4mres"), "litert": ("cnn3", "gapcnn", "p4mres"), "keras": ("p4mres",)}
"""Models that have all layers between them; the others are slow, and show the same."""


@pytest.mark.parametrize(
    ("file_format", "name"),
    [
        pytest.param(file_format, name, marks=() if name in USUAL.get(file_format, ()) else pytest.mark.slow)
        for file_format in RUN
        for name in MODELS
    ],
)
def test_every_model_scores_alike(file_format: str, name: str, images: Scores, tmp_path: Path) -> None:
    model = build(name)
    out = tmp_path / f"model{exchange.FORMATS[file_format].ending}"
    exported = ood.export(model, file_format, out=out)
    expected, received = np.asarray(model(images)), RUN[file_format](out, images)
    np.testing.assert_array_equal(received.argmax(axis=1), expected.argmax(axis=1))
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))
    assert json.loads(Path(f"{out}.json").read_text()) == exported.description
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, f"{out.name}.json"]


def test_the_description_says_what_the_model_takes(small_fashion: Dataset, tmp_path: Path) -> None:
    pixels = keras.Sequential([keras.Input((784,), dtype="uint8"), keras.layers.Dense(10, "softmax")])
    exported = ood.export(pixels, "keras", out=tmp_path / "a.keras", check=200, data=small_fashion)
    taken, given = exported.rows
    assert (taken.role, taken.dtype, taken.shape) == ("input", "float32", ("n", 784))
    assert (given.shape, given.values) == (("n", 10), "probabilities")
    assert exported.description["classes"] is None
    check = exported.description["check"]
    assert (check["images"], check["other_classes"]) == (200, 0)
    assert "checked on 200 test images: another class for 0, scores up to" in str(exported)
    again = ood.load_model(tmp_path / "a.keras")
    unit = small_fashion.test.images.reshape(200, 784) / np.float32(255)
    np.testing.assert_allclose(again.predict(unit, verbose=0), pixels.predict(unit * 255, verbose=0), atol=1e-6)


def test_an_onnx_file_has_the_description_in_it(tmp_path: Path) -> None:
    import onnxruntime

    exported = ood.export("mlp", out=tmp_path / "mlp.onnx", check=50)
    assert exported.description["check"]["largest_difference"] < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "mlp.onnx", providers=["CPUExecutionProvider"])
    described = json.loads(session.get_modelmeta().custom_metadata_map["ood_fashion"])
    assert described["classes"] == list(ood.pretrained("mlp").class_names)
    assert described == json.loads((tmp_path / "mlp.onnx.json").read_text())


def test_other_scores_are_refused(tmp_path: Path, images: Scores) -> None:
    model, chosen = build("mlp"), exchange.FORMATS["keras"]
    exchange.write_model(model, tmp_path / "a.keras", chosen, {})
    model.layers[-1].bias.assign(model.layers[-1].bias + 0.1)
    with pytest.raises(ModelError, match=r"a\.keras: expected the model's scores within 0\.0001\. Received: 0\.1 off"):
        exchange.largest_difference(model, tmp_path / "a.keras", chosen, images)
    (tmp_path / "a.keras").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"a\.keras: expected a file that can be read again\. Received: "):
        exchange.largest_difference(model, tmp_path / "a.keras", chosen, images)


def test_the_command(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("export", "mlp", "--format", "saved_model", "--check", 20)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("mlp_saved_model\n\n        type     shape           values\n")
    assert "\nclasses: T-shirt/top, Trouser, " in result.stdout
    assert (tmp_path / "mlp_saved_model/saved_model.pb").is_file()
    record = json.loads(invoke("export", "mlp", "--format", "keras", "--json").stdout)
    assert (record["path"], record["format"]) == ("mlp.keras", "keras")


def test_bad_input(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.keras").write_text("taken")
    for options, code, message in (
        ("absent.keras", 1, "absent.keras: expected a run folder, a model file, or one of cnn2, "),
        ("mlp --format keras --out b.keras --check 5 --data-dir no.npz", 1, "no.npz: expected a readable .npz file."),
        ("mlp --format keras --out a.h5", 2, "--out: expected a name that ends in .keras. Received: 'a.h5'."),
        ("mlp --format keras --out a.keras", 1, "a.keras: expected nothing there. Choose another path, or delete it."),
        ("mlp --format keras --out a.keras/b.keras", 1, "a.keras: expected a folder to write to. Received: "),
    ):
        result = invoke("export", *options.split())
        assert (result.exit_code, result.stdout) == (code, ""), options
        assert f"Error: {message}" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.keras"]
    with pytest.raises(InvalidValueError, match=r"`file_format`: expected one of onnx, litert, .*Received: 'h5'"):
        ood.export("mlp", "h5")
    with pytest.raises(InvalidValueError, match=r"`check`: expected a number of images, 1 or more\. Received: 0"):
        ood.export("mlp", check=0)
    with pytest.raises(InvalidValueError, match=r"`model`: expected a Keras model\. Received: a callable"):
        ood.export(lambda images: images[:, 0], "keras")
    with pytest.raises(ExportError, match="expected nothing there"):
        ood.export("mlp", "keras", out=tmp_path / "a.keras")
    monkeypatch.setattr(exchange, "find_spec", lambda package: None)
    with pytest.raises(BackendError, match=r"no onnx, no tf2onnx\. Install it: pip install 'ood-fashion\[export\]'"):
        ood.export("mlp")


def test_a_model_that_keras_cannot_write_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("no such operation")

    model = build("mlp")
    monkeypatch.setattr(model, "export", fail)
    with pytest.raises(ModelError, match=r"model mlp: expected one that Keras can write as tf_saved_model\. Received:"):
        exchange.write_model(model, tmp_path / "a", exchange.FORMATS["saved_model"], {})
    assert list(tmp_path.iterdir()) == []
