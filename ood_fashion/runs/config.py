"""What decides a training run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields
from typing import Any

from ood_fashion.errors import InvalidValueError
from ood_fashion.models.specs import MODELS
from ood_fashion.shifts.augmentations import Augmentation

PROTOCOLS: dict[str, dict[str, Any]] = {
    "assignment": {"train_size": 10_000, "val_size": 2_000},
    "full": {
        "train_size": 55_000,
        "val_size": 5_000,
        "epochs": 12,
        "batch_size": 64,
        "optimizer": "adamw",
        "learning_rate": 0.003,
        "schedule": "cosine",
        "weight_decay": 0.1,
        "label_smoothing": 0.05,
        "patience": None,
    },
}
"""Named sets of `TrainConfig` fields. "assignment" is the protocol that the other defaults follow
too; "full" is a recipe for all training images, which the study `recipe` takes apart."""

MLP_PROTOCOL: dict[str, Any] = {"model": "mlp", "implementation": "numpy", "epochs": 200}
"""How problem 3.1 trains its MLP in NumPy, beside the defaults of `TrainConfig`, by which problem 3.5 trains."""

IMPLEMENTATIONS = ("keras", "numpy")
DTYPES = ("float32", "float64")
OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "cosine")
ENGINES = ("auto", "compiled", "stock")
STRATEGIES = ("single", "mirrored")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides a run: the same config on the same machine and data gives the same weights, bit for bit.

    Attributes:
        model: a name in `specs.MODELS`.
        train_size: number of training images, taken first from the training set.
        val_size: number of validation images, taken after those.
        split_seed: shuffles the training set before it is split; None keeps the order of the files.
        epochs: most passes over the training images.
        batch_size: images per update.
        optimizer: one of `OPTIMIZERS`: "sgd", or "adamw" (Loshchilov and Hutter, ICLR 2019) with Keras's betas.
        learning_rate: the eta of w <- w - eta v.
        schedule: one of `SCHEDULES`: "constant", or "cosine", which raises the learning rate from 0 to `learning_rate`
            over the first epoch, then lowers it to 0 along half a cosine until the last.
        momentum: the alpha of v <- alpha v + gradient, in [0, 1); of "sgd" alone.
        weight_decay: lowers each kernel by this times the learning rate times itself in every update; biases, scales
            and shifts are left as they are.
        label_smoothing: the part of a label that is shared by all classes alike (Szegedy et al., CVPR 2016), in [0, 1).
        patience: stop after so many epochs in a row without a better validation accuracy, and keep the best weights;
            None runs all epochs and keeps the last weights.
        seed: decides the initial weights, the order of the batches and the augmentations' random numbers.
        augment: texts of augmentations, applied to every training image from left to right, anew in every epoch.
        engine: one of `ENGINES`: "stock" trains by Keras's `fit` alone, "compiled" by many steps in one XLA program,
            which rounds differently, "auto" by whichever should take less time.
        strategy: one of `STRATEGIES`: "single" trains on one device, "mirrored" on all of the machine's, each with
            an equal part of every batch, by stock `fit`; the sums over the parts round differently.
        monitor_test: measure the accuracy on the test set after every epoch too, to look at; nothing depends on it.
        calibrate: fit a temperature to the kept weights on the validation images; it changes no weight.
        implementation: one of `IMPLEMENTATIONS`: "keras", or "numpy", the MLP of `from_scratch`, which leaves `engine`
            aside.
        dtype: one of `DTYPES`, the type of the weights; Keras trains in float32.

    Raises:
        InvalidValueError: a value is of the wrong type or out of range.

    Examples:
        >>> import ood_fashion as ood
        >>> ood.TrainConfig(model="mlp", momentum=0.5).batch_size
        5
    """

    model: str = "cnn3"
    train_size: int = PROTOCOLS["assignment"]["train_size"]
    val_size: int = PROTOCOLS["assignment"]["val_size"]
    split_seed: int | None = None
    epochs: int = 30
    batch_size: int = 5
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    schedule: str = "constant"
    momentum: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    patience: int | None = 3
    seed: int = 1
    augment: tuple[str, ...] = ()
    engine: str = "auto"
    strategy: str = "single"
    monitor_test: bool = False
    calibrate: bool = False
    implementation: str = "keras"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for field in fields(self):
            expected, holds = _RULES[field.name]
            value = getattr(self, field.name)
            if not holds(value):
                raise InvalidValueError(f"`{field.name}`: expected {expected}. Received: {value!r}.")
        object.__setattr__(self, "augment", tuple(str(Augmentation.parse(text)) for text in self.augment))
        for chooser, choice, name, only in _FIXED:
            received = getattr(self, name)
            if getattr(self, chooser) == choice and received != only:
                raise InvalidValueError(f"`{chooser}` {choice}: expected `{name}` {only!r}. Received: {received!r}.")

    @property
    def augmentations(self) -> tuple[Augmentation, ...]:
        """The augmentations that `augment` names."""
        return tuple(map(Augmentation.parse, self.augment))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dict of JSON values."""
        return {**asdict(self), "augment": list(self.augment)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainConfig:
        """Read what `to_json` gave.

        Raises:
            InvalidValueError: a field is unknown or its value is out of range.
        """
        if unknown := sorted(set(values) - {field.name for field in fields(cls)}):
            raise InvalidValueError(f"unknown setting: {', '.join(map(repr, unknown))}. Expected: {', '.join(_RULES)}.")
        return cls(**values)


_FIXED: tuple[tuple[str, str, str, Any], ...] = (
    ("implementation", "numpy", "model", "mlp"),
    ("implementation", "numpy", "optimizer", "sgd"),
    ("implementation", "numpy", "schedule", "constant"),
    ("implementation", "numpy", "weight_decay", 0.0),
    ("implementation", "numpy", "label_smoothing", 0.0),
    ("implementation", "numpy", "augment", ()),
    ("implementation", "numpy", "monitor_test", False),
    ("implementation", "numpy", "calibrate", False),
    ("implementation", "numpy", "strategy", "single"),
    ("implementation", "keras", "dtype", "float32"),
    ("engine", "compiled", "strategy", "single"),
    ("optimizer", "adamw", "momentum", 0.0),
)
"""What a field's value asks of another field: (field, its value, the other, that one's only value)."""

Rule = tuple[str, Callable[[Any], bool]]

_MAX_WHOLE = 2**31 - 1


def _whole(least: int, *, optional: bool = False) -> Rule:
    def holds(value: Any) -> bool:
        if value is None:
            return optional
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MAX_WHOLE

    return f"a whole number from {least} to {_MAX_WHOLE:,}{', or none' if optional else ''}", holds


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max  # of a JSON file, where a whole number may have any size


_FRACTION: Rule = ("a number from 0 to below 1", lambda value: _is_number(value) and 0 <= value < 1)


def _one_of(names: Collection[str]) -> Rule:
    return f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names


_SWITCH: Rule = ("true or false", lambda value: isinstance(value, bool))

_RULES: dict[str, Rule] = {
    "model": _one_of(MODELS),
    "train_size": _whole(1),
    "val_size": _whole(1),
    "split_seed": _whole(0, optional=True),
    "epochs": _whole(1),
    "batch_size": _whole(1),
    "optimizer": _one_of(OPTIMIZERS),
    "learning_rate": ("a finite number above 0", lambda value: _is_number(value) and value > 0),
    "schedule": _one_of(SCHEDULES),
    "momentum": _FRACTION,
    "weight_decay": ("a finite number of 0 or more", lambda value: _is_number(value) and value >= 0),
    "label_smoothing": _FRACTION,
    "patience": _whole(1, optional=True),
    "seed": _whole(0),
    "augment": (
        "a list of texts",
        lambda value: isinstance(value, list | tuple) and all(isinstance(text, str) for text in value),
    ),
    "engine": _one_of(ENGINES),
    "strategy": _one_of(STRATEGIES),
    "monitor_test": _SWITCH,
    "calibrate": _SWITCH,
    "implementation": _one_of(IMPLEMENTATIONS),
    "dtype": _one_of(DTYPES),
}
