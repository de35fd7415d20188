"""Draw the README's picture: ten garments under five shifts, with what CNN-3 and the robust model say of each.

The garments are the first test image of each class.

Usage: python scripts/front_picture.py [FILE]
"""

from __future__ import annotations

import sys

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.figure import Figure

import ood_fashion as ood

MODELS = {"CNN-3": "cnn3-full", "robust": "robust"}
SHIFTS = {
    "none": "as it is",
    "up4": "moved up\nby 4 pixels",
    "rotate90": "rotated\nby 90°",
    "rotate:45": "rotated\nby 45°",
    "fog:4": "in fog",
}
RIGHT, WRONG = "#1a7f37", "#c4320a"


def draw() -> Figure:
    """Draw a row for each shift, a column for each garment."""
    data = ood.load_dataset()
    images, labels = data.test
    chosen = [int(np.flatnonzero(labels == label)[0]) for label in range(data.num_classes)]
    models = {title: ood.load_model(name) for title, name in MODELS.items()}
    figure = Figure(figsize=(12, 8.7), layout="constrained")
    axes = figure.subplots(len(SHIFTS), len(chosen))
    for row, (shift, title) in zip(axes, SHIFTS.items(), strict=True):
        moved = ood.shift_images(images[chosen], shift)
        answers = {name: model.predict(moved[..., None], verbose=0).argmax(axis=1) for name, model in models.items()}
        row[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=11)
        for column, axis in enumerate(row):
            axis.imshow(moved[column], cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            for line, (name, answer) in enumerate(answers.items()):
                right = answer[column] == column
                axis.text(
                    0.5, -0.06 - 0.17 * line, f"{name}: {data.class_names[answer[column]]} {'✓' if right else '✗'}",
                    transform=axis.transAxes, ha="center", va="top", fontsize=7.5, color=RIGHT if right else WRONG,
                )  # fmt: skip
    return figure


if __name__ == "__main__":
    draw().savefig(sys.argv[1] if len(sys.argv) > 1 else "docs/front.png", dpi=110, bbox_inches="tight")
