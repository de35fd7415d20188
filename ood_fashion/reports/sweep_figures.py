"""Pictures of sweeps, from their reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ood_fashion.evaluation import baseline
from ood_fashion.evaluation.sweep_report import SweepPoint, SweepReport
from ood_fashion.reports import figures


def _by_model(report: SweepReport) -> dict[str, list[SweepPoint]]:
    return {model: [point for point in report.results if point.model == model] for model in report.models}


def _draw_band(axis: Axes, places: ArrayLike, points: Sequence[SweepPoint], width: float = 1.3) -> None:
    """Draw a model's accuracy, with the 95% interval as a band."""
    name = figures.literal(points[0].model)
    (line,) = axis.plot(places, [point.accuracy for point in points], label=name, linewidth=width)
    low, high = np.transpose([point.ci95 for point in points])
    axis.fill_between(places, low, high, color=line.get_color(), alpha=0.25, linewidth=0)


def _add_legend(figure: Figure, columns: int) -> None:
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=min(3, columns))


def heat_maps(report: SweepReport) -> Figure:
    """Draw accuracy over translations, a panel a model."""
    models = _by_model(report)
    figure = Figure(figsize=(0.8 + 3.4 * len(models), 3.6), layout="constrained", dpi=110)
    axes = figure.subplots(1, len(models), squeeze=False)[0]
    most = max(row.coordinates["dx"] for row in report.results)
    for axis, (model, points) in zip(axes, models.items(), strict=True):
        grid = np.reshape([point.accuracy for point in points], (2 * most + 1, 2 * most + 1))
        extent = (-most - 0.5, most + 0.5, most + 0.5, -most - 0.5)
        image = axis.imshow(grid, vmin=0, vmax=1, extent=extent, cmap="viridis")
        if most:
            levels = [level for level in (0.25, 0.5, 0.75) if grid.min() < level < grid.max()]
            positions = np.arange(-most, most + 1)
            axis.clabel(axis.contour(positions, positions, grid, levels, colors="white", linewidths=0.8), fontsize=7)
        axis.set(title=figures.literal(model), xlabel="dx (right), pixels")
    axes[0].set_ylabel("dy (down), pixels")
    figure.colorbar(image, ax=list(axes), label=f"accuracy, n = {report.results[0].n:,}")
    return figure


def polar(report: SweepReport) -> Figure:
    """Draw accuracy over angles, with the 95% interval as a band."""
    figure = Figure(figsize=(5.2, 5), layout="constrained", dpi=110)
    axis = cast(PolarAxes, figure.add_subplot(projection="polar"))
    for points in _by_model(report).values():
        degrees = [point.coordinates["degrees"] for point in points]
        _draw_band(axis, np.radians([*degrees, degrees[0] + 360]), [*points, points[0]], 1.5)
    axis.set_theta_zero_location("N")  # so that a curve turns as the images do
    axis.set(ylim=(0, 1), yticks=[0.25, 0.5, 0.75, 1])
    axis.set_rlabel_position(67.5)
    axis.set_title(f"accuracy by angle, n = {report.results[0].n:,}", fontsize="medium")
    figure.legend(loc="outside lower center", ncols=min(3, len(report.models)), frameon=False, fontsize="small")
    return figure


def curves(report: SweepReport) -> Figure:
    """Draw accuracy over severities, a panel a corruption, with the 95% interval as a band."""
    names = list(dict.fromkeys(row.coordinates["corruption"] for row in report.results))[1:]
    columns = min(6, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(1 + 1.9 * columns, 0.9 + 1.55 * lines), layout="constrained", dpi=110)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axis, name in zip(axes.flat, names, strict=False):
        for points in _by_model(report).values():
            shown = [point for point in points if point.coordinates["corruption"] in ("none", name)]
            _draw_band(axis, [point.coordinates["severity"] for point in shown], shown)
        axis.set_title(figures.literal(name), fontsize="small")
        axis.set(ylim=(0, 1), xlim=(0, 5), xticks=range(6))
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    _add_legend(figure, len(report.models))
    figure.supxlabel("severity", fontsize="medium")
    figure.supylabel(f"accuracy, n = {report.results[0].n:,}", fontsize="medium")
    return figure


def along_axes(report: SweepReport) -> Figure:
    """Draw accuracy over moves along each axis, with the 95% interval as a band."""
    figure = Figure(figsize=(9, 3.4), layout="constrained", dpi=110)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, along, across, label in zip(axes, ("dx", "dy"), ("dy", "dx"), ("right", "down"), strict=True):
        figures.style(axis)
        for points in _by_model(report).values():
            shown = [point for point in points if point.coordinates[across] == 0]
            _draw_band(axis, [point.coordinates[along] for point in shown], shown)
        axis.set(xlabel=f"{along} ({label}), pixels", ylim=(0, 1))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel(f"accuracy, n = {report.results[0].n:,}")
    _add_legend(figure, len(report.models))
    return figure


def scatter(report: SweepReport) -> Figure:
    """Draw mean accuracy over the shifts against accuracy in-domain, with the line y = x."""
    figure = Figure(figsize=(5.2, 4.6), layout="constrained", dpi=110)
    axis = figure.subplots()
    over = report.over_shifts
    shifts = [shift for shift in dict.fromkeys(row.shift for row in report.results) if shift != "none"]
    measured = {row.model: (row.in_domain, row.mean) for row in over if row.in_domain is not None}
    standard = baseline.mean_points(shifts) if over[0].effective_robustness is not None else []
    figures.in_domain_scatter(axis, measured, standard, shifts)
    axis.set(xlabel="accuracy in-domain", ylabel=f"mean accuracy over {len(shifts)} shifts")
    axis.set_title(f"n = {report.results[0].n:,}", fontsize="medium")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


Draw = Callable[[SweepReport], Figure]

PICTURES: dict[str, dict[str, tuple[Draw, str]]] = {
    "translate": {
        "translate": (heat_maps, "Accuracy over translations"),
        "translate-axes": (along_axes, "Accuracy over moves along each axis, with 95% Wilson intervals"),
    },
    "rotate": {"rotate": (polar, "Accuracy over the angle, with 95% Wilson intervals")},
    "corruptions": {
        "corruptions": (curves, "Accuracy over the severity of each corruption, with 95% Wilson intervals")
    },
}
"""What draws each kind of sweep, and a caption, by the names of the pictures; `scatter` draws all."""


def pictures(report: SweepReport) -> dict[str, tuple[Draw, str]]:
    """Return what draws a sweep, and a caption, by the names of the pictures."""
    in_domain = {"in-domain": (scatter, "Mean accuracy over the shifts against accuracy in-domain")}
    return PICTURES[report.kind] | (in_domain if report.over_shifts else {})
