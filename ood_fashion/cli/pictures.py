"""The command that classifies picture files."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from ood_fashion.cli.base import ModelFile, device_option, json_option, model_file_option, open_model, run_option, show
from ood_fashion.cli.process import say
from ood_fashion.datasets import CLASS_NAMES
from ood_fashion.errors import DataError


@click.command()
@click.argument("paths", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@run_option
@model_file_option
@click.option(
    "--dataset",
    type=click.Choice(list(CLASS_NAMES)),
    help="What the classes of --model-file are named after. A run knows its own.  "
    "[default: fashion_mnist, or numbers where there are not ten]",
)
@device_option
@json_option
def predict(
    paths: tuple[Path, ...],
    *,
    run_dir: Path | None,
    model_file: ModelFile | None,
    dataset: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Say what PNG or JPEG pictures show.

    IMAGE is a file or a folder of them; what cannot be read in a folder is passed over. A picture of the model's own
    size is taken as it is; any other is trimmed, made grey, and resized, and a light background is made black. What was
    done is said on standard error.

    Example: ood-fashion predict shoe.jpg photos/
    """
    from ood_fashion import pictures, tables
    from ood_fashion.evaluation import class_names, top_classes

    model, name, run, outputs = open_model(run_dir, model_file, device)
    from ood_fashion.nn import evaluation, model_files

    read, passed_over, failures = pictures.read_pictures(paths, model_files.picture_shape(model))
    for line in passed_over:
        say(f"Passed over: {line}", err=True)
    if read:
        temperature = run and run.temperature
        if temperature:
            say(f"Calibrated: temperature {temperature:.3f}", err=True)
        pixels = np.stack([picture.pixels for picture in read])
        probabilities = evaluation.classify(model, pixels, temperature or 1.0, outputs)
        names = class_names(dataset, probabilities.shape[1]) if run is None else run.class_names
        records = [
            {"image": str(picture.path), "prepared": list(picture.steps), "top": top}
            for picture, top in zip(read, top_classes(probabilities, names), strict=True)
        ]
        say(*tables.preparation_notes(records).split("\n"), err=True)
        show({"model": name, "images": records}, tables.prediction_table(records), as_json)
    if failures:
        raise DataError(*failures)
