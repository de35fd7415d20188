"""Saying what pictures show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.api.measuring import _select_device
from ood_fashion.api.opening import Model, open_keras_model
from ood_fashion.api.results import Classification
from ood_fashion.data import pictures
from ood_fashion.data.readers import to_pixels
from ood_fashion.errors import DataError
from ood_fashion.evaluation import classifier
from ood_fashion.evaluation.results import Prediction


def predict(
    images: str | Path | Sequence[str | Path] | NDArray[Any],
    model: Model,
    *,
    class_names: str | Sequence[str] | None = None,
    outputs: str = "auto",
    pixel_range: str | None = None,
    device: str = "auto",
    trust: bool = False,
) -> Classification:
    """Say what pictures show.

    Args:
        images: PNG or JPEG files, folders of them, or arrays of the model's size: (n, height, width),
            (n, height, width, 1) or one image (height, width), integers in 0-255 or floats in [0, 1], which are rounded
            to 8 bits. Files are trimmed, made grey and resized like Fashion-MNIST's pictures.
        model: a run, a `keras.Model`, a path, or the name of a pretrained model.
        class_names: a name per class, or of the dataset that has them; a run knows its own.
        outputs: as for `evaluate`.
        pixel_range: as for `evaluate`.
        device: "auto", "cpu" or "gpu".
        trust: as for `load_model`.

    Returns:
        A row per picture: its most probable class.

    Raises:
        InvalidValueError: the model is a callable.
        DataError: no picture can be read, or the images have another form.

    Examples:
        >>> import ood_fashion as ood
        >>> data = ood.load_dataset()
        >>> print(ood.predict(data.test.images[:1], "cnn3-full").rows[0].class_name)
        Ankle boot
    """
    _select_device(device, model)
    opened = open_keras_model(model, pixel_range=pixel_range, trust=trust)
    from ood_fashion.evaluation.scorer import classify
    from ood_fashion.models.files import picture_shape

    if isinstance(images, np.ndarray):
        array = images[np.newaxis] if images.ndim == 2 else images
        if array.dtype.kind == "f" and array.size and 0 <= array.min() <= array.max() <= 1:
            array = np.rint(array * 255).astype(np.uint8)
        read = [pictures.Picture(Path(str(i)), image, ()) for i, image in enumerate(to_pixels(array, "`images`"))]
        passed_over: list[str] = []
        failures: list[str] = []
    else:
        paths = [images] if isinstance(images, str | Path) else images
        read, passed_over, failures = pictures.read_pictures(list(map(Path, paths)), picture_shape(opened.model))
    if not read:
        raise DataError(*failures or ["`images`: expected one or more. Received: none."])
    temperature = (opened.run and opened.run.temperature) or 1.0
    probabilities = classify(opened.model, np.stack([picture.pixels for picture in read]), temperature, outputs)
    if opened.run:
        names: Sequence[str] = opened.run.class_names
    elif class_names is None or isinstance(class_names, str):
        names = classifier.class_names(class_names, probabilities.shape[1])
    else:
        names = class_names
    predictions = [
        Prediction(str(picture.path), **vars(top[0]), prepared=tuple(picture.steps), top=top)
        for picture, top in zip(read, classifier.top_classes(probabilities, names), strict=True)
    ]
    return Classification(opened.name, predictions, failures, passed_over, temperature)
