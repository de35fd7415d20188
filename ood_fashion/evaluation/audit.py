"""Looking a dataset over: images that are there twice, that show nothing or are overexposed, and doubtful labels.

All images, of both splits, are compared with all others, so that one pass finds near duplicates and neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.evaluation.records import JsonRecord
from ood_fashion.images import to_unit_range

NEAR = 0.03
"""The root mean square difference of pixels in [0, 1] up to which two images are near duplicates."""
NEIGHBOURS = 20
_COMPONENTS = 64
_BLOCK = 250
_SATURATED = 0.5

Places = NDArray[np.int64]


@dataclass(frozen=True)
class ImagePlace(JsonRecord):
    """An image by its split, its place in that, and its label."""

    split: str
    index: int
    label: int


@dataclass(frozen=True)
class Duplicate(JsonRecord):
    """Two images that are the same, or nearly: the root mean square difference of their pixels in [0, 1]."""

    first: ImagePlace
    second: ImagePlace
    difference: float


@dataclass(frozen=True)
class SuspiciousLabel(JsonRecord):
    """A label that an image's neighbours contradict.

    Attributes:
        image: with the label that it has.
        suggested: the label that is more probable by the image's neighbours.
        margin: the probability of its own label, less that of the suggested one: from -1 to 0.
    """

    image: ImagePlace
    suggested: int
    margin: float


@dataclass(frozen=True)
class Audit(JsonRecord):
    """What `audit` finds.

    Attributes:
        labels: how many images each label has, by split.
        duplicates: pairs of images with the same bytes, an image with the first one like it.
        near_duplicates: pairs that differ by `NEAR` at most and are not the same, the closest first; of an image those
            with its `NEIGHBOURS` nearest.
        constant: images of one grey level.
        saturated: images with more than half of their pixels, of those that are not black, at 255.
        suspicious: labels that confident learning takes for wrong, the most suspicious first.
        neighbour_accuracy: the share of labels that are the most probable by the neighbours.
    """

    labels: Mapping[str, tuple[int, ...]]
    duplicates: tuple[Duplicate, ...]
    near_duplicates: tuple[Duplicate, ...]
    constant: tuple[ImagePlace, ...]
    saturated: tuple[ImagePlace, ...]
    suspicious: tuple[SuspiciousLabel, ...]
    neighbour_accuracy: float

    def count(self, pairs: tuple[Duplicate, ...], *splits: str) -> int:
        """Count the pairs within a split, or between two."""
        return sum({pair.first.split, pair.second.split} == set(splits) for pair in pairs)


def audit(dataset: Dataset, progress: Callable[[], object] = lambda: None) -> Audit:
    """Look a dataset over.

    The probability of a label is the share of it among an image's `NEIGHBOURS` nearest neighbours without itself, in
    the space of the first 64 principal components, weighted by the inverse of the squared distance. So no image has
    a part in its own probabilities. By confident learning (C. Northcutt, L. Jiang and I. Chuang, Confident Learning,
    JAIR 70, 2021, section 3) a label is taken for wrong where another one's probability is at least the mean
    probability of that label among the images that have it; of several, the most probable one. The images are ranked
    by the margin between the two.

    Args:
        dataset: with two images at least.
        progress: is called after each of `steps`.
    """
    splits = {name: split for name, split in (("train", dataset.train), ("test", dataset.test)) if len(split)}
    images = np.concatenate([split.images for split in splits.values()])
    labels = np.concatenate([split.labels for split in splits.values()])
    places = [place for name, split in splits.items() for place in _places(name, split)]
    shown = images.reshape(len(images), -1)
    neighbours, distances = _nearest(_project(shown), progress)
    close = []
    for i, k in zip(*np.nonzero(distances <= NEAR**2 * shown.shape[1]), strict=True):
        j = neighbours[i, k]
        difference = float(np.sqrt(np.mean(np.square(to_unit_range(shown[i]) - to_unit_range(shown[j])))))
        if 0 < difference <= NEAR and (i < j or i not in neighbours[j]):
            close.append(Duplicate(places[min(i, j)], places[max(i, j)], difference))
    probabilities = _probabilities(neighbours, distances, labels, dataset.num_classes)
    lit = (shown > 0).sum(axis=1)
    return Audit(
        labels={
            name: tuple(np.bincount(s.labels, minlength=dataset.num_classes).tolist()) for name, s in splits.items()
        },
        duplicates=tuple(Duplicate(places[i], places[j], 0.0) for i, j in _same(images)),
        near_duplicates=tuple(sorted(close, key=lambda pair: pair.difference)),
        constant=tuple(places[i] for i in np.flatnonzero(shown.min(axis=1) == shown.max(axis=1))),
        saturated=tuple(
            places[i] for i in np.flatnonzero((shown == 255).sum(axis=1) > _SATURATED * np.maximum(lit, 1))
        ),
        suspicious=tuple(
            SuspiciousLabel(places[i], suggested, margin) for i, suggested, margin in find_errors(probabilities, labels)
        ),
        neighbour_accuracy=float(np.mean(probabilities.argmax(axis=1) == labels)),
    )


def steps(dataset: Dataset) -> int:
    """Return how often `audit` calls `progress`."""
    return -(-(len(dataset.train) + len(dataset.test)) // _BLOCK)


def find_errors(probabilities: NDArray[np.floating], labels: Places) -> list[tuple[int, int, float]]:
    """Find labels that confident learning takes for wrong, as `audit` has it.

    Args:
        probabilities: of each class, for images that had no part in them, (n, classes).
        labels: those that the images have, (n,).

    Returns:
        The image's place, the label that is suggested, and the margin, the lowest margin first.
    """
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    # A class that no image has is never suggested.
    thresholds = [own[labels == k].mean() if (labels == k).any() else np.inf for k in range(probabilities.shape[1])]
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    suggested = confident.argmax(axis=1)
    margins = own - probabilities[rows, suggested]
    wrong = np.flatnonzero((confident[rows, suggested] > 0) & (suggested != labels) & (margins < 0))
    return [(int(i), int(suggested[i]), float(margins[i])) for i in wrong[np.argsort(margins[wrong], kind="stable")]]


def _places(name: str, split: Split) -> list[ImagePlace]:
    return [ImagePlace(name, index, int(label)) for index, label in enumerate(split.labels)]


def _same(images: NDArray[np.uint8]) -> list[tuple[int, int]]:
    first: dict[bytes, int] = {}
    found = ((first.setdefault(image.tobytes(), i), i) for i, image in enumerate(images))
    return [(i, j) for i, j in found if i != j]


def _project(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the first principal components, in which no two images are farther apart than in all of them."""
    pixels = to_unit_range(images)
    pixels -= pixels.mean(axis=0)
    _, vectors = np.linalg.eigh(pixels.T @ pixels)
    return np.ascontiguousarray(pixels @ vectors[:, -_COMPONENTS:])


