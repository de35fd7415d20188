"""Model files and SavedModel folders: loading them safely, and whether a model fits the data."""

from __future__ import annotations

import json
import math
import re
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import h5py

from ood_fashion._tensorflow import keras, tf
from ood_fashion.errors import ModelError, summarize_error
from ood_fashion.files import MAX_TEXT, MAX_UNPACKED, is_file, is_folder
from ood_fashion.models import layer_specs, specs
from ood_fashion.models.build import build_model

_SAFE_KERAS = (3, 15)
"""The first version whose safe mode has none of the holes that are known."""
_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
_MAX_OBJECTS = 3_000
_SIGNATURE = "serving_default"


def load_file(path: Path, *, trust: bool = False) -> keras.Model:
    """Load a .keras file, without running code that it may bring along (`safe_mode`), or a SavedModel folder.

    A SavedModel is a graph of TensorFlow operations, some of which read and write files: it is not safe to run a
    stranger's. Its signature `serving_default` is used, which must have one input and one output. A recurrent layer
    that keeps its state from batch to batch (`stateful`) is loaded as one that does not. With `trust`, a .keras file is
    loaded under Keras before 3.15 too, whose safe mode has known holes.

    Raises:
        ModelError: the path is absent, of another format, not loadable without trusting it, or has no such signature.
    """
    return _load_saved_model(path) if is_folder(path, ModelError) else _load_keras_file(path, trust)


def _load_keras_file(path: Path, trust: bool) -> keras.Model:
    if not is_file(path, ModelError):
        raise ModelError(f"{path}: expected a .keras file or a SavedModel folder. Received: nothing there.")
    if path.suffix != ".keras":
        raise ModelError(
            f"{path}: expected a .keras file or a SavedModel folder. Received: {path.suffix or 'no suffix'}; other "
            "formats can run code as they load. Save the model again with model.save('NAME.keras')."
        )
    if not trust and tuple(map(int, keras.__version__.split(".")[:2])) < _SAFE_KERAS:
        raise ModelError(
            f"{path}: expected Keras 3.15 or newer, to load a .keras file that no run wrote. Received: Keras "
            f"{keras.__version__}, whose safe mode has known holes. Upgrade Keras, or set trust if you know its author."
        )
    try:
        config = _check_archive(path)
        if config is None:
            return keras.models.load_model(path, compile=False, safe_mode=True)
        with TemporaryDirectory() as folder:
            plain = Path(folder, "model.keras")
            with ZipFile(path) as given, ZipFile(plain, "w") as archive:
                for name in given.namelist():
                    archive.writestr(name, json.dumps(config) if name == "config.json" else given.read(name))
            return keras.models.load_model(plain, compile=False, safe_mode=True)
    except Exception as error:  # Keras lets through whatever a damaged or foreign file makes its readers raise
        reason = summarize_error(error)
        if version := _keras_2_version(path):
            raise ModelError(
                f"{path}: expected a file of Keras 3. Received: one of Keras {version}: {reason} "
                "Load it with that version, and save it with model.export('FOLDER')."
            ) from error
        raise ModelError(f"{path}: expected a model that Keras can load safely. Received: {reason}") from error


def _keras_2_version(path: Path) -> str | None:
    """Return the version of Keras 2 that wrote a file; None for a file of another or a damaged one."""
    try:
        with ZipFile(path) as archive, archive.open("metadata.json") as file:
            version = str(json.loads(file.read(1_000))["keras_version"])
    except Exception:  # what is wrong with the file is being said already
        return None
    return version if version.startswith("2.") else None


