"""The commands that train and measure Keras models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ood_fashion.cli.base import (
    MODEL_CHOICE,
    ModelFile,
    ModelType,
    data_dir_option,
    device_option,
    json_option,
    limit_option,
    model_file_option,
    named_model,
    pixels_option,
    resume_option,
    run_option,
    setting,
    shift_option,
    show,
    show_results,
    trust_option,
)
from ood_fashion.cli.process import working_in
from ood_fashion.data import sources
from ood_fashion.data.sources import Source
from ood_fashion.errors import ModelError
from ood_fashion.files import exists
from ood_fashion.models.specs import MODELS
from ood_fashion.runs.config import ENGINES, EXPORT_FORMATS, OPTIMIZERS, PROTOCOLS, SCHEDULES, STRATEGIES
from ood_fashion.runs.search import expand
from ood_fashion.shifts import augmentations, orbits
from ood_fashion.shifts.shift import SHIFTS, TEST_SETS, Shift


@click.command()
@data_dir_option
@click.option("--offline", is_flag=True, help="Do not download when no source is there.")
@click.option("--preview", type=click.Path(path_type=Path), help="Draw an image per class under each shift here.")
@click.option("--gallery", type=click.Path(path_type=Path), help="Draw every corruption at every severity here.")
@click.option("--export", "folder", type=click.Path(path_type=Path), help="Write both sets under each shift here.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(EXPORT_FORMATS),
    default="npz",
    show_default=True,
    help="How --export writes them.",
)
@shift_option
@json_option
def data(
    *,
    data_dir: Source | None,
    offline: bool,
    preview: Path | None,
    gallery: Path | None,
    folder: Path | None,
    file_format: str,
    shifts: tuple[Shift, ...],
    as_json: bool,
) -> None:
    """Find, check and describe the dataset.

    --preview and --export take the shifts of --shift, or else the document's five test sets.

    Example: ood-fashion data --preview shifts.png --shift up4 --shift rotate:45

    Example: ood-fashion data --export shifted --format idx --shift fog:3
    """
    from ood_fashion.data import export
    from ood_fashion.data.dataset import describe
    from ood_fashion.reports import tables

    if preview or gallery:
        from ood_fashion.reports import figures

        for picture in filter(None, (preview, gallery)):
            figures.check_format(picture)
    dataset = sources.load_dataset(data_dir, download=not offline)
    chosen = shifts or tuple(SHIFTS.values())
    record = describe(dataset)
    if folder:
        record["export"] = {"folder": str(folder), **export.export(dataset, chosen, folder, file_format)}
    if preview:
        figures.save(figures.shift_gallery(dataset, chosen), preview)
    if gallery:
        figures.save(figures.corruption_gallery(dataset), gallery)
    show(record, tables.dataset_table(record), as_json)


@click.command()
@click.option("--model", "names", type=MODEL_CHOICE, multiple=True, help="Only this model. May be repeated.")
@click.option("--verify", is_flag=True, help="Compare with the Keras models, layer by layer; exit 1 on a difference.")
@json_option
def params(names: tuple[str, ...], verify: bool, as_json: bool) -> None:
    """Count the parameters, layer by layer.

    Each layer is shown with its output shape and its formula, each model with the document's total.

    Example: ood-fashion params --model cnn3 --verify
    """
    from ood_fashion.api.data import count_parameters

    counts = [count_parameters(name, verify=verify) for name in names or MODELS]
    differences = [line for count in counts for line in count.differences]
    text = "\n\n".join(map(str, counts))
    if verify and not differences:
        text += "\n\nVerified: the Keras models have these layers, shapes and counts."
    show([count.record for count in counts], text, as_json)
    if differences:
        raise ModelError(*differences)


@click.command()
@click.option("--model", type=MODEL_CHOICE, help="What to train.  [default: cnn3]")
@click.option(
    "--protocol",
    type=click.Choice(list(PROTOCOLS)),
    help="paper: the document's, with 10,000 training and 2,000 validation images. full: AdamW, with 55,000 and 5,000. "
    "Other options change single settings of it.  [default: paper]",
)
@setting("epochs", int, "Most passes over the training images.")
@setting("batch_size", int, "Images per update.")
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="What updates the weights.  [default: sgd]")
@setting("learning_rate", float, "Step size of the optimizer.")
@click.option(
    "--schedule",
    type=click.Choice(SCHEDULES),
    help="Keep the learning rate, or raise it over the first epoch and lower it to 0.  [default: constant]",
)
@setting("momentum", float, "Momentum of SGD, from 0 to below 1.")
@setting("weight_decay", float, "Shrink the kernels by this times the learning rate in every update.")
@setting("label_smoothing", float, "The part of a label that all classes share, from 0 to below 1.")
@setting("patience", int, "Stop after so many epochs without a better validation accuracy, and keep the best weights.")
@click.option("--no-early-stopping", is_flag=True, help="Run all epochs and keep the last weights.")
@setting("train_size", int, "Number of training images.")
@setting("val_size", int, "Number of validation images, which follow the training images.")
@setting("split_seed", int, "Shuffle the images before they are split, seeded with this.")
@setting("seed", int, "Decides the initial weights, the order of the batches and the augmentations.")
@click.option(
    "--augment",
    multiple=True,
    help=f"Change the training images at random, anew in every epoch: {augmentations.USAGE}. May be repeated.",
)
@click.option(
    "--engine", type=click.Choice(ENGINES), help="Train by compiled programs or stock Keras steps.  [default: auto]"
)
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    help="Train on one device, or on all GPUs of the machine at once.  [default: single]",
)
@click.option("--monitor-test", is_flag=True, default=None, help="Measure test accuracy after every epoch too.")
@click.option(
    "--calibrate", is_flag=True, default=None, help="Fit a temperature on the validation images; show before, after."
)
@click.option("--tensorboard", is_flag=True, help="Write logs for TensorBoard into the run folder too.")
@device_option
@data_dir_option
@click.option("--out", type=click.Path(path_type=Path), help="The run folder.  [default: runs/TIME-MODEL-sSEED]")
@resume_option
@click.option("--quiet", is_flag=True, help="Show no progress.")
@json_option
def train(
    *,
    protocol: str | None,
    no_early_stopping: bool,
    tensorboard: bool,
    device: str,
    data_dir: Source | None,
    out: Path | None,
    resume: bool,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a model and measure it.

    Without options it trains as the document does. The result is a run folder, which `evaluate` takes, with the
    accuracy on the document's five test sets.

    Example: ood-fashion train --model cnn3 --momentum 0.5 --out runs/momentum

    Example: ood-fashion train --model p4cnn --protocol full --augment translate:4 --augment mirror
    """
    from ood_fashion.api.training import plan, train
    from ood_fashion.reports import tables

    given = _given(settings, protocol, no_early_stopping)
    config, path = plan(given, out, resume=resume)
    with working_in(path, resume=True):
        run = train(
            config, data_dir, out=path, resume=resume, tensorboard=tensorboard, device=device, verbose=not quiet
        )
    metrics = run.read_metrics()
    show({"run": str(run.path), **metrics}, tables.run_report(run, run.history, metrics), as_json)


