"""The figures of a run, from its records and the test images; each fits the width of a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ood_fashion.evaluation import baseline
from ood_fashion.evaluation.results import AccuracyResult, Metrics
from ood_fashion.evaluation.stats import wilson_interval
from ood_fashion.images import Images
from ood_fashion.reports import figures
from ood_fashion.reports.figures import COLOURS, literal, look, style, test_set
from ood_fashion.runs.history import History
from ood_fashion.shifts.shift import Indices, Shift

WIDTH = 4.8
"""Of every figure, in inches."""

RIGHT, WRONG = COLOURS[2], COLOURS[1]

_MAX_NUMBERED_CLASSES = 15
"""The cells of larger confusion matrices are too small for numbers."""


def _figure(height: float, *shape: int, **options: Any) -> tuple[Figure, Any]:
    """Make a figure with one pair of axes, or with rows and columns of them."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained", dpi=150)
    return figure, figure.subplots(*shape, **options)


def learning_curve(history: History, measure: str, kept_epoch: int, implementation: str) -> Figure:
    """Draw a measure per epoch in training, in validation and, where it was monitored, on the test set.

    Args:
        history: a row per epoch.
        measure: "loss" or "accuracy".
        kept_epoch: from 1; marked.
        implementation: what has trained.
    """
    figure, axis = _figure(3.4)
    style(axis)
    curves = {
        measure: f"training ({figures.describe_training(implementation)})",
        f"val_{measure}": "validation",
        f"test_{measure}": "test",
    }
    for number, (column, label) in enumerate(curves.items()):
        if column in history[0]:
            epochs, values = [row["epoch"] for row in history], [row[column] for row in history]
            axis.plot(epochs, values, ms=3.5, label=label, **look(number))
    axis.axvline(kept_epoch, color="black", ls=":", lw=1.2, label="kept weights")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="epoch", ylabel="loss (nats)" if measure == "loss" else measure)
    axis.legend(frameon=False, fontsize="small")
    return figure


def accuracies(results: Sequence[AccuracyResult], figures: Mapping[str, float]) -> Figure:
    """Draw accuracies on test sets with 95% Wilson intervals, and the assignment's `figures`, by shift, as crosses."""
    figure, axis = _figure(0.9 + 0.35 * len(results))
    style(axis)
    axis.grid(visible=False, axis="y")
    places, means = range(len(results)), [result.accuracy for result in results]
    distances = np.abs(np.transpose([result.ci95 for result in results]) - means)
    axis.barh(places, means, 0.6, xerr=distances, color=COLOURS[5], ecolor="black", capsize=2, label="this run")
    if shown := [(figures[result.shift], place) for place, result in enumerate(results) if result.shift in figures]:
        axis.plot(*zip(*shown, strict=True), "x", color="black", ms=6, label="assignment")
        axis.legend(frameon=False, fontsize="small", loc="lower right")
    axis.set_yticks(places, [test_set(result.shift) for result in results])
    axis.set(xlim=(0, 1), xlabel="accuracy")
    axis.invert_yaxis()
    return figure


def class_accuracies(counts: Mapping[str, NDArray[np.int64]], class_names: Sequence[str]) -> Figure:
    """Draw the accuracy in each class on each test set, by its confusion matrix, with 95% Wilson intervals."""
    figure, axis = _figure(1.2 + 0.42 * len(class_names))
    style(axis)
    axis.grid(visible=False, axis="y")
    for number, (shift, matrix) in enumerate(counts.items()):
        totals, correct = matrix.sum(axis=1), matrix.diagonal()
        (present,) = np.nonzero(totals)
        accuracies = correct[present] / totals[present]
        intervals = np.array([wilson_interval(int(correct[label]), int(totals[label])) for label in present])
        places, bars = present + 0.15 * (number - (len(counts) - 1) / 2), np.abs(intervals.T - accuracies)
        axis.errorbar(accuracies, places, xerr=bars, ls="none", ms=4, lw=1, label=test_set(shift), **look(number))
    axis.set(xlim=(-0.02, 1.02), ylim=(len(class_names) - 0.5, -0.5), xlabel="accuracy")
    axis.set_yticks(range(len(class_names)), list(map(literal, class_names)))
    for label in range(1, len(class_names)):
        axis.axhline(label - 0.5, color="grey", lw=0.4)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize="small")
    return figure


def reliability(results: Sequence[Metrics]) -> Figure:
    """Draw accuracy against confidence on each test set, before and after it was calibrated, two a row."""
    figure, axes = _panels(len(results))
    for result, axis in zip(results, axes, strict=True):
        style(axis)
        axis.plot([0, 1], [0, 1], color="black", ls="--", lw=1, label="confidence = accuracy")
        kinds = {"as trained": result.bins, "calibrated": result.calibrated and result.calibrated.bins}
        for number, (label, bins) in enumerate((label, kind) for label, kind in kinds.items() if kind):
            means = [group.accuracy for group in bins]
            confidences = [group.confidence for group in bins]
            bars = np.abs(np.transpose([wilson_interval(group.accuracy * group.n, group.n) for group in bins]) - means)
            axis.errorbar(confidences, means, bars, ms=3, lw=1, label=label, **look(number))
        axis.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1))
        axis.set_title(test_set(result.shift), fontsize="small")
    return _label_axes(figure, "confidence", "accuracy")


