"""Pictures of sweeps, from their reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import MaxNLocator

from ood_fashion.evaluation import baseline
from ood_fashion.evaluation.sweep_report import SweepReport
from ood_fashion.reports import figures


def heat_maps(report: SweepReport) -> Figure:
    """Draw accuracy over translations, a panel a model."""
    models = report.models
    figure = Figure(figsize=(0.8 + 3.4 * len(models), 3.6), layout="constrained", dpi=110)
    axes = figure.subplots(1, len(models), squeeze=False)[0]
    most = max(row.coordinates["dx"] for row in report.results)
    side = 2 * most + 1
    for axis, model in zip(axes, models, strict=True):
        values = [row.accuracy for row in report.results if row.model == model]
        grid = np.array(values).reshape(side, side)
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
    for model in report.models:
        rows = [row for row in report.results if row.model == model]
        closed = [*rows, rows[0]]
        angles = np.radians([*(row.coordinates["degrees"] for row in rows), rows[0].coordinates["degrees"] + 360])
        (line,) = axis.plot(angles, [row.accuracy for row in closed], label=figures.literal(model), linewidth=1.5)
        low, high = np.transpose([row.ci95 for row in closed])
        axis.fill_between(angles, low, high, color=line.get_color(), alpha=0.25, linewidth=0)
    axis.set_theta_zero_location("N")  # so that a curve turns as the images do
    axis.set(ylim=(0, 1), yticks=[0.25, 0.5, 0.75, 1])
    axis.set_rlabel_position(67.5)
    axis.set_title(f"accuracy by angle, n = {report.results[0].n:,}", fontsize="medium")
    columns = min(3, len(report.models))
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize="small")
    return figure


COLUMNS = 6


def curves(report: SweepReport) -> Figure:
    """Draw accuracy over severities, a panel a corruption, with the 95% interval as a band."""
    names = list(dict.fromkeys(row.coordinates["corruption"] for row in report.results))[1:]
    columns = min(COLUMNS, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(1 + 1.9 * columns, 0.9 + 1.55 * lines), layout="constrained", dpi=110)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axis, name in zip(axes.flat, names, strict=False):
        for model in report.models:
            rows = [
                row for row in report.results if row.model == model and row.coordinates["corruption"] in ("none", name)
            ]
            severities = [row.coordinates["severity"] for row in rows]
            (line,) = axis.plot(severities, [row.accuracy for row in rows], label=figures.literal(model), linewidth=1.3)
            low, high = np.transpose([row.ci95 for row in rows])
            axis.fill_between(severities, low, high, color=line.get_color(), alpha=0.25, linewidth=0)
        axis.set_title(figures.literal(name), fontsize="small")
        axis.set(ylim=(0, 1), xlim=(0, 5), xticks=range(6))
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=min(3, len(report.models)))
    figure.supxlabel("severity", fontsize="medium")
    figure.supylabel(f"accuracy, n = {report.results[0].n:,}", fontsize="medium")
    return figure


def along_axes(report: SweepReport) -> Figure:
    """Draw accuracy over moves along each axis, with the 95% interval as a band."""
    figure = Figure(figsize=(9, 3.4), layout="constrained", dpi=110)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, along, across, label in zip(axes, ("dx", "dy"), ("dy", "dx"), ("right", "down"), strict=True):
        figures.style(axis)
        for model in report.models:
            rows = [row for row in report.results if row.model == model and row.coordinates[across] == 0]
            places = [row.coordinates[along] for row in rows]
            (line,) = axis.plot(places, [row.accuracy for row in rows], label=figures.literal(model), linewidth=1.3)
            axis.fill_between(
                places, *np.transpose([row.ci95 for row in rows]), color=line.get_color(), alpha=0.25, linewidth=0
            )
        axis.set(xlabel=f"{along} ({label}), pixels", ylim=(0, 1))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel(f"accuracy, n = {report.results[0].n:,}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=min(3, len(report.models)))
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


PICTURES: dict[str, dict[str, Callable[[SweepReport], Figure]]] = {
    "translate": {"translate": heat_maps, "translate-axes": along_axes},
    "rotate": {"rotate": polar},
    "corruptions": {"corruptions": curves},
}
"""What draws each kind of sweep, by the names of the pictures; `scatter` draws all."""


def pictures(report: SweepReport) -> dict[str, Callable[[SweepReport], Figure]]:
    """Return what draws a sweep, by the names of the pictures."""
    return PICTURES[report.kind] | ({"in-domain": scatter} if report.over_shifts else {})
