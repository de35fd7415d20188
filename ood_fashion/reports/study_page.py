"""The pages of studies and of reproductions."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from ood_fashion.data.sources import Source
from ood_fashion.errors import RunError
from ood_fashion.evaluation.records import describe_fault
from ood_fashion.files import read_json
from ood_fashion.reports import study_figures, study_tables
from ood_fashion.reports.figures import test_set
from ood_fashion.reports.page import Drawing, Page, Section, configuration_section, folder_name
from ood_fashion.reports.table import Table
from ood_fashion.runs.run import Run
from ood_fashion.shifts.shift import TEST_SETS
from ood_fashion.studies import assignment
from ood_fashion.studies.reproduction import ReproductionReport
from ood_fashion.studies.study import STUDIES
from ood_fashion.studies.study_run import OWN, StudyRun


def study_page(path: Path, source: Source | None = None) -> Page:
    """Describe a study, without the trainings that cannot be read."""
    study_run = StudyRun(path)
    summary = study_run.summarize()
    count = study_run.trial_count
    if not summary.settings:
        finish = f"ood-fashion study {summary.study} --resume --out {path}"
        if summary.study == OWN:
            finish = f"ood.study(study, resume=True, out={str(path)!r})"
        raise RunError(
            f"{path}: expected a study with a finished training. Received: {count} trainings, none of which can "
            f"be read. Finish it: {finish}"
        )
    caption = "Means over the seeds, with half of their 95% intervals (Student's t)"
    table = replace(study_tables.results_table(summary), title=caption)
    shown = [
        f"{row[0]}: " + ", ".join(map(" ".join, zip(table.columns[2:], row[2:], strict=True))) for row in table.rows
    ]
    drawing = Drawing(summary.study, study_figures.figure(summary), summary.title, "; ".join(shown))
    results = [table]
    if summary.study == "shifts" and (
        models := assignment.comparable_models(summary.changes, genuine=summary.is_genuine)
    ):
        results.append(_assignment_table(models))
    read = {(setting.setting, seed) for setting in summary.settings for seed in setting.seeds}
    first, *others = (study_run.trials_of(setting) for setting in study_run.study.settings)
    configs = (trial.config for trial in itertools.chain(first, *(itertools.islice(trials, 1) for trials in others)))
    environments = (
        Run(trial.path).record for trial in study_run.trials() if (trial.setting, trial.config.seed) in read
    )
    return Page(
        title=folder_name(path),
        kind="study",
        lead=f"{summary.title}: {count - len(summary.damaged)} of {count} trainings.",
        sections=[
            Section("Results", tables=results, drawings=[drawing]),
            configuration_section(configs, environments),
        ],
        damaged=summary.damaged,
    )


def _assignment_table(models: Collection[str]) -> Table:
    rows = [
        [model, *(f"{reported[shift]:.4f}" if shift in reported else "-" for shift in TEST_SETS)]
        for model, reported in assignment.ACCURACY.items()
        if model in models
    ]
    notes = [f"{model}, {shift}: {slip}." for (model, shift), slip in assignment.SLIPS.items()]
    return Table("The assignment's accuracies, of one training each", ["model", *map(test_set, TEST_SETS)], rows, notes)


def reproduction_page(path: Path, source: Source | None = None) -> Page:
    """Lay a reproduction's tables and the figures of its studies out."""
    try:
        report = ReproductionReport.from_json(read_json(path / "reproduction.json"))
        parts = study_tables.reproduction_tables(report)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RunError(
            f"{path / 'reproduction.json'}: expected a reproduction. Received: {describe_fault(error)}."
        ) from error
    pages = [study_page(path / name) for name, study in STUDIES.items() if study.in_assignment]
    return Page(
        title=folder_name(path),
        kind="reproduction",
        lead=f"The assignment's reported values beside measured ones, over {report.seeds} "
        f"{'seed' if report.seeds == 1 else 'seeds'}.",
        sections=[
            *(Section(table.title, table.text, [table]) for table in parts),
            *(Section(page.lead, tables=page.sections[0].tables, drawings=page.drawings) for page in pages),
        ],
        damaged=[line for page in pages for line in page.damaged],
    )
