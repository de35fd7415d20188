"""The command that trains a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ood_fashion.cli.options import (
    Choice,
    data_dir_option,
    device_option,
    json_option,
    quiet_option,
    resume_option,
    settings_options,
    show,
)
from ood_fashion.cli.process import working_in
from ood_fashion.data.sources import Source
from ood_fashion.runs.config import PROTOCOLS, SETTINGS


@click.command()
@settings_options(
    *(name for name in SETTINGS if name not in ("implementation", "dtype")),  # which are for `scratch mlp`
    followed_by={
        "model": click.option(
            "--protocol",
            type=Choice(list(PROTOCOLS), {"paper": "assignment"}),
            help="assignment: its own, 10,000 training and 2,000 validation images. full: AdamW, with 55,000 and "
            "5,000. augmented: images moved and rotated too. robust: p4mres, with lighting and textures too. "
            "robust-seen: with noise, blur and lines too. Other options change single settings of it.  "
            "[default: assignment]",
        ),
        "patience": click.option("--no-early-stopping", is_flag=True, help="Run all epochs and keep the last weights."),
    },
)
@click.option("--tensorboard", is_flag=True, help="Write logs for TensorBoard into the run folder too.")
@device_option
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Threads of the CPU.  [default: 1 where an update is little work, as the MLP's at small batches; else all]",
)
@data_dir_option
@click.option("--out", type=click.Path(path_type=Path), help="The run folder.  [default: runs/TIME-MODEL-sSEED]")
@resume_option
@quiet_option
@json_option
def train(
    *,
    protocol: str | None,
    no_early_stopping: bool,
    tensorboard: bool,
    device: str,
    threads: int | None,
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
    from ood_fashion.api.training import given_settings, plan, train
    from ood_fashion.reports import tables

    given = {name: value for name, value in settings.items() if value not in (None, ())}
    if no_early_stopping:
        if "patience" in given:
            raise click.UsageError("--patience and --no-early-stopping exclude each other.")
        given["patience"] = None
    config, path = plan(given_settings(None, protocol, given), out, resume=resume)
    with working_in(path, resume=True):
        from ood_fashion.training.engine import choose_threads

        options: dict[str, Any] = {"device": device, "threads": threads or choose_threads(config, device)}
        run = train(config, data_dir, out=path, resume=resume, tensorboard=tensorboard, verbose=not quiet, **options)
    metrics = run.read_metrics()
    show({"run": str(run.path), **metrics}, tables.run_report(run, run.history, metrics), as_json)
