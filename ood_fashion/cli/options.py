"""What the commands share: options and output."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from ood_fashion import parallel
from ood_fashion.cli.process import say
from ood_fashion.errors import InvalidValueError, OodFashionError
from ood_fashion.evaluation.classifier import PIXEL_RANGES
from ood_fashion.parallel import DEVICES
from ood_fashion.runs.config import SETTINGS
from ood_fashion.runs.search import pretrained_runs
from ood_fashion.shifts import orbits
from ood_fashion.shifts.shift import USAGE, Shift

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ShiftType(click.ParamType[Shift]):
    """A shift in its text form."""

    name = "shift"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shift:
        """Parse it, or explain why not."""
        try:
            return value if isinstance(value, Shift) else Shift.parse(value)
        except InvalidValueError as error:
            self.fail(str(error), param, ctx)


class Choice(click.Choice[str]):
    """A choice that takes older spellings too, which stand for choices, and does not list them."""

    def __init__(self, choices: Sequence[str], older: Mapping[str, str]) -> None:
        super().__init__(choices)
        self.older = older

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the choice."""
        return super().convert(self.older.get(value, value), param, ctx)


Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def combine(*options: Decorator) -> Decorator:
    """Make one decorator of several, which adds the options in this order."""
    return lambda command: functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")


def data_dir_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add --data-dir and --dataset, which reach the command together, as `data_dir`: a `sources.Source` or None."""

    @click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="Folder with the four IDX files of an MNIST-format dataset, or with MNIST-C's or Fashion-MNIST-C's .npy "
        "files, Parquet files or pictures by class; or an .npz file with x_test, y_test and, to train, x_train, "
        "y_train.  [default: $OOD_FASHION_DATA or Fashion-MNIST]",
    )
    @click.option(
        "--dataset", help="A dataset of TensorFlow Datasets: fashion_mnist, mnist, kmnist, emnist/letters ..."
    )
    @functools.wraps(command)
    def with_source(*, data_dir: Path | None, dataset: str | None, **arguments: Any) -> None:
        if data_dir and dataset:
            raise click.UsageError("--data-dir and --dataset exclude each other.")
        command(data_dir=data_dir or dataset, **arguments)

    return with_source


def workers_option(what: str, jobs: int | None = None) -> Decorator:
    """Make a decorator that adds --jobs, --backend and --address; the help says `what` workers compute.

    Without a default of `jobs`, that of `parallel.run_parallel` is taken.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @click.option(
            "--jobs",
            type=click.IntRange(1),
            help=f"{what} at a time, which share the threads.  [default: {jobs or 'up to 4'}]",
        )
        @click.option(
            "--backend",
            type=click.Choice(parallel.BACKENDS),
            default="loky",
            show_default=True,
            help="Worker processes of this machine, or a cluster.",
        )
        @click.option("--address", help="The cluster's, such as tcp://HOST:8786.  [default: one on this machine]")
        @functools.wraps(command)
        def with_workers(**arguments: Any) -> None:
            parallel.check_options(*(arguments[name] for name in ("backend", "address", "jobs")))
            if arguments["address"] is None and arguments["jobs"] is None:
                arguments["jobs"] = jobs
            command(**arguments)

        return with_workers

    return decorate


device_option = click.option(
    "--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="What to compute on."
)
quiet_option = click.option("--quiet", is_flag=True, help="Show no progress.")
limit_option = click.option("--limit", type=click.IntRange(min=1), help="Only so many test images, the first.")


