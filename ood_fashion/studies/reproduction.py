"""Everything in the assignment, trained anew and laid beside its own numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ood_fashion.data.dataset import Dataset
from ood_fashion.evaluation.records import JsonRecord
from ood_fashion.evaluation.stats import SIGNIFICANCE, Summary, UnpairedComparison, adjust, compare_unpaired, summarize
from ood_fashion.files import exists, remove_leftovers, write_json
from ood_fashion.models import specs
from ood_fashion.studies import assignment
from ood_fashion.studies.exercises import GradientResult, MagnitudeResult, check_everything
from ood_fashion.studies.study import STUDIES
from ood_fashion.studies.study_run import StudyRun, StudySummary, run_studies

_OWN_CHANGES: dict[str, dict[str, Any]] = {"batch-size": {"implementation": "numpy"}}
"""The assignment studied batch sizes with its NumPy network."""


@dataclass(frozen=True)
class ReproducedValue(JsonRecord):
    """A number of the assignment, and our trainings' (None without any).

    `slip` says why the assignment's is not what it claims to be, if it is not; `inside` whether it lies where a further
    training's would, with 95% probability (None without an interval).
    """

    problem: str
    setting: str
    measure: str
    assignment: float = field(metadata={"key": "document"})
    slip: str | None
    ours: Summary | None
    inside: bool | None


@dataclass(frozen=True)
class JudgedClaim(JsonRecord):
    """A claim of the assignment, and the difference between our settings, which it says is positive.

    The comparison is over our seeds, None without two seeds a setting; the verdict is "holds", "wrong" or "open".
    """

    problem: str
    claim: str
    comparison: UnpairedComparison | None
    verdict: str


@dataclass(frozen=True)
class ReproducedCount(JsonRecord):
    """A model's number of parameters in the assignment, and ours."""

    model: str
    assignment: int = field(metadata={"key": "document"})
    ours: int


@dataclass(frozen=True)
class ReproductionReport(JsonRecord):
    """The assignment's values beside the measured ones: what reproduction.json holds."""

    seeds: int
    changes: Mapping[str, Any]
    date: str
    seconds: int
    values: tuple[ReproducedValue, ...] = field(metadata={"key": "figures"})
    claims: tuple[JudgedClaim, ...]
    checks: tuple[GradientResult | MagnitudeResult, ...]
    parameters: tuple[ReproducedCount, ...]


def reproduce(
    path: Path,
    *,
    seeds: int | None,
    changes: Mapping[str, Any],
    dataset: Dataset,
    resume: bool,
    **how: Any,
) -> tuple[ReproductionReport, list[str]]:
    """Train all studies, check the gradients, and compare with the assignment; a line for each training that failed.

    In the folder are a study folder for each, and reproduction.json. Seeds, changes and resume are as for
    `StudyRun.create`, and what else there is as for `trials.run_trials`.
    """
    began = time.perf_counter()
    names = [name for name, study in STUDIES.items() if study.in_assignment]
    if resume and (there := [name for name in names if exists(path / name / "study.json")]):
        record = StudyRun(path / there[0]).record  # which the studies that are not there yet follow
        own = _OWN_CHANGES.get(there[0], {})
        seeds = seeds or record["seeds"]
        changes = {**{field: value for field, value in record["changes"].items() if field not in own}, **changes}
    study_runs = [
        StudyRun.create(path / name, name, seeds=seeds, changes=own, dataset=dataset, resume=resume)
        for name, own in ((name, {**changes, **_OWN_CHANGES.get(name, {})}) for name in names)
    ]
    found, failures = run_studies(study_runs, **how)
    summaries = {summary.study: summary for summary in found}
    report = ReproductionReport(
        seeds=study_runs[0].record["seeds"],
        changes=dict(changes),
        date=datetime.now(UTC).date().isoformat(),
        seconds=round(time.perf_counter() - began),
        values=tuple(_compare(value, summaries[value.study]) for value in assignment.REPORTED_VALUES),
        claims=tuple(_judge(assignment.CLAIMS, summaries)),
        checks=tuple(check_everything(dataset)),
        parameters=tuple(
            ReproducedCount(name, count, specs.describe(name)["parameters"])
            for name, count in assignment.PARAMETERS.items()
        ),
    )
    write_json(path / "reproduction.json", report.to_json())
    remove_leftovers(path, "reproduction.json")
    return report, failures


def _compare(value: assignment.ReportedValue, summary: StudySummary) -> ReproducedValue:
    """Compare a reported value with the measured one."""
    values = list(summary.values(value.setting, value.measured).values())
    ours = summarize(values) if values else None
    interval = ours.prediction_interval if ours else None
    inside = interval[0] <= value.value <= interval[1] if interval else None
    setting = f"{summary.factor} {value.setting}"
    return ReproducedValue(value.problem, setting, value.measured, value.value, value.slip, ours, inside)


def _judge(claims: Sequence[assignment.Claim], summaries: Mapping[str, StudySummary]) -> Iterator[JudgedClaim]:
    """Hold claims against the differences between settings, by Welch's t tests over the seeds, and by Holm's method."""
    sides = [
        [list(summaries[claim.study].values(one, claim.measure).values()) for one in (claim.higher, claim.lower)]
        for claim in claims
    ]
    tests = iter(adjust([compare_unpaired(*pair) for pair in sides if min(map(len, pair)) > 1]))
    for claim, pair in zip(claims, sides, strict=True):
        found = next(tests) if min(map(len, pair)) > 1 else None
        yield JudgedClaim(claim.problem, claim.text, found, _verdict(found))


def _verdict(comparison: UnpairedComparison | None) -> str:
    if comparison is None or comparison.p_holm is None or comparison.p_holm >= SIGNIFICANCE:
        return "open"
    return "holds" if comparison.difference > 0 else "wrong"
