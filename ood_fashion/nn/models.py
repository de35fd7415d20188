"""Keras models from specs, and model files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import keras
import numpy as np
import tensorflow as tf

from ood_fashion import layer_specs, specs
from ood_fashion.errors import ModelError
from ood_fashion.files import MOST_TEXT, MOST_UNPACKED, is_file, is_folder
from ood_fashion.nn.blur_pool import MaxBlurPooling2D
from ood_fashion.nn.group_layers import GroupBatchNormalization, GroupConv2D, GroupMaxPooling, LiftingConv2D


def _initialized(seed: int) -> dict[str, Any]:
    """Keras's default initialisers (Glorot and Bengio, AISTATS 2010, and zeros) with a seed of their own."""
    return {"kernel_initializer": keras.initializers.GlorotUniform(seed=seed), "bias_initializer": "zeros"}


def _linear(layer: layer_specs.LinearConv2D, name: str, seed: int) -> dict[str, Any]:
    """What all convolutions without bias and activation are built with."""
    options = {"filters": layer.filters, "kernel_size": layer.kernel_size, "name": name}
    return {**options, "use_bias": False, "data_format": "channels_last", **_initialized(seed)}


LAYERS: dict[type[layer_specs.Layer], Callable[[Any, str, int], keras.layers.Layer]] = {
    layer_specs.Flatten: lambda layer, name, seed: keras.layers.Flatten(name=name, data_format="channels_last"),
    layer_specs.Dense: lambda layer, name, seed: keras.layers.Dense(
        layer.units, activation="relu", name=name, **_initialized(seed)
    ),
    layer_specs.Logits: lambda layer, name, seed: keras.layers.Dense(layer.units, name=name, **_initialized(seed)),
    layer_specs.Conv2D: lambda layer, name, seed: keras.layers.Conv2D(
        layer.filters,
        layer.kernel_size,
        activation="relu",
        data_format="channels_last",
        name=name,
        **_initialized(seed),
    ),
    layer_specs.MaxPool2D: lambda layer, name, seed: keras.layers.MaxPooling2D(
        layer.pool_size, data_format="channels_last", name=name
    ),
    layer_specs.MaxBlurPool2D: lambda layer, name, seed: MaxBlurPooling2D(layer.pool_size, name=name),
    layer_specs.ZeroPad2D: lambda layer, name, seed: keras.layers.ZeroPadding2D(
        layer.padding, data_format="channels_last", name=name
    ),
    layer_specs.GlobalMaxPool2D: lambda layer, name, seed: keras.layers.GlobalMaxPooling2D(
        data_format="channels_last", name=name
    ),
    layer_specs.GlobalAveragePool2D: lambda layer, name, seed: keras.layers.GlobalAveragePooling2D(
        data_format="channels_last", name=name
    ),
    layer_specs.ReLU: lambda layer, name, seed: keras.layers.ReLU(name=name),
    layer_specs.BatchNorm: lambda layer, name, seed: keras.layers.BatchNormalization(name=name),
    layer_specs.LinearConv2D: lambda layer, name, seed: keras.layers.Conv2D(**_linear(layer, name, seed)),
    layer_specs.LiftingConv2D: lambda layer, name, seed: LiftingConv2D(
        reflections=layer.reflections, **_linear(layer, name, seed)
    ),
    layer_specs.GroupConv2D: lambda layer, name, seed: GroupConv2D(
        reflections=layer.reflections, **_linear(layer, name, seed)
    ),
    layer_specs.GroupBatchNorm: lambda layer, name, seed: GroupBatchNormalization(layer.reflections, name=name),
    layer_specs.GroupMaxPool: lambda layer, name, seed: GroupMaxPooling(layer.reflections, name=name),
}
"""What builds each kind of layer description, from the description, a name and a seed."""


