"""The commands that run many trainings and read them together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from ood_fashion import sources
from ood_fashion.cli.base import Decorator, data_dir_option, device_option, draw, json_option, show, workers_option
from ood_fashion.cli.process import say, working_in
from ood_fashion.cli.progress import progress
from ood_fashion.config import IMPLEMENTATIONS
from ood_fashion.errors import RunError
from ood_fashion.files import new_path, read_json
from ood_fashion.histories import Record
from ood_fashion.sources import Source
from ood_fashion.studies import MOST_SEEDS, SEEDS, STUDIES, STUDIES_ROOT, StudyRun, run_studies
from ood_fashion.trials import Outcome


def _progress(outcomes: Iterator[Outcome], total: int) -> Iterator[Outcome]:
    """Show on standard error how many trainings have ended."""
    with progress(total, "training") as advance:
        for outcome in outcomes:
            advance()
            yield outcome


def _grid_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the commands that train a grid."""
    options: list[Decorator] = [
        click.option(
            "--seeds",
            type=click.IntRange(1, MOST_SEEDS),
            help=f"Trainings of every setting.  [default: {SEEDS}, or as many as --resume finds]",
        ),
        workers_option("Trainings"),
        click.option("--out", type=click.Path(path_type=Path), help="The folder.  [default: studies/TIME-NAME]"),
        click.option("--resume", is_flag=True, help="Finish what is in --out, with more seeds if --seeds says so."),
        click.option("--epochs", type=int, help="Most passes, instead of each setting's own."),
        click.option("--train-size", type=int, help="Training images, instead of each setting's own."),
        click.option("--val-size", type=int, help="Validation images, instead of each setting's own."),
        device_option,
        data_dir_option,
        json_option,
    ]

    return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


def _draw(path: Path, summary: Record) -> None:
    """Draw a study's figure beside its summary, for the screen and for print."""
    from ood_fashion import study_plots

    if summary["settings"]:
        figure = functools.cache(functools.partial(study_plots.FIGURES[summary["study"]], summary))
        draw({path / f"{summary['study']}.{ending}": figure for ending in ("png", "svg")})


_MOST_SHOWN = 20


def _raise(failures: list[str]) -> None:
    if failures:
        more = f" ... and {len(failures) - _MOST_SHOWN} more" * (len(failures) > _MOST_SHOWN)
        shown = " ".join(failures[:_MOST_SHOWN])
        raise RunError(f"{len(failures)} trainings failed and are left out: {shown}{more}")


@click.command()
@_grid_options
def reproduce(
    *,
    seeds: int | None,
    workers: dict[str, Any],
    out: Path | None,
    resume: bool,
    device: str,
    data_dir: Source | None,
    as_json: bool,
    **changes: int | None,
) -> None:
    """Repeat all of the document.

    The result is a folder with the document's studies, and a table of its figures and claims beside ours.

    Example: ood-fashion reproduce --seeds 5 --out studies/reproduction
    """
    from ood_fashion import reproduction, study_tables

    dataset = sources.load_dataset(data_dir)
    path = out or new_path(STUDIES_ROOT, "reproduction")
    say(f"Reproduction folder: {path}", err=True)
    with working_in(path, resume=True):
        record, failures = reproduction.reproduce(
            path,
            seeds=seeds,
            changes={field: value for field, value in changes.items() if value is not None},
            dataset=dataset,
            resume=resume,
            **workers,
            data_dir=data_dir,
            device=device,
            progress=_progress,
        )
        for name, part in STUDIES.items():
            if part.in_document:
                _draw(path / name, read_json(path / name / "summary.json"))
    show(record, study_tables.reproduction_report(record), as_json)
    _raise(failures)


@click.command()
@click.argument("name", type=click.Choice(list(STUDIES)))
@click.option("--implementation", type=click.Choice(IMPLEMENTATIONS), help="What trains the MLP.  [default: keras]")
@_grid_options
def study(
    name: str,
    *,
    seeds: int | None,
    workers: dict[str, Any],
    out: Path | None,
    resume: bool,
    device: str,
    data_dir: Source | None,
    as_json: bool,
    **changes: int | str | None,
) -> None:
    """Train a grid of models over several seeds.

    NAME is what is varied, as in one of the document's studies; robust has the models that hold, recipe how they train.
    The result is a folder with a run for every training, summary.json and a figure.

    Example: ood-fashion study momentum --seeds 5 --out studies/momentum
    """
    from ood_fashion import study_tables

    dataset = sources.load_dataset(data_dir)
    given = {field: value for field, value in changes.items() if value is not None}
    path = out or new_path(STUDIES_ROOT, name)
    with working_in(path, resume=True):
        run = StudyRun.create(path, name, seeds=seeds, changes=given, dataset=dataset, resume=resume)
        say(f"Study folder: {path}", err=True)
        (summary,), failures = run_studies([run], **workers, data_dir=data_dir, device=device, progress=_progress)
        _draw(path, summary)
    show(summary, study_tables.study_table(summary), as_json)
    _raise(failures)
