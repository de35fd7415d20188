"""Writing models for other tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ood_fashion import __version__
from ood_fashion.api.data import Data, load_dataset
from ood_fashion.api.measuring import _select_device
from ood_fashion.api.opening import Model, open_keras_model
from ood_fashion.api.results import Results
from ood_fashion.errors import InvalidValueError
from ood_fashion.evaluation.records import JsonRecord
from ood_fashion.images import to_unit_range
from ood_fashion.reports import tables
from ood_fashion.reports.table import Table

PIXELS = "grey levels from 0 to 1: 8-bit ones divided by 255, what is shown light on a dark background"
SCORES = {
    "logits": "logits, of which softmax gives probabilities",
    "probabilities": "probabilities",
}


@dataclass(frozen=True)
class ExportedArray(JsonRecord):
    """What an exported model takes or gives: its type, its shape, and what the values are."""

    role: str
    dtype: str
    shape: tuple[Any, ...]
    values: str


@dataclass(frozen=True, repr=False)
class ExportedModel(Results):
    """A model that was written for another tool.

    Attributes:
        path: of the file or folder.
        description: what the model takes and gives, the names of its classes, and how a check came out.
    """

    path: str
    description: Mapping[str, Any]

    @property
    def record(self) -> dict[str, Any]:
        """The path and the description."""
        return {"path": self.path, **self.description}

    @property
    def rows(self) -> list[ExportedArray]:
        """An `ExportedArray` for what the model takes, and one for what it gives."""
        return [ExportedArray.from_json({"role": role, **self.description[role]}) for role in ("input", "output")]

    @property
    def tables(self) -> list[Table]:
        """What the model takes and gives, its classes, and how a check came out."""
        return [tables.export_table(self.path, self.description)]


def export(
    model: Model,
    file_format: str = "onnx",
    *,
    out: str | Path | None = None,
    check: int | None = None,
    data: Data = None,
    pixel_range: str | None = None,
    device: str = "auto",
    trust: bool = False,
) -> ExportedModel:
    """Write a model for another tool, with a description of what it takes and gives.

    Args:
        model: a run, a `keras.Model`, a path, or the name of a pretrained model.
        file_format: "onnx", "litert", "saved_model" or "keras".
        out: the file, or of "saved_model" the folder; in the working directory, named after the model, unless given.
            The description lies beside it, under its name with .json.
        check: read the file again with ONNX Runtime, LiteRT's interpreter or Keras, and compare its scores with the
            model's on the first `check` test images.
        data: whose test images `check` takes: what `load_dataset` takes or gives; Fashion-MNIST unless given.
        pixel_range: the pixels that a model of a file takes, as for `evaluate`; the exported model takes 0 to 1.
        device: "auto", "cpu" or "gpu".
        trust: as for `load_model`.

    Returns:
        The path and the description.

    Raises:
        InvalidValueError: there is no such format, or `out` ends otherwise.
        BackendError: what writes or reads the format is not installed.
        ExportError: something has the path already, or it cannot be written.
        ModelError: the model cannot be loaded or written, or the file scores otherwise.

    Examples:
        >>> import ood_fashion as ood
        >>> exported = ood.export("mlp", "keras", out=folder / "mlp.keras", check=100)
        >>> exported.description["input"]["shape"], exported.description["check"]["other_classes"]
        (['n', 28, 28, 1], 0)
    """
    if check is not None and check < 1:
        raise InvalidValueError(f"`check`: expected a number of images, 1 or more. Received: {check}.")
    _select_device(device, model)
    from ood_fashion.evaluation.model_io import find_outputs, with_pixel_range
    from ood_fashion.models import exchange
    from ood_fashion.models.files import check_fit, picture_shape

    opened = open_keras_model(model, pixel_range=pixel_range, trust=trust)
    chosen = exchange.FORMATS.get(file_format)
    stem = Path(opened.name).name if opened.run else Path(opened.name).stem
    path = Path(out) if out else Path(stem + (chosen.ending if chosen and chosen.ending else "_saved_model"))
    chosen = exchange.plan_export(path, file_format, check=check is not None)
    network = with_pixel_range(opened.model)
    shape = check_fit(network, picture_shape(network), None)
    description: dict[str, Any] = {
        "model": opened.name,
        "format": file_format,
        "input": {"dtype": "float32", "shape": ["n", *shape], "values": PIXELS},
        "output": {
            "dtype": "float32",
            "shape": ["n", network.output_shape[1]],
            "values": SCORES[find_outputs(network, shape)],
        },
        "classes": list(opened.run.class_names) if opened.run else None,
        "temperature": opened.run and opened.run.temperature,
        "ood_fashion": __version__,
    }
    if check is not None:
        images = load_dataset(data).with_test_images(check).test.images
        check_fit(network, images.shape[1:], None)
    exchange.write_model(network, path, chosen, description)
    if check is not None:
        pixels = to_unit_range(images).reshape(len(images), *shape)
        description["check"] = exchange.largest_difference(network, path, chosen, pixels)
    return ExportedModel(str(path), description)
