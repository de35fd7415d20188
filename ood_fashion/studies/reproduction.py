"""Everything in the assignment, trained anew and laid beside its figures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ood_fashion.data.dataset import Dataset
from ood_fashion.evaluation.stats import SIGNIFICANCE, add_holm, compare_unpaired, summarize
from ood_fashion.files import exists, remove_leftovers, write_json
from ood_fashion.models import specs
from ood_fashion.studies import assignment
from ood_fashion.studies.exercises import check_everything
from ood_fashion.studies.histories import Record
from ood_fashion.studies.study import STUDIES
from ood_fashion.studies.study_run import StudyRun, run_studies

_OWN_CHANGES: dict[str, dict[str, Any]] = {"batch-size": {"implementation": "numpy"}}
"""The assignment studied batch sizes with its NumPy network."""


def reproduce(
    path: Path,
    *,
    seeds: int | None,
    changes: Mapping[str, Any],
    dataset: Dataset,
    resume: bool,
    **how: Any,
) -> tuple[Record, list[str]]:
    """Train all studies, check the gradients, and compare with the assignment.

    Args:
        path: the folder, for a study folder a study and reproduction.json.
        seeds: as in `StudyRun.create`.
        changes: as in `StudyRun.create`.
        dataset: what to train on.
        resume: as in `StudyRun.create`.
        **how: as in `study_run.run_studies`.

    Returns:
        What reproduction.json holds, and a line for each training that failed.
    """
    began = time.perf_counter()
    names = [name for name, study in STUDIES.items() if study.in_assignment]
    if resume and (there := [name for name in names if exists(path / name / "study.json")]):
        record = StudyRun(path / there[0]).record  # which the studies that are not there yet follow
        own = _OWN_CHANGES.get(there[0], {})
        seeds = seeds or record["seeds"]
        changes = {**{field: value for field, value in record["changes"].items() if field not in own}, **changes}
    study_runs = [
        StudyRun.create(
            path / name,
            name,
            seeds=seeds,
            changes={**changes, **_OWN_CHANGES.get(name, {})},
            dataset=dataset,
            resume=resume,
        )
        for name in names
    ]
    found, failures = run_studies(study_runs, **how)
    summaries = {summary["study"]: summary for summary in found}
    record = {
        "seeds": study_runs[0].record["seeds"],
        "changes": dict(changes),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(time.perf_counter() - began),
        "figures": [_compare(figure, summaries[figure.study]) for figure in assignment.FIGURES],
        "claims": _judge(assignment.CLAIMS, summaries),
        "checks": check_everything(dataset),
        "parameters": [
            {"model": name, "document": count, "ours": specs.describe(name)["parameters"]}
            for name, count in assignment.PARAMETERS.items()
        ],
    }
    write_json(path / "reproduction.json", record)
    remove_leftovers(path, "reproduction.json")
    return record, failures


def _values(summary: Record, setting: str, measure: str, epoch: int | None = None) -> dict[int, float]:
    """Return a measure of a setting by seed."""
    for found in summary["settings"]:
        if found["setting"] == setting:
            if epoch is None:
                return dict(zip(found["seeds"], found["measures"][measure]["values"], strict=True))
            return dict(found["printed"][f"{measure}, epoch {epoch}"])
    return {}


def _compare(figure: assignment.Figure, summary: Record) -> Record:
    """Lay a figure beside ours: whether it lies where a further training's would, with 95% probability."""
    values = list(_values(summary, figure.setting, figure.measure, figure.epoch).values())
    ours = summarize(values) if values else None
    interval = ours and ours["prediction_interval"]
    return {
        "problem": figure.problem,
        "setting": f"{summary['factor']} {figure.setting}",
        "measure": figure.measure + (f", epoch {figure.epoch}" if figure.epoch else ""),
        "document": figure.value,
        "slip": figure.slip,
        "ours": ours,
        "inside": interval and interval[0] <= figure.value <= interval[1],
    }


def _judge(claims: Sequence[assignment.Claim], summaries: Mapping[str, Record]) -> list[Record]:
    """Hold claims against the differences between settings, by Welch's t tests over the seeds, and by Holm's method."""
    comparisons = []
    for claim in claims:
        values = (_values(summaries[claim.study], setting, claim.measure) for setting in (claim.higher, claim.lower))
        higher, lower = (list(by_seed.values()) for by_seed in values)
        comparisons.append(compare_unpaired(higher, lower) if min(len(higher), len(lower)) > 1 else None)
    add_holm(filter(None, comparisons))
    return [
        {"problem": claim.problem, "claim": claim.text, "comparison": found, "verdict": _verdict(found)}
        for claim, found in zip(claims, comparisons, strict=True)
    ]


def _verdict(comparison: Record | None) -> str:
    if comparison is None or comparison["p_holm"] >= SIGNIFICANCE:
        return "open"
    return "holds" if comparison["difference"] > 0 else "wrong"
