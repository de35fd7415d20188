"""The commands that measure models, and ask them about pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ood_fashion.cli.options import (
    ModelFile,
    ModelType,
    data_dir_option,
    device_option,
    json_option,
    limit_option,
    model_file_option,
    named_model,
    pixels_option,
    run_option,
    shift_option,
    show_results,
    trust_option,
    tta_option,
)
from ood_fashion.cli.process import say
from ood_fashion.data.dataset import CLASS_NAMES
from ood_fashion.data.sources import Source
from ood_fashion.errors import DataError
from ood_fashion.evaluation.ranking import MEASURES
from ood_fashion.files import exists
from ood_fashion.runs.search import expand
from ood_fashion.shifts.shift import TEST_SETS, Shift


@click.command()
@run_option
@model_file_option
@trust_option
@shift_option
@click.option(
    "--metrics",
    type=click.Choice(["accuracy", "all"]),
    default="accuracy",
    show_default=True,
    help="all: balanced accuracy, likelihood, Brier score, calibration error, flips, the classes hurt most.",
)
@tta_option
@click.option("--calibrate", is_flag=True, help="Fit a temperature on the run's validation images; show before, after.")
@click.option("--all", "all_sets", is_flag=True, help=f"The assignment's five test sets: {', '.join(TEST_SETS)}.")
@limit_option
@device_option
@data_dir_option
@json_option
def evaluate(
    *,
    run_dir: Path | None,
    model_file: ModelFile | None,
    shifts: tuple[Shift, ...],
    metrics: str,
    tta: str | None,
    calibrate: bool,
    all_sets: bool,
    data_dir: Source | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure a trained model on shifted images.

    Without --shift and --all, the test set is taken as it is. A pattern in quotes for --run, such as
    'studies/s/trials/cnn2-s*', means several trainings, whose accuracies are shown together.

    Example: ood-fashion evaluate --shift rotate90 --shift translate:2,-1.5+rotate:10

    Example: ood-fashion evaluate --all --tta c4
    """
    if calibrate and model_file:
        raise click.UsageError("--calibrate needs a run, whose validation images are known, not --model-file.")
    chosen = [*(TEST_SETS if all_sets else ()), *shifts] or ["none"]
    if run_dir and set(str(run_dir)) & set("*?[") and not exists(run_dir):
        if model_file:
            raise click.UsageError("--run with a pattern excludes --model-file.")
        model: dict[str, Any] = {"model": expand(str(run_dir))}
    else:
        model = named_model(run_dir, model_file)
    from ood_fashion.api.measuring import evaluate

    results = evaluate(**model, shifts=chosen, data=data_dir, metrics=metrics, tta=tta, calibrate=calibrate, **options)
    show_results(results, as_json)


@click.command()
@click.argument("a", type=ModelType())
@click.argument("b", type=ModelType())
@shift_option
@limit_option
@pixels_option
@trust_option
@device_option
@data_dir_option
@json_option
def compare(
    a: str, b: str, *, shifts: tuple[Shift, ...], data_dir: Source | None, as_json: bool, **options: Any
) -> None:
    """Test whether one model beats another.

    A and B are run folders, .keras files, SavedModel folders, .csv or .npz files of predictions, or names of the
    package's own trained models. A pattern in quotes, such as 'studies/s/trials/cnn2-s*', means several trainings,
    which are compared over seeds. Without --shift, the assignment's five test sets are used.

    Example: ood-fashion compare runs/cnn2 runs/cnn3 --shift up4
    """
    from ood_fashion.api.measuring import compare

    results = compare(expand(a), expand(b), shifts or TEST_SETS, data=data_dir, **options)
    show_results(replace(results, a=a, b=b), as_json)


@click.command()
@click.argument("paths", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@run_option
@model_file_option
@trust_option
@click.option(
    "--class-names",
    type=click.Choice(list(CLASS_NAMES)),
    help="The dataset whose classes --model-file tells apart. A run knows its own.  "
    "[default: fashion_mnist, or numbers where there are not ten]",
)
@click.option("--dataset", "dataset", type=click.Choice(list(CLASS_NAMES)), hidden=True)
@device_option
@json_option
def predict(
    paths: tuple[Path, ...],
    *,
    run_dir: Path | None,
    model_file: ModelFile | None,
    class_names: str | None,
    dataset: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say what PNG or JPEG pictures show.

    IMAGE is a file or a folder of them; what cannot be read in a folder is passed over. A picture of the model's own
    size is taken as it is; any other is trimmed, made grey, and resized, and a light background is made black. What was
    done is said on standard error.

    Example: ood-fashion predict shoe.jpg photos/
    """
    from ood_fashion.api.classifying import predict
    from ood_fashion.reports import tables

    model = named_model(run_dir, model_file)
    results = predict(paths, **model, class_names=class_names or dataset, **options)
    for line in results.passed_over:
        say(f"Passed over: {line}", err=True)
    if results.temperature != 1:
        say(f"Calibrated: temperature {results.temperature:.3f}", err=True)
    say(*tables.preparation_notes(results.predictions).split("\n"), err=True)
    show_results(results, as_json)
    if results.failures:
        raise DataError(*results.failures)


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=ModelType())
@click.option("--sort", type=click.Choice(list(MEASURES)), default="worst", show_default=True, help="The measure.")
@click.option("--filter", "names", default="*", help="Only models whose names fit this pattern, such as 'p4*'.")
@click.option(
    "--out", "page", type=click.Path(path_type=Path), help="Write a page that sorts and filters to this file."
)
@data_dir_option
@json_option
def leaderboard(files: tuple[str, ...], *, data_dir: Source | None, as_json: bool, **options: Any) -> None:
    """Rank models by what result files say of them.

    The models of the package are there already. FILE is a run folder, a folder of a sweep or its results.json, what
    `ood-fashion evaluate --json` printed, or a .csv or .npz file of predictions. No model is run.

    Example: ood-fashion leaderboard sweeps/robust answers.csv --sort mce --out leaderboard.html
    """
    from ood_fashion.api.ranking import leaderboard

    show_results(leaderboard(files, data=data_dir, **options), as_json)
