"""Named grids of configs: `STUDIES`, and the class of one's own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attrs import evolve

from ood_fashion.errors import InvalidValueError
from ood_fashion.runs.config import PROTOCOLS, TrainConfig
from ood_fashion.shifts.shift import TEST_SETS
from ood_fashion.studies.histories import MEASURES

_ACCURACIES = tuple(f"accuracy {name}" for name in TEST_SETS)

FIGURES = {
    "bars": "the accuracy of every setting on every test set",
    "costs": "accuracy and training time against the number that a setting is called after, on a logarithmic scale",
    "curves": "the training loss by epoch, and accuracy against the number that a setting is called after",
    "stopping": "accuracies by epoch of the first setting, which monitors the test set, and what each patience costs",
}
"""The kinds of figures that a study may have."""


@dataclass(frozen=True)
class Study:
    """A grid of configs.

    Attributes:
        settings: a config per setting, by its label, or the fields in which it differs from the defaults of
            `TrainConfig`; each is trained once a seed.
        title: what is studied.
        factor: what differs between settings.
        measures: the names that its table shows, of `histories.MEASURES`.
        lowest: the measure whose lowest mean makes the best setting, if there is a best one.
        figure: one of `FIGURES`.
        in_assignment: whether it is one of the assignment's, and so a part of `ood-fashion reproduce`.

    Raises:
        InvalidValueError: a label cannot name a folder of its own, a setting or a measure does not exist or is out of
            range, or the settings do not fit the figure.

    Examples:
        >>> import ood_fashion as ood
        >>> study = ood.Study({"plain": {"model": "cnn3"}, "moved": {"model": "cnn3", "augment": ["translate:4"]}})
        >>> study.settings["moved"].augment
        ('translate:4',)
    """

    settings: Mapping[str, Any]
    title: str = "Study"
    factor: str = "setting"
    measures: Sequence[str] = (*_ACCURACIES, "seconds")
    lowest: str | None = None
    figure: str = "bars"
    in_assignment: bool = False

    def __post_init__(self) -> None:
        settings: dict[str, Any] = dict(self.settings)
        if faulty := [label for label in settings if not label or set(label) & set("/\\\0") or label.startswith(".")]:
            raise InvalidValueError(
                f"`settings`: expected labels that can name a folder. Received: {', '.join(map(repr, faulty))}."
            )
        folders = Counter(map(folder_name, settings))
        if alike := [label for label in settings if folders[folder_name(label)] > 1]:
            raise InvalidValueError(
                f"`settings`: expected labels that name a folder each. Received: {', '.join(map(repr, alike))}, which "
                "name one."
            )
        for argument, names in (("measures", self.measures), ("lowest", [self.lowest] if self.lowest else [])):
            if unknown := [name for name in names if name not in MEASURES]:
                raise InvalidValueError(
                    f"`{argument}`: expected of {', '.join(MEASURES)}. Received: {', '.join(map(repr, unknown))}."
                )
        if not settings:
            raise InvalidValueError("`settings`: expected one or more. Received: none.")
        configs = {
            label: value if isinstance(value, TrainConfig) else TrainConfig.from_json(value)
            for label, value in settings.items()
        }
        if self.figure not in FIGURES:
            raise InvalidValueError(f"`figure`: expected one of {', '.join(FIGURES)}. Received: {self.figure!r}.")
        if self.figure in ("costs", "curves") and (words := [label for label in configs if not _is_number(label)]):
            raise InvalidValueError(
                f"`settings`: expected numbers as labels for the figure '{self.figure}'. Received: {', '.join(words)}."
            )
        if self.figure == "stopping" and not next(iter(configs.values())).monitor_test:
            raise InvalidValueError("`settings`: expected one with `monitor_test` for the figure 'stopping'.")
        object.__setattr__(self, "settings", configs)
        object.__setattr__(self, "measures", tuple(self.measures))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        settings = {label: config.to_json() for label, config in self.settings.items()}
        named = {"title": self.title, "factor": self.factor, "measures": list(self.measures), "lowest": self.lowest}
        drawn = {"figure": self.figure} if self.figure != "bars" else {}  # earlier versions' folders have no figure
        return {"settings": settings, **named, **drawn}


def folder_name(label: str) -> str:
    """Return what the folders of a setting's trainings begin with."""
    return label.replace(" ", "-")


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False


