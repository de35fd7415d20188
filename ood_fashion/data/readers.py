"""Reading the files that hold images and labels: IDX, the format of the MNIST database, and NumPy's .npz.

What cannot be read or does not hold what it should is a DataError; a message begins with the `place`.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from ood_fashion.errors import DataError
from ood_fashion.files import MAX_UNPACKED, open_npz, reason
from ood_fashion.images import blocks

_MAX_LABEL = 65_535

_BYTE, _INT32 = 8, 12
"""Types of the samples in an IDX file."""

_QMNIST_COLUMNS = 8


def read_idx(path: Path, dimensions: int) -> NDArray[Any]:
    """Read images, uint8 (n, height, width), or labels, integers (n,), from an IDX file, gzipped or not."""
    content = _read_idx(path, [(_BYTE, 3)] if dimensions == 3 else [(_BYTE, 1), (_INT32, 1), (_INT32, 2)])
    if content.ndim == 2:  # QMNIST's: the class, then where the digit comes from
        if content.shape[1] != _QMNIST_COLUMNS:
            raise DataError(
                f"{path}: expected labels (n,), or (n, {_QMNIST_COLUMNS}) as QMNIST's. Received: {content.shape}. "
                "Keep the column of the classes."
            )
        content = content[:, 0]
    return content if dimensions == 3 else _check_labels(content, str(path))


def _read_idx(path: Path, kinds: Sequence[tuple[int, int]]) -> NDArray[Any]:
    """Read an IDX file of one of the kinds: a type of samples and a number of axes."""
    magics = [bytes((0, 0, *kind)) for kind in kinds]
    try:
        with path.open("rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if gzipped else raw as file:
                header = file.read(4)
                known = header in magics
                header += file.read(4 * header[3]) if known else b""
                if not known or len(header) < 4 * (1 + header[3]):
                    received = header[:4].hex() or "an empty file"
                    expected = " or ".join(magic.hex() for magic in magics)
                    raise DataError(
                        f"{path}: expected an IDX header that begins {expected}. Received: {received}. Fetch the file "
                        "again, or save its content in an .npz file."
                    )
                shape = struct.unpack(f">{header[3]}I", header[4:])
                dtype = np.dtype(np.uint8 if header[2] == _BYTE else ">i4")
                size = math.prod(shape) * dtype.itemsize
                available = MAX_UNPACKED if gzipped else path.stat().st_size - len(header)
                if gzipped and size > available:
                    raise DataError(
                        f"{path}: expected at most {available:,} bytes packed by gzip. Received: {size:,} for {shape}. "
                        "If these are so many images, unpack it: gunzip."
                    )
                # An empty array takes memory only as it is filled, whatever size a damaged header claims.
                content = np.empty(min(size, available), np.uint8)
                found = _fill(file, content.data)
                more = bool(file.read(1))
    except (OSError, EOFError, zlib.error, ValueError, MemoryError) as error:
        raise DataError(
            f"{path}: expected a readable IDX file. Received: {reason(error)}. Fetch the file again."
        ) from error
    if found < size or more:
        received = f"only {found:,}" if found < size else "more"
        raise DataError(f"{path}: expected {size:,} bytes for {shape}. Received: {received}. Fetch the file again.")
    return content.view(dtype).reshape(shape)


def _fill(file: BinaryIO, content: memoryview) -> int:
    """Read into a buffer until it is full or the file ends, and return the number of bytes."""
    found = 0
    while piece := file.readinto(content[found : found + (1 << 24)]):  # type: ignore[attr-defined] # typeshed lacks it
        found += piece
    return found


_KERAS = ("x_test", "y_test", "x_train", "y_train")
_MEDMNIST = ("test_images", "test_labels", "train_images", "train_labels")


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read x_test and y_test of an .npz file, and x_train and y_train if they are there, as in Keras's `mnist.npz`.

    Or test_images, test_labels, train_images and train_labels, as MedMNIST has them; they are given Keras's names.
    Images are as `to_pixels` takes and returns them, labels as `to_labels` does. Where there is class_names, a text for
    each class, it is given too.
    """
    try:
        with open_npz(path) as file:
            own = "test_images" in file and "x_test" not in file
            known = dict(zip(_KERAS, _MEDMNIST if own else _KERAS, strict=True))
            trains = known["x_train"] in file or known["y_train"] in file
            names = [known[name] for name in _KERAS if trains or name.endswith("test")]
            if missing := [name for name in names if name not in file]:
                raise DataError(
                    f"{path}: expected x_test and y_test, and x_train and y_train to train. "
                    f"Received: no {' and no '.join(missing)}, only {', '.join(file.files) or 'an empty archive'}."
                )
            arrays = {name: file[known[name]] for name in _KERAS if known[name] in names}
            class_names = {"class_names": _read_class_names(path, file)} if "class_names" in file else {}
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds on damaged files
        raise DataError(f"{path}: expected a readable .npz file. Received: {reason(error)}.") from error
    return class_names | {
        name: (to_pixels if name.startswith("x") else to_labels)(array, f"{path}: {known[name]}")
        for name, array in arrays.items()
    }


