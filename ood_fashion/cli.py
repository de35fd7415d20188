"""The command line: parse, call one library function, show what it returned.

The result goes to standard output, progress and errors to standard error. Commands import for themselves what needs
TensorFlow or matplotlib, so that help and `params` answer at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from ood_fashion import __version__, paper
from ood_fashion.config import DEVICES, ENGINES, PROTOCOLS, TrainConfig
from ood_fashion.errors import InvalidValueError, ModelError, OodFashionError
from ood_fashion.shifts import SHIFTS, Shift
from ood_fashion.specs import MODELS


def _fail(message: str, exit_code: int) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    raise click.exceptions.Exit(exit_code)


def _fail_on_usage(error: click.UsageError) -> NoReturn:
    command = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
    _fail(f"{error.format_message()}{command}", error.exit_code)


class _Commands(click.Group):
    """Turns every error into one message and an exit code; nothing else does."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            _fail_on_usage(error)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _fail_on_usage(error)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            _fail("interrupted.", 130)
        except Exception as error:
            if ctx.params["debug"]:
                raise
            if isinstance(error, OodFashionError):
                _fail(str(error), error.exit_code)
            what = f"unexpected {type(error).__name__}: {error}"
            _fail(f"{what}. Show where: ood-fashion --debug {ctx.invoked_subcommand} ...", 1)


class _ShiftType(click.ParamType[Shift]):
    name = "shift"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shift:
        try:
            return value if isinstance(value, Shift) else Shift.parse(value)
        except InvalidValueError as error:
            self.fail(str(error), param, ctx)


Decorator = Callable[[Callable[..., None]], Callable[..., None]]

_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
_data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder with the four IDX files of an MNIST-format dataset.  [default: $OOD_FASHION_DATA or Fashion-MNIST]",
)
_device_option = click.option(
    "--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="What to compute on."
)
_shift_option = click.option(
    "--shift",
    "shifts",
    type=_ShiftType(),
    multiple=True,
    help=f"{', '.join(SHIFTS)}, translate:DX,DY, rotate:DEGREES, or a chain of these with '+'. May be repeated.",
)
_model_choice = click.Choice(list(MODELS))


def _setting(name: str, kind: type, description: str) -> Decorator:
    """Make the option for a field of `TrainConfig`, which knows the default and checks the value."""
    default = TrainConfig.__dataclass_fields__[name].default
    shown = "" if default is None else f"  [default: {default}]"
    return click.option(f"--{name.replace('_', '-')}", type=kind, help=f"{description}{shown}")


