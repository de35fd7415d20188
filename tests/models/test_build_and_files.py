from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import InvalidValueError, ModelError, summarize_error
from ood_fashion.evaluation.classifier import predict_classes
from ood_fashion.evaluation.scorer import classify, make_scorer
from ood_fashion.models import build, layer_specs, specs
from ood_fashion.models.build import build_model, compare_with_spec
from ood_fashion.models.files import check_fit, picture_shape
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.model_files import load_model
from ood_fashion.runs.run import Run
from ood_fashion.shifts.shift import Shift


@pytest.mark.parametrize("name", specs.MODELS)
def test_the_built_model_is_the_spec(name: str) -> None:
    assert compare_with_spec(name) == []


def test_a_difference_from_the_spec_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_too_many(layer: layer_specs.Dense, name: str, seed: int) -> keras.layers.Layer:
        return dense(dataclasses.replace(layer, units=layer.units + 1), name, seed)

    dense = build.LAYERS[layer_specs.Dense]
    patched = dict(build.LAYERS)
    patched[layer_specs.Dense] = one_too_many
    monkeypatch.setattr(build, "LAYERS", patched)
    differences = compare_with_spec("mlp")
    assert differences[0] == (
        "mlp: expected ('dense_2', (128,), 100480) from the formulas. Received: ('dense_2', (129,), 101265) from Keras."
    )
    assert ["101770" in line and "102565" in line for line in differences] == [False, False, True]


def test_every_layer_kind_can_be_built() -> None:
    used = {type(layer) for spec in specs.MODELS.values() for layer in spec.with_logits(10)}
    assert used <= set(build.LAYERS)


@pytest.mark.parametrize("name", specs.MODELS)
def test_the_seed_decides_the_weights(name: str) -> None:
    first, again, other = (build_model(name, seed=seed).get_weights() for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.ndim == 1 or not np.array_equal(a, c)  # biases start at 0


def test_initial_weights_follow_kerass_default() -> None:
    kernel = build_model("mlp").get_weights()[0]
    limit = np.sqrt(6 / (784 + 128))  # Glorot and Bengio 2010, equation 16
    assert np.abs(kernel).max() == pytest.approx(limit, rel=1e-3)
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=1e-2)


def test_images_too_small_for_the_model_are_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"at least 2x2 pixels\. Received: 1x1"):
        build_model("cnn3", input_shape=(8, 8, 1))


def save(model: keras.Model, path: Path) -> Path:
    model.save(path)
    return path


def test_a_saved_model_is_loaded(tmp_path: Path) -> None:
    model = build_model("cnn2", seed=5)
    loaded = load_model(save(model, tmp_path / "m.keras"))
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    np.testing.assert_array_equal(loaded(images), model(images))