def _given(settings: dict[str, Any], protocol: str | None, no_early_stopping: bool) -> dict[str, Any]:
    """Return the fields of `TrainConfig` that the command line names."""
    given = {name: value for name, value in settings.items() if value is not None}
    # In the text form that a run's settings have, so that --resume finds them.
    given["augment"] = [str(augmentations.Augmentation.parse(text)) for text in given.pop("augment", ())]
    if not given["augment"]:
        del given["augment"]
    if no_early_stopping:
        if "patience" in given:
            raise click.UsageError("--patience and --no-early-stopping exclude each other.")
        given["patience"] = None
    return {**PROTOCOLS.get(protocol or "", {}), **given}


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
@click.option("--tta", help=f"Ask about each image under every element of an orbit: {orbits.USAGE}.")
@click.option("--calibrate", is_flag=True, help="Fit a temperature on the run's validation images; show before, after.")
@click.option("--all", "all_sets", is_flag=True, help=f"The document's five test sets: {', '.join(TEST_SETS)}.")
@limit_option
@device_option
@data_dir_option
@json_option
def evaluate(
    *,
    run_dir: Path | None,
    model_file: ModelFile | None,
    trust: bool,
    shifts: tuple[Shift, ...],
    metrics: str,
    tta: str | None,
    calibrate: bool,
    all_sets: bool,
    limit: int | None,
    device: str,
    data_dir: Source | None,
    as_json: bool,
) -> None:
    """Measure a trained model on shifted images.

    Without --shift and --all, the test set is taken as it is. A pattern in quotes for --run, such as
    'studies/s/trials/cnn2-s*', means several trainings, whose accuracies are shown together.

    Example: ood-fashion evaluate --shift rotate90 --shift translate:2,-1.5+rotate:10

    Example: ood-fashion evaluate --all --tta c4
    """
    if calibrate and model_file:
        raise click.UsageError("--calibrate needs a run, whose validation images are known, not --model-file.")
    if tta:
        orbits.parse_orbit(tta)  # so that what is wrong with it is known before a model is loaded
    chosen = [*(TEST_SETS if all_sets else ()), *shifts] or ["none"]
    if run_dir and set(str(run_dir)) & set("*?[") and not exists(run_dir):
        if metrics == "all" or tta or calibrate or model_file:
            raise click.UsageError("--run with a pattern excludes --metrics all, --tta, --calibrate and --model-file.")
        model: dict[str, Any] = {"model": expand(str(run_dir))}
    else:
        model = named_model(run_dir, model_file)
    from ood_fashion.api.measuring import evaluate

    results = evaluate(
        **model,
        shifts=chosen,
        data=data_dir,
        metrics=metrics,
        tta=tta,
        calibrate=calibrate,
        limit=limit,
        device=device,
        trust=trust,
    )
    show_results(results, as_json)


@click.command()
@click.argument("a", type=ModelType())
@click.argument("b", type=ModelType())
@shift_option
@pixels_option
@trust_option
@device_option
@data_dir_option
@json_option
def compare(
    a: str,
    b: str,
    *,
    shifts: tuple[Shift, ...],
    pixel_range: str | None,
    trust: bool,
    device: str,
    data_dir: Source | None,
    as_json: bool,
) -> None:
    """Test whether one model beats another.

    A and B are run folders, .keras files, SavedModel folders, or names of the package's own trained models. A pattern
    in quotes, such as 'studies/s/trials/cnn2-s*', means several trainings, which are compared over seeds. Without
    --shift, the document's five test sets are used.

    Example: ood-fashion compare runs/cnn2 runs/cnn3 --shift up4
    """
    from ood_fashion.api.measuring import compare

    results = compare(
        expand(a),
        expand(b),
        shifts or TEST_SETS,
        data=data_dir,
        pixel_range=pixel_range,
        device=device,
        trust=trust,
    )
    show_results(replace(results, a=a, b=b), as_json)
