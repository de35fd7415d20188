"""The sources of Fashion-MNIST and of other datasets, and whether their arrays fit together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ood_fashion.data.dataset import CLASS_NAMES, FILES, OTHER_NAMES, Dataset, Split
from ood_fashion.data.layouts import read_layout
from ood_fashion.data.readers import read_idx, read_npz
from ood_fashion.data.tfds_reader import DownloadError, read_tfds
from ood_fashion.errors import DataError
from ood_fashion.files import is_file, match

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")


def load_idx_folder(folder: Path, source: str) -> Dataset:
    """Read the four IDX files of an MNIST-format dataset and check that they fit together."""
    paths = {key: _find_file(folder, key) for key in FILES}
    if missing := [stem for stem, path in zip(FILES.values(), paths.values(), strict=True) if path is None]:
        raise DataError(
            f"{folder}: expected {', '.join(missing)}, each with or without .gz. Received: no such file. "
            "Rename the files that hold them."
        )
    arrays = {key: read_idx(cast(Path, path), 3 if "images" in key else 1) for key, path in paths.items()}
    return make_dataset(arrays, {key: str(path) for key, path in paths.items()}, source)


def load_npz(path: Path) -> Dataset:
    """Read x_test and y_test, and x_train, y_train and class_names if they are there, as `readers.read_npz` does."""
    arrays = read_npz(path)
    class_names = tuple(map(str, arrays.pop("class_names", ())))
    keys = {name: f"{name[2:]} {'images' if name.startswith('x') else 'labels'}" for name in arrays}
    places = {key: f"{path}: {name}" for name, key in keys.items()}
    return make_dataset({keys[name]: array for name, array in arrays.items()}, places, str(path), class_names)


def load_named(name: str, *, download: bool = True) -> Dataset:
    """Read a dataset of TensorFlow Datasets as `read_tfds` does, from where TensorFlow Datasets keeps it."""
    folder = _tfds_dir()
    try:
        return _load_tfds(name, folder, download=download)
    except DownloadError as error:
        raise DataError(
            f"dataset '{name}': expected a copy in {folder} or a download. Received: {error}. "
            f"Check the network and the disk, then {_fetch(name)}."
        ) from error


def _load_tfds(name: str, folder: Path, *, download: bool) -> Dataset:
    splits, names = read_tfds(name, folder, download=download)
    better = CLASS_NAMES.get(name, ())
    arrays: dict[str, NDArray[Any]] = {}
    for split, (images, labels) in splits.items():
        arrays |= {f"{split} images": images, f"{split} labels": labels}
    places = {key: f"{folder}/{name}: {key}" for key in arrays}
    return make_dataset(arrays, places, f"TensorFlow Datasets ({folder}/{name})", (*better, *names[len(better) :]))


def make_dataset(
    arrays: Mapping[str, NDArray[Any]], places: Mapping[str, str], source: str, names: tuple[str, ...] = ()
) -> Dataset:
    """Check that arrays by the keys of `FILES` fit together, and name those that do not by their `places`."""
    for split in ("train", "test"):
        if f"{split} images" in arrays:
            images, labels = arrays[f"{split} images"], arrays[f"{split} labels"]
            if len(images) != len(labels) or not images.size:
                raise DataError(
                    f"{places[f'{split} labels']}: expected a label for each of the {len(images):,} images in "
                    f"{places[f'{split} images']}, one at least. "
                    f"Received: {len(labels):,} labels, {images.size:,} pixels."
                )
    if max(array.max() for key, array in arrays.items() if key.endswith("images")) == 1:
        raise DataError(
            f"{places['test images']}: expected integers in 0-255. Received: 0 to 1, almost black. "
            "Multiply them by 255."
        )
    for key in ("train labels", "test labels"):
        if names and key in arrays and (worst := int(arrays[key].max())) >= len(names):
            raise DataError(f"{places[key]}: expected labels below {len(names)}, one a class name. Received: {worst}.")
    test = Split(arrays["test images"], arrays["test labels"].astype(np.int64))
    shape = test.images.shape[1:]
    if "train images" not in arrays:
        return Dataset(Split(np.empty((0, *shape), np.uint8), np.empty(0, np.int64)), test, source, names)
    train = Split(arrays["train images"], arrays["train labels"].astype(np.int64))
    if train.images.shape[1:] != shape:
        raise DataError(
            f"{places['test images']}: expected images of {train.images.shape[1:]}, as for training. Received: {shape}."
        )
    classes = np.unique(train.labels)
    last = int(classes[-1])
    if not names and len(classes) != last - int(classes[0]) + 1:
        gap = int(classes[np.flatnonzero(np.diff(classes) > 1)[0]]) + 1
        raise DataError(
            f"{places['train labels']}: expected labels without gaps. Received: labels up to {last} but no {gap}."
        )
    if not names and (worst := int(test.labels.max())) > last:
        raise DataError(
            f"{places['test labels']}: expected labels up to {last}, as in the training set. Received: {worst}."
        )
    return Dataset(train, test, source, names)


def _find_file(folder: Path, key: str) -> Path | None:
    names = (f"{stem}{ending}" for stem in (FILES[key], *OTHER_NAMES[key]) for ending in ("", ".gz"))
    return next((path for path in map(folder.joinpath, names) if is_file(path, DataError)), None)


def _load_path(path: Path) -> Dataset:
    """Read a folder with IDX files, or one or a file in another of the layouts that are known.

    Fashion-MNIST's own classes keep their names, which some of its copies spell otherwise.
    """
    has_idx = any(_find_file(path, key) for key in FILES)
    layout = None if has_idx else read_layout(path)
    if not layout:
        return load_idx_folder(path, str(path))
    dataset = make_dataset(layout[0], layout[1], str(path), layout[2])
    return replace(dataset, names=()) if dataset.is_genuine else dataset


Source = Path | str | Dataset
"""A folder or a file, as a Path, the name of a TensorFlow Datasets dataset, as a str, or what is loaded already.

