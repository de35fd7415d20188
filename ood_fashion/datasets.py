"""Where the pixels come from: the sources of Fashion-MNIST, reading and checking them, and the splits.

Any dataset in the format of the MNIST database of handwritten digits (LeCun et al.) is read the same way.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray

from ood_fashion.errors import DataError
from ood_fashion.native_log import quiet_tensorflow

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

FILES = {
    "train images": "train-images-idx3-ubyte",
    "train labels": "train-labels-idx1-ubyte",
    "test images": "t10k-images-idx3-ubyte",
    "test labels": "t10k-labels-idx1-ubyte",
}

GENUINE_SHA256 = {
    "train images": "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
    "train labels": "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
    "test images": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
    "test labels": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
}
"""SHA-256 of the uint8 array bytes; the files' own checksums vary with the compressor."""


DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Split:
    """Images, uint8 (n, height, width), and their labels, int64 (n,)."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A training and a test set, and where they came from."""

    train: Split
    test: Split
    source: str

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        _, height, width = self.train.images.shape
        return height, width

    @cached_property
    def num_classes(self) -> int:
        """One more than the largest training label."""
        return int(self.train.labels.max()) + 1

    @cached_property
    def sha256(self) -> dict[str, str]:
        """The hash of each array's bytes as uint8, by the keys of `FILES`."""
        return {
            f"{name} {part}": hashlib.sha256(np.ascontiguousarray(array, np.uint8).tobytes()).hexdigest()
            for name, split in (("train", self.train), ("test", self.test))
            for part, array in (("images", split.images), ("labels", split.labels))
        }

    @property
    def is_genuine(self) -> bool:
        """Whether the content is Fashion-MNIST's, image by image and in its order."""
        return self.sha256 == GENUINE_SHA256

    @property
    def class_names(self) -> tuple[str, ...]:
        """Fashion-MNIST's names, or numbers for any other content."""
        return FASHION_CLASSES if self.is_genuine else tuple(map(str, range(self.num_classes)))


