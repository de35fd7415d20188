"""Published sets in layouts of their own: .npy files, Parquet files, and folders of pictures by class."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ood_fashion.data.readers import to_labels, to_pixels
from ood_fashion.errors import DataError, summarize_error
from ood_fashion.files import MAX_UNPACKED, is_file, is_folder, list_folder, match, reason

NPY = (
    {
        "train images": "train_images.npy",
        "train labels": "train_labels.npy",
        "test images": "test_images.npy",
        "test labels": "test_labels.npy",
    },
    {
        "train images": "fmnist-c-train.npy",
        "train labels": "fmnist-c-train-labels.npy",
        "test images": "fmnist-c-test.npy",
        "test labels": "fmnist-c-test-labels.npy",
    },
)
"""How MNIST-C and Fashion-MNIST-C name their files."""

_SPLIT = re.compile(r"(?:^|[/._-])(train|test)(?=$|[/._-])")
"""A split in the path of a Parquet file, as `test-00000-of-00001.parquet` and `test/0000.parquet` have it."""


class Layout(NamedTuple):
    """Arrays by the keys of `dataset.FILES`, where each was found, and the names of the classes if they are known."""

    arrays: Mapping[str, NDArray[Any]]
    places: Mapping[str, str]
    names: tuple[str, ...] = ()


def read_layout(path: Path) -> Layout | None:
    """Read a folder or a Parquet file in one of the layouts; None where it is in none of them.

    Raises:
        DataError: a file is damaged, is missing beside another, or holds something else.
    """
    for files in NPY:
        if is_file(path / files["test images"], DataError):
            return _read_npy_files(path, files)
    found = (
        [path]
        if path.suffix == ".parquet"
        else [f for p in ("*", "*/*") for f in match(path, p + ".parquet", DataError)]
    )
    if found:
        return _read_parquet_files(path, found)
    splits = {split: path / split for split in ("train", "test") if _class_folders(path / split)}
    if "test" in splits or _class_folders(path):
        return _read_pictures(splits if "test" in splits else {"test": path})
    return None


def _read_npy_files(folder: Path, files: Mapping[str, str]) -> Layout:
    arrays: dict[str, NDArray[Any]] = {}
    trains = any(is_file(folder / name, DataError) for key, name in files.items() if key.startswith("train"))
    for key, name in files.items():
        if trains or key.startswith("test"):
            check = to_pixels if key.endswith("images") else to_labels
            arrays[key] = check(_read_npy(folder / name), str(folder / name))
    return Layout(arrays, {key: str(folder / name) for key, name in files.items()})


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        # Mapped first, so that a header that claims more than the file holds is refused, and no object is unpickled.
        return np.array(np.lib.format.open_memmap(path, mode="r"))
    except Exception as error:  # NumPy raises many kinds on damaged files
        raise DataError(f"{path}: expected a readable .npy file. Received: {reason(error)}.") from error


def _read_parquet_files(path: Path, files: Sequence[Path]) -> Layout:
    """Read the files of a dataset of the Hugging Face Hub: the columns `image`, with bytes of pictures, and `label`."""
    pictures: dict[str, list[NDArray[np.uint8]]] = {}
    labels: dict[str, list[NDArray[Any]]] = {}
    names: tuple[str, ...] = ()
    for file in files:
        named = _SPLIT.findall(str(file.relative_to(path)) if file != path else file.name)
        if not named and len(files) > 1:
            continue  # of a split that is neither
        split = named[-1] if named else "test"
        table, names = _read_parquet(file)
        contents = (
            (f"{file}: image {i}", io.BytesIO(row["bytes"])) for i, row in enumerate(table["image"].to_pylist())
        )
        pictures.setdefault(split, []).append(_stack(contents))
        labels.setdefault(split, []).append(to_labels(table["label"].to_numpy(), f"{file}: label"))
    if "test" not in pictures:
        raise DataError(
            f"{path}: expected a Parquet file named test. Received: {', '.join(f.name for f in files[:3])}."
        )
    arrays: dict[str, NDArray[Any]] = {}
    for split in pictures:
        arrays |= {f"{split} images": np.concatenate(pictures[split]), f"{split} labels": np.concatenate(labels[split])}
    return Layout(arrays, {key: f"{path}: {key}" for key in arrays}, names)


def _read_parquet(path: Path) -> tuple[Any, tuple[str, ...]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            f"{path}: expected the package pyarrow, to read Parquet files. Received: none. "
            "Install it: pip install 'ood-fashion[parquet]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            groups = file.metadata
            size = sum(groups.row_group(number).total_byte_size for number in range(groups.num_row_groups))
            if size > MAX_UNPACKED:
                raise ValueError(f"{size:,} bytes unpacked, more than {MAX_UNPACKED:,}")
            table = file.read(["image", "label"])
        described = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        names = described.get("info", {}).get("features", {}).get("label", {}).get("names") or ()
        if {"image", "label"} - set(table.column_names) or not all(
            row and row["bytes"] for row in table["image"].to_pylist()
        ):
            raise ValueError(f"the columns {', '.join(table.column_names) or 'of something else'}")
    except Exception as error:  # pyarrow raises many kinds on damaged files
        raise DataError(
            f"{path}: expected a Parquet file with the columns image, of bytes, and label. "
            f"Received: {summarize_error(error, reason(error))}."
        ) from error
    return table, tuple(map(str, names))


def _class_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, in the order of their names, if there are pictures in each of them, else none."""
    folders = [f for f in list_folder(folder, DataError) if not f.name.startswith(".") and is_folder(f, DataError)]
    return folders if all(map(_pictures, folders)) else []


def _pictures(folder: Path) -> list[Path]:
    from ood_fashion.data.pictures import ENDINGS

    return [f for f in list_folder(folder, DataError) if f.suffix.lower() in ENDINGS and not f.name.startswith(".")]


def _read_pictures(splits: Mapping[str, Path]) -> Layout:
    """Read pictures from a folder a class, whose labels are the places of their names in order, as Keras has them."""
    names = tuple(folder.name for folder in _class_folders(next(iter(splits.values()))))
    arrays: dict[str, NDArray[Any]] = {}
    for split, root in splits.items():
        files = []
        for folder in _class_folders(root):
            if folder.name not in names:
                raise DataError(f"{folder}: expected one of the classes {', '.join(names)}, as for training.")
            files += [(names.index(folder.name), file) for file in _pictures(folder)]
        arrays[f"{split} images"] = _stack((str(file), None) for _, file in files)
        arrays[f"{split} labels"] = np.array([label for label, _ in files], np.int64)
    return Layout(arrays, {key: str(splits[key.partition(" ")[0]]) for key in arrays}, names)


def _stack(pictures: Iterable[tuple[str, BinaryIO | None]]) -> NDArray[np.uint8]:
    """Read grey pictures of one size, (n, height, width), from their places, or from what was opened."""
    from ood_fashion.data.pictures import read_grey

    read: list[NDArray[np.uint8]] = []
    for place, file in pictures:
        read.append(read_grey(Path(place), file))
        (height, width), (first, second) = read[-1].shape, read[0].shape
        if (height, width) != (first, second):
            raise DataError(
                f"{place}: expected a picture of {second}x{first}, as the first. Received: {width}x{height}. "
                "Make them all of one size."
            )
        if len(read) * height * width > MAX_UNPACKED:
            raise DataError(f"{place}: expected pictures of {MAX_UNPACKED:,} pixels at most in all. Received: more.")
    return np.stack(read)
