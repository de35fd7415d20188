"""The figures of the studies, from what `StudyRun.summarize` gives.

Lines are means over seeds, bands and bars the 95% intervals of the means; with one seed there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from ood_fashion.data.dataset import GENUINE_SHA256
from ood_fashion.reports import figures
from ood_fashion.reports.figures import COLOURS
from ood_fashion.shifts.shift import TEST_SETS
from ood_fashion.studies import assignment

Summary = Mapping[str, Any]


def _figure(columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(6.4 * columns, 4.2), layout="constrained", dpi=100)
    axes = list(np.atleast_1d(figure.subplots(1, columns)))
    for axis in axes:
        figures.style(axis)
    return figure, axes


def _bars(summaries: Sequence[Summary]) -> np.ndarray | None:
    """Return distances from the means to both ends of their intervals, (2, n)."""
    if any(summary["interval"] is None for summary in summaries):
        return None
    return np.array([[s["mean"] - s["interval"][0], s["interval"][1] - s["mean"]] for s in summaries]).T


def _curve(axis: Axes, rows: Sequence[Summary], label: str, number: int) -> None:
    """Draw a column of the histories against the epoch."""
    epochs = np.arange(1, len(rows) + 1)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    colour = COLOURS[number % len(COLOURS)]
    axis.plot(epochs, [row["mean"] for row in rows], color=colour, label=label, lw=1.6)
    if rows[0]["interval"] is not None:
        low, high = zip(*(row["interval"] for row in rows), strict=True)
        axis.fill_between(epochs, low, high, color=colour, alpha=0.18, lw=0)


def _seeds(summary: Summary) -> str:
    count = max(len(setting["seeds"]) for setting in summary["settings"])
    return "1 seed" if count == 1 else f"mean and 95% interval over {count} seeds"


def batch_size(summary: Summary) -> Figure:
    """Draw test accuracy and training time against the batch size, side by side."""
    figure, axes = _figure(2)
    sizes = [int(setting["setting"]) for setting in summary["settings"]]
    for axis, measure, label, colour in (
        (axes[0], "accuracy none", "test accuracy", COLOURS[0]),
        (axes[1], "seconds", "training time (s)", COLOURS[1]),
    ):
        summaries = [setting["measures"][measure] for setting in summary["settings"]]
        axis.errorbar(sizes, [s["mean"] for s in summaries], _bars(summaries), color=colour, marker="o", capsize=3)
        axis.set(xscale="log", xlabel="batch size (images per update)", ylabel=label)
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.minorticks_off()
    axes[1].set_ylim(bottom=0)
    figure.suptitle(f"Batch size: {_seeds(summary)}", fontsize="medium")
    return figure


def early_stopping(summary: Summary) -> Figure:
    """Draw accuracies per epoch, where each patience would have stopped, and what that would have cost."""
    figure, (left, right) = _figure(2)
    curves = summary["settings"][0]["curves"]
    for number, (column, label) in enumerate(
        {"accuracy": "training (during the epoch)", "val_accuracy": "validation", "test_accuracy": "test"}.items()
    ):
        _curve(left, curves[column], label, number)
    table = summary["settings"][0]["patience"]
    seen: dict[int, list[int]] = {}
    for row in table:
        seen.setdefault(round(row["epochs"]["mean"]), []).append(row["patience"])
    for epoch, patiences in seen.items():
        name = f"{patiences[0]}" if len(patiences) == 1 else f"{patiences[0]}-{patiences[-1]}"
        point = (epoch, curves["test_accuracy"][epoch - 1]["mean"])
        left.plot(*point, marker="o", color="black", ms=4)
        left.annotate(name, point, (0, -13), textcoords="offset points", ha="center", fontsize=8)
    left.set(xlabel="epoch", ylabel="accuracy")
    left.plot([], [], "ko", ms=4, label="stop of each patience")
    left.legend(frameon=False, fontsize="small")
    patiences, costs = [row["patience"] for row in table], [row["cost"] for row in table]
    right.errorbar(patiences, [c["mean"] for c in costs], _bars(costs), color=COLOURS[3], marker="o", capsize=3)
    right.axhline(0, color="black", lw=0.8)
    right.set(xlabel="patience (epochs)", ylabel="test accuracy lost", xticks=patiences)
    figure.suptitle(f"Early stopping: {_seeds(summary)}", fontsize="medium")
    return figure


def momentum(summary: Summary) -> Figure:
    """Draw the training loss per epoch for each momentum, and the test accuracy against it."""
    figure, (left, right) = _figure(2)
    settings = summary["settings"]
    for number, setting in enumerate(settings):
        _curve(left, setting["curves"]["loss"], setting["setting"], number)
    left.set(xlabel="epoch", ylabel="training loss (during the epoch)", yscale="log")
    for of in (left.yaxis.set_major_formatter, left.yaxis.set_minor_formatter):
        of(ScalarFormatter())
    left.legend(title="momentum", frameon=False, fontsize="small")
    alphas = [float(setting["setting"]) for setting in settings]
    summaries = [setting["measures"]["accuracy none"] for setting in settings]
    right.errorbar(alphas, [s["mean"] for s in summaries], _bars(summaries), color=COLOURS[0], marker="o", capsize=3)
    right.set(xlabel="momentum", ylabel="test accuracy after the last epoch", xticks=alphas)
    figure.suptitle(f"Momentum: {_seeds(summary)}", fontsize="medium")
    return figure


def shifts(summary: Summary) -> Figure:
    """Draw the accuracy of each model on each test set, with the assignment's figures as crosses."""
    figure, (axis,) = _figure()
    settings = summary["settings"]
    width = 0.8 / len(settings)
    places = np.arange(len(TEST_SETS))
    colours = COLOURS if len(settings) <= len(COLOURS) else matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined] # a list of colours
    label = "assignment"
    comparable = assignment.comparable_models(summary["changes"], genuine=summary.get("sha256") == GENUINE_SHA256)
    for number, setting in enumerate(settings):
        summaries = [setting["measures"][f"accuracy {name}"] for name in TEST_SETS]
        x = places + (number - (len(settings) - 1) / 2) * width
        axis.bar(x, [s["mean"] for s in summaries], width * 0.92, yerr=_bars(summaries), capsize=2,
                 color=colours[number % len(colours)], label=setting["setting"])  # fmt: skip
        if setting["setting"] in comparable:
            figures = assignment.ACCURACY[setting["setting"]]
            points = [(place, figures[name]) for place, name in zip(x, TEST_SETS, strict=True) if name in figures]
            axis.plot(*zip(*points, strict=True), "x", color="black", ms=5, label=label)
            label = "_"  # says nothing of it in the legend again
    axis.set_xticks(places, ["in-domain", *TEST_SETS[1:]])
    axis.set(ylabel="test accuracy", ylim=(0, 1))
    axis.legend(frameon=False, fontsize="small")
    axis.set_title(f"Shifted test sets: {_seeds(summary)}", fontsize="medium")
    return figure


FIGURES: dict[str, Callable[[Summary], Figure]] = {
    "batch-size": batch_size,
    "early-stopping": early_stopping,
    "momentum": momentum,
    "shifts": shifts,
    "recipe": shifts,
    "robust": shifts,
}
"""What draws each study, by its name in `studies.STUDIES`."""


def figure(summary: Summary) -> Figure:
    """Draw a study: a registered one as `FIGURES` says, one of a user's own like a study of models."""
    return FIGURES.get(summary["study"], shifts)(summary)
