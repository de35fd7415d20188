"""The command that classifies picture files."""

from __future__ import annotations

from pathlib import Path

import click

from ood_fashion.cli.base import (
    ModelFile,
    device_option,
    json_option,
    model_file_option,
    named_model,
    run_option,
    show_results,
    trust_option,
)
from ood_fashion.cli.process import say
from ood_fashion.data.dataset import CLASS_NAMES
from ood_fashion.errors import DataError


@click.command()
@click.argument("paths", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@run_option
@model_file_option
@trust_option
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
    trust: bool,
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
    from ood_fashion.api.classifying import predict
    from ood_fashion.reports import tables

    results = predict(paths, **named_model(run_dir, model_file), class_names=dataset, device=device, trust=trust)
    for line in results.passed_over:
        say(f"Passed over: {line}", err=True)
    if results.temperature != 1:
        say(f"Calibrated: temperature {results.temperature:.3f}", err=True)
    say(*tables.preparation_notes(results.records).split("\n"), err=True)
    show_results(results, as_json)
    if results.failures:
        raise DataError(*results.failures)