def in_domain_scatters(in_domain: float, accuracies: Mapping[str, float]) -> Figure:
    """Draw a run's accuracy under shift against that in-domain, beside standard models', two shifts a row.

    Args:
        in_domain: the accuracy on unshifted images.
        accuracies: under shifts that have a `baseline.fit`, by their text forms.
    """
    figure, axes = _panels(len(accuracies))
    for (shift, accuracy), axis in zip(accuracies.items(), axes, strict=True):
        figures.in_domain_scatter(axis, {"this run": (in_domain, accuracy)}, baseline.mean_points([shift]), [shift])
        axis.set_title(test_set(shift), fontsize="small")
    return _label_axes(figure, "accuracy in-domain", "accuracy under the shift")


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """Make so many panels with the same axes, two a row."""
    rows = -(-count // 2)
    figure, grid = _figure(0.6 + 2.3 * rows, rows, 2, squeeze=False, sharex=True, sharey=True)
    axes = list(grid.flat)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]


def _label_axes(figure: Figure, x: str, y: str) -> Figure:
    """Name the axes that all panels share, and give the first one's legend to the figure."""
    figure.supxlabel(x, fontsize="medium")
    figure.supylabel(y, fontsize="medium")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False,
                  fontsize="small")  # fmt: skip
    return figure


def confusion(rates: NDArray[np.float64], class_names: Sequence[str]) -> Figure:
    """Draw a confusion matrix whose rows are rates, 0 to 1, or NaN where a class has no images."""
    return _matrix(100 * rates, class_names, "Blues", 0, 100, "{:.0f}", "% of the class's images")


def confusion_change(change: NDArray[np.float64], class_names: Sequence[str]) -> Figure:
    """Draw the difference of two confusion matrices of rates, -1 to 1."""
    return _matrix(100 * change, class_names, "RdBu_r", -100, 100, "{:+.0f}", "percentage points, from in-domain")


def _matrix(
    values: NDArray[np.float64], class_names: Sequence[str], colours: str, low: int, high: int, text: str, unit: str
) -> Figure:
    size = len(class_names)
    figure, axis = _figure(5.0)
    image = axis.imshow(values, colours, vmin=low, vmax=high, interpolation="none")
    axis.set(xlabel="predicted class", ylabel="true class")
    if size <= _MAX_NUMBERED_CLASSES:
        names = list(map(literal, class_names))
        axis.set_xticks(range(size), names, rotation=60, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(size), names)
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value) and round(value):
                colour = _readable_on(image.cmap, (float(value) - low) / (high - low))
                axis.text(column, row, text.format(value), ha="center", va="center", fontsize=8, color=colour)
    axis.tick_params(length=0, labelsize=9)
    figure.colorbar(image, ax=axis, location="top", fraction=0.04, pad=0.02, label=unit)
    return figure


def _readable_on(colours: Colormap, position: float) -> str:
    """Return the text colour with the better contrast (relative luminance, WCAG 2)."""
    luminance = float(np.dot(np.array(colours(position)[:3]) ** 2.2, (0.2126, 0.7152, 0.0722)))
    return "#ffffff" if luminance < 0.18 else "#111111"


def _grid(rows: int, columns: int, image_shape: tuple[int, ...], text: float) -> tuple[Figure, NDArray[Any]]:
    """Make axes (rows, columns) for images with `text` inches for the words above and below them."""
    height = rows * (0.9 * WIDTH / columns * image_shape[0] / image_shape[1] + text)
    return _figure(height, rows, columns, squeeze=False)


def _draw_image(axis: Axes, image: NDArray[np.float32], caption: str, *, right: bool) -> None:
    """Draw an image and its caption; the frame is green, or orange and dashed."""
    axis.imshow(image, "gray", vmin=0, vmax=1, interpolation="none")
    axis.set(xticks=[], yticks=[])
    axis.set_xlabel(caption, fontsize=8.5)
    dashes = "-" if right else (0, (3, 1.5))
    axis.spines[:].set(color=RIGHT if right else WRONG, linestyle=dashes, linewidth=2, capstyle="butt")


def predictions(
    images: Images, indices: Indices, true_names: Sequence[str], predicted: Mapping[str, Sequence[tuple[str, float]]]
) -> Figure:
    """Draw some images, a row each, under shifts, a column each, with what the model takes them for.

    Args:
        images: uint8 (n, height, width).
        indices: each image's place in the test set, (n,), which its random numbers depend on.
        true_names: the name of the true class of each.
        predicted: by the text forms of the shifts, a class name and a confidence for each image.
    """
    figure, axes = _grid(len(images), len(predicted), images.shape[1:], text=0.7)
    for column, (shift, answers) in zip(axes.T, predicted.items(), strict=True):
        column[0].set_title(f"{test_set(shift)}\n", fontsize=9)  # above the name of the first row's class
        shifted = Shift.parse(shift).apply(images, indices)
        for axis, image, true_name, (name, confidence) in zip(column, shifted, true_names, answers, strict=True):
            right = name == true_name
            _draw_image(axis, image, f"{literal(name)}\n{'✓' if right else '✗'} {confidence:.0%}", right=right)
    for axis, name in zip(axes[:, 0], true_names, strict=True):
        axis.set_title(literal(name), fontsize=9, weight="bold", loc="left")
    return figure


def mistakes(images: NDArray[np.float32], true_names: Sequence[str], predicted: Sequence[tuple[str, float]]) -> Figure:
    """Draw images, shifted already, that the model gets wrong, four a row."""
    figure, axes = _grid(-(-len(images) // 4), 4, images.shape[1:], text=0.6)
    for axis, image, true_name, (name, confidence) in zip(axes.flat, images, true_names, predicted, strict=False):
        _draw_image(axis, image, f"{literal(true_name)}\n→ {literal(name)} ✗\n{confidence:.1%}", right=False)
    for axis in axes.flat[len(images) :]:
        axis.set_axis_off()
    return figure