A folder has four IDX files, or is in a layout of `layouts.read_layout`; a file is an .npz or a Parquet file.
"""


def load_dataset(source: Source | None = None, *, download: bool = True) -> Dataset:
    """Load a dataset: what `source` names, or else Fashion-MNIST from the first place that has it.

    The places in order: the folder or file that the environment variable OOD_FASHION_DATA names, unless Fashion-MNIST
    is asked for by name; Keras's cache; the folder of Debian's package `dataset-fashion-mnist` (the system's, then the
    user's own); a copy that TensorFlow Datasets has prepared; and a download by TensorFlow Datasets. But for the first,
    a place whose copy is damaged or cannot be read is passed over.

    Raises:
        InvalidValueError: TensorFlow Datasets has nothing of that name.
        DataError: the data are damaged, cannot be used, or are nowhere.
    """
    return source if isinstance(source, Dataset) else replace(_load(source, download), origin=source)


def _load(source: Path | str | None, download: bool) -> Dataset:
    if source is None and (variable := os.environ.get("OOD_FASHION_DATA")):
        source = Path(variable)
    if isinstance(source, Path):
        return load_npz(source) if source.suffix == ".npz" else _load_path(source)
    if source not in (None, "fashion_mnist"):
        return load_named(source, download=download)
    tried = []
    for name, load, remedy in _places(download):
        try:
            return load(name)
        except DataError as error:
            tried.append(f"{name}: {error}; {remedy}")
    raise DataError("no Fashion-MNIST found. Tried:", *(f"  - {attempt}" for attempt in tried))


def _folder_of(variable: str, in_home: str) -> Path:
    """Return the folder that an environment variable names, or else one in the home of the user."""
    if value := os.environ.get(variable):
        return Path(value)
    try:
        return Path.home() / in_home
    except RuntimeError as error:
        raise DataError(
            f"{in_home}: expected a home folder, in which it lies. Received: none. Set {variable}."
        ) from error


def _tfds_dir() -> Path:
    return _folder_of("TFDS_DATA_DIR", "tensorflow_datasets")


def _fetch(name: str) -> str:
    return f"python -c \"import tensorflow_datasets as tfds; tfds.load('{name}')\""


def _places(download: bool) -> Iterator[tuple[str, Callable[[str], Dataset], str]]:
    """Give the name of each place, what loads it by its name or raises DataError, and how to fill it."""
    fetch = _fetch("fashion_mnist")
    yield (
        "Keras's cache",
        lambda name: _load_folder(name, _folder_of("KERAS_HOME", ".keras") / "datasets/fashion-mnist"),
        'python -c "import keras; keras.datasets.fashion_mnist.load_data()" fills it',
    )
    yield (
        "Debian's package dataset-fashion-mnist",
        lambda name: _load_folder(name, DEBIAN_FOLDER),
        "sudo apt-get install dataset-fashion-mnist installs it",
    )
    yield (
        "own copy of Debian's package",
        lambda name: _load_folder(name, _folder_of("XDG_DATA_HOME", ".local/share") / "ood-fashion/fashion-mnist"),
        "scripts/fetch_data.sh unpacks it there without root",
    )
    yield "TensorFlow Datasets' prepared copy", lambda name: _load_prepared(_tfds_dir()), f"{fetch} prepares it"
    yield "TensorFlow Datasets' download", lambda name: _download(download), f"check the network, then {fetch}"


def _load_folder(name: str, folder: Path) -> Dataset:
    missing = [stem for key, stem in FILES.items() if _find_file(folder, key) is None]
    if len(missing) == len(FILES):
        raise DataError(f"{folder} is not there")
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}")
    return load_idx_folder(folder, f"{name} ({folder})")


def _load_prepared(folder: Path) -> Dataset:
    if not match(folder / "fashion_mnist", "*/dataset_info.json", DataError):
        raise DataError(f"{folder / 'fashion_mnist'} is not there")
    return _load_tfds("fashion_mnist", folder, download=False)


def _download(allowed: bool) -> Dataset:
    if not allowed:
        raise DataError("not allowed here")
    return _load_tfds("fashion_mnist", _tfds_dir(), download=True)