def from_another_keras(path: Path) -> None:
    """Rewrite a model file as a later Keras might: each layer has an argument that this one does not know."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    described = json.loads(members["config.json"])
    for layer in described["config"]["layers"]:
        layer["config"]["argument_of_tomorrow"] = None
    members["config.json"] = json.dumps(described).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("name", specs.MODELS)
@pytest.mark.parametrize(("image_shape", "num_classes"), [((28, 28), 10), ((32, 40), 3)])
def test_a_runs_model_is_opened_whichever_keras_wrote_it(
    tmp_path: Path, name: str, image_shape: tuple[int, int], num_classes: int
) -> None:
    """All weights differ, so that none can be taken for another."""
    if name in ("p4cnn", "p4mcnn"):
        image_shape = (28, 28)  # the only one of the two that their windows tile
    run = Run.create(tmp_path / "run", TrainConfig(model=name), dataset={})
    model = build_model(name, input_shape=(*image_shape, 1), num_classes=num_classes)
    random = np.random.default_rng(0)
    model.set_weights([random.random(weight.shape, np.float32) for weight in model.get_weights()])
    model.save(run.model_path)
    by_keras = keras.models.load_model(run.model_path).get_weights()
    from_another_keras(run.model_path)
    with pytest.raises(TypeError, match="could not be deserialized"):
        keras.models.load_model(run.model_path)
    opened = load_model(run.model_path)
    assert (opened.input_shape, opened.output_shape) == ((None, *image_shape, 1), (None, num_classes))
    assert [layer.name for layer in opened.layers] == [layer.name for layer in model.layers]
    for received, of_keras, expected in zip(opened.get_weights(), by_keras, model.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
        np.testing.assert_array_equal(received, of_keras)


def test_a_model_file_beside_a_run_is_not_the_runs(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", TrainConfig(model="mlp"), dataset={})
    build_model("cnn2").save(run.path / "other.keras")
    assert load_model(run.path / "other.keras").name == "cnn2"
    build_model("cnn2").save(run.model_path)
    with pytest.raises(ModelError, match=r"keras: expected the weights of mlp\. Received: .*\. Train the run anew\."):
        load_model(run.model_path)


def test_files_that_are_no_safe_model_are_refused(tmp_path: Path) -> None:
    for name in ("m.h5", "m.hdf5", "m.pb", "m", "m.pkl"):
        (tmp_path / name).touch()
        with pytest.raises(ModelError, match=r"expected a .keras file or .* Received: .*model.save\('NAME.keras'\)"):
            load_model(tmp_path / name)
    with pytest.raises(ModelError, match="Received: nothing there"):
        load_model(tmp_path / "absent.keras")
    (tmp_path / "garbage.keras").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"can load safely\. Received: "):
        load_model(tmp_path / "garbage.keras")
    with zipfile.ZipFile(tmp_path / "empty.keras", "w"):
        pass
    with pytest.raises(ModelError, match=r"can load safely\. Received: "):
        load_model(tmp_path / "empty.keras")


def test_code_inside_a_model_file_is_not_run(tmp_path: Path) -> None:
    trap = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Lambda(lambda x: x), keras.layers.Flatten()])
    with pytest.raises(ModelError, match=r"can load safely\. Received: .*arbitrary code"):
        load_model(save(trap, tmp_path / "trap.keras"))


@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28), (784,)])
def test_a_saved_model_folder_is_loaded(tmp_path: Path, shape: tuple[int, ...]) -> None:
    layers = [keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    model = keras.Sequential([keras.Input(shape), *layers])
    model.export(tmp_path / "exported", verbose=False)
    loaded = load_model(tmp_path / "exported")
    assert (loaded.name, check_fit(loaded, (28, 28), 10)) == ("exported", shape)
    images = np.random.default_rng(0).random((3, *shape), np.float32)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), model(images), rtol=1e-5)


def export(folder: Path, *specs: tf.TensorSpec, outputs: int = 1) -> Path:
    """Save a function of these inputs without Keras."""

    def score(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        flat = tf.reshape(tf.cast(inputs[0], tf.float32), (-1, 784))
        return {f"output_{i}": flat[:, :10] for i in range(outputs)}

    signature = tf.function(score, input_signature=specs).get_concrete_function()
    tf.saved_model.save(tf.Module(), folder, signatures={"serving_default": signature})
    return folder


def test_a_saved_model_made_without_keras_is_loaded(tmp_path: Path) -> None:
    loaded = load_model(export(tmp_path / "plain", tf.TensorSpec((None, 784), tf.float32)))
    images = np.random.default_rng(0).random((3, 784), np.float32)
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), images[:, :10])


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("dtype", [tf.float64, tf.float32, tf.bfloat16, tf.float16, tf.uint8])
def test_signatures_of_every_type_are_run_under_every_policy(tmp_path: Path, dtype: tf.DType, policy: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 784)) / np.float32(255)
    folder = export(tmp_path / "model", tf.TensorSpec((None, 784), dtype))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        scores = keras.ops.convert_to_numpy(load_model(folder)(images))
    finally:
        keras.config.set_dtype_policy(before)
    expected = images * (255 if dtype is tf.uint8 else 1)
    np.testing.assert_allclose(scores, expected[:, :10], rtol=2**-8 if dtype is tf.bfloat16 else 2**-11)


@pytest.mark.parametrize("name", ["my model", "model (1)", "_x", "__", "-a", "häß", "a.b-c"])
def test_a_saved_model_may_have_any_name(tmp_path: Path, small_fashion: Dataset, name: str) -> None:
    folder = export(tmp_path / name, tf.TensorSpec((None, 784), tf.float32))
    images = small_fashion.test.images
    expected = images.reshape(-1, 784)[:, :10].argmax(axis=1)
    received = predict_classes(make_scorer(load_model(folder), small_fashion), "none")
    np.testing.assert_array_equal(received["none"], expected)
    assert classify(load_model(folder), images).shape == (200, 10)


def test_a_recurrent_model_forgets_what_it_has_seen(tmp_path: Path, small_fashion: Dataset) -> None:
    """One that keeps its states from batch to batch, of 50 images each, gives every image its own scores."""

    def made(batch: int | None, stateful: bool) -> keras.Model:
        within = keras.layers.Bidirectional(keras.layers.LSTM(3, stateful=stateful, return_sequences=True, seed=1))
        chain = [within, keras.layers.SimpleRNN(4, stateful=stateful, seed=2), keras.layers.Dense(10)]
        return keras.Sequential([keras.Input(batch_shape=(batch, 28, 28)), *chain])

    keeping, free = made(50, True), made(None, False)
    free.set_weights(keeping.get_weights())
    keeping(np.ones((50, 28, 28), np.float32))
    loaded = load_model(save(keeping, tmp_path / "m.keras"))
    for shift in ("none", "up4"):
        np.testing.assert_allclose(
            make_scorer(loaded, small_fashion)(Shift.parse(shift)),
            make_scorer(free, small_fashion)(Shift.parse(shift)),
        )
    with pytest.raises(ModelError, match=r"a model that TensorFlow can run. Received: .* batch size: 200$"):
        make_scorer(keeping, small_fashion)(Shift())


def test_a_model_that_holds_a_compiled_one_is_loaded(tmp_path: Path) -> None:
    image = keras.Input((28, 28, 1))
    trained = linear((28, 28, 1))
    trained.compile("adam", "mse")
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    trained.fit(images, np.zeros((3, 10)), verbose=0)
    for made in (keras.Model(image, trained(image)), keras.Sequential([image, keras.Sequential([trained])])):
        loaded = load_model(save(made, tmp_path / "m.keras"))
        np.testing.assert_array_equal(loaded(images), trained(images))


def test_a_file_of_keras_2_is_named_as_such(tmp_path: Path) -> None:
    """One with a setting that Keras 3 does not know; of Keras 3 such a file is a damaged one."""
    made = save(linear((784,)), tmp_path / "made.keras")
    for version, message in {
        "2.15.0": r"Received: one of Keras 2\.15\.0: .*old_setting.* with model.export\('FOLDER'\)\.$",
        "3.15.0": "can load safely. Received: .*old_setting",
    }.items():
        with zipfile.ZipFile(made) as archive, zipfile.ZipFile(tmp_path / "m.keras", "w") as other:
            config = json.loads(archive.read("config.json"))
            config["config"]["layers"][-1]["config"]["old_setting"] = 1
            other.writestr("config.json", json.dumps(config))
            other.writestr("metadata.json", json.dumps({"keras_version": version, "date_saved": "2024-01-01"}))
            other.writestr("model.weights.h5", archive.read("model.weights.h5"))
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path / "m.keras")


def test_a_long_error_is_summarized_by_both_ends() -> None:
    text = "What happened. " + 1_000 * "and then " + "\n\x1b[1mThe reason.\x1b[0m"
    summary = summarize_error(ValueError(text))
    assert summary.startswith("What happened.")
    assert summary.endswith("The reason.")
    assert len(summary) < 400
    assert [summarize_error(KeyError()), summarize_error(ValueError("a\n b"))] == ["KeyError", "a b"]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    flat = tf.TensorSpec((None, 784), tf.float32)
    (tmp_path / "folder").mkdir()
    (tmp_path / "damaged").mkdir()
    tf.saved_model.save(tf.Module(), tmp_path / "bare")
    (tmp_path / "damaged/saved_model.pb").write_bytes(b"no graph")
    for name, message in {
        "folder": "expected a SavedModel folder. Received: a folder without saved_model.pb",
        "damaged": "expected a SavedModel. Received: ",
        "bare": "expected a signature serving_default. Received: none",
        str(export(tmp_path / "bits", tf.TensorSpec((None, 784), tf.bool))): r"Received: bool \(None, 784\), to 1",
        str(
            export(tmp_path / "single", tf.TensorSpec((1, 784), tf.float32))
        ): r"floats or integers \(n, \.\.\.\), to one",
        str(export(tmp_path / "anything", tf.TensorSpec(None, tf.float32))): "Received: float32 <unknown>, to 1",
        str(export(tmp_path / "pair", flat, flat)): r"\(None, 784\), float32 \(None, 784\), to 1 outputs",
        str(export(tmp_path / "twins", flat, outputs=2)): "to 2 outputs",
    }.items():
        with pytest.raises(ModelError, match=message) as caught:
            load_model(tmp_path / name)
        assert "\n" not in str(caught.value)


def linear(input_shape: tuple[int | None, ...], units: int = 10) -> keras.Model:
    return keras.Sequential(
        [keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(units)], name="linear"
    )


@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28), (784,)])
def test_input_shapes_that_fit(shape: tuple[int, ...]) -> None:
    assert check_fit(linear(shape), (28, 28), 10) == shape


def test_open_sizes_fit() -> None:
    inputs = keras.Input((None, None, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    assert check_fit(keras.Model(inputs, keras.layers.Dense(10)(pooled)), (28, 28), 10) == (28, 28, 1)


@pytest.mark.parametrize("shape", [(32, 32, 1), (28, 28, 3), (783,), (28, 28, 1, 1)])
def test_input_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"model linear: expected an input of shape .* Received: \(None, "):
        check_fit(linear(shape), (28, 28), 10)


def test_other_outputs_do_not_fit() -> None:
    with pytest.raises(ModelError, match=r"shape \(n, 10\), a score per class.* Received: .* and \(None, 9\)"):
        check_fit(linear((784,), units=9), (28, 28), 10)
    maps = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Conv2D(10, 3)])
    with pytest.raises(ModelError, match="a score per class"):
        check_fit(maps, (28, 28), 10)
    inputs = [keras.Input((784,)), keras.Input((784,))]
    double = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Concatenate()(inputs)))
    with pytest.raises(ModelError, match="expected an input of shape"):
        check_fit(double, (28, 28), 10)


@pytest.mark.parametrize(
    ("input_shape", "expected"),
    [
        ((28, 28, 1), (28, 28)),
        ((8, 6), (8, 6)),
        ((49,), (7, 7)),
        ((None, None, 1), (28, 28)),
        ((None, 40, 1), (28, 40)),
    ],
)
def test_the_size_of_the_pictures_is_read_from_the_model(
    input_shape: tuple[int | None, ...], expected: tuple[int, int]
) -> None:
    inputs = keras.Input(input_shape)
    assert picture_shape(keras.Model(inputs, keras.layers.Identity()(inputs))) == expected


@pytest.mark.parametrize("input_shape", [(28, 28, 3), (50,), (None,), (4, 4, 4, 1), ()])
def test_other_inputs_are_no_pictures(input_shape: tuple[int | None, ...]) -> None:
    inputs = keras.Input(input_shape)
    with pytest.raises(ModelError, match=r"expected an input of grey images, .* Received: \(None,"):
        picture_shape(keras.Model(inputs, keras.layers.Identity()(inputs)))
    several = [keras.Input((28, 28)) for _ in range(3)]
    with pytest.raises(ModelError, match="expected an input of grey images"):
        picture_shape(keras.Model(several, keras.layers.Add()(several)))


def test_a_test_set_alone_may_have_fewer_classes_than_the_model() -> None:
    assert check_fit(linear((784,)), (28, 28), 9, or_more=True) == (784,)
    with pytest.raises(ModelError, match="28x28 pixels, 1 channel, 11 or more classes"):
        check_fit(linear((784,)), (28, 28), 11, or_more=True)


def test_all_that_differs_is_one_error() -> None:
    """Size, channels and classes."""
    expected = (
        r"as the data are: 28x28 pixels, 1 channel, 10 classes. Received: \(None, 32, 32, 3\) and \(None, 100\)\."
    )
    with pytest.raises(ModelError, match=expected):
        check_fit(linear((32, 32, 3), units=100), (28, 28), 10)
