"""Shifted datasets as files for other programs: 8-bit images and labels, training and test set.

npz   SHIFT.npz with x_train, y_train, x_test and y_test, as Keras's `mnist.npz` has them, and class_names
idx   SHIFT/ with the four gzipped IDX files, which `--data-dir` and most MNIST readers take
tfds  ood_fashion/SHIFT/VERSION/, prepared for `tfds.load("ood_fashion/SHIFT", data_dir=FOLDER)`

Beside them, dataset.json says what they were made of, and croissant.json describes the files for catalogues.
"""

from __future__ import annotations

import gzip
import os
import shutil
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion import __version__
from ood_fashion.data.croissant import write_croissant
from ood_fashion.data.dataset import FILES, Dataset
from ood_fashion.errors import ExportError, InvalidValueError, RunError
from ood_fashion.files import TEMPORARY, is_vacant, list_folder, locked, read_json, reason, write_json
from ood_fashion.images import compact
from ood_fashion.shifts.shift import Shift, file_name


def _write_npz(dataset: Dataset, shift: Shift, folder: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        if len(split):
            arrays |= {f"x_{name}": shift.apply_uint8(split.images), f"y_{name}": compact(split.labels)}
    arrays["class_names"] = np.array(dataset.class_names)
    np.savez_compressed(folder / f"{file_name(shift)}.npz", **arrays)  # type: ignore[arg-type] # numpy's stub takes `arrays` for allow_pickle


def _write_idx(dataset: Dataset, shift: Shift, folder: Path) -> None:
    if not len(dataset.train) or dataset.num_classes > 256:
        raise ExportError(
            f"idx: expected a training set, and 256 classes at most. Received: {len(dataset.train):,} training images, "
            f"{dataset.num_classes:,} classes. Choose `file_format` npz."
        )
    target = folder / file_name(shift)
    target.mkdir()
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        for part, array in (("images", shift.apply_uint8(split.images)), ("labels", compact(split.labels))):
            header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
            # Without a name and a time, the same content makes the same file.
            content = gzip.compress(header + array.tobytes(), compresslevel=6, mtime=0)
            (target / f"{FILES[f'{name} {part}']}.gz").write_bytes(content)


def _write_tfds(dataset: Dataset, shift: Shift, folder: Path) -> None:
    from ood_fashion.data import tfds

    tfds.prepare(dataset, shift, folder)


PREDICTIONS = {
    "index": "the image's place in the test set, from 0",
    "shift": "the shift's text, a value of `shifts`",
    "class": "the label that the model gives; or, in its place, a column for each class's score, in order",
}
"""The columns of a file of answers to what is exported, as `evaluation.prediction_files` reads it."""

FORMATS = {"npz": _write_npz, "idx": _write_idx, "tfds": _write_tfds}
"""What writes a dataset under a shift into a folder, by the name of the format."""


def export(dataset: Dataset, shifts: Iterable[Shift], folder: Path, file_format: str = "npz") -> dict[str, Any]:
    """Write a dataset under each shift into a new folder, all of them or none, and return the record in dataset.json.

    Image i of a split is the array that `Shift.apply` gives for index i, rounded to 8 bits.
    """
    if file_format not in FORMATS:
        raise InvalidValueError(f"`file_format`: expected one of {', '.join(FORMATS)}. Received: {file_format!r}.")
    chosen = list(dict.fromkeys(shifts))
    record = {
        "format": file_format,
        "shifts": {file_name(shift): str(shift) for shift in chosen},
        "source": dataset.source,
        "genuine": dataset.is_genuine,
        "sha256": dataset.sha256,
        "test_images": len(dataset.test),
        "predictions": PREDICTIONS,
        "ood_fashion": __version__,
    }
    with _new_folder(folder) as temporary:
        write_json(temporary / _RECORD, record)  # first, so that what a kill leaves is known for an export's
        for shift in chosen:
            FORMATS[file_format](dataset, shift, temporary)
        write_croissant(temporary, record)
    return record


_RECORD = "dataset.json"


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder`, which takes its name if the block succeeds."""
    temporary = folder.parent / f"{TEMPORARY}{folder.name}"
    try:
        with locked(temporary):
            if os.path.lexists(folder):
                raise ExportError(f"{folder}: expected nothing there. Choose another folder, or delete it.")
            if not (is_vacant(temporary, _RECORD) or _is_export(temporary)):
                raise ExportError(
                    f"{folder}: expected nothing at {temporary.name} beside it, or what an export that was killed has "
                    "left there. Received: other files. Choose another folder, or move them."
                )
            try:
                for leftover in list_folder(temporary):
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
                yield temporary
                temporary.rename(folder)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
    except RunError as error:
        raise ExportError(str(error).replace(str(temporary), str(folder))) from error
    except OSError as error:
        raise ExportError(f"{folder}: expected to be able to write it. Received: {reason(error)}.") from error


def _is_export(folder: Path) -> bool:
    try:
        return "ood_fashion" in read_json(folder / _RECORD)
    except RunError:
        return False
