"""The figures of the studies, a function for each kind in `study.FIGURES`.

Lines are means over seeds, bands and bars the 95% intervals of the means; with one seed there are none.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from ood_fashion.evaluation.stats import Summary
from ood_fashion.reports import figures
from ood_fashion.reports.figures import COLOURS
from ood_fashion.shifts.shift import TEST_SETS
from ood_fashion.studies import assignment
from ood_fashion.studies.study_run import StudySummary


def _figure(columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(6.4 * columns, 4.2), layout="constrained", dpi=100)
    axes = list(np.atleast_1d(figure.subplots(1, columns)))
    for axis in axes:
        figures.style(axis)
    return figure, axes


def _means(summaries: Sequence[Summary]) -> list[float]:
    return [summary.mean for summary in summaries]


def _bars(summaries: Sequence[Summary]) -> np.ndarray | None:
    """Return distances from the means to both ends of their intervals, (2, n)."""
    intervals = [summary.interval for summary in summaries if summary.interval is not None]
    return np.abs(np.transpose(intervals) - _means(summaries)) if len(intervals) == len(summaries) else None


def _points(axis: Axes, places: Sequence[float], summaries: Sequence[Summary], colour: str) -> None:
    """Draw means with their intervals as bars."""
    axis.errorbar(places, _means(summaries), _bars(summaries), color=colour, marker="o", capsize=3)


def _curve(axis: Axes, rows: Sequence[Summary], label: str, number: int) -> None:
    """Draw a column of the histories against the epoch."""
    epochs = np.arange(1, len(rows) + 1)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    colour = COLOURS[number % len(COLOURS)]
    axis.plot(epochs, _means(rows), color=colour, label=label, lw=1.6)
    if intervals := [row.interval for row in rows if row.interval is not None]:
        axis.fill_between(epochs, *np.transpose(intervals), color=colour, alpha=0.18, lw=0)


def _title(summary: StudySummary, subject: str | None = None) -> str:
    """Say what is drawn, the study's title unless given, and of how many seeds."""
    count = max(len(setting.seeds) for setting in summary.settings)
    seeds = "1 seed" if count == 1 else f"mean and 95% interval over {count} seeds"
    return f"{subject or figures.literal(summary.title.partition(' (')[0])}: {seeds}"


def costs(summary: StudySummary) -> Figure:
    """Draw test accuracy and training time against the number that varies, side by side."""
    figure, axes = _figure(2)
    numbers = [float(setting.setting) for setting in summary.settings]
    for axis, measure, label, colour in (
        (axes[0], "accuracy none", "test accuracy", COLOURS[0]),
        (axes[1], "seconds", "training time (s)", COLOURS[1]),
    ):
        _points(axis, numbers, [setting.measures[measure] for setting in summary.settings], colour)
        axis.set(xscale="log", xlabel=figures.literal(summary.factor), ylabel=label)
        axis.set_xticks(numbers, [f"{number:,g}" for number in numbers])
        axis.minorticks_off()
    axes[1].set_ylim(bottom=0)
    figure.suptitle(_title(summary), fontsize="medium")
    return figure


def stopping(summary: StudySummary) -> Figure:
    """Draw accuracies per epoch, where each patience would have stopped, and what that would have cost."""
    figure, (left, right) = _figure(2)
    curves, table = summary.settings[0].curves, summary.settings[0].patience
    for number, (column, label) in enumerate(
        {"accuracy": "training (during the epoch)", "val_accuracy": "validation", "test_accuracy": "test"}.items()
    ):
        _curve(left, curves[column], label, number)
    seen: dict[int, list[int]] = {}
    for row in table:
        seen.setdefault(round(row.epochs.mean), []).append(row.patience)
    for epoch, patiences in seen.items():
        name = f"{patiences[0]}" if len(patiences) == 1 else f"{patiences[0]}-{patiences[-1]}"
        point = (epoch, curves["test_accuracy"][epoch - 1].mean)
        left.plot(*point, marker="o", color="black", ms=4)
        left.annotate(name, point, (0, -13), textcoords="offset points", ha="center", fontsize=8)
    left.set(xlabel="epoch", ylabel="accuracy")
    left.plot([], [], "ko", ms=4, label="stop of each patience")
    left.legend(frameon=False, fontsize="small")
    patiences = [row.patience for row in table]
    _points(right, patiences, [row.cost for row in table], COLOURS[3])
    right.axhline(0, color="black", lw=0.8)
    right.set(xlabel="patience (epochs)", ylabel="test accuracy lost", xticks=patiences)
    figure.suptitle(_title(summary), fontsize="medium")
    return figure


def curves(summary: StudySummary) -> Figure:
    """Draw the training loss per epoch for each setting, and the test accuracy against the number that varies."""
    figure, (left, right) = _figure(2)
    for number, setting in enumerate(summary.settings):
        _curve(left, setting.curves["loss"], setting.setting, number)
    by = {summary.changes.get("implementation", config.implementation) for config in summary.grid.settings.values()}
    when = " or ".join(map(figures.describe_training, sorted(by)))
    left.set(xlabel="epoch", ylabel=f"training loss ({when})", yscale="log")
    for of in (left.yaxis.set_major_formatter, left.yaxis.set_minor_formatter):
        of(ScalarFormatter())
    left.legend(title=figures.literal(summary.factor), frameon=False, fontsize="small")
    numbers = [float(setting.setting) for setting in summary.settings]
    _points(right, numbers, [setting.measures["accuracy none"] for setting in summary.settings], COLOURS[0])
    right.set(xlabel=figures.literal(summary.factor), ylabel="test accuracy after the last epoch", xticks=numbers)
    figure.suptitle(_title(summary), fontsize="medium")
    return figure


def bars(summary: StudySummary) -> Figure:
    """Draw the accuracy of each setting on each test set, with the assignment's as crosses."""
    figure, (axis,) = _figure()
    width = 0.8 / len(summary.settings)
    places = np.arange(len(TEST_SETS))
    colours = COLOURS if len(summary.settings) <= len(COLOURS) else matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined] # a list of colours
    label = "assignment"
    comparable = assignment.comparable_models(summary.changes, genuine=summary.is_genuine)
    for number, setting in enumerate(summary.settings):
        summaries = [setting.measures[f"accuracy {name}"] for name in TEST_SETS]
        x = places + (number - (len(summary.settings) - 1) / 2) * width
        axis.bar(x, _means(summaries), width * 0.92, yerr=_bars(summaries), capsize=2,
                 color=colours[number % len(colours)], label=setting.setting)  # fmt: skip
        if setting.setting in comparable:
            reported = assignment.ACCURACY[setting.setting]
            points = [(place, reported[name]) for place, name in zip(x, TEST_SETS, strict=True) if name in reported]
            axis.plot(*zip(*points, strict=True), "x", color="black", ms=5, label=label)
            label = "_"  # says nothing of it in the legend again
    axis.set_xticks(places, ["in-domain", *TEST_SETS[1:]])
    axis.set(ylabel="test accuracy", ylim=(0, 1))
    axis.legend(frameon=False, fontsize="small")
    axis.set_title(_title(summary, "Shifted test sets"), fontsize="medium")
    return figure


KINDS = {
    "bars": bars,
    "costs": costs,
    "curves": curves,
    "stopping": stopping,
}
"""What draws each kind of figure."""


def figure(summary: StudySummary) -> Figure:
    """Draw a study's figure."""
    return KINDS[summary.grid.figure](summary)
