"""The command that measures models over many shifts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ood_fashion.cli.options import (
    combine,
    data_dir_option,
    device_option,
    draw,
    json_option,
    limit_option,
    pixels_option,
    pretrained_option,
    quiet_option,
    show_results,
    trust_option,
    tta_option,
    workers_option,
)
from ood_fashion.cli.process import say, working_in
from ood_fashion.cli.progress import progress
from ood_fashion.shifts.corruptions import CORRUPTIONS

_model_options = (
    click.option("--run", "run_dirs", type=click.Path(path_type=Path), multiple=True,
                 help="A run folder; may be repeated.  [default: the latest complete]"),
    pretrained_option(multiple=True),
    click.option("--model-file", "model_files", type=click.Path(path_type=Path), multiple=True,
                 help="A .keras file or SavedModel folder of any origin; may be repeated."),
    pixels_option,
    trust_option,
)  # fmt: skip
_sweep_options = combine(
    *_model_options,
    click.option("--reference", help="The model whose errors make an mCE of 1, by its name in the table.  "
                 "[default: the assignment's MLP, else the first model]"),
    tta_option,
    limit_option,
    click.option("--out", type=click.Path(path_type=Path),
                 help="The folder to write to.  [default: sweeps/KIND-HASH, by models, images and shifts]"),
    workers_option("Shifts", jobs=1),
    quiet_option,
    device_option,
    data_dir_option,
    json_option,
)  # fmt: skip


@click.group()
def sweep() -> None:
    """Measure models over many shifts.

    The folder has results.csv, results.json and a picture. The same command again finishes a sweep that was killed.

    Example: ood-fashion sweep rotate --run runs/mlp --run runs/cnn3
    """


@sweep.command()
@click.option(
    "--max", "extent", type=int, default=8, show_default=True, help="Largest distance in each axis, in pixels."
)
@_sweep_options
def translate(**options: Any) -> None:
    """Accuracy for every translation of a square.

    Example: ood-fashion sweep translate --max 8
    """
    _sweep("translate", **options)


@sweep.command()
@click.option("--step", "extent", type=float, default=15.0, show_default=True, help="Degrees between two angles.")
@_sweep_options
def rotate(**options: Any) -> None:
    """Accuracy for angles all around.

    Example: ood-fashion sweep rotate --step 15
    """
    _sweep("rotate", **options)


@sweep.command()
@click.option("--corruption", "extent", type=click.Choice(list(CORRUPTIONS)), multiple=True, metavar="NAME",
              help="Only this one; may be repeated.")  # fmt: skip
@_sweep_options
def corruptions(**options: Any) -> None:
    """Accuracy for every corruption and severity.

    Example: ood-fashion sweep corruptions --limit 1000
    """
    _sweep("corruptions", **options)


@sweep.command()
@click.argument("folder", type=click.Path(path_type=Path))
@combine(*_model_options)
@click.option("--reference", help="The model whose errors make an mCE of 1, by its name.  [default: the first]")
@limit_option
@device_option
@json_option
def published(
    folder: Path,
    run_dirs: tuple[Path, ...],
    pretrained: tuple[str, ...],
    model_files: tuple[Path, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Accuracy on published sets, such as MNIST-C.

    FOLDER holds a set for each corruption, named after it: mnist_c/fog/test_images.npy and the like.

    Example: ood-fashion sweep published mnist_c --run runs/mnist
    """
    from ood_fashion.api.opening import load_run
    from ood_fashion.api.published import sweep_published

    models: list[Any] = [*map(load_run, run_dirs), *pretrained, *model_files]
    show_results(sweep_published(folder, models or None, **options), as_json)


def _sweep(
    kind: str,
    *,
    extent: Any,
    run_dirs: tuple[Path, ...],
    pretrained: tuple[str, ...],
    model_files: tuple[Path, ...],
    quiet: bool,
    data_dir: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    from ood_fashion.api.measuring import sweep
    from ood_fashion.api.opening import load_run
    from ood_fashion.reports import sweep_figures

    @contextmanager
    def watch(total: int, folder: Path) -> Iterator[Callable[[], object]]:
        say(f"Sweep folder: {folder}", err=True)
        with working_in(folder, resume=False), progress(total, "shift", quiet=quiet) as advance:
            yield advance

    models: list[Any] = [*map(load_run, run_dirs), *pretrained, *model_files]
    results = sweep(models or None, kind, extent, data=data_dir, progress=watch, **options)
    figures = sweep_figures.pictures(results.report)
    folder = Path(results.folder)
    draw({folder / f"{name}.png": functools.partial(make, results.report) for name, (make, _) in figures.items()})
    show_results(results, as_json)
