"""The command that measures models over many shifts."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ood_fashion import sources
from ood_fashion.cli.base import (
    PRETRAINED,
    Decorator,
    data_dir_option,
    device_option,
    draw,
    json_option,
    limit_option,
    pixels_option,
    show,
    trust_option,
    workers_option,
)
from ood_fashion.cli.process import say, working_in
from ood_fashion.cli.progress import progress
from ood_fashion.corruptions import CORRUPTIONS
from ood_fashion.errors import DataError
from ood_fashion.files import absolute

if TYPE_CHECKING:
    from ood_fashion.sweeps import Sweep


def _common(command: Any) -> Any:
    """Give a command the options that all sweeps share."""
    options: list[Decorator] = [
        click.option("--run", "run_dirs", type=click.Path(path_type=Path), multiple=True,
                     help="A run folder; may be repeated.  [default: the latest complete]"),
        click.option("--model", "pretrained", type=click.Choice(list(PRETRAINED)), multiple=True,
                     help="A trained model of the package's own; may be repeated."),
        click.option("--model-file", "model_files", type=click.Path(path_type=Path), multiple=True,
                     help="A .keras file or SavedModel folder of any origin; may be repeated."),
        pixels_option,
        trust_option,
        click.option("--reference", help="The model whose errors make an mCE of 1, by its name in the table.  "
                     "[default: the document's MLP, else the first model]"),
        limit_option,
        click.option("--out", type=click.Path(path_type=Path),
                     help="The folder to write to.  [default: sweeps/KIND-HASH, by models, images and shifts]"),
        workers_option("Shifts", jobs=1),
        click.option("--quiet", is_flag=True, help="Show no progress."),
        device_option,
        data_dir_option,
        json_option,
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def sweep() -> None:
    """Measure models over many shifts.

    The folder has results.csv, results.json and a picture. The same command again finishes a sweep that was killed.

    Example: ood-fashion sweep rotate --run runs/mlp --run runs/cnn3
    """


@sweep.command()
@click.option("--max", "most", type=int, default=8, show_default=True, help="Largest distance in each axis, in pixels.")
@_common
def translate(most: int, **options: Any) -> None:
    """Accuracy for every translation of a square.

    Example: ood-fashion sweep translate --max 8
    """
    from ood_fashion import sweeps

    _sweep(sweeps.translations(most), **options)


@sweep.command()
@click.option("--step", type=float, default=15.0, show_default=True, help="Degrees between two angles.")
@_common
def rotate(step: float, **options: Any) -> None:
    """Accuracy for angles all around.

    Example: ood-fashion sweep rotate --step 15
    """
    from ood_fashion import sweeps

    _sweep(sweeps.rotations(step), **options)


@sweep.command()
@click.option("--corruption", "names", type=click.Choice(list(CORRUPTIONS)), multiple=True, metavar="NAME",
              help="Only this one; may be repeated.")  # fmt: skip
@_common
def corruptions(names: tuple[str, ...], **options: Any) -> None:
    """Accuracy for every corruption and severity.

    Example: ood-fashion sweep corruptions --limit 1000
    """
    from ood_fashion import sweeps

    _sweep(sweeps.corruptions(names), **options)


def _sweep(
    chosen: Sweep,
    *,
    run_dirs: tuple[Path, ...],
    pretrained: tuple[str, ...],
    model_files: tuple[Path, ...],
    pixel_range: str | None,
    trust: bool,
    reference: str | None,
    limit: int | None,
    workers: dict[str, Any],
    out: Path | None,
    quiet: bool,
    device: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    from ood_fashion import backends, baseline, datasets, run_search, sweep_plots, sweeps, tables

    files = run_search.model_files([*run_dirs, *(PRETRAINED[name] for name in pretrained)], model_files)
    dataset = sources.load_dataset(data_dir)
    split = datasets.Split(dataset.test.images[:limit], dataset.test.labels[:limit])
    reference = chosen.reference(reference, list(files), split)
    from ood_fashion.nn import evaluation

    deciding = sweeps.settings(chosen, files, dataset, len(split))
    if pixel_range:
        deciding["pixels"] = pixel_range
    source = absolute(data_dir, DataError) if isinstance(data_dir, Path) else data_dir
    paths = tuple(map(absolute, files.values()))
    pixel_ranges = tuple(pixel_range if path in model_files else None for path in files.values())
    asked = evaluation.ModelFiles(
        paths, pixel_ranges, source, limit, device, json.dumps(deciding), deciding["images"], trust
    )
    evaluation.load_scorer(asked, None)  # so that what is wrong with a model is known before there is a folder
    folder = out or sweeps.default_folder(deciding)
    with working_in(folder, resume=False):
        sweeps.open_folder(folder, deciding)
        say(f"Sweep folder: {folder}", err=True)
        with progress(len(chosen.points), "shift", quiet=quiet) as advance:
            hits = sweeps.measure(
                chosen,
                len(files),
                len(split),
                lambda shifts: backends.side_by_side(
                    evaluation.hits_under, [(shift, asked) for shift in shifts], **workers
                ),
                folder,
                advance,
            )
        report = chosen.report(list(files), hits, reference, standard=baseline.applies(split))
        sweeps.write_report(folder, report)
        figures = sweep_plots.pictures(report)
        draw({folder / f"{name}.png": functools.partial(make, report) for name, make in figures.items()})
    show({"folder": str(folder), **report}, tables.sweep_report(report), as_json)
