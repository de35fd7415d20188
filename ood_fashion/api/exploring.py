"""Asking several models about one picture after another: what they see under a shift, and where that changes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.api.data import Data, load_dataset
from ood_fashion.api.measuring import _data_for, _select_device
from ood_fashion.api.opening import Model, OpenedModel, _as_classifier, is_keras, open_model, several
from ood_fashion.data import pictures
from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import DataError, InvalidValueError, ModelError
from ood_fashion.evaluation import baseline
from ood_fashion.evaluation.classifier import output_kind, score_callable, top_classes
from ood_fashion.evaluation.exploring import (
    Answer,
    BreakingPoints,
    CurvePoint,
    ShownImage,
    breaking_points,
    curve_shifts,
    trials,
)
from ood_fashion.evaluation.metrics import to_probabilities
from ood_fashion.evaluation.stats import Accuracy
from ood_fashion.images import to_unit_range
from ood_fashion.runs.search import distinct_name, pretrained_runs, shipped_sweeps
from ood_fashion.shifts.shift import Shift

DEFAULT_MODELS = ("mlp", "cnn3", "cnn3-full", "p4mgap-augmented", "robust")
"""The pretrained models that are shown, those of them that the package has."""
CURVE_IMAGES = 300
"""How many test images, the first, accuracy is measured on where the package's sweeps have none."""
MAX_SCANNED = 2_000
"""How many test images a search for a failure goes through."""
_AT_A_TIME = 50
"""Images that models are asked about at a time, so that whoever waits does not wait long."""
_MAX_KEPT = 500

Probabilities = Callable[[NDArray[np.float32]], NDArray[np.float64]]


