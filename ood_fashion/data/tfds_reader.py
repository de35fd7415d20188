"""Reading image classification datasets of TensorFlow Datasets (TFDS) as arrays."""

from __future__ import annotations

import hashlib
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.errors import DataError, InvalidValueError
from ood_fashion.files import locked, match
from ood_fashion.importing import quiet_tensorflow


class DownloadError(DataError):
    """The download did not succeed."""


def read_tfds(
    name: str, data_dir: Path, *, download: bool
) -> tuple[dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]], tuple[str, ...]]:
    """Read the training and the test set of a TFDS dataset, and the names of its classes.

    Those that TFDS has made from IDX files are put back into the files' order; TFDS stores a split sorted by the MD5 of
    its name followed by each example's key, there the index. Others stay in TFDS's order.

    Returns:
        Images, uint8 (n, height, width), and labels, int64 (n,), by "train" and "test"; a name for each label.

    Raises:
        InvalidValueError: TFDS has no such dataset.
        DownloadError: it is not there and could not be prepared.
        DataError: it is damaged, or it is not grey images of one size with a label, in a training and a test set.
    """
    with quiet_tensorflow():
        import tensorflow  # noqa: F401
        import tensorflow_datasets as tfds
        from absl import logging

    tfds.disable_progress_bar()
    logging.set_verbosity(logging.ERROR)
    with redirect_stdout(sys.stderr):
        builder = _builder(tfds, name, data_dir)
        names = _check_features(name, builder.info)
        if not builder.is_prepared():
            if not download:
                raise DataError(f"dataset '{name}': expected a prepared copy. Received: none in {data_dir}.")
            try:
                with locked(data_dir, wait=True):
                    builder = _builder(tfds, name, data_dir)  # which another process may have prepared meanwhile
                    if not builder.is_prepared():
                        _prepare(builder)
            except Exception as error:  # TFDS lets through whatever its downloader raises
                raise DownloadError(_summary(error)) from error
        if missing := [split for split in ("train", "test") if split not in builder.info.splits]:
            raise DataError(
                f"dataset '{name}': expected a training and a test set. Received: no {' and no '.join(missing)}."
            )
        config = tfds.ReadConfig(interleave_cycle_length=1)  # reads in the order of storage
        try:
            given = builder.as_dataset(
                split=["train", "test"], batch_size=-1, as_supervised=True, read_config=config, shuffle_files=False
            )
            stored = dict(zip(("train", "test"), tfds.as_numpy(given), strict=True))
        except Exception as error:  # whatever its file system and TensorFlow raise
            raise _damaged(name, data_dir, error) from error
    arrays = {}
    for split, (images, labels) in stored.items():
        order: Any = slice(None)
        if isinstance(builder, tfds.image_classification.MNIST):  # whose keys are the indices
            digests = [hashlib.md5(f"{split}{index}".encode()).digest() for index in range(len(labels))]
            order = np.argsort(np.array(sorted(range(len(labels)), key=digests.__getitem__)))
        arrays[split] = np.ascontiguousarray(images[order, :, :, 0]), labels[order].astype(np.int64)
    return arrays, names


def _builder(tfds: Any, name: str, data_dir: Path) -> Any:
    try:
        return tfds.builder(name, data_dir=data_dir)
    except Exception as error:
        prepared = match(data_dir / name, "*/dataset_info.json", DataError)
        if isinstance(error, ValueError | AssertionError) and not prepared:
            raise InvalidValueError(
                f"dataset '{name}': expected one of TensorFlow Datasets, such as mnist, kmnist or emnist/letters. "
                f"Received: {_summary(error)}. Folders and .npz files that exist are taken too, on the command line by "
                "`data_dir`."
            ) from error
        raise _damaged(name, data_dir, error) from error


def _prepare(builder: Any) -> None:
    from urllib.request import urlopen

    # Without a network this fails at once, where TFDS tries again for minutes.
    for url in list(builder.url_infos or ())[:1]:
        urlopen(url, timeout=10).close()
    builder.download_and_prepare()


def _check_features(name: str, info: Any) -> tuple[str, ...]:
    """Return the classes' names if the dataset is one that can be read."""
    if info.supervised_keys != ("image", "label") or not hasattr(info.features["label"], "names"):
        raise DataError(f"dataset '{name}': expected images with a class label. Received: {info.supervised_keys}.")
    shape = info.features["image"].shape
    if None in shape or shape[-1] != 1:
        raise DataError(
            f"dataset '{name}': expected grey images of one size, (height, width, 1). Received: {shape}. "
            "Convert them, save them as x_train, y_train, x_test and y_test in an .npz file, and name that."
        )
    return tuple(info.features["label"].names)


def _damaged(name: str, data_dir: Path, error: Exception) -> DataError:
    return DataError(f"{data_dir}/{name}: expected a whole copy. Received: {_summary(error)}. Delete it.")


def _summary(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200].rstrip(".")
