"""Images under shifts as arrays and pipelines, and the parameters of models."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.api.results import ParameterCount
from ood_fashion.data import sources
from ood_fashion.data.dataset import Dataset
from ood_fashion.data.readers import to_labels, to_pixels
from ood_fashion.errors import DataError, InvalidValueError
from ood_fashion.files import absolute, atomic_write, exists, make_folder
from ood_fashion.models import specs
from ood_fashion.shifts.shift import Shift
from ood_fashion.studies import assignment

Arrays = Sequence[Any]
"""Images, (n, height, width) or (n, height, width, 1), and labels, (n,) or (n, 1)."""

Data = Dataset | Path | str | Arrays | None
"""What `load_dataset` takes."""


def load_dataset(
    source: Data = None,
    test: Arrays | None = None,
    *,
    class_names: Sequence[str] | None = None,
    download: bool = True,
) -> Dataset:
    """Load a dataset of grey images.

    Args:
        source: a folder with the four IDX files of MNIST's format, an .npz file, the name of a dataset of TensorFlow
            Datasets, or arrays: `(x_train, y_train)`, or with the test set what `keras.datasets.mnist.load_data()`
            gives. Fashion-MNIST unless given, from the first place that has it.
        test: `(x_test, y_test)`, where `source` is the training arrays.
        class_names: a name for each class, in place of those that are known.
        download: whether TensorFlow Datasets may download what is not there.

    Returns:
        The dataset: `images, labels = dataset.test`, uint8 (n, height, width) and int64 (n,).

    Raises:
        InvalidValueError: TensorFlow Datasets has nothing of that name.
        DataError: the data are absent, damaged, or do not fit together.

    Examples:
        >>> import ood_fashion as ood
        >>> images, labels = ood.load_dataset().test
        >>> images.shape, str(images.dtype)
        ((10000, 28, 28), 'uint8')
        >>> data = ood.load_dataset((images[:600], labels[:600]), (images[600:900], labels[600:900]))
        >>> len(data.train), len(data.test)
        (600, 300)
    """
    if isinstance(source, Dataset):
        dataset = source
    elif source is None or isinstance(source, str | Path):
        if isinstance(source, str) and source and (source.endswith(".npz") or exists(Path(source))):
            source = Path(source)
        dataset = sources.load_dataset(source, download=download)
    else:
        dataset = _from_arrays(source, test)
    if class_names is None:
        return dataset
    if len(class_names) < dataset.num_classes:
        raise DataError(
            f"`class_names`: expected {dataset.num_classes} or more, a name for each class. "
            f"Received: {len(class_names)}."
        )
    return replace(dataset, names=tuple(map(str, class_names)), origin=())


def _from_arrays(source: Arrays, test: Arrays | None) -> Dataset:
    pairs = [source, test] if test is not None else list(source)
    if len(pairs) != 2 or any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs):
        raise DataError("`source`: expected (x_train, y_train), (x_test, y_test). Received: other arrays.")
    arrays: dict[str, NDArray[Any]] = {}
    for name, (images, labels) in zip(("train", "test"), pairs, strict=True):
        arrays[f"{name} images"] = to_pixels(np.asarray(images), f"x_{name}")
        arrays[f"{name} labels"] = to_labels(np.asarray(labels), f"y_{name}")
    return sources.make_dataset(arrays, {key: key for key in arrays}, "arrays")


def shareable_origin(dataset: Dataset, folder: Path) -> Path | str | None:
    """Return what other processes load a dataset from; what has no origin is written to a file in `folder` first."""
    if dataset.origin != ():
        origin: Path | str | None = dataset.origin
        return absolute(origin, DataError) if isinstance(origin, Path) else origin
    content = hashlib.sha256(repr((dataset.sha256, dataset.names)).encode()).hexdigest()
    path = absolute(folder) / f"data-{content[:8]}.npz"
    if not exists(path):
        make_folder(path.parent)
        arrays: dict[str, NDArray[Any]] = {"x_test": dataset.test.images, "y_test": dataset.test.labels}
        if len(dataset.train):
            arrays |= {"x_train": dataset.train.images, "y_train": dataset.train.labels}
        if dataset.names:
            arrays["class_names"] = np.array(dataset.names)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type] # numpy's stub takes `arrays` for allow_pickle
    return path


def shift_images(images: NDArray[Any], shift: Shift | str, *, indices: NDArray[np.int64] | None = None) -> NDArray[Any]:
    """Shift images.

    Args:
        images: (n, height, width), (n, height, width, 1) or one image (height, width): uint8 in 0-255 or floats in
            [0, 1].
        shift: a `Shift` or its text, such as "up4+fog:3".
        indices: each image's place in its dataset, (n,), which its random numbers depend on; 0 to n - 1 unless given.

    Returns:
        float32 in [0, 1], of the same shape.

    Raises:
        InvalidValueError: there is no such shift.
        DataError: the images have another shape.

    Examples:
        >>> import numpy as np
        >>> import ood_fashion as ood
        >>> ood.shift_images(np.array([[0, 0], [255, 0]], np.uint8), "rotate90")
        array([[0., 0.],
               [0., 1.]], dtype=float32)
    """
    array = np.asarray(images)
    if array.ndim not in (2, 3) and array.shape[3:] != (1,):
        raise DataError(f"`images`: expected (n, height, width). Received: {array.shape}.")
    height, width = array.shape[-2:] if array.ndim < 4 else array.shape[1:3]
    parsed = shift if isinstance(shift, Shift) else Shift.parse(shift)
    return parsed.apply(array.reshape(-1, height, width), indices).reshape(array.shape)


def shifted_dataset(
    shift: Shift | str = "none",
    data: Data = None,
    *,
    split: str = "test",
    batch_size: int = 500,
) -> Any:
    """Make a `tf.data` pipeline of shifted images.

    Args:
        shift: a `Shift` or its text.
        data: what `load_dataset` takes or gives; Fashion-MNIST unless given.
        split: "test" or "train".
        batch_size: images in a batch; the last batch has what is left.

    Returns:
        A `tf.data.Dataset` of images, float32 (b, height, width, 1) in [0, 1], and labels, int64 (b,), in the order of
        the dataset.

    Raises:
        InvalidValueError: there is no such shift or split.

    Examples:
        >>> import ood_fashion as ood
        >>> ood.shifted_dataset("rotate90").element_spec[0].shape
        TensorShape([None, 28, 28, 1])
    """
    from ood_fashion.evaluation.pipelines import shifted_batches

    if split not in ("train", "test"):
        raise InvalidValueError(f"`split`: expected one of train, test. Received: {split!r}.")
    parsed = shift if isinstance(shift, Shift) else Shift.parse(shift)
    return shifted_batches(getattr(load_dataset(data), split), parsed, batch_size=batch_size)


def count_parameters(model: str, *, verify: bool = False) -> ParameterCount:
    """Count a registered model's parameters, layer by layer, for Fashion-MNIST.

    Args:
        model: a name in `MODELS`.
        verify: compare with the Keras model, layer by layer; `differences` of the result has a line for each.

    Raises:
        InvalidValueError: there is no such model.

    Examples:
        >>> import ood_fashion as ood
        >>> int(ood.count_parameters("cnn3"))
        68106
    """
    if model not in specs.MODELS:
        raise InvalidValueError(f"`model`: expected one of {', '.join(specs.MODELS)}. Received: {model!r}.")
    summary = {**specs.describe(model), "document": assignment.PARAMETERS.get(model)}
    if not verify:
        return ParameterCount(summary)
    from ood_fashion._tensorflow import select_device
    from ood_fashion.models.build import compare_with_spec

    select_device()
    differences = compare_with_spec(model)
    return ParameterCount({**summary, "verified": not differences}, differences)
