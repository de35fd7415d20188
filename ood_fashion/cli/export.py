"""The command that writes models for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ood_fashion.cli.options import (
    ModelType,
    data_dir_option,
    device_option,
    json_option,
    pixels_option,
    show_results,
    trust_option,
)
from ood_fashion.data.sources import Source


@click.command()
@click.argument("model", type=ModelType())
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["onnx", "litert", "saved_model", "keras"]),
    default="onnx",
    show_default=True,
    help="onnx, and --check of litert, need the extra `export`.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The file, or of saved_model the folder.  [default: MODEL.ENDING]"
)
@click.option(
    "--check",
    type=click.IntRange(min=1),
    metavar="N",
    help="Read it again with ONNX Runtime, LiteRT or Keras, and compare the scores of the first N test images.",
)
@pixels_option
@trust_option
@device_option
@data_dir_option
@json_option
def export(model: str, *, data_dir: Source | None, as_json: bool, **options: Any) -> None:
    """Write a model for other tools.

    MODEL is a run folder, a .keras file, a SavedModel folder, or the name of one of the package's own trained models.
    What the model takes and gives is written beside it, into PATH.json.

    Example: ood-fashion export robust --format onnx --check 1000
    """
    from ood_fashion.api.exporting import export

    show_results(export(model, data=data_dir, **options), as_json)