class Explorer:
    """Several models beside each other, each compiled once, that are asked about one picture after another.

    What `ood.app` shows comes from its methods. Several threads may call them.

    Args:
        models: as for `evaluate`; they stand beside the pretrained ones.
        data: what `load_dataset` takes or gives; unless given, what a run was trained on in this process, else
            Fashion-MNIST.
        pretrained: the names of pretrained models; a few that differ unless given.
        images: the number of test images, the first, that accuracy is measured on where the package's sweeps have none.
        pixel_range: as for `evaluate`, of all `models`.
        device: "auto", "cpu" or "gpu".
        trust: as for `load_model`.

    Attributes:
        names: what the models are called: runs by their folders, files by their paths.
        dataset: whose test images are shown.

    Raises:
        ModelError: a model cannot be loaded, or does not fit the data.

    Examples:
        >>> import ood_fashion as ood
        >>> explorer = ood.Explorer(pretrained=["cnn3", "p4mgap-augmented"])
        >>> for answer in explorer.answers(explorer.image(0), "rotate:45"):
        ...     print(answer.model, answer.correct, answer.top[0].class_name)
        cnn3 False Sneaker
        p4mgap-augmented True Ankle boot
    """

    def __init__(
        self,
        models: Model | Sequence[Model] = (),
        data: Data = None,
        *,
        pretrained: Sequence[str] | None = None,
        images: int = CURVE_IMAGES,
        pixel_range: str | None = None,
        device: str = "auto",
        trust: bool = False,
    ) -> None:
        own, shipped = several(models), pretrained_runs()
        chosen = [name for name in DEFAULT_MODELS if name in shipped] if pretrained is None else list(pretrained)
        if missing := [name for name in chosen if name not in shipped]:
            raise InvalidValueError(f"`pretrained`: expected of {', '.join(shipped)}. Received: {missing[0]!r}.")
        if not own and not chosen:
            raise InvalidValueError("`models`: expected one or more. Received: none.")
        if images < 1:
            raise InvalidValueError(f"`images`: expected a number of images, 1 or more. Received: {images}.")
        self.dataset = load_dataset(_data_for(models, data))
        self._first = self.dataset.with_test_images(images).test
        _select_device(device, "")
        opened = [open_model(model, pixel_range=pixel_range, trust=trust) for model in own]
        opened += [open_model(name) for name in dict.fromkeys(chosen)]
        self._models = {name: _ask(model, self.dataset) for name, model in zip(_distinct(opened), opened, strict=True)}
        self.names = tuple(self._models)
        self._compute = _Turns()
        self._measuring = threading.Lock()
        self._accuracies: dict[tuple[str, str], Accuracy] = {}
        self._shipped = {
            (name, point.shift): Accuracy(point.accuracy, point.correct, point.n, point.ci95)
            for name, model in zip(self.names, opened, strict=True)
            if model.run and baseline.applies(self.dataset.test)
            for point in shipped_sweeps(model.run)
        }
        self._breaking: dict[tuple[bytes, str, str, int], BreakingPoints] = {}

    def image(self, index: int) -> ShownImage:
        """Return a test image by its number.

        Raises:
            InvalidValueError: there is none of that number.
        """
        images, labels = self.dataset.test
        if not 0 <= index < len(labels) or index != int(index):
            raise InvalidValueError(f"`image`: expected a number from 0 to {len(labels) - 1:,}. Received: {index!r}.")
        return ShownImage(images[int(index)], int(index), int(labels[int(index)]))

    def read(self, picture: str | Path | bytes) -> tuple[ShownImage, tuple[str, ...]]:
        """Read a PNG or JPEG picture, prepared as `predict` does; return it, and what was done to it.

        Args:
            picture: a file's path, or its content.

        Raises:
            DataError: it is none, or too large.
        """
        if isinstance(picture, bytes):
            with TemporaryDirectory() as folder:
                path = Path(folder) / "picture"
                path.write_bytes(picture)
                return self.read(path)
        path = Path(picture)
        try:
            read = pictures.read_picture(path, self.dataset.image_shape)
        except DataError as error:
            raise DataError(str(error).replace(str(path), path.name)) from error
        return ShownImage(read.pixels), read.steps

    def next_of_class(self, label: int | None, after: int = -1) -> int | None:
        """Return the number of the next test image of a class, or of any; the first where no other follows."""
        labels = self.dataset.test.labels
        (found,) = np.nonzero(labels == label) if label is not None else (np.arange(len(labels)),)
        return int(found[np.searchsorted(found, after, side="right") % len(found)]) if len(found) else None

    def next_failure(
        self, shift: Shift | str, models: Sequence[str] | None = None, label: int | None = None, after: int = -1
    ) -> int | None:
        """Return the number of the next test image, of a class or of any, that one of the models gets wrong.

        The search starts again at the first image, and ends after `MAX_SCANNED` images: None where it has found none.
        """
        labels = self.dataset.test.labels
        order = np.roll(np.arange(len(labels)), -(after + 1))
        order = order[labels[order] == label] if label is not None else order
        order = order[:MAX_SCANNED]
        for start in range(0, len(order), _AT_A_TIME):
            places = order[start : start + _AT_A_TIME]
            pixels = _shifted(self.dataset.test.images[places], shift, places)
            wrong = [self._probabilities(name, pixels).argmax(axis=1) != labels[places] for name in self._named(models)]
            if wrong and np.any(wrong):
                return int(places[np.any(wrong, axis=0).argmax()])
        return None

    def shifted(self, image: ShownImage, shift: Shift | str) -> NDArray[np.float32]:
        """Return a picture under a shift, float32 (height, width) in [0, 1], as the models get it."""
        return np.asarray(_shifted(image.pixels[np.newaxis], shift, np.array([image.index or 0]))[0])

    def answers(self, image: ShownImage, shift: Shift | str, models: Sequence[str] | None = None) -> list[Answer]:
        """Return what each model, or each of those that are named, sees in a picture under a shift."""
        pixels = self.shifted(image, shift)[np.newaxis]
        found = []
        for name in self._named(models):
            (top,) = top_classes(self._probabilities(name, pixels, first=True), self.dataset.class_names)
            found.append(Answer(name, top, None if image.label is None else top[0].label == image.label))
        return found

    def breaking(
        self, image: ShownImage, corruption: str = "fog", seed: int = 0, models: Sequence[str] | None = None
    ) -> list[BreakingPoints]:
        """Return at which angles, moves and severities each model's answer for a picture changes."""
        for _ in self.find_breaking(image, corruption, seed, models):
            pass
        return self.known_breaking(image, corruption, seed, models)

    def find_breaking(
        self, image: ShownImage, corruption: str = "fog", seed: int = 0, models: Sequence[str] | None = None
    ) -> Iterator[str]:
        """Do the work of `breaking` model by model; give the name of each as it is done."""
        known = {points.model for points in self.known_breaking(image, corruption, seed, models)}
        missing = [name for name in self._named(models) if name not in known]
        if not missing:
            return
        tried = trials(corruption, seed)
        pixels = np.stack([self.shifted(image, shift) for shift in (Shift(), *tried.values())])
        for name in missing:
            probabilities = self._probabilities(name, pixels)
            classes = probabilities.argmax(axis=1)
            stays = dict(zip(tried, (classes[1:] == classes[0]).tolist(), strict=True))
            ((answer,),) = top_classes(probabilities[:1], self.dataset.class_names, 1)
            while len(self._breaking) >= _MAX_KEPT:
                self._breaking.pop(next(iter(self._breaking)))
            self._breaking[image.key, name, corruption, seed] = breaking_points(
                name, answer.class_name, corruption, stays
            )
            yield name

    def known_breaking(
        self, image: ShownImage, corruption: str = "fog", seed: int = 0, models: Sequence[str] | None = None
    ) -> list[BreakingPoints]:
        """Return what `breaking` has found already, without asking a model."""
        found = [self._breaking.get((image.key, name, corruption, seed)) for name in self._named(models)]
        return [points for points in found if points]

    def curve(
        self, axis: str, corruption: str = "fog", seed: int = 0, models: Sequence[str] | None = None
    ) -> list[CurvePoint]:
        """Return each model's accuracy over the values of a slider, "dx", "dy", "angle" or "severity".

        For the package's models on Fashion-MNIST it is that of the package's sweeps over angles and corruptions, on the
        first 2,000 test images. What else there is is measured, once.
        """
        for _ in self.measure_curve(axis, corruption, seed, models):
            pass
        return self.known_curve(axis, corruption, seed, models)

    def measure_curve(
        self, axis: str, corruption: str = "fog", seed: int = 0, models: Sequence[str] | None = None
    ) -> Iterator[Shift]:
        """Do the work of `curve` shift by shift; give each as it is done."""
        shifts = curve_shifts(axis, corruption, seed)
        names = [name for name in self._named(models) if len(self._known(name, shifts)) < len(shifts)]
        for shift in shifts.values():
            with self._measuring:
                missing = [name for name in names if (name, str(shift)) not in self._accuracies]
                self._accuracies |= self._measure(shift, missing) if missing else {}
            if missing:
                yield shift

    def known_curve(
        self, axis: str, corruption: str = "fog", seed: int = 0, models: Sequence[str] | None = None
    ) -> list[CurvePoint]:
        """Return what of `curve` is known already, without asking a model."""
        shifts = curve_shifts(axis, corruption, seed)
        return [
            CurvePoint(name, value, accuracy)
            for name in self._named(models)
            for value, accuracy in self._known(name, shifts).items()
        ]

    def _known(self, name: str, shifts: Mapping[int, Shift]) -> dict[int, Accuracy]:
        """Return a model's accuracies under shifts: those of the package if it has all, since others have another n."""
        keys = {value: (name, str(shift)) for value, shift in shifts.items()}
        known = self._shipped if self._shipped.keys() >= set(keys.values()) else self._accuracies
        return {value: known[key] for value, key in keys.items() if key in known}

    def _measure(self, shift: Shift, names: Sequence[str]) -> dict[tuple[str, str], Accuracy]:
        images, labels = self._first
        pixels = _shifted(images, shift, np.arange(len(images)))
        classes = {name: self._probabilities(name, pixels).argmax(axis=1) for name in names}
        return {(name, str(shift)): Accuracy.of(of_one == labels) for name, of_one in classes.items()}

    def _named(self, models: Sequence[str] | None) -> list[str]:
        """Return names of models in the explorer's order, all of them for None."""
        if models is not None and (unknown := [name for name in models if name not in self._models]):
            raise InvalidValueError(f"`models`: expected of {', '.join(self.names)}. Received: {unknown[0]!r}.")
        return [name for name in self.names if models is None or name in models]

    def _probabilities(self, name: str, pixels: NDArray[np.float32], *, first: bool = False) -> NDArray[np.float64]:
        """Ask a model about some images at a time; one that is `first` need not wait for the others."""
        found = []
        for start in range(0, len(pixels), _AT_A_TIME):
            with self._compute.turn(first=first):
                found.append(self._models[name](pixels[start : start + _AT_A_TIME]))
        return np.concatenate(found)


