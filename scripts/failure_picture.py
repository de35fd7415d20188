"""Draw what a model of the package still gets wrong: the first test images that a corruption makes it misclassify.

Usage: python scripts/failure_picture.py [MODEL] [FILE]
"""

from __future__ import annotations

import sys

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.figure import Figure
from scipy.special import softmax

import ood_fashion as ood

SHIFTS = ("elastic:3", "glass_blur:3", "motion_blur:3", "shot_noise:3", "zigzag:3", "pixelate:3")
SHOWN, SEARCHED = 8, 1000


def draw(name: str) -> Figure:
    """Draw a row for each shift, of images that the model gets right as they are."""
    data, model = ood.load_dataset(), ood.load_model(name)
    images, labels = data.test.images[:SEARCHED], data.test.labels[:SEARCHED]
    known = model.predict(images[..., None] / np.float32(255), verbose=0).argmax(axis=1) == labels
    figure = Figure(figsize=(12, 9.6), layout="constrained")
    for row, shift in zip(figure.subplots(len(SHIFTS), SHOWN), SHIFTS, strict=True):
        shifted = ood.shift_images(images, shift)
        probabilities = softmax(model.predict(shifted[..., None], verbose=0), axis=1)
        answers = probabilities.argmax(axis=1)
        wrong = np.flatnonzero(known & (answers != labels))
        row[0].set_ylabel(
            f"{shift}\n{len(wrong)} of {known.sum()}", rotation=0, ha="right", va="center", fontsize=10
        )  # fmt: skip
        for axis, index in zip(row, wrong, strict=False):
            axis.imshow(shifted[index], cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            said = f"{data.class_names[answers[index]]} {probabilities[index].max():.0%}"
            axis.set_xlabel(f"{data.class_names[labels[index]]}\ntaken for {said}", fontsize=7.5)
    return figure


if __name__ == "__main__":
    model = sys.argv[1] if len(sys.argv) > 1 else "robust"
    file = sys.argv[2] if len(sys.argv) > 2 else f"docs/failures-{model}.png"
    draw(model).savefig(file, dpi=110, bbox_inches="tight")
