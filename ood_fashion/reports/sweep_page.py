"""The page of a sweep."""

from __future__ import annotations

from pathlib import Path

from ood_fashion.data.sources import Source
from ood_fashion.errors import RunError
from ood_fashion.evaluation.sweep_report import SweepReport
from ood_fashion.files import read_json
from ood_fashion.reports import sweep_figures, tables
from ood_fashion.reports.page import Drawing, Page, Section
from ood_fashion.reports.parts import folder_name

_CAPTIONS = {
    "translate": "Accuracy over translations",
    "translate-axes": "Accuracy over moves along each axis, with 95% Wilson intervals",
    "rotate": "Accuracy over the angle, with 95% Wilson intervals",
    "corruptions": "Accuracy over the severity of each corruption, with 95% Wilson intervals",
    "in-domain": "Mean accuracy over the shifts against accuracy in-domain",
}


def sweep_page(path: Path, data_dir: Source | None = None) -> Page:
    """Lay the tables and pictures of a complete sweep out; see `report.read_page`."""
    try:
        report = SweepReport.from_json(read_json(path / "results.json"))
        figures = {name: draw(report) for name, draw in sweep_figures.pictures(report).items()}
        *others, last = tables.sweep_tables(report)
        means = ", ".join(f"{row.model} {row.mean:.4f}" for row in report.over_shifts) or "no shifts"
        lead = f"{len(report.results) // len(report.models)} test sets of {report.results[0].n:,} images."
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise RunError(f"{path / 'results.json'}: expected a sweep's results. Received: {error!r} missing.") from error
    drawings = [
        Drawing(name, figure, _CAPTIONS[name], f"{_CAPTIONS[name]}. Means over all shifts: {means}.")
        for name, figure in figures.items()
    ]
    # What matters most comes first.
    laid_out = [last, *others]
    return Page(
        title=folder_name(path),
        kind="sweep",
        lead=f"{', '.join(report.models)}: {lead}",
        sections=[
            Section("Over all shifts", tables=laid_out[:1], drawings=drawings),
            Section("Figures", tables=laid_out[1:]),
        ],
    )
