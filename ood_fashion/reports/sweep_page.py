"""The page of a sweep."""

from __future__ import annotations

from pathlib import Path

from ood_fashion.data.sources import Source
from ood_fashion.errors import RunError
from ood_fashion.evaluation.records import describe_fault
from ood_fashion.evaluation.sweep_report import SweepReport
from ood_fashion.files import read_json
from ood_fashion.reports import failure_gallery, sweep_figures, tables
from ood_fashion.reports.page import Drawing, Page, Section, folder_name


def sweep_page(path: Path, source: Source | None = None) -> Page:
    """Lay the tables and pictures of a complete sweep out."""
    try:
        report = SweepReport.from_json(read_json(path / "results.json"))
        figures = [(name, draw(report), text) for name, (draw, text) in sweep_figures.pictures(report).items()]
        *others, last = tables.sweep_tables(report)
        means = ", ".join(f"{row.model} {row.mean:.4f}" for row in report.over_shifts) or "no shifts"
        lead = f"{len(report.results) // len(report.models)} test sets of {report.results[0].n:,} images."
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise RunError(
            f"{path / 'results.json'}: expected a sweep's results. Received: {describe_fault(error)}."
        ) from error
    drawings = [Drawing(*figure, f"{figure[-1]}. Means over all shifts: {means}.") for figure in figures]
    return Page(
        title=folder_name(path),
        kind="sweep",
        lead=f"{', '.join(report.models)}: {lead}",
        sections=[
            Section("Over all shifts", tables=[last], drawings=drawings),
            Section("Tables", tables=others),
            failure_gallery.sweep_section(path, source),
        ],
    )