def _show(record: Any, text: str, as_json: bool) -> None:
    click.echo(json.dumps(record, indent=2, allow_nan=False) if as_json else text)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Train small image classifiers on Fashion-MNIST, and measure them on shifted images.

    Example: ood-fashion train --model cnn3
    """


@main.command()
@_data_dir_option
@click.option("--offline", is_flag=True, help="Do not download when no source is there.")
@click.option("--preview", type=click.Path(path_type=Path), help="Draw an image per class under each shift here.")
@_shift_option
@_json_option
def data(data_dir: Path | None, offline: bool, preview: Path | None, shifts: tuple[Shift, ...], as_json: bool) -> None:
    """Find, check and describe the dataset.

    Example: ood-fashion data --preview shifts.png --shift up4 --shift rotate:45
    """
    from ood_fashion import datasets, tables

    dataset = datasets.load_dataset(data_dir, download=not offline)
    if preview is not None:
        from ood_fashion import plots

        plots.save(plots.shift_gallery(dataset, shifts or tuple(SHIFTS.values())), preview)
    record = datasets.describe(dataset)
    _show(record, tables.dataset_table(record), as_json)


@main.command()
@click.option("--model", "names", type=_model_choice, multiple=True, help="Only this model. May be repeated.")
@click.option("--verify", is_flag=True, help="Compare with the Keras models, layer by layer; exit 1 on a difference.")
@_json_option
def params(names: tuple[str, ...], verify: bool, as_json: bool) -> None:
    """Count the parameters, layer by layer.

    Each layer is shown with its output shape and its formula, each model with the document's total.

    Example: ood-fashion params --model cnn3 --verify
    """
    from ood_fashion import specs, tables

    records = [{**specs.describe(name), "document": paper.PARAMETERS.get(name)} for name in names or MODELS]
    differences: list[str] = []
    if verify:
        from ood_fashion.nn.models import compare_with_spec

        for record in records:
            found = compare_with_spec(record["model"])
            record["verified"] = not found
            differences += found
    text = "\n\n".join(map(tables.parameter_table, records))
    if verify and not differences:
        text += "\n\nVerified: the Keras models have these layers, shapes and counts."
    _show(records, text, as_json)
    if differences:
        raise ModelError("\n".join(differences))


@main.command()
@click.option("--model", type=_model_choice, help="What to train.  [default: cnn3]")
@click.option(
    "--protocol",
    type=click.Choice(list(PROTOCOLS)),
    help="Training and validation images: paper has 10,000 and 2,000, full 55,000 and 5,000.  [default: paper]",
)
@_setting("epochs", int, "Most passes over the training images.")
@_setting("batch_size", int, "Images per update.")
@_setting("learning_rate", float, "Step size of SGD.")
@_setting("momentum", float, "Momentum of SGD, from 0 to below 1.")
@_setting("patience", int, "Stop after so many epochs without a better validation accuracy, and keep the best weights.")
@click.option("--no-early-stopping", is_flag=True, help="Run all epochs and keep the last weights.")
@_setting("train_size", int, "Number of training images.")
@_setting("val_size", int, "Number of validation images, which follow the training images.")
@_setting("split_seed", int, "Shuffle the images before they are split, seeded with this.")
@_setting("seed", int, "Decides the initial weights and the order of the batches.")
@click.option(
    "--engine", type=click.Choice(ENGINES), help="Train by compiled programs or stock Keras steps.  [default: auto]"
)
@_device_option
@_data_dir_option
@click.option("--out", type=click.Path(path_type=Path), help="The run folder.  [default: runs/TIME-MODEL-sSEED]")
@click.option(
    "--resume",
    is_flag=True,
    help="Finish the run in --out, else the latest unfinished one with these settings; start one if there is none.",
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@_json_option
def train(
    *,
    protocol: str | None,
    no_early_stopping: bool,
    device: str,
    data_dir: Path | None,
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
    """
    from ood_fashion import datasets, runs, tables

    given = _given(settings, protocol, no_early_stopping)
    config = TrainConfig(**given)
    run = runs.find_unfinished_run(given, out) if resume else None
    if run is None or not run.is_complete:
        from ood_fashion.nn import callbacks, devices, training

        used_device = devices.select_device(device)
        dataset = datasets.load_dataset(data_dir)
        if run is None:
            run = training.start_run(out or runs.new_run_path(config), config, dataset, used_device)
        if not quiet:
            click.echo(f"Run folder: {run.path}", err=True)
        training.train(run, dataset, () if quiet else (callbacks.Progress(),))
    metrics = run.read_metrics()
    _show({"run": str(run.path), **metrics}, tables.run_report(run.record, run.read_history(), metrics), as_json)


def _given(settings: dict[str, Any], protocol: str | None, no_early_stopping: bool) -> dict[str, Any]:
    """Return the fields of `TrainConfig` that the command line names."""
    given = {name: value for name, value in settings.items() if value is not None}
    if no_early_stopping:
        if "patience" in given:
            raise click.UsageError("--patience and --no-early-stopping exclude each other.")
        given["patience"] = None
    return {**PROTOCOLS.get(protocol or "", {}), **given}


@main.command()
@click.option("--run", "run_dir", type=click.Path(path_type=Path), help="A run folder.  [default: the latest complete]")
@click.option("--model-file", type=click.Path(path_type=Path), help="A .keras file of any origin, instead of a run's.")
@_shift_option
@click.option("--all", "all_sets", is_flag=True, help=f"The document's five test sets: {', '.join(paper.TEST_SETS)}.")
@_device_option
@_data_dir_option
@_json_option
def evaluate(
    *,
    run_dir: Path | None,
    model_file: Path | None,
    shifts: tuple[Shift, ...],
    all_sets: bool,
    device: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Measure a trained model on shifted images.

    Without --shift and --all, the test set is taken as it is.

    Example: ood-fashion evaluate --shift rotate90 --shift translate:2,-1.5+rotate:10
    """
    from ood_fashion import datasets, runs, tables

    if run_dir and model_file:
        raise click.UsageError("--run and --model-file exclude each other.")
    if model_file is not None:
        name = str(model_file)
    else:
        run = runs.Run.open(run_dir).require_complete() if run_dir else runs.latest_complete_run()
        name, model_file = run.config.model, run.model_path
    from ood_fashion.nn import devices, evaluation, models

    devices.select_device(device)
    click.echo(f"Model: {model_file}", err=True)
    model = models.load_model(model_file)
    dataset = datasets.load_dataset(data_dir)
    chosen = [*map(Shift.parse, paper.TEST_SETS if all_sets else ()), *shifts] or [Shift()]
    records = evaluation.evaluate(model, dataset, dict.fromkeys(chosen))
    table = tables.accuracy_table(records, name if dataset.is_genuine else None)
    _show({"model": name, "results": records}, table, as_json)
