"""Pictures from arrays and records; none of them needs a screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import NDArray

from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import InvalidValueError
from ood_fashion.evaluation import baseline
from ood_fashion.evaluation.comparison import ShiftComparison
from ood_fashion.files import atomic_write
from ood_fashion.shifts.corruptions import CORRUPTIONS, SEVERITIES
from ood_fashion.shifts.shift import Corrupt, Shift
from ood_fashion.text import printable

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Told apart with every kind of colour vision, and in grey (Okabe and Ito, 2008)."""

MARKERS = "osD^vP"

_LONGEST_NAME = 30


def literal(name: str) -> str:
    """Return a text from outside so that matplotlib draws it as it is.

    Dollars begin no mathematics, a label with an underscore in front stays in the legend, and characters that do not
    print or that the fonts of `rcParams["font.family"]` lack become escapes. A long text loses its middle, else it
    would leave no room for the axes.
    """
    shown = "".join(c if _has_glyph(c) else c.encode("ascii", "backslashreplace").decode() for c in printable(name))
    if len(shown) > _LONGEST_NAME:
        half = (_LONGEST_NAME - 1) // 2
        shown = f"{shown[:half]}…{shown[-half:]}"
    invisible = "\u200b" if shown.startswith("_") else ""  # matplotlib leaves labels out that begin so
    return invisible + shown.replace("$", r"\$")


def _has_glyph(character: str) -> bool:
    """Say whether a character can be drawn in both weights that the figures have."""
    return all(
        any(
            get_font(findfont(FontProperties(family=[family], weight=weight))).get_char_index(ord(character))
            for family in mpl.rcParams["font.family"]
        )
        for weight in ("normal", "bold")
    )


def test_set(shift: str) -> str:
    """Return what a person calls the test set of a shift."""
    return "in-domain" if shift == "none" else shift


def describe_training(implementation: str) -> str:
    """Say when in an epoch its training images are measured."""
    return "after the epoch" if implementation == "numpy" else "during the epoch"


