"""The commands for the models in NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ood_fashion.cli.options import (
    data_dir_option,
    draw,
    json_option,
    quiet_option,
    resume_option,
    settings_options,
    show,
)
from ood_fashion.cli.process import say, working_in
from ood_fashion.data import sources
from ood_fashion.errors import CheckError
from ood_fashion.from_scratch import SEED
from ood_fashion.runs.config import MLP_PROTOCOL
from ood_fashion.studies.exercises import CheckResult, check_everything, check_mlp, train_mini_cnn, train_perceptron

POSITIVE = click.IntRange(min=1)


@click.group()
def scratch() -> None:
    """Train and check models in NumPy alone.

    Example: ood-fashion scratch mlp --check-gradient
    """


def require_passed(checks: Sequence[CheckResult]) -> None:
    """Raise CheckError if a check failed."""
    if failed := [f"{one.model} {one.parameter} ({one.check})" for one in checks if not one.passed]:
        raise CheckError(
            f"expected all {len(checks)} checks to pass. Received: {len(failed)} that failed: {', '.join(failed)}."
        )


@scratch.command()
@settings_options(
    "batch_size", "learning_rate", "momentum", "epochs", "patience", "train_size", "val_size", "seed", "dtype",
    flags={"batch_size": "minibatch-size"},
    defaults=MLP_PROTOCOL,
)  # fmt: skip
@click.option("--check-gradient", is_flag=True, help="First compare the gradients with finite differences.")
@click.option("--check-magnitude", is_flag=True, help="First compare the gradients' L1 norms of two batches.")
@data_dir_option
@click.option("--out", type=click.Path(path_type=Path), help="The run folder.  [default: runs/TIME-numpy-mlp-sSEED]")
@resume_option
@quiet_option
@json_option
def mlp(
    *,
    check_gradient: bool,
    check_magnitude: bool,
    data_dir: Path | None,
    out: Path | None,
    resume: bool,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train the network of problem 3.1.

    The result is a run folder, with the assignment's result file, MLP_lr0.01_b5.json, and its plot.

    Example: ood-fashion scratch mlp --minibatch-size 5 --check-gradient --check-magnitude
    """
    from ood_fashion.api.training import plan, train
    from ood_fashion.reports import run_figures, tables

    given = {"implementation": "numpy", **{name: value for name, value in settings.items() if value is not None}}
    config, path = plan(given, out, resume=resume, defaults=MLP_PROTOCOL)
    dataset = sources.load_dataset(data_dir)
    checks = check_mlp(config, dataset, gradient=check_gradient, magnitude=check_magnitude)
    if checks and not quiet:
        say(*tables.check_table(checks).split("\n"), err=True)
    require_passed(checks)
    with working_in(path, resume=True):
        run = train(config, dataset, out=path, resume=resume, verbose=not quiet)
        metrics, history = run.read_metrics(), run.read_history()
        kept = metrics["training"]["kept_epoch"]
        draw({run.plot_path: lambda: run_figures.learning_curve(history, "accuracy", kept, "numpy")})
    report = tables.run_report(run, history, metrics)
    show({"run": str(run.path), **metrics, "checks": [check.to_json() for check in checks]}, report, as_json)


@scratch.command()
@click.option("--kernel", type=click.Choice(["linear", "poly", "rbf"]), help="Train the kernel form with this kernel.")
@click.option("--gamma", type=float, help="Of poly and rbf.  [default: 1 / (pixels * their variance)]")
@click.option("--degree", type=POSITIVE, default=3, show_default=True, help="Of poly.")
@click.option("--epochs", type=POSITIVE, default=5, show_default=True, help="Most passes over the training images.")
@click.option("--train-size", type=POSITIVE, default=10_000, show_default=True, help="Number of training images.")
@click.option("--seed", type=click.IntRange(min=0), default=SEED, show_default=True, help="Decides the images' order.")
@data_dir_option
@quiet_option
@json_option
def perceptron(*, data_dir: Path | None, quiet: bool, as_json: bool, **settings: Any) -> None:
    """Train the multiclass perceptron of problem 1.

    With --kernel it is the kernel perceptron, whose support vectors are counted.

    Example: ood-fashion scratch perceptron --kernel rbf
    """
    from ood_fashion.reports import tables

    def show_epoch(epoch: int, mistakes: int) -> None:
        say(f"epoch {epoch}/{settings['epochs']}  mistakes {mistakes:,} of {settings['train_size']:,}", err=True)

    watch: dict[str, Any] = {} if quiet else {"on_epoch": show_epoch}
    result = train_perceptron(sources.load_dataset(data_dir), **settings, **watch)
    show(result.to_json(), tables.perceptron_report(result), as_json)


@scratch.command("mini-cnn")
@click.option("--steps", type=POSITIVE, default=10_000, show_default=True, help="Updates, of one example each.")
@click.option(
    "--learning-rate", type=click.FloatRange(min=0, min_open=True), default=0.1, show_default=True, help="Step size."
)
@click.option(
    "--restarts", type=POSITIVE, default=5, show_default=True, help="Random starts, of which the best is kept."
)
@click.option("--seed", type=click.IntRange(min=0), default=SEED, show_default=True, help="Decides all that is random.")
@json_option
def mini_cnn(*, as_json: bool, **settings: Any) -> None:
    """Train the mini CNN of problem 2.

    Its task is one that it can represent: does a signal of three numbers rise more at first, or later?

    Example: ood-fashion scratch mini-cnn
    """
    from ood_fashion.reports import tables

    result = train_mini_cnn(**settings)
    show(result.to_json(), tables.mini_cnn_report(result), as_json)


@scratch.command()
@click.option("--seed", type=click.IntRange(min=0), default=SEED, show_default=True, help="Decides what is compared.")
@data_dir_option
@json_option
def gradcheck(*, seed: int, data_dir: Path | None, as_json: bool) -> None:
    """Check the gradients of all of these models.

    Compares them with finite differences, and the MLP's in size between two batches; exit 1 if a check fails.

    Example: ood-fashion scratch gradcheck
    """
    from ood_fashion.reports import tables

    checks = check_everything(sources.load_dataset(data_dir), seed=seed)
    show([check.to_json() for check in checks], tables.check_table(checks), as_json)
    require_passed(checks)