def build_model(
    name: str,
    *,
    input_shape: layer_specs.Shape = specs.IMAGE_SHAPE,
    num_classes: int = specs.NUM_CLASSES,
    seed: int = 0,
) -> keras.Model:
    """Build a registered model.

    Args:
        name: a name in `specs.MODELS`.
        input_shape: (height, width, channels).
        num_classes: number of scores.
        seed: decides the initial weights.

    Returns:
        An uncompiled model from float32 (n, *input_shape) in [0, 1] to float32 logits (n, num_classes).

    Raises:
        InvalidValueError: the images are too small for the model.
    """
    spec = specs.MODELS[name]
    rows = spec.summary(input_shape, num_classes)
    seeds = np.random.SeedSequence(seed).generate_state(len(rows))
    layers = [
        LAYERS[type(layer)](layer, row.name, int(layer_seed))
        for layer, row, layer_seed in zip(spec.with_logits(num_classes), rows, seeds, strict=True)
    ]
    return keras.Sequential([keras.Input(input_shape, name="image"), *layers], name=name)


def compare_with_spec(name: str) -> list[str]:
    """Build a registered model and compare it, layer by layer, with what its spec says.

    Returns:
        One line per difference in a layer's name, output shape or parameter count; none when they agree.
    """
    description, model = specs.describe(name), build_model(name)
    expected = [(row["layer"], tuple(row["output_shape"]), row["parameters"]) for row in description["layers"]]
    received = [(layer.name, tuple(layer.output.shape[1:]), layer.count_params()) for layer in model.layers]
    expected.append(("all layers", tuple(model.output_shape[1:]), description["parameters"]))
    received.append(("all layers", tuple(model.output_shape[1:]), model.count_params()))
    return [
        f"{name}: expected {spec_row} from the formulas. Received: {keras_row} from Keras."
        for spec_row, keras_row in zip_longest(expected, received)
        if spec_row != keras_row
    ]


def load_model(path: Path) -> keras.Model:
    """Load a .keras file, without running code that it may bring along (`safe_mode`), or a SavedModel folder.

    A SavedModel is a graph of TensorFlow operations, some of which read and write files: it is not safe to run a
    stranger's. Its signature `serving_default` is used, which must have one input and one output.

    Raises:
        ModelError: the path is absent, of another format, not loadable without trusting it, or has no such signature.
    """
    if is_folder(path, ModelError):
        return _load_saved_model(path)
    if path.suffix != ".keras":
        raise ModelError(
            f"{path}: expected a .keras file or a SavedModel folder. Received: {path.suffix or 'no suffix'}; other "
            "formats can run code as they load. Save the model again with model.save('NAME.keras')."
        )
    if not is_file(path, ModelError):
        raise ModelError(f"{path}: expected a .keras file. Received: nothing there.")
    try:
        _check_archive(path)
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras lets through whatever a damaged or foreign file makes its readers raise
        raise ModelError(f"{path}: expected a model that Keras can load safely. Received: {_reason(error)}") from error


_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
_MOST_OBJECTS = 3_000


