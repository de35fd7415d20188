"""Datasets of grey images: their splits, names of classes and hashes."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.errors import DataError, InvalidValueError
from ood_fashion.images import Images, Labels, sha256_of

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

_BYCLASS = (*string.digits, *string.ascii_uppercase, *string.ascii_lowercase)
_BALANCED = (*string.digits, *string.ascii_uppercase, *"abdefghnqrt")
CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "fashion_mnist": FASHION_CLASSES,
    "mnist": tuple(string.digits),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "emnist": _BYCLASS,
    "emnist/byclass": _BYCLASS,
    "emnist/bymerge": _BALANCED,
    "emnist/balanced": _BALANCED,
    "emnist/letters": ("none", *string.ascii_uppercase),
}
"""Names of classes by label; TensorFlow Datasets knows those of other sets, and only numbers these of EMNIST."""

FILES = {
    "train images": "train-images-idx3-ubyte",
    "train labels": "train-labels-idx1-ubyte",
    "test images": "t10k-images-idx3-ubyte",
    "test labels": "t10k-labels-idx1-ubyte",
}

OTHER_NAMES = {
    key: (
        stem.replace("-idx", ".idx"),
        f"qmnist-{stem.replace('t10k', 'test').replace('idx1-ubyte', 'idx2-int')}",
        f"fmnist-c-{key.replace(' images', '').replace(' ', '-')}-ubyte",
    )
    for key, stem in FILES.items()
}
"""What some copies call these files, and what QMNIST's and Fashion-MNIST-C's are called."""

GENUINE_SHA256 = {
    "train images": "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
    "train labels": "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
    "test images": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
    "test labels": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
}
"""SHA-256 of the uint8 array bytes; the files' own checksums vary with the compressor."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images, uint8 (n, height, width), and their labels, int64 (n,)."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Give the images, then the labels: `images, labels = dataset.test`."""
        return iter((self.images, self.labels))


@dataclass(frozen=True, eq=False)  # arrays are not equal or unequal as a whole
class Dataset:
    """A training and a test set, where they came from, and the names of the classes if they are known.

    The training set may be empty, with images of shape (0, height, width).

    Attributes:
        train: images and labels to train on: `images, labels = dataset.train`.
        test: those to measure on.
        source: a text that says where they came from.
        names: of the classes; empty if they are not known.
        origin: what `load_dataset` was given, from which another process can load the same, or () where there is no
            such thing.

    Examples:
        >>> import ood_fashion as ood
        >>> data = ood.load_dataset()
        >>> len(data.train), len(data.test), data.image_shape, data.class_names[9]
        (60000, 10000, (28, 28), 'Ankle boot')
    """

    train: Split
    test: Split
    source: str
    names: tuple[str, ...] = ()
    origin: Any = ()

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        _, height, width = self.test.images.shape
        return height, width

    @cached_property
    def num_classes(self) -> int:
        """Number of names, or else one more than the largest label."""
        known = self.train.labels if len(self.train) else self.test.labels
        return len(self.names) or int(known.max()) + 1

    @property
    def knows_all_classes(self) -> bool:
        """Whether there are no more than `num_classes`."""
        return bool(self.names or len(self.train))

    @cached_property
    def sha256(self) -> dict[str, str]:
        """The hash of each array, as `sha256_of` has it, by the keys of `FILES`."""
        return {
            f"{name} {part}": sha256_of(array)
            for name, split in (("train", self.train), ("test", self.test))
            for part, array in (("images", split.images), ("labels", split.labels))
        }

    @property
    def is_genuine(self) -> bool:
        """Whether the content is Fashion-MNIST's, image by image and in its order."""
        return self.sha256 == GENUINE_SHA256

    def with_test_images(self, limit: int | None) -> Dataset:
        """Return the dataset with only so many test images, the first; None takes all. Classes keep their names."""
        if limit is not None and limit < 1:
            raise InvalidValueError(f"`limit`: expected a number of images, 1 or more. Received: {limit}.")
        if limit is None or limit >= len(self.test):
            return self
        test = Split(self.test.images[:limit], self.test.labels[:limit])
        return replace(self, test=test, names=self._known_names, origin=())

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes' names, which are numbers where no better ones are known."""
        return self._known_names or tuple(map(str, range(self.num_classes)))

    @property
    def _known_names(self) -> tuple[str, ...]:
        return self.names or (FASHION_CLASSES if self.is_genuine else ())


def describe(dataset: Dataset) -> dict[str, Any]:
    """Return what there is to say about a dataset as JSON values."""
    splits = {"train": dataset.train, "test": dataset.test}
    counts = {name: np.bincount(split.labels, minlength=dataset.num_classes) for name, split in splits.items()}
    pixels = dataset.train.images if len(dataset.train) else dataset.test.images
    return {
        "source": dataset.source,
        "genuine": dataset.is_genuine,
        "sha256": dataset.sha256,
        "image_shape": list(dataset.image_shape),
        "dtype": str(pixels.dtype),
        "pixel_mean": float(pixels.mean() / 255),
        "pixel_std": float(pixels.std() / 255),
        "images": {name: len(split) for name, split in splits.items()},
        "classes": [
            {"label": label, "name": class_name, **{name: int(count[label]) for name, count in counts.items()}}
            for label, class_name in enumerate(dataset.class_names)
        ],
    }


def split_train(dataset: Dataset, train_size: int, val_size: int, *, seed: int | None = None) -> tuple[Split, Split]:
    """Split the training set: the first `train_size` images to train on, the next `val_size` to validate on.

    A seed shuffles the images first; without one they keep their order, as in the assignment.
    """
    available, asked = len(dataset.train), train_size + val_size
    if asked > available:
        raise DataError(
            f"expected at most {available:,} training and validation images, all that there are in {dataset.source}. "
            f"Received: {train_size:,} + {val_size:,} = {asked:,}. Lower `train_size` or `val_size`."
        )
    order: slice | NDArray[np.int64] = slice(None)
    if seed is not None:
        order = np.random.default_rng(seed).permutation(available)
    images, labels = dataset.train.images[order], dataset.train.labels[order]
    return Split(images[:train_size], labels[:train_size]), Split(images[train_size:asked], labels[train_size:asked])