def load_weights(name: str, path: Path) -> keras.Model:
    """Build a model of the registry with the weights in a .keras file, which any version of Keras may have written.

    Of the file's description only the images' shape and the number of classes are read.
    """
    try:
        with ZipFile(path) as archive:
            sizes = _check_members(archive, path)
            layers = json.loads(archive.read("config.json"))["config"]["layers"]
            input_shape, num_classes = tuple(layers[0]["config"]["batch_shape"][1:]), layers[-1]["config"]["units"]
            rows = specs.MODELS[name].summary(input_shape, num_classes)
            _check_size(4 * sum(row.parameters.value for row in rows), sizes)
            model = build_model(name, input_shape=input_shape, num_classes=num_classes)
            with h5py.File(BytesIO(archive.read("model.weights.h5"))) as file:
                _assign_weights(model, _hdf5_member(file, "layers", h5py.Group))
    except Exception as error:  # zipfile, zlib, h5py and Keras raise many kinds on damaged files
        raise ModelError(
            f"{path}: expected the weights of {name}. Received: {summarize_error(error)}. Train the run anew."
        ) from error
    return model


def _assign_weights(model: keras.Model, saved: h5py.Group) -> None:
    """Give a model the weights that Keras has saved: a group per layer, which bears its name, with numbered arrays.

    Names end in the layer's place. Layers are matched by their order among those with weights, which is what versions
    have in common.
    """
    groups = [_hdf5_member(_hdf5_member(saved, key, h5py.Group), "vars", h5py.Group) for key in saved]
    ordered = sorted(filter(len, groups), key=lambda group: int(group.attrs["name"].rpartition("_")[2]))
    layers = [layer for layer in model.layers if layer.weights]
    if len(layers) != len(ordered):
        raise ValueError(f"{len(ordered)} layers with weights, where it has {len(layers)}")
    for layer, group in zip(layers, ordered, strict=True):
        for index, variable in enumerate(layer.weights):
            array = _hdf5_member(group, str(index), h5py.Dataset)
            if (array.shape, array.dtype, array.external, array.is_virtual) != (variable.shape, "float32", None, False):
                raise ValueError(f"{array.dtype} {array.shape} for {variable.path}, which is float32 {variable.shape}")
            variable.assign(array[...])