class _Turns:
    """Lets one thread compute at a time, and those that come first before all others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0
        self._count = threading.Lock()

    @contextmanager
    def turn(self, *, first: bool) -> Iterator[None]:
        """Compute within this."""
        if first:
            with self._count:
                self._waiting += 1
        else:
            while self._waiting:
                time.sleep(0.002)
        try:
            with self._lock:
                yield
        finally:
            if first:
                with self._count:
                    self._waiting -= 1


def _shifted(images: NDArray[np.uint8], shift: Shift | str, places: NDArray[np.int64]) -> NDArray[np.float32]:
    from ood_fashion.evaluation.pipelines import shifted_pixels

    return shifted_pixels(images, shift if isinstance(shift, Shift) else Shift.parse(shift), places)


def _distinct(models: Sequence[OpenedModel]) -> list[str]:
    """Name models, runs by their paths, and number those that would be called the same."""
    names = [distinct_name(model.run) if model.run else model.name for model in models]
    seen: Counter[str] = Counter()
    for place, name in enumerate(names):
        seen[name] += 1
        names[place] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return names


def _ask(opened: OpenedModel, dataset: Dataset) -> Probabilities:
    """Return what gives a model's probabilities, as `predict` does, for shifted images."""
    temperature = (opened.run and opened.run.temperature) or 1.0
    if is_keras(opened.model):
        from ood_fashion.evaluation.scorer import make_image_scorer

        score = make_image_scorer(opened.model, dataset)
    else:
        score = _score_callable(opened, dataset)
    return lambda pixels: to_probabilities(score(pixels), temperature)


def _score_callable(opened: OpenedModel, dataset: Dataset) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
    """Return what scores shifted images by a callable; the first test images tell what it gives."""
    predict = _as_classifier(opened.model, dataset)

    def score(pixels: NDArray[np.float32], outputs: str = "auto") -> NDArray[Any]:
        split = Split(pixels, np.zeros(len(pixels), np.int64))  # type: ignore[arg-type] # floats do as well
        return np.asarray(score_callable(predict, split, outputs=outputs)(Shift()))

    first = to_unit_range(dataset.test.images[:100])
    given = score(first)
    if given.ndim != 2 or given.shape[1] < dataset.num_classes:
        raise ModelError(
            f"model {opened.name}: expected scores (n, {dataset.num_classes}), to show the most probable classes. "
            f"Received: an array {given.shape}."
        )
    return partial(score, outputs=output_kind(np.asarray(predict(first))))
