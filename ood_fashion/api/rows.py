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