def _check_orbit(ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    """Say what is wrong with a test-time orbit before a model is loaded."""
    if text is not None:
        try:
            orbits.parse_orbit(text)
        except InvalidValueError as error:
            raise click.BadParameter(str(error)) from error
    return text


tta_option = click.option(
    "--tta",
    callback=_check_orbit,
    help=f"What to do at test time: average over an orbit of shifts, or take batch statistics anew. {orbits.USAGE}.",
)
resume_option = click.option(
    "--resume",
    is_flag=True,
    help="Finish the run in --out, else the latest unfinished one with these settings; start one if there is none.",
)
shift_option = click.option("--shift", "shifts", type=ShiftType(), multiple=True, help=f"{USAGE}. May be repeated.")
PRETRAINED = pretrained_runs()


class ModelType(click.ParamType[str]):
    """A run folder, a model file, a pattern of them, or the name of a trained model of the package's own."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete paths, and the names of models."""
        names = [CompletionItem(name) for name in PRETRAINED if name.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file"), *names]  # what completes paths forgets what stands before it


def pretrained_option(*, multiple: bool) -> Decorator:
    """Make a decorator that adds --pretrained, which also reaches the command by the older spelling --model."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        models, more = click.Choice(list(PRETRAINED)), "; may be repeated" * multiple
        text = f"A trained model of the package's own{more}."

        @click.option("--pretrained", type=models, multiple=multiple, help=text)
        @click.option("--model", "old_spelling", type=models, multiple=multiple, hidden=True)
        @functools.wraps(command)
        def with_pretrained(*, pretrained: Any, old_spelling: Any, **arguments: Any) -> None:
            given = (*pretrained, *old_spelling) if multiple else pretrained or old_spelling
            command(pretrained=given, **arguments)

        return with_pretrained

    return decorate


def run_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add --run and --pretrained, which reach the command as one, `run_dir`: a run folder or None."""

    @click.option(
        "--run", "run_dir", type=click.Path(path_type=Path), help="A run folder.  [default: the latest complete]"
    )
    @pretrained_option(multiple=False)
    @functools.wraps(command)
    def with_run(*, run_dir: Path | None, pretrained: str | None, **arguments: Any) -> None:
        if run_dir and pretrained:
            raise click.UsageError("--run and --pretrained exclude each other.")
        command(run_dir=PRETRAINED[pretrained] if pretrained else run_dir, **arguments)

    return with_run


trust_option = click.option(
    "--trust", is_flag=True, help="Load others' .keras files under Keras before 3.15 too, which is less safe."
)
pixels_option = click.option(
    "--pixels",
    "pixel_range",
    type=click.Choice(PIXEL_RANGES),
    help="The pixels that the model of a file takes.  [default: 0-255 where its input is integers, else 0-1]",
)


class ModelFile(NamedTuple):
    """A model file, and what is said of the model in it."""

    path: Path
    pixel_range: str | None = None
    outputs: str = "auto"


def model_file_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add --model-file and what is said of it, which reach the command together, as `model_file`: one or None."""

    @click.option(
        "--model-file",
        type=click.Path(path_type=Path),
        help="A .keras file or SavedModel folder of any origin, or a .csv or .npz file of predictions, instead of a "
        "run's.",
    )
    @pixels_option
    @click.option(
        "--outputs",
        type=click.Choice(["auto", "probabilities", "logits"]),
        default="auto",
        show_default=True,
        help="What the model of a file gives; auto: by its last activation, else by its scores.",
    )
    @functools.wraps(command)
    def with_file(*, model_file: Path | None, pixel_range: str | None, outputs: str, **arguments: Any) -> None:
        if model_file is None and (pixel_range or outputs != "auto"):
            raise click.UsageError("--pixels and --outputs need --model-file: those of a run's model are known.")
        command(model_file=model_file and ModelFile(model_file, pixel_range, outputs), **arguments)

    return with_file


def named_model(run_dir: Path | None, model_file: ModelFile | None) -> dict[str, Any]:
    """Return what --run and --model-file name, or else the latest complete run, as arguments of `api` functions."""
    if run_dir and model_file:
        raise click.UsageError("--run or --pretrained, and --model-file, exclude each other.")
    if model_file:
        say(f"Model: {model_file.path}", err=True)
        options = model_file._asdict()
        return {"model": options.pop("path"), **options}
    from ood_fashion.api.opening import load_run

    run = load_run(run_dir)
    run.require_keras().require_complete()
    say(f"Model: {run.model_path}", err=True)
    return {"model": run}


def settings_options(
    *names: str,
    flags: Mapping[str, str] = {},
    defaults: Mapping[str, Any] = {},
    followed_by: Mapping[str, Decorator] = {},
) -> Decorator:
    """Make a decorator that adds the options for fields of `TrainConfig`, which checks their values.

    Args:
        names: the fields.
        flags: the options' names that are not the fields'.
        defaults: what the help says that the command takes, where it is not the field's default.
        followed_by: what adds another option, after a field's.
    """

    def option(name: str) -> Decorator:
        field = SETTINGS[name]
        rule, text = field.metadata["rule"], field.metadata["help"]
        flag = f"--{flags.get(name, name).replace('_', '-')}"
        if rule.kind is bool:
            return click.option(flag, name, is_flag=True, default=None, help=text)
        if rule.kind is tuple:
            return click.option(flag, name, multiple=True, help=f"{text} May be repeated.")
        default = defaults.get(name, field.default)
        shown = "" if default is None else f"  [default: {default}]"
        kind = click.Choice(rule.choices) if rule.choices else rule.kind
        return click.option(flag, name, type=kind, help=f"{text}{shown}")

    return combine(*(one for name in names for one in (option(name), followed_by.get(name)) if one))


def draw(pictures: Mapping[Path, Callable[[], Figure]]) -> None:
    """Draw pictures beside results that are written already; one that fails costs a line on standard error."""
    from ood_fashion.reports import figures

    for path, make in pictures.items():
        try:
            figures.save(make(), path)
        except Exception as error:  # matplotlib raises a dozen kinds
            if click.get_current_context().find_root().params["debug"]:
                raise
            why = str(error) if isinstance(error, OodFashionError) else f"{path}: {type(error).__name__}: {error}"
            say(f"Not drawn: {why}", err=True)


def show(record: Any, text: str, as_json: bool) -> None:
    """Print a result: the record as JSON, or the text, whose lines are its own and not those of names in it."""
    if as_json:
        click.echo(json.dumps(record, indent=2, allow_nan=False))
    else:
        say(*text.split("\n"))


def show_results(results: Any, as_json: bool) -> None:
    """Print what a public function has returned."""
    show(results.record, str(results), as_json)
