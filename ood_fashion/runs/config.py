"""What decides a training run."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs

from ood_fashion.errors import InvalidValueError
from ood_fashion.from_scratch import SEED
from ood_fashion.models.specs import MODELS
from ood_fashion.shifts.augmentations import USAGE, Augmentation


@attrs.frozen
class Rule:
    """Which values a setting takes: their type, the values in words, what tells them, and their names if they have any.

    attrs calls it to refuse others. The type is `tuple` for several texts.
    """

    kind: type
    expected: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()

    def __call__(self, config: TrainConfig, field: attrs.Attribute[Any], value: Any) -> None:
        """Raise InvalidValueError unless the rule holds for the value."""
        if not self.holds(value):
            raise InvalidValueError(f"`{field.name}`: expected {self.expected}. Received: {value!r}.")


_MAX_WHOLE = 2**31 - 1


def _whole(least: int, *, optional: bool = False) -> Rule:
    def holds(value: Any) -> bool:
        if value is None:
            return optional
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MAX_WHOLE

    return Rule(int, f"a whole number from {least} to {_MAX_WHOLE:,}{', or none' if optional else ''}", holds)


def _number(expected: str, in_range: Callable[[float], bool]) -> Rule:
    def holds(value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        # In a JSON file a whole number may have any size.
        return number and abs(value) <= sys.float_info.max and in_range(value)

    return Rule(float, expected, holds)


def _one_of(names: Collection[str]) -> Rule:
    # Not one of the choices, for a model may have been added to MODELS.
    return Rule(
        str, f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names, tuple(names)
    )


_FRACTION = _number("a number from 0 to below 1", lambda value: 0 <= value < 1)
_SWITCH = Rule(bool, "true or false", lambda value: isinstance(value, bool))
_TEXTS = Rule(
    tuple,
    "a list of texts",
    lambda value: isinstance(value, list | tuple) and all(isinstance(text, str) for text in value),
)


def _setting(default: Any, rule: Rule, text: str, requires: Mapping[str, Mapping[str, Any]] | None = None) -> Any:
    """Define a field of `TrainConfig`.

    Args:
        default: its value unless given.
        rule: which values it takes.
        text: what it decides, for the docstring; the first sentence is the help of its option on the command line.
        requires: by a value of this setting, the only values that go with it of others.
    """
    help = f"{text.partition('. ')[0].removesuffix('.')}."
    metadata = {"rule": rule, "help": help, "text": text, "requires": requires or {}}
    return attrs.field(default=default, validator=rule, metadata=metadata)


@attrs.frozen
class TrainConfig:
    """Everything that decides a run: the same config on the same machine and data gives the same weights, bit for bit.

    Attributes:
        {settings}

    Raises:
        InvalidValueError: a value is of the wrong type or out of range.

    Examples:
        >>> import ood_fashion as ood
        >>> ood.TrainConfig(model="mlp", momentum=0.5).batch_size
        5
    """

    model: str = _setting("cnn3", _one_of(MODELS), "What to train.")
    train_size: int = _setting(10_000, _whole(1), "Number of training images. They come first in the training set.")
    val_size: int = _setting(2_000, _whole(1), "Number of validation images, which follow the training images.")
    split_seed: int | None = _setting(
        None,
        _whole(0, optional=True),
        "Shuffle the images before they are split, seeded with this. None keeps the order of the files.",
    )
    epochs: int = _setting(30, _whole(1), "Most passes over the training images.")
    batch_size: int = _setting(5, _whole(1), "Images per update.")
    optimizer: str = _setting(
        "sgd",
        _one_of(("sgd", "adamw")),
        'What updates the weights. "adamw" (Loshchilov and Hutter, ICLR 2019) has the betas of Keras.',
        requires={"adamw": {"momentum": 0.0}},
    )
    learning_rate: float = _setting(
        0.01,
        _number("a finite number above 0", lambda value: value > 0),
        "Step size of the optimizer. The eta of w <- w - eta v.",
    )
    schedule: str = _setting(
        "constant",
        _one_of(("constant", "cosine")),
        "Keep the learning rate, or raise it over the first epoch and lower it to 0. "
        '"cosine" raises it from 0 to `learning_rate`, then lowers it along half a cosine until the last epoch.',
    )
    momentum: float = _setting(
        0.0, _FRACTION, "Momentum of SGD, from 0 to below 1. The alpha of v <- alpha v + gradient."
    )
    weight_decay: float = _setting(
        0.0,
        _number("a finite number of 0 or more", lambda value: value >= 0),
        "Shrink the kernels by this times the learning rate in every update. "
        "Biases, scales and shifts are left as they are.",
    )
    label_smoothing: float = _setting(
        0.0, _FRACTION, "The part of a label that all classes share, from 0 to below 1. Szegedy et al., CVPR 2016."
    )
    patience: int | None = _setting(
        3,
        _whole(1, optional=True),
        "Stop after so many epochs without a better validation accuracy, and keep the best weights. "
        "None runs all epochs and keeps the last weights.",
    )
    seed: int = _setting(1, _whole(0), "Decides the initial weights, the order of the batches and the augmentations.")
    augment: tuple[str, ...] = _setting(
        (),
        _TEXTS,
        f"Change the training images at random, anew in every epoch: {USAGE}. "
        "They are applied to every image from left to right.",
    )
    engine: str = _setting(
        "auto",
        _one_of(("auto", "compiled", "stock")),
        "Train by compiled programs or stock Keras steps. "
        '"compiled" runs many steps in one XLA program, which rounds differently; "auto" takes whichever should need '
        "less time.",
        requires={"compiled": {"strategy": "single"}},
    )
    strategy: str = _setting(
        "single",
        _one_of(("single", "mirrored")),
        "Train on one device, or on all GPUs of the machine at once. "
        '"mirrored" gives each device an equal part of every batch, by stock `fit`; the sums over the parts round '
        "differently.",
    )
    monitor_test: bool = _setting(
        False, _SWITCH, "Measure test accuracy after every epoch too. It is there to look at; nothing depends on it."
    )
    calibrate: bool = _setting(
        False,
        _SWITCH,
        "Fit a temperature on the validation images; show before, after. "
        "It is that of the kept weights, and changes none.",
    )
    implementation: str = _setting(
        "keras",
        _one_of(("keras", "numpy")),
        'What trains the MLP. "keras" trains all models, "numpy" the MLP of `from_scratch`, and leaves `engine` aside.',
        requires={
            "numpy": {"model": "mlp", "optimizer": "sgd", "schedule": "constant", "weight_decay": 0.0}
            | {"label_smoothing": 0.0, "augment": (), "monitor_test": False, "calibrate": False, "strategy": "single"},
            "keras": {"dtype": "float32"},
        },
    )
    dtype: str = _setting("float32", _one_of(("float32", "float64")), "The type of the weights.")

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "augment", tuple(str(Augmentation.parse(text)) for text in self.augment))
        for field in reversed(attrs.fields(TrainConfig)):  # the implementation, which rules out most, before the others
            choice = getattr(self, field.name)
            for name, only in field.metadata["requires"].get(choice, {}).items():
                if (received := getattr(self, name)) != only:
                    raise InvalidValueError(
                        f"`{field.name}` {choice}: expected `{name}` {only!r}. Received: {received!r}."
                    )

    @property
    def augmentations(self) -> tuple[Augmentation, ...]:
        """The augmentations that `augment` names."""
        return tuple(map(Augmentation.parse, self.augment))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dict of JSON values."""
        return {**attrs.asdict(self), "augment": list(self.augment)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainConfig:
        """Read what `to_json` gave, or raise an InvalidValueError."""
        if unknown := sorted(set(values) - set(SETTINGS)):
            raise InvalidValueError(
                f"unknown setting: {', '.join(map(repr, unknown))}. Expected: {', '.join(SETTINGS)}."
            )
        return cls(**values)


SETTINGS: dict[str, attrs.Attribute[Any]] = attrs.fields_dict(TrainConfig)
"""The fields of `TrainConfig` by name, each with the `rule`, `help`, `text` and `requires` of `_setting`."""


def _describe(field: attrs.Attribute[Any]) -> str:
    expected = field.metadata["rule"].expected
    sentences = [field.metadata["text"], f"{expected[0].upper()}{expected[1:]}; {field.default!r} unless given."]
    for choice, others in field.metadata["requires"].items():
        only = ", ".join(f"`{name}` {value!r}" for name, value in others.items())
        sentences.append(f"{choice!r} goes with {only} alone.")
    text = f"{field.name}: {' '.join(sentences)}"
    return textwrap.fill(text, 120, initial_indent=" " * 8, subsequent_indent=" " * 12).lstrip()


if TrainConfig.__doc__:  # which python -OO leaves out
    _described = f"\n{' ' * 8}".join(map(_describe, SETTINGS.values()))
    TrainConfig.__doc__ = TrainConfig.__doc__.replace("{settings}", _described)

_FULL: dict[str, Any] = {
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
}
# Less to hold the model back, as it has more to learn; and some images unturned, which are sharper.
_AUGMENTED: dict[str, Any] = {
    **_FULL,
    "epochs": 20,
    "learning_rate": 0.004,
    "weight_decay": 0.05,
    "label_smoothing": 0.0,
    "augment": ["translate:4", "rotate:45@0.4"],
}
# Two cores train so many epochs in some two hours.
_ROBUST: dict[str, Any] = {
    **_AUGMENTED,
    "model": "p4mres",
    "epochs": 60,
    "augment": [
        *_AUGMENTED["augment"],
        "tone:0.5@0.2",
        "spectrum:1@0.3",
        "pixmix:1@0.5",
        "wave:1@0.3",
        "filter:1@0.25",
    ],
}
_SEEN: dict[str, Any] = {
    **_ROBUST,
    "epochs": 45,
    "augment": [
        *_AUGMENTED["augment"],
        *("tone:0.5@0.1", "spectrum:1@0.15", "pixmix:1@0.35", "wave:1@0.15", "filter:1@0.2"),
        *("blur:2@0.2", "line:2@0.15", "erase:0.5@0.15", "noise:0.4@0.25", "impulse:0.3@0.15"),
    ],
}

PROTOCOLS: dict[str, dict[str, Any]] = {
    "assignment": {name: SETTINGS[name].default for name in ("train_size", "val_size")},
    "full": _FULL,
    "augmented": _AUGMENTED,
    "robust": _ROBUST,
    "robust-seen": _SEEN,
}
"""Named sets of settings. "assignment" is the protocol that the other defaults follow too; "full" is a recipe for all
training images, which the study `recipe` takes apart; "augmented" the same for images that are moved and turned.
"robust" trains `p4mres` on images whose grey levels are changed too, by none of the test suite's corruptions;
"robust-seen" by some of them."""

MLP_PROTOCOL: dict[str, Any] = {"model": "mlp", "implementation": "numpy", "epochs": 200, "seed": SEED}
"""How problem 3.1 trains its MLP in NumPy, beside the defaults of `TrainConfig`, by which problem 3.5 trains."""
