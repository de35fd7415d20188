"""What is measured of one model: frozen dataclasses, and the JSON values that files hold of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ood_fashion.evaluation.records import JsonRecord

SCHEMA = 1
"""The version of results.schema.json that results follow; they hold it as `schema`, those of before it do not."""


@dataclass(frozen=True)
class AccuracyResult(JsonRecord):
    """The accuracy under a shift: `correct` of `n` images, with its 95% Wilson interval."""

    shift: str
    accuracy: float
    correct: int
    n: int
    ci95: tuple[float, float]


@dataclass(frozen=True)
class ConfidenceBin(JsonRecord):
    """`n` predictions of similar confidence: their mean confidence, and their accuracy."""

    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class CalibrationResult(JsonRecord):
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
        effective_robustness: accuracy less what `baseline.predict` says; None where there is no baseline.
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


def require_known_schema(record: Mapping[str, Any]) -> None:
    """Refuse results of a later version of the schema with a ValueError."""
    if (version := record.get("schema", SCHEMA)) not in range(1, SCHEMA + 1):
        raise ValueError(f"results of schema {version}, where this version reads {SCHEMA}")


def read_result(record: Mapping[str, Any]) -> AccuracyResult:
    """Read a record of a file: `Metrics`, or an `AccuracyResult` where versions before had measured no more."""
    return (Metrics if "nll" in record else AccuracyResult).from_json(record)


@dataclass(frozen=True)
class ClassProbability(JsonRecord):
    """A class, by its label and its name, and the probability that a model gives it."""

    label: int
    class_name: str = field(metadata={"key": "class"})
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What a picture, by its path or number, shows: the most probable class, and what was done to the picture."""

    image: str
    label: int
    class_name: str
    probability: float
    prepared: tuple[str, ...] = field(repr=False)
    top: tuple[ClassProbability, ...] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the picture, what was done to it, and the most probable classes, as JSON values."""
        return {"image": self.image, "prepared": list(self.prepared), "top": [one.to_json() for one in self.top]}
