"""What is measured of one model: frozen dataclasses, and the JSON values that files hold of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from types import UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class _Result:
    """A result whose fields are numbers, texts, tuples of them, or further results; a field may be absent as None."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, without those that are None."""
        return asdict(self, dict_factory=_json_object)

    @classmethod
    def from_json(cls, record: Any) -> Self:
        """Read what `to_json` gave; other keys are passed over.

        Raises:
            KeyError, TypeError, ValueError: a value is missing, or is none of its field's type.
        """
        return cls(
            **{
                name: _parse(record[name], kind)
                for name, (kind, is_required) in _kinds(cls).items()  # type: ignore[arg-type] # a class is hashable
                if is_required or name in record
            }
        )


def _json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in pairs if value is not None}


@cache
def _kinds(cls: type) -> dict[str, tuple[Any, bool]]:
    """Return the type of each field of a dataclass, and whether it has to be given."""
    hints = get_type_hints(cls)
    return {one.name: (hints[one.name], one.default is MISSING) for one in fields(cls)}


def _parse(value: Any, kind: Any) -> Any:
    """Return a JSON value as the type of a field has it."""
    if isinstance(kind, type):
        if issubclass(kind, _Result):
            return kind.from_json(value)
        if not isinstance(value, kind):
            raise TypeError(f"expected {kind.__name__}. Received: {value!r}")
        return value
    arguments = get_args(kind)
    if get_origin(kind) is UnionType:
        return None if value is None else _parse(value, arguments[0])
    if not isinstance(value, list):
        raise TypeError(f"expected a list. Received: {value!r}")
    kinds = arguments[:1] * len(value) if Ellipsis in arguments else arguments
    return tuple(_parse(*pair) for pair in zip(value, kinds, strict=True))


@dataclass(frozen=True)
class AccuracyResult(_Result):
    """The accuracy under a shift: `correct` of `n` images, with its 95% Wilson interval."""

    shift: str
    accuracy: float
    correct: int
    n: int
    ci95: tuple[float, float]


@dataclass(frozen=True)
class ConfidenceBin(_Result):
    """`n` predictions of similar confidence: their mean confidence, and their accuracy."""

    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class CalibrationResult(_Result):
    """How far probabilities can be believed.

    Attributes:
        nll: mean negative log-likelihood in nats, probabilities clipped to 1e-15.
        brier: mean squared distance to the one-hot label, 0 to 2 (G. W. Brier, Monthly Weather Review 78:1, 1950).
        ece: `metrics.calibration_error` in 15 bins of equal mass.
        ece_equal_width: that in 15 bins of equal width.
        bins: those of `ece`.
    """

    nll: float
    brier: float
    ece: float
    ece_equal_width: float
    bins: tuple[ConfidenceBin, ...] = field(repr=False)


@dataclass(frozen=True)
class Metrics(AccuracyResult):
    """All metrics under a shift: accuracy, calibration as in `CalibrationResult`, and what the shift changes.

    Attributes:
        balanced_accuracy: the mean over the classes that occur.
        class_accuracy: of each class; None for one that does not occur.
        flip_rate: how often the predicted class differs from that of the image as it is.
        flip_ci95: its 95% Wilson interval.
        class_change: by how much each class's accuracy differs from that on the images as they are.
        temperature: what the logits are divided by in `calibrated`; None where nothing was calibrated.
        calibrated: the calibration with that temperature.
        effective_robustness: accuracy less what `baseline.predicted` says; None where there is no baseline.
        effective_robustness_sd: the baseline's own spread.
    """

    balanced_accuracy: float
    class_accuracy: tuple[float | None, ...]
    nll: float
    brier: float
    ece: float
    ece_equal_width: float
    bins: tuple[ConfidenceBin, ...] = field(repr=False)
    flip_rate: float
    flip_ci95: tuple[float, float]
    class_change: tuple[float | None, ...]
    temperature: float | None = None
    calibrated: CalibrationResult | None = field(default=None, repr=False)
    effective_robustness: float | None = None
    effective_robustness_sd: float | None = None


def read_result(record: Mapping[str, Any]) -> AccuracyResult:
    """Read a record of a file: `Metrics`, or an `AccuracyResult` where versions before had measured no more.

    Raises:
        KeyError, TypeError, ValueError: as for `from_json`.
    """
    return (Metrics if "nll" in record else AccuracyResult).from_json(record)


@dataclass(frozen=True)
class ClassProbability:
    """A class, by its label and its name, and the probability that a model gives it."""

    label: int
    class_name: str
    probability: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"label": self.label, "class": self.class_name, "probability": self.probability}


@dataclass(frozen=True)
class Prediction:
    """What a picture shows.

    Attributes:
        image: the picture's path, or its number.
        label: of the most probable class.
        class_name: its name.
        probability: that it has.
        prepared: what was done to the picture.
        top: the most probable classes.
    """

    image: str
    label: int
    class_name: str
    probability: float
    prepared: tuple[str, ...] = field(repr=False)
    top: tuple[ClassProbability, ...] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the picture, what was done to it, and the most probable classes, as JSON values."""
        return {"image": self.image, "prepared": list(self.prepared), "top": [one.to_json() for one in self.top]}