def _check_archive(path: Path) -> None:
    """Refuse a .keras file whose model is larger than the weights in it, for Keras makes a model before it reads them.

    Raises:
        ValueError: it holds other files, too much once unpacked, or not the weights of the model that it describes.
        Exception: zipfile, zlib and Keras raise many kinds on damaged files.
    """
    with ZipFile(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        if foreign := sorted(sizes.keys() - _MEMBERS):
            raise ValueError(f"an archive with {foreign[0]}, beside {', '.join(sorted(_MEMBERS))}")
        unpacked = sum(sizes.values())
        if unpacked > max(MOST_UNPACKED, path.stat().st_size) or sizes["config.json"] > MOST_TEXT:
            raise ValueError(f"{unpacked:,} bytes unpacked, {sizes['config.json']:,} of them config.json")
        config = json.loads(archive.read("config.json"))
    if (objects := _count_objects(config)) > _MOST_OBJECTS:
        raise ValueError(f"a model of {objects:,} objects, more than {_MOST_OBJECTS:,}")
    # What Keras notes of these variables, to make them later, it notes by thread.
    with ThreadPoolExecutor(1) as thread:
        declared = thread.submit(_declared_bytes, config).result()
    if declared > sizes["model.weights.h5"]:
        raise ValueError(f"a model of {declared:,} bytes, with {sizes['model.weights.h5']:,} bytes of weights")


def _count_objects(config: Any) -> int:
    if isinstance(config, dict):
        return ("class_name" in config) + sum(map(_count_objects, config.values()))
    return sum(map(_count_objects, config)) if isinstance(config, list) else 0


def _declared_bytes(config: Any) -> int:
    """Return the bytes that the variables of a model take, without making them."""
    config.pop("compile_config", None)  # an optimizer is not wanted, and would make its variables
    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    return sum(math.prod(variable.shape) * tf.as_dtype(variable.dtype).size for variable in model.variables)


def _load_saved_model(path: Path) -> keras.Model:
    if not is_file(path / "saved_model.pb", ModelError):
        raise ModelError(f"{path}: expected a SavedModel folder. Received: a folder without saved_model.pb.")
    try:
        signatures = tf.saved_model.load(path).signatures
    except Exception as error:  # TensorFlow lets through whatever its readers raise
        raise ModelError(f"{path}: expected a SavedModel. Received: {_reason(error)}") from error
    if _SIGNATURE not in signatures:
        raise ModelError(
            f"{path}: expected a signature {_SIGNATURE}. Received: {', '.join(signatures) or 'none'}. "
            "Save the model again with Keras's model.export(FOLDER)."
        )
    inputs = list(signatures[_SIGNATURE].structured_input_signature[1].values())
    outputs = signatures[_SIGNATURE].structured_outputs
    fits = [bool(spec.shape.rank) and spec.shape[0] is None and spec.dtype.is_floating for spec in inputs]
    if fits != [True] or len(outputs) != 1:
        given = ", ".join(f"{spec.dtype.name} {spec.shape}" for spec in inputs)
        raise ModelError(
            f"{path}: expected a signature from a batch of images, floats (n, ...), to one output. "
            f"Received: {given or 'no input'}, to {len(outputs)} outputs."
        )
    images = keras.Input(inputs[0].shape[1:], dtype=inputs[0].dtype.name)
    (scores,) = keras.layers.TFSMLayer(path, call_endpoint=_SIGNATURE)(images).values()
    return keras.Model(images, scores, name=path.resolve().name)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


_SIGNATURE = "serving_default"
_OTHER_DATA = "Name the model's data with --dataset or --data-dir, or take another model."


def picture_shape(model: keras.Model) -> tuple[int, int]:
    """Return the height and width of the images that a model takes; Fashion-MNIST's where it takes any.

    Raises:
        ModelError: it does not take grey images, or its pixels in a row make no square.
    """
    taken = getattr(model, "input_shape", None)
    height, width, _ = specs.IMAGE_SHAPE
    match taken if isinstance(taken, tuple) else None:
        case (_, rows, columns) | (_, rows, columns, 1):
            return rows or height, columns or width
        case (_, int(pixels)) if math.isqrt(pixels) ** 2 == pixels:
            return math.isqrt(pixels), math.isqrt(pixels)
    raise ModelError(
        f"model {model.name}: expected an input of grey images, (n, height, width, 1), (n, height, width) or "
        f"(n, size * size). Received: {taken}."
    )


def check_fit(
    model: keras.Model, image_shape: tuple[int, int], num_classes: int, *, or_more: bool = False
) -> layer_specs.Shape:
    """Check that a model takes images of this shape and scores this many classes, or more if `or_more`.

    Returns:
        The shape in which the model takes one image: (height, width, 1), (height, width) or (height * width,).

    Raises:
        ModelError: it takes or gives something else.
    """
    height, width = image_shape
    taken, given = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    scores = given[1] if isinstance(given, tuple) and len(given) == 2 else None
    if scores == num_classes or (or_more and scores is not None and scores > num_classes):
        for shape in ((height, width, 1), (height, width), (height * width,)):
            if (
                isinstance(taken, tuple)
                and len(taken) == len(shape) + 1
                and all(t in (None, s) for t, s in zip(taken[1:], shape, strict=True))
            ):
                return shape
    classes = f"{num_classes}{' or more' if or_more else ''}"
    raise ModelError(
        f"model {model.name}: expected an input of shape (n, {height}, {width}, 1), (n, {height}, {width}) or "
        f"(n, {height * width}) and an output of shape (n, {num_classes}), a score per class, as the data are: "
        f"{height}x{width} pixels, 1 channel, {classes} classes. Received: {taken} and {given}. {_OTHER_DATA}"
    )
