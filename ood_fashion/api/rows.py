"""The rows of results, each a frozen dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

Record = Mapping[str, Any]
"""JSON values by name."""


class _Row:
    """A row of results, made of the values of a record that bear its fields' names."""

    @classmethod
    def of(cls, record: Record) -> Self:
        """Take the fields from a record of JSON values."""
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type] # each row is a dataclass
        values = {name: record[name] for name in names if name in record}
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@dataclass(frozen=True)
class AccuracyResult(_Row):
    """The accuracy under a shift: `correct` of `n` images, with its 95% Wilson interval."""

    shift: str
    accuracy: float
    correct: int
    n: int
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Metrics(AccuracyResult):
    """All metrics under a shift; `metrics.full_record` says what each is."""

    balanced_accuracy: float
    nll: float
    brier: float
    ece: float
    ece_equal_width: float
    flip_rate: float
    class_accuracy: tuple[float | None, ...]
    class_change: tuple[float | None, ...]
    effective_robustness: float | None = None
    effective_robustness_sd: float | None = None


@dataclass(frozen=True)
class RunsResult:
    """The mean accuracy of several trainings under a shift, and its standard deviations."""

    shift: str
    accuracy: float
    runs: int
    n: int
    sd_over_seeds: float | None
    sd_over_images: float | None


@dataclass(frozen=True)
class ComparisonResult(_Row):
    """Two models, or two sets of trainings, under a shift; p_holm is adjusted for the number of shifts."""

    shift: str
    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: tuple[float, float] | None
    p: float
    p_holm: float


@dataclass(frozen=True)
class SettingResult:
    """A setting of a study: the number of trainings, and the mean of each measure."""

    setting: str
    seeds: int
    means: Mapping[str, float]


@dataclass(frozen=True)
class ReportedResult:
    """A number of the assignment, and the mean of ours."""

    problem: str
    setting: str
    measure: str
    assignment: float
    ours: float | None


@dataclass(frozen=True)
class LayerCount(_Row):
    """The parameters of a layer, with the formula that counts them."""

    layer: str
    output_shape: tuple[int, ...]
    formula: str
    parameters: int


@dataclass(frozen=True)
class Prediction(_Row):
    """What a picture shows: the most probable class."""

    image: str
    label: int
    class_name: str
    probability: float