def describe(dataset: Dataset) -> dict[str, Any]:
    """Return what there is to say about a dataset as JSON values."""
    splits = {"train": dataset.train, "test": dataset.test}
    counts = {name: np.bincount(split.labels, minlength=dataset.num_classes) for name, split in splits.items()}
    pixels = dataset.train.images
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

    Args:
        dataset: where to take the images from.
        train_size: number of training images.
        val_size: number of validation images.
        seed: shuffles the images first; None keeps their order, as the document does.

    Raises:
        DataError: the training set is smaller than the two together.
    """
    available, asked = len(dataset.train), train_size + val_size
    if asked > available:
        raise DataError(
            f"expected at most {available:,} training and validation images, all that there are in {dataset.source}. "
            f"Received: {train_size:,} + {val_size:,} = {asked:,}. Lower --train-size or --val-size."
        )
    order: slice | NDArray[np.int64] = slice(None)
    if seed is not None:
        order = np.random.default_rng(seed).permutation(available)
    images, labels = dataset.train.images[order], dataset.train.labels[order]
    return (
        Split(images[:train_size], labels[:train_size]),
        Split(images[train_size:asked], labels[train_size:asked]),
    )


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Args:
        path: the file.
        dimensions: number of axes expected: 3 for images, 1 for labels.

    Raises:
        DataError: the file cannot be read, is no such IDX file, or does not hold what its header says.
    """
    magic = bytes((0, 0, 8, dimensions))  # 8 is the unsigned byte
    try:
        with path.open("rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if gzipped else raw as file:
                header = file.read(4 * (1 + dimensions))
                if not header.startswith(magic) or len(header) < 4 * (1 + dimensions):
                    received = header[:4].hex() or "an empty file"
                    raise DataError(f"{path}: expected an IDX header that begins {magic.hex()}. Received: {received}.")
                shape = struct.unpack(f">{dimensions}I", header[4:])
                size = math.prod(shape)
                content = _read_at_most(file, size + 1)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{path}: expected a readable IDX file. Received: {error}. Fetch the file again.") from error
    if len(content) != size:
        received = f"only {len(content):,}" if len(content) < size else "more"
        raise DataError(f"{path}: expected {size:,} bytes for {shape}. Received: {received}. Fetch the file again.")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_at_most(file: BinaryIO, size: int) -> bytes:
    """Read in pieces, so that a size that a damaged header claims is not allocated."""
    pieces = []
    while size > 0 and (piece := file.read(min(size, 1 << 24))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def load_idx_folder(folder: Path, source: str) -> Dataset:
    """Read the four IDX files of an MNIST-format dataset and check that they fit together.

    Raises:
        DataError: a file is missing or damaged, or counts, sizes or labels do not match.
    """
    paths = {key: _find_file(folder, stem) for key, stem in FILES.items()}
    if missing := [stem for stem, path in zip(FILES.values(), paths.values(), strict=True) if path is None]:
        raise DataError(f"{folder}: expected {', '.join(missing)}, each with or without .gz. Received: no such file.")
    arrays = {key: read_idx(cast(Path, path), 3 if "images" in key else 1) for key, path in paths.items()}
    for name in ("train", "test"):
        images, labels = arrays[f"{name} images"], arrays[f"{name} labels"]
        if len(images) != len(labels) or not images.size:
            raise DataError(
                f"{paths[f'{name} labels']}: expected a label for each of the {len(images):,} images in "
                f"{paths[f'{name} images']}, one at least. Received: {len(labels):,} labels, {images.size:,} pixels."
            )
    train_shape, test_shape = (arrays[f"{name} images"].shape[1:] for name in ("train", "test"))
    if train_shape != test_shape:
        raise DataError(
            f"{paths['test images']}: expected images of {train_shape}, as for training. Received: {test_shape}."
        )
    classes = np.unique(arrays["train labels"])
    if len(classes) != int(classes[-1]) - int(classes[0]) + 1:
        gap = next(int(label) for label in range(classes[0], classes[-1]) if label not in classes)
        raise DataError(
            f"{paths['train labels']}: expected labels without gaps. Received: labels up to {classes[-1]} but no {gap}."
        )
    if (worst := int(arrays["test labels"].max())) > classes[-1]:
        raise DataError(
            f"{paths['test labels']}: expected labels up to {classes[-1]}, as in the training set. Received: {worst}."
        )
    train, test = (
        Split(arrays[f"{name} images"], arrays[f"{name} labels"].astype(np.int64)) for name in ("train", "test")
    )
    return Dataset(train, test, source)


def _find_file(folder: Path, stem: str) -> Path | None:
    return next((path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None)


def load_dataset(data_dir: Path | None = None, *, download: bool = True) -> Dataset:
    """Load the dataset from the first source that is there.

    The sources in order: `data_dir`, else the folder that the environment variable OOD_FASHION_DATA names; and when
    neither is given, Keras's cache, the folder of Debian's package `dataset-fashion-mnist` (the system's, then the
    user's own), a copy that TensorFlow Datasets has prepared, and a download by TensorFlow Datasets.

    Args:
        data_dir: folder with four IDX files of any MNIST-format dataset.
        download: whether the last source may be used.

    Raises:
        DataError: the source that was found is damaged, or there is none.
    """
    named = data_dir or (Path(variable) if (variable := os.environ.get("OOD_FASHION_DATA")) else None)
    if named is not None:
        return load_idx_folder(named, str(named))
    tried = []
    for source in _sources(download):
        if (reason := source.absent()) is not None:
            tried.append(f"{source.name}: {reason}; {source.remedy}")
            continue
        try:
            return source.load()
        except _DownloadError as error:
            tried.append(f"{source.name}: {error}; {source.remedy}")
    raise DataError("no Fashion-MNIST found. Tried:" + "".join(f"\n  - {attempt}" for attempt in tried))


class _DownloadError(DataError):
    """The download did not succeed."""


@dataclass(frozen=True)
class _Source:
    name: str
    absent: Callable[[], str | None]  # why it is not there
    load: Callable[[], Dataset]
    remedy: str


def _sources(download: bool) -> Iterator[_Source]:
    home = Path.home()
    keras_home = Path(os.environ.get("KERAS_HOME") or home / ".keras")
    user_data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    tfds_dir = Path(os.environ.get("TFDS_DATA_DIR") or home / "tensorflow_datasets")
    fetch = "python -c \"import tensorflow_datasets as tfds; tfds.load('fashion_mnist')\""
    for name, folder, remedy in (
        (
            "Keras's cache",
            keras_home / "datasets/fashion-mnist",
            'python -c "import keras; keras.datasets.fashion_mnist.load_data()" fills it',
        ),
        (
            "Debian's package dataset-fashion-mnist",
            DEBIAN_FOLDER,
            "sudo apt-get install dataset-fashion-mnist installs it",
        ),
        (
            "own copy of Debian's package",
            user_data / "ood-fashion/fashion-mnist",
            "scripts/fetch_data.sh unpacks it there without root",
        ),
    ):
        yield _idx_source(name, folder, remedy)
    prepared = tfds_dir / "fashion_mnist"
    yield _Source(
        "TensorFlow Datasets' prepared copy",
        lambda: None if any(prepared.glob("*/dataset_info.json")) else f"{prepared} is not there",
        lambda: _load_tfds(tfds_dir, download=False),
        f"{fetch} prepares it",
    )
    yield _Source(
        "TensorFlow Datasets' download",
        lambda: None if download else "not allowed here",
        lambda: _load_tfds(tfds_dir, download=True),
        f"check the network, then {fetch}",
    )


def _idx_source(name: str, folder: Path, remedy: str) -> _Source:
    def absent() -> str | None:
        missing = [stem for stem in FILES.values() if _find_file(folder, stem) is None]
        if len(missing) == len(FILES):
            return f"{folder} is not there"
        return f"{folder} lacks {', '.join(missing)}" if missing else None

    return _Source(name, absent, lambda: load_idx_folder(folder, f"{name} ({folder})"), remedy)


def _load_tfds(data_dir: Path, *, download: bool) -> Dataset:
    """Read TensorFlow Datasets' copy and put it back into the order of the IDX files.

    TFDS stores a split sorted by the MD5 of the split's name followed by each example's index.
    """
    with quiet_tensorflow():
        import tensorflow  # noqa: F401
        import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    config = tfds.ReadConfig(interleave_cycle_length=1)  # reads in the order of storage
    try:
        with redirect_stdout(sys.stderr):
            builder = tfds.builder("fashion_mnist", data_dir=data_dir)
            if download:
                # Without a network this fails at once, where TFDS tries again for minutes.
                urlopen(f"{builder.URL}{FILES['test labels']}.gz", timeout=10).close()
                builder.download_and_prepare()
            splits = builder.as_dataset(split=["train", "test"], batch_size=-1, as_supervised=True, read_config=config)
            stored = tfds.as_numpy(splits)
    except Exception as error:  # TFDS lets through whatever its downloader, its file system and TensorFlow raise
        summary = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        if download:
            raise _DownloadError(summary) from error
        raise DataError(f"{data_dir}/fashion_mnist: expected a whole copy. Received: {summary}. Delete it.") from error
    ordered = {}
    for name, (images, labels) in zip(("train", "test"), stored, strict=True):
        digests = [hashlib.md5(f"{name}{index}".encode()).digest() for index in range(len(labels))]
        position = np.argsort(np.array(sorted(range(len(labels)), key=digests.__getitem__)))
        ordered[name] = Split(np.ascontiguousarray(images[position, :, :, 0]), labels[position].astype(np.int64))
    return Dataset(ordered["train"], ordered["test"], f"TensorFlow Datasets ({data_dir}/fashion_mnist)")
