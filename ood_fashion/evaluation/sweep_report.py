"""What a sweep measured: every point, the worst cases, and each model over all shifts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from statistics import fmean
from types import MappingProxyType
from typing import Any, Self

from ood_fashion.evaluation import baseline
from ood_fashion.evaluation.metrics import corruption_errors
from ood_fashion.evaluation.records import JsonRecord
from ood_fashion.evaluation.results import SCHEMA
from ood_fashion.evaluation.stats import Interval
from ood_fashion.shifts.shift import Shift


@dataclass(frozen=True)
class SweepPoint(JsonRecord):
    """A model's accuracy under one shift of a sweep: `correct` of `n` images, with its 95% Wilson interval.

    The coordinates say where in the sweep the shift is: "degrees", "dx" and "dy", or "corruption" and "severity".
    """

    model: str
    shift: str
    accuracy: float
    correct: int
    n: int
    ci95: Interval
    coordinates: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, the coordinates beside the others."""
        record = super().to_json()
        return {"model": record.pop("model"), **record.pop("coordinates"), **record}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave."""
        names = {field.name for field in fields(cls)}
        return super().from_json({**record, "coordinates": {k: v for k, v in record.items() if k not in names}})


@dataclass(frozen=True)
class WorstCase(JsonRecord):
    """A model's accuracy where an image counts that it gets right under all N shifts, or N random ones an image."""

    model: str
    worst_of: str = field(metadata={"key": "worst of"})
    accuracy: float
    correct: int
    n: int
    ci95: Interval


@dataclass(frozen=True)
class OverShifts(JsonRecord):
    """A model over all shifts of a sweep but the identity: its mean accuracy, and the lowest.

    What follows is None where the identity is not among the shifts. `mce` is the mean of `metrics.corruption_errors`,
    None where there are none; `mce_families` is how many that are, and `mce_left_out` the families that have none, None
    in folders of earlier versions; so for relative errors. `effective_robustness` is the mean of
    `baseline.effective_robustness`, None unless every shift has one. `seen` names the families of the sweep that the
    model's training images showed by augmentation, None where no run says so.
    """

    model: str
    mean: float
    worst_shift: str
    worst: float
    in_domain: float | None = None
    mce: float | None = None
    mce_families: int | None = None
    mce_left_out: tuple[str, ...] | None = None
    relative_mce: float | None = None
    relative_mce_families: int | None = None
    relative_mce_left_out: tuple[str, ...] | None = None
    effective_robustness: float | None = None
    seen: tuple[str, ...] | None = None

    def _has_key(self, name: str, default: Any) -> bool:
        measured = self.in_domain is not None and name in ("mce", "relative_mce")
        return measured or super()._has_key(name, default)


@dataclass(frozen=True)
class SweepReport(JsonRecord):
    """What a sweep measured: a point per model and shift, and of each model the worst cases and a summary.

    There are two worst cases a model: of all shifts, and of `RANDOM_SHIFTS` drawn for every image. The reference is
    whose errors make an mCE of 1; `standard` says whether `baseline.applies` to the images.
    """

    schema: int = field(default=SCHEMA, kw_only=True)
    kind: str
    models: tuple[str, ...]
    results: tuple[SweepPoint, ...]
    worst: tuple[WorstCase, ...]
    reference: str
    standard: bool = field(default=False, kw_only=True)
    over_shifts: tuple[OverShifts, ...]


def over_shifts(
    accuracies: Mapping[str, Mapping[str, float]],
    reference: str,
    *,
    standard: bool = False,
    seen: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> list[OverShifts]:
    """Summarize each model over all shifts but the identity; none where there is no other.

    Accuracies are by the text forms of the shifts, the reference one of the models or `baseline.REFERENCE`; `standard`
    says whether `baseline.applies` to the images; `seen` has the corruptions in training, of the models of which they
    are known.
    """
    of_reference = accuracies[reference] if reference in accuracies else baseline.reference()
    found = []
    for model, by_shift in accuracies.items():
        shifted = {shift: accuracy for shift, accuracy in by_shift.items() if shift != "none"}
        if not shifted:
            continue
        worst = min(shifted, key=lambda shift: shifted[shift])
        measured: dict[str, Any] = {}
        families = {Shift.parse(shift).family for shift in shifted}
        if model in seen:
            measured["seen"] = tuple(name for name in seen[model] if name in families)
        if "none" in by_shift:
            measured["in_domain"] = by_shift["none"]
            for name, relative in (("mce", False), ("relative_mce", True)):
                errors = corruption_errors(by_shift, of_reference, relative=relative)
                measured[name] = fmean(errors.values()) if errors else None
                measured[f"{name}_families"] = len(errors)
                measured[f"{name}_left_out"] = tuple(sorted(families - errors.keys()))
            if standard and all(map(baseline.fit, shifted)):
                measured["effective_robustness"] = fmean(
                    accuracy - float(baseline.predict(shift, by_shift["none"])) for shift, accuracy in shifted.items()
                )
        found.append(OverShifts(model, fmean(shifted.values()), worst, shifted[worst], **measured))
    return found