def look(number: int) -> dict[str, Any]:
    """Return the colour and the marker of one of several things."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def style(axis: Axes) -> None:
    """Give axes a faint grid and no frame."""
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def in_domain_scatter(
    axis: Axes,
    models: Mapping[str, tuple[float, float]],
    standard: Sequence[tuple[float, float]],
    shifts: Sequence[str],
) -> None:
    """Draw mean accuracy under shifts against accuracy in-domain, with the line y = x.

    Args:
        axis: where to draw.
        models: the two accuracies, in-domain first, by the models' names, which the legend gets.
        standard: those of standard models, small and grey, with what they predict as a line; may be empty.
        shifts: those of the mean accuracy.
    """
    style(axis)
    places = [in_domain for in_domain, _ in (*models.values(), *standard)]
    low, high = max(0, min(places) - 0.03), min(1, max(places) + 0.03)
    axis.plot([low, high], [low, high], color="black", ls="--", lw=1, label="y = x")
    if standard:
        axis.plot(*zip(*standard, strict=True), "o", ms=4, mfc="none", color="grey", label="standard models")
        line = np.linspace(low, high, 50)
        axis.plot(line, np.mean([baseline.predict(s, line) for s in shifts], axis=0), color="grey", lw=1)
    for number, (name, point) in enumerate(models.items()):
        axis.plot(*point, ls="none", ms=7, label=literal(name), **look(number))
    axis.set(xlim=(low, high), ylim=(0, 1))


def shift_gallery(dataset: Dataset, shifts: Sequence[Shift]) -> Figure:
    """Draw the first test image of each class, a column a class, under each shift, a row a shift."""
    labels: NDArray[np.int64] = dataset.test.labels
    classes, first = np.unique(labels, return_index=True)
    images = dataset.test.images[first]
    figure = Figure(figsize=(1.5 + 0.9 * len(classes), 0.5 + 0.95 * len(shifts)), layout="constrained", dpi=120)
    axes = figure.subplots(len(shifts), len(classes), squeeze=False)
    for row, shift in zip(axes, shifts, strict=True):
        for axis, image in zip(row, shift.apply(images, first), strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(str(shift), rotation="horizontal", ha="right", va="center")
    for axis, label in zip(axes[0], classes, strict=True):
        axis.set_title(literal(dataset.class_names[label]), fontsize="small")
    return figure


def corruption_gallery(dataset: Dataset) -> Figure:
    """Draw the first test image of two classes under every corruption, a row each, at severities 0 to 5."""
    labels: NDArray[np.int64] = dataset.test.labels
    _, first = np.unique(labels, return_index=True)
    chosen = first[[0, -1]]
    images = dataset.test.images[chosen]
    severities = (0, *SEVERITIES)
    rows = -(-len(CORRUPTIONS) // 2)
    figure = Figure(figsize=(12.4, 0.5 * rows + 0.4), layout="constrained", dpi=90)
    axes = figure.subplots(rows, 2)
    height, width = dataset.image_shape
    for axis, name in zip_longest(axes.T.flat, CORRUPTIONS):
        axis.set(xticks=[], yticks=[])
        if name is None:
            axis.set_axis_off()
            continue
        shifted = [Shift((Corrupt(name, severity),)).apply(images, chosen) for severity in severities]
        strip = np.concatenate([image for pair in shifted for image in pair], axis=1)
        axis.imshow(strip, cmap="gray", vmin=0, vmax=1)
        axis.set_ylabel(name, rotation="horizontal", ha="right", va="center")
        axis.vlines(np.arange(1, len(severities)) * 2 * width - 0.5, -0.5, height - 0.5, "white", linewidth=1)
    for axis in axes[0]:
        axis.set_xticks((2 * np.array(severities) + 1) * width - 0.5, severities)
        axis.tick_params(length=0, labeltop=True, labelbottom=False)
    return figure


def check_format(path: Path) -> None:
    """Check that the path's suffix names a format of figures.

    Raises:
        InvalidValueError: matplotlib knows no such format.
    """
    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        raise InvalidValueError(
            f"{path}: expected an ending among .{', .'.join(sorted(formats))}. Received: '{path.suffix}'."
        )


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the path's suffix names.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_write(path) as temporary:
        figure.savefig(temporary)


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4), layout="constrained", dpi=110)
    axis = figure.subplots()
    style(axis)
    return figure, axis


def _label_shifts(axis: Axes, shifts: Iterable[str]) -> None:
    names = [literal(test_set(shift)) for shift in shifts]
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right")


def accuracies(name: str, results: Sequence[tuple[str, float, Sequence[float]]]) -> Figure:
    """Draw a model's accuracy under each shift with its 95% interval, from shifts, accuracies and intervals."""
    figure, axis = _axes()
    shifts, values, intervals = zip(*results, strict=True)
    bars = np.abs(np.transpose(intervals) - values)
    axis.errorbar(range(len(shifts)), values, bars, ls="none", capsize=3, label=literal(name), **look(0))
    _label_shifts(axis, shifts)
    axis.set(ylim=(0, 1), ylabel="accuracy")
    axis.legend(frameon=False, fontsize="small")
    return figure


def differences(comparisons: Sequence[ShiftComparison], name_a: str, name_b: str) -> Figure:
    """Draw the difference in accuracy between two models under each shift, with its 95% interval."""
    figure, axis = _axes()
    for place, one in enumerate(comparisons):
        axis.plot([place, place], one.test.interval or (one.test.difference,) * 2, color=COLOURS[0], lw=1.5)
        axis.plot(place, one.test.difference, "o", color=COLOURS[0])
    axis.axhline(0, color="black", lw=0.8)
    _label_shifts(axis, [one.shift for one in comparisons])
    axis.set_ylabel(f"accuracy of {literal(name_a)} minus {literal(name_b)}")
    return figure