def _read_class_names(path: Path, file: NpzFile) -> NDArray[np.str_]:
    try:
        array = file["class_names"]
        received = f"{array.dtype} {array.shape}"
    except ValueError:
        array, received = np.empty(0), "objects"
    if array.ndim != 1 or array.dtype.kind != "U":
        raise DataError(
            f"{path}: class_names: expected texts (n,). Received: {received}. Save numpy.array(names, dtype=str)."
        )
    return array


def to_pixels(array: NDArray[Any], place: str) -> NDArray[np.uint8]:
    """Return grey images as uint8 (n, height, width), from integers in 0-255 or the same divided by 255.

    There may be a last axis of one channel.
    """
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        colour = array.ndim == 4 and array.shape[3] in (3, 4)
        raise DataError(
            f"{place}: expected grey images (n, height, width). Received: {'colour, ' if colour else ''}{array.shape}. "
            f"{'Convert them to grey' if colour else 'Reshape them'}."
        )
    received = str(array.dtype)
    if array.dtype.kind in "iuf":
        low, high = (array.min(), array.max()) if array.size else (0, 0)
        received += f" from {low:.4g} to {high:.4g}. Scale and round them"
        if np.issubdtype(array.dtype, np.integer) and low >= 0 and high <= 255:
            return np.asarray(array, np.uint8)
        if np.issubdtype(array.dtype, np.floating) and low >= 0 and high <= 1:
            pixels = np.empty(array.shape, np.uint8)
            for block in blocks(array.shape):
                scaled = array[block] * 255
                pixels[block] = np.rint(scaled)
                if not np.allclose(pixels[block], scaled, rtol=0, atol=0.01):
                    break
            else:
                return pixels
        received = describe_faulty(array) or received
    raise DataError(f"{place}: expected integers in 0-255, or the same divided by 255. Received: {received}.")


def describe_faulty(pixels: NDArray[Any]) -> str | None:
    """Say how many pixels are NaN or infinite, and what to do, as the end of a message; None if there are none."""
    faulty = int((~np.isfinite(pixels)).sum())
    return f"NaN or infinity for {faulty:,} of {pixels.size:,} pixels. Replace them" if faulty else None


def to_labels(array: NDArray[Any], place: str) -> NDArray[np.int64]:
    """Return labels, integers (n,) or (n, 1), as int64 (n,)."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{place}: expected integers (n,). Received: {array.dtype} {array.shape}.")
    return _check_labels(array, place)


def _check_labels(array: NDArray[Any], place: str) -> NDArray[np.int64]:
    if array.size and not 0 <= array.min() <= array.max() <= _MAX_LABEL:
        raise DataError(f"{place}: expected labels from 0 to {_MAX_LABEL:,}. Received: {array.min()} to {array.max()}.")
    return array.astype(np.int64)
