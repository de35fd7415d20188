"""The command that trains a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ood_fashion.cli.options import (
    MODEL_CHOICE,
    Choice,
    data_dir_option,
    device_option,
    json_option,
    resume_option,
    setting,
    show,
)
from ood_fashion.cli.process import working_in
from ood_fashion.data.sources import Source
from ood_fashion.runs.config import ENGINES, OPTIMIZERS, PROTOCOLS, SCHEDULES, STRATEGIES
from ood_fashion.shifts import augmentations


@click.command()
@click.option("--model", type=MODEL_CHOICE, help="What to train.  [default: cnn3]")
@click.option(
    "--protocol",
    type=Choice(list(PROTOCOLS), {"paper": "assignment"}),
    help="assignment: its own, 10,000 training and 2,000 validation images. full: AdamW, with 55,000 and 5,000. "
    "Other options change single settings of it.  [default: assignment]",
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

    Without options it trains as the assignment does. The result is a run folder, which `evaluate` takes, with the
    accuracy on the assignment's five test sets.

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