_MLP = TrainConfig(model="mlp")
_RECIPE = TrainConfig(model="cnn3", **{**PROTOCOLS["full"], **PROTOCOLS["assignment"]})
# On few images, because all of them would take a day.
_MOVED = TrainConfig(**{**PROTOCOLS["augmented"], **PROTOCOLS["assignment"], "model": "p4mres", "epochs": 10})

STUDIES: dict[str, Study] = {
    "batch-size": Study(
        title="Batch size (problem 3.2)",
        factor="batch size",
        settings={str(size): evolve(_MLP, batch_size=size, epochs=200) for size in (1, 5, 50, 500, 5000)},
        measures=("accuracy none", "epochs", "kept epoch", "updates to kept epoch", "seconds"),
        figure="costs",
        in_assignment=True,
    ),
    "early-stopping": Study(
        title="Early stopping (problem 3.3)",
        factor="training",
        settings={"30 epochs": evolve(_MLP, patience=None, monitor_test=True)},
        measures=("accuracy none", "loss", "seconds"),
        figure="stopping",
        in_assignment=True,
    ),
    "momentum": Study(
        title="Momentum (problem 3.4)",
        factor="momentum",
        settings={str(alpha): evolve(_MLP, momentum=alpha, patience=None) for alpha in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)},
        measures=("loss", "accuracy none", "seconds"),
        lowest="loss",
        figure="curves",
        in_assignment=True,
    ),
    "shifts": Study(
        title="Shifted test sets (problem 3.5)",
        factor="model",
        settings={name: TrainConfig(model=name) for name in ("mlp", "cnn2", "cnn3")},
        measures=(*_ACCURACIES, "kept epoch", "seconds"),
        in_assignment=True,
    ),
    "recipe": Study(
        title="What each part of the full protocol's recipe buys",
        factor="recipe",
        settings={
            "full": _RECIPE,
            "constant rate": evolve(_RECIPE, schedule="constant"),
            "no smoothing": evolve(_RECIPE, label_smoothing=0.0),
            "no decay": evolve(_RECIPE, weight_decay=0.0),
            # The same part of a kernel is lost in an update.
            "SGD": evolve(_RECIPE, optimizer="sgd", learning_rate=0.05, momentum=0.9, weight_decay=0.006),
        },
        measures=(*_ACCURACIES, "loss", "seconds"),
    ),
    "robust": Study(
        title="Robust models",
        factor="model",
        settings={name: TrainConfig(model=name) for name in ("mlp", "cnn2", "cnn3")}
        | {
            "cnn3-full": TrainConfig(model="cnn3", **PROTOCOLS["full"]),
            "p4cnn": TrainConfig(model="p4cnn", **PROTOCOLS["full"]),
            "p4mcnn": TrainConfig(model="p4mcnn", **PROTOCOLS["full"]),
            "p4mgap": TrainConfig(model="p4mgap", **PROTOCOLS["full"]),
            "p4mgap-augmented": TrainConfig(model="p4mgap", **PROTOCOLS["augmented"]),
            "robust": TrainConfig(**PROTOCOLS["robust"]),
            "robust-seen": TrainConfig(**PROTOCOLS["robust-seen"]),
        },
        measures=(*_ACCURACIES, "seconds"),
    ),
    "ingredients": Study(
        title="What each ingredient of the robust model buys",
        factor="training",
        settings={
            "p4mgap": evolve(_MOVED, model="p4mgap"),
            "p4mres": _MOVED,
            **{
                f"p4mres, {text.partition(':')[0]}": evolve(_MOVED, augment=(*_MOVED.augment, text))
                for text in PROTOCOLS["robust"]["augment"][len(_MOVED.augment) :]
            },
            "robust": evolve(_MOVED, augment=PROTOCOLS["robust"]["augment"]),
            "robust-seen": evolve(_MOVED, augment=PROTOCOLS["robust-seen"]["augment"]),
        },
        measures=(*_ACCURACIES, "seconds"),
    ),
}