def _hdf5_member(group: h5py.Group, name: str, kind: type) -> Any:
    """Return a member of a group, but follow no link, which may lead into another file."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink) or not isinstance(group[name], kind):
        raise ValueError(f"no {kind.__name__} {name} in {group.name} of its HDF5 file")
    return group[name]


def _check_archive(path: Path) -> Any:
    """Refuse a .keras file whose model is larger than the weights in it, for Keras makes a model before it reads them.

    Returns:
        The model's description to load instead of its own, which has the optimizers of models in the model or the
        states of recurrent layers; None where it has neither.
    """
    with ZipFile(path) as archive:
        sizes = _check_members(archive, path)
        config = json.loads(archive.read("config.json"))
    if (objects := _count_objects(config)) > _MAX_OBJECTS:
        raise ValueError(f"a model of {objects:,} objects, more than {_MAX_OBJECTS:,}")
    config.pop("compile_config", None)
    # What Keras notes of these variables, to make them later, it notes by thread.
    with ThreadPoolExecutor(1) as thread:
        _check_size(thread.submit(_declared_bytes, _without_state(config)).result(), sizes)
    plain = _without_state(config)
    return None if plain == config else plain


def _check_members(archive: ZipFile, path: Path) -> dict[str, int]:
    """Check what is in an archive, before anything is unpacked; return the bytes of each member."""
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    if foreign := sorted(sizes.keys() - _MEMBERS):
        raise ValueError(f"an archive with {foreign[0]}, beside {', '.join(sorted(_MEMBERS))}")
    unpacked = sum(sizes.values())
    if unpacked > max(MAX_UNPACKED, path.stat().st_size) or sizes["config.json"] > MAX_TEXT:
        raise ValueError(f"{unpacked:,} bytes unpacked, {sizes['config.json']:,} of them config.json")
    return sizes


def _check_size(declared: int, sizes: dict[str, int]) -> None:
    if declared > sizes["model.weights.h5"]:
        raise ValueError(f"a model of {declared:,} bytes, with {sizes['model.weights.h5']:,} bytes of weights")


def _without_state(config: Any) -> Any:
    """Leave out what makes variables that are no weights: optimizers, and states that outlast a batch."""
    if isinstance(config, dict):
        kept = {key: _without_state(value) for key, value in config.items() if key != "compile_config"}
        return {**kept, "stateful": False} if "stateful" in kept else kept
    return [_without_state(value) for value in config] if isinstance(config, list) else config


def _count_objects(config: Any) -> int:
    if isinstance(config, dict):
        return ("class_name" in config) + sum(map(_count_objects, config.values()))
    return sum(map(_count_objects, config)) if isinstance(config, list) else 0


def _declared_bytes(config: Any) -> int:
    """Return the bytes that the variables of a model take, without making them; Keras changes the description."""
    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    return sum(math.prod(variable.shape) * tf.as_dtype(variable.dtype).size for variable in model.variables)


def _load_saved_model(path: Path) -> keras.Model:
    if not is_file(path / "saved_model.pb", ModelError):
        raise ModelError(f"{path}: expected a SavedModel folder. Received: a folder without saved_model.pb.")
    try:
        signatures = tf.saved_model.load(path).signatures
    except Exception as error:  # TensorFlow lets through whatever its readers raise
        raise ModelError(f"{path}: expected a SavedModel. Received: {summarize_error(error)}") from error
    if _SIGNATURE not in signatures:
        raise ModelError(
            f"{path}: expected a signature {_SIGNATURE}. Received: {', '.join(signatures) or 'none'}. "
            "Save the model again with Keras's model.export(FOLDER)."
        )
    inputs = list(signatures[_SIGNATURE].structured_input_signature[1].values())
    outputs = signatures[_SIGNATURE].structured_outputs
    fits = [
        bool(spec.shape.rank) and spec.shape[0] is None and (spec.dtype.is_floating or spec.dtype.is_integer)
        for spec in inputs
    ]
    if fits != [True] or len(outputs) != 1:
        given = ", ".join(f"{spec.dtype.name} {spec.shape}" for spec in inputs)
        raise ModelError(
            f"{path}: expected a signature from a batch of images, floats or integers (n, ...), to one output. "
            f"Received: {given or 'no input'}, to {len(outputs)} outputs."
        )
    dtype = inputs[0].dtype
    images = keras.Input(inputs[0].shape[1:], dtype=dtype.name)
    # The layer casts floats to its own type, which is the global one unless it is told.
    own = dtype.name if dtype.is_floating else "float32"
    layer = keras.layers.TFSMLayer(path, call_endpoint=_SIGNATURE, name="saved_model", dtype=own)
    (scores,) = layer(images).values()
    # TensorFlow takes no other signs in the names of scopes, nor _ in front.
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", path.resolve().name).lstrip("_-") or "model"
    return keras.Model(images, scores, name=name)


def picture_shape(model: keras.Model) -> tuple[int, int]:
    """Return the height and width of the images that a model takes; Fashion-MNIST's where it takes any."""
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
    model: keras.Model, image_shape: tuple[int, int], num_classes: int | None, *, or_more: bool = False
) -> layer_specs.Shape:
    """Check that a model takes images of this shape and scores this many classes, `or_more`; None stands for any.

    Returns:
        The shape in which the model takes one image: (height, width, 1), (height, width) or (height * width,).
    """
    height, width = image_shape
    taken, given = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    scores = given[1] if isinstance(given, tuple) and len(given) == 2 else None
    if scores is not None and (num_classes in (None, scores) or (or_more and scores > (num_classes or 0))):
        for shape in ((height, width, 1), (height, width), (height * width,)):
            if (
                isinstance(taken, tuple)
                and len(taken) == len(shape) + 1
                and all(t in (None, s) for t, s in zip(taken[1:], shape, strict=True))
            ):
                return shape
    data, remedy = "", "Take another model."
    if num_classes is not None:
        classes = f"{num_classes}{' or more' if or_more else ''}"
        data = f", as the data are: {height}x{width} pixels, 1 channel, {classes} classes"
        remedy = "Name the model's data with `data`, or take another model."
    raise ModelError(
        f"model {model.name}: expected an input of shape (n, {height}, {width}, 1), (n, {height}, {width}) or "
        f"(n, {height * width}) and an output of shape (n, {num_classes or 'classes'}), a score per class{data}. "
        f"Received: {taken} and {given}. {remedy}"
    )
