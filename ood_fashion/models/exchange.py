"""Models in the formats of other tools: written by Keras's own exporters, and read by the tools that others use."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ood_fashion._tensorflow import default_settings, keras
from ood_fashion.errors import BackendError, ExportError, InvalidValueError, ModelError, RunError, summarize_error
from ood_fashion.files import make_folder, reason, temporary_name, write_json
from ood_fashion.models.files import load_file

Scores = Callable[[NDArray[np.float32]], NDArray[Any]]
"""From images, as the model takes them, to scores (n, classes)."""


def _read_onnx(path: Path) -> Scores:
    session = importlib.import_module("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])


def _read_litert(path: Path) -> Scores:
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter(str(path))
    run = interpreter.get_signature_runner()
    (name,) = run.get_input_details()
    return lambda images: np.asarray(next(iter(run(**{name: images}).values())))


def _read_with_keras(path: Path) -> Scores:
    model = load_file(path, trust=True)  # which this process has written
    return lambda images: np.asarray(model(images, training=False))


class Format(NamedTuple):
    """How Keras names a format, how its files end, what writes and reads it besides Keras, and what gives its scores.

    A format whose files have no ending is a folder.
    """

    keras_name: str
    ending: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    read: Callable[[Path], Scores]


FORMATS = {
    "onnx": Format("onnx", ".onnx", ("onnx", "tf2onnx"), ("onnxruntime",), _read_onnx),
    "litert": Format("litert", ".tflite", (), ("ai_edge_litert",), _read_litert),
    "saved_model": Format("tf_saved_model", "", (), (), _read_with_keras),
    "keras": Format("keras", ".keras", (), (), _read_with_keras),
}
"""The formats that a model can be written in, by the name that a user gives."""


def plan_export(path: Path, file_format: str, *, check: bool) -> Format:
    """Return the format of that name, before any work is done.

    Raises:
        InvalidValueError: there is no such format, or its files end otherwise.
        BackendError: a package that writes it, or to `check` one that reads it, is not installed.
        ExportError: something has the path already.
    """
    if file_format not in FORMATS:
        raise InvalidValueError(f"`file_format`: expected one of {', '.join(FORMATS)}. Received: {file_format!r}.")
    chosen = FORMATS[file_format]
    if chosen.ending and path.suffix != chosen.ending:
        raise InvalidValueError(f"`out`: expected a name that ends in {chosen.ending}. Received: {path.name!r}.")
    needed = (*chosen.writers, *(chosen.readers if check else ()))
    if missing := [package for package in needed if find_spec(package) is None]:
        raise BackendError(
            f"`file_format` {file_format}: expected {', '.join(needed)} to be installed. "
            f"Received: no {', no '.join(missing)}. Install it: pip install 'ood-fashion[export]'"
        )
    for taken in (path, describing(path)):
        if os.path.lexists(taken):
            raise ExportError(f"{taken}: expected nothing there. Choose another path, or delete it.")
    return chosen


def describing(path: Path) -> Path:
    """Return the path of the description beside an exported model."""
    return path.with_name(f"{path.name}.json")


def write_model(model: keras.Model, path: Path, chosen: Format, description: Mapping[str, Any]) -> None:
    """Write a model in a format, in one piece, and then its description beside it.

    An ONNX file has the description in it too, as the metadata `ood_fashion`.

    Raises:
        ModelError: Keras cannot write the model in this format.
        ExportError: the path cannot be written.
    """
    try:
        make_folder(path.parent)
        with tempfile.TemporaryDirectory(prefix=temporary_name(path.name), dir=path.parent) as folder:
            written = Path(folder, f"model{chosen.ending}")
            try:
                with warnings.catch_warnings(), default_settings():
                    warnings.simplefilter("ignore")
                    _save(model, written, chosen.keras_name)
            except Exception as error:  # Keras and its converters let through whatever a model makes them raise
                raise ModelError(
                    f"model {model.name}: expected one that Keras can write as {chosen.keras_name}. "
                    f"Received: {summarize_error(error)}"
                ) from error
            if chosen.ending == ".onnx":
                _describe_onnx(written, description)
            written.rename(path)
        write_json(describing(path), description)
    except OSError as error:
        raise ExportError(f"{path}: expected to be able to write it. Received: {reason(error)}.") from error
    except RunError as error:
        raise ExportError(str(error)) from error


def _save(model: keras.Model, path: Path, keras_name: str) -> None:
    if keras_name == "keras":
        model.save(path)
    else:
        model(
            np.zeros((1, *(side or 1 for side in model.input_shape[1:])), np.float32)
        )  # or tf2onnx's exporter refuses
        model.export(str(path), format=keras_name, verbose=False)


def _describe_onnx(path: Path, description: Mapping[str, Any]) -> None:
    onnx = importlib.import_module("onnx")
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {"ood_fashion": json.dumps(description)})
    onnx.save(graph, path)


_BATCH_SIZE = 500
TOLERANCE = 1e-4
"""How far scores of an exported model may lie from the model's own, as a share of the largest."""


def largest_difference(model: keras.Model, path: Path, chosen: Format, images: NDArray[np.float32]) -> dict[str, Any]:
    """Read an exported model with the tool of its format, and compare its scores with the model's.

    Args:
        model: what was exported.
        path: where to.
        chosen: its format.
        images: as the model takes them, (n, ...).

    Returns:
        The number of images, of how many the class is another, the largest difference between two scores, and the
        largest score.

    Raises:
        ModelError: the scores differ by more than `TOLERANCE` of the largest, or the file cannot be read.
    """
    batches = [images[start : start + _BATCH_SIZE] for start in range(0, len(images), _BATCH_SIZE)]
    try:
        read = chosen.read(path)
        received = np.concatenate([read(batch) for batch in batches])
    except Exception as error:  # each tool raises kinds of its own
        raise ModelError(
            f"{path}: expected a file that can be read again. Received: {summarize_error(error)}"
        ) from error
    own = np.concatenate([np.asarray(model(batch, training=False)) for batch in batches])
    largest, difference = float(np.abs(own).max()), float(np.abs(received - own).max())
    if not difference <= TOLERANCE * max(1.0, largest):
        raise ModelError(f"{path}: expected the model's scores within {TOLERANCE:g}. Received: {difference:.2g} off.")
    return {
        "images": len(images),
        "other_classes": int((received.argmax(axis=1) != own.argmax(axis=1)).sum()),
        "largest_difference": difference,
        "largest_score": largest,
    }
