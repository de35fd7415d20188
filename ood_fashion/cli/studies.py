"""The commands that run many trainings and read them together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ood_fashion.cli.options import (
    combine,
    data_dir_option,
    device_option,
    draw,
    json_option,
    settings_options,
    show_results,
    workers_option,
)
from ood_fashion.cli.process import say, working_in
from ood_fashion.cli.progress import progress
from ood_fashion.data.sources import Source
from ood_fashion.errors import RunError
from ood_fashion.files import new_path, read_json
from ood_fashion.studies.study import STUDIES
from ood_fashion.studies.study_run import MAX_SEEDS, SEEDS, STUDIES_ROOT, StudySummary
from ood_fashion.studies.trials import Outcome, Trial, estimate_seconds


def _progress(where: str, outcomes: Iterator[Outcome], trials: Sequence[Trial]) -> Iterator[Outcome]:
    """Show on standard error where the results go, how long that may take, and how many trainings have ended."""
    say(where, f"{len(trials)} trainings, at most about {_duration(estimate_seconds(trials))} on this CPU", err=True)
    with progress(len(trials), "training") as advance:
        for outcome in outcomes:
            advance()
            yield outcome


def _duration(seconds: float) -> str:
    """Write a time with two digits, in the largest unit of which there are two or more."""
    for unit, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{float(f'{seconds / unit:.2g}'):g} {name}"
    return f"{max(2, round(seconds))} seconds"


_grid_options = combine(
    click.option(
        "--seeds",
        type=click.IntRange(1, MAX_SEEDS),
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
)


def _draw(path: Path, summary: StudySummary) -> None:
    """Draw a study's figure beside its summary, for the screen and for print."""
    from ood_fashion.reports import study_figures

    if summary.settings:
        figure = functools.cache(functools.partial(study_figures.figure, summary))
        draw({path / f"{summary.study}.{ending}": figure for ending in ("png", "svg")})


_MAX_SHOWN = 20


def _run(
    compute: Callable[..., Any],
    kind: str,
    draw_figures: Callable[[Path, Any], None],
    path: Path,
    *,
    data_dir: Source | None,
    resume: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Compute a study or a reproduction, draw its figures, and show its results."""
    watch = functools.partial(_progress, f"{kind} folder: {path}")
    options = {name: value for name, value in given.items() if value is not None}
    with working_in(path, resume=True):
        results = compute(data=data_dir, out=path, resume=resume, progress=watch, **options)
        draw_figures(path, results)
    show_results(results, as_json)
    if failures := results.failures:
        more = f" ... and {len(failures) - _MAX_SHOWN} more" * (len(failures) > _MAX_SHOWN)
        shown = " ".join(failures[:_MAX_SHOWN])
        raise RunError(f"{len(failures)} trainings failed and are left out: {shown}{more}")


@click.command()
@_grid_options
def reproduce(out: Path | None, **options: Any) -> None:
    """Repeat all of the assignment.

    The result is a folder with the assignment's studies, and a table of its values and claims beside the measured ones.

    Example: ood-fashion reproduce --seeds 5 --out studies/reproduction
    """
    from ood_fashion.api.studying import reproduce

    def draw_parts(path: Path, results: Any) -> None:
        for name, part in STUDIES.items():
            if part.in_assignment:
                _draw(path / name, StudySummary.from_json(read_json(path / name / "summary.json")))

    _run(reproduce, "Reproduction", draw_parts, out or new_path(STUDIES_ROOT, "reproduction"), **options)


@click.command()
@click.argument("name", type=click.Choice(list(STUDIES)))
@settings_options("implementation")
@_grid_options
def study(name: str, out: Path | None, **options: Any) -> None:
    """Train a grid of models over several seeds.

    NAME is what is varied, as in the assignment's studies; robust has robust models, recipe and ingredients how they
    train.
    The result is a folder with a run for every training, summary.json and a figure.

    Example: ood-fashion study momentum --seeds 5 --out studies/momentum
    """
    from ood_fashion.api.studying import study

    def draw_study(path: Path, results: Any) -> None:
        _draw(path, results.summary)

    _run(functools.partial(study, name), "Study", draw_study, out or new_path(STUDIES_ROOT, name), **options)