def _nearest(points: NDArray[np.float32], progress: Callable[[], object]) -> tuple[Places, NDArray[np.float32]]:
    """Return the nearest neighbours of each point, unordered, and their squared distances: (n, `NEIGHBOURS`)."""
    count = min(NEIGHBOURS, len(points) - 1)
    squares = np.square(points).sum(axis=1)
    neighbours, distances = [], []
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK]
        apart = squares[start : start + _BLOCK, None] + squares - 2 * (block @ points.T)
        rows = np.arange(len(block))
        apart[rows, start + rows] = np.inf
        chosen = np.argpartition(apart, count - 1, axis=1)[:, :count].copy()  # a view would keep all of it
        neighbours.append(chosen)
        distances.append(np.maximum(np.take_along_axis(apart, chosen, axis=1), 0))
        progress()
    return np.concatenate(neighbours), np.concatenate(distances)


def _probabilities(
    neighbours: Places, distances: NDArray[np.float32], labels: Places, classes: int
) -> NDArray[np.float64]:
    weights = 1 / (distances.astype(np.float64) + 1e-3)
    sums = np.zeros((len(labels), classes))
    np.add.at(sums, (np.arange(len(labels))[:, None], labels[neighbours]), weights)
    return np.asarray(sums / sums.sum(axis=1, keepdims=True))
