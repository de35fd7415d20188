from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from ood_fashion.data.dataset import Dataset
from ood_fashion.evaluation.stats import summarize
from ood_fashion.reports import study_tables
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.run import Run
from ood_fashion.studies import assignment
from ood_fashion.studies.exercises import CheckResult, check_everything
from ood_fashion.studies.histories import SettingSummary
from ood_fashion.studies.reproduction import ReproductionReport, _compare, _judge
from ood_fashion.studies.study import STUDIES
from ood_fashion.studies.study_run import StudySummary
from ood_fashion.training.trainers import train_run
from tests.conftest import Invoke
from tests.documents import Document, check_structure
from tests.records import write_run


def setting(label: str, values: list[float]) -> SettingSummary:
    seeds = tuple(range(1, len(values) + 1))
    printed = {"loss, epoch 1": tuple((seed, value * 10) for seed, value in zip(seeds, values, strict=True))}
    return SettingSummary(label, seeds, {"loss": summarize(values)}, {}, (), {**printed, "loss, epoch 3": ()})


def summary(**values: list[float]) -> StudySummary:
    settings = tuple(setting(label, group) for label, group in values.items())
    return StudySummary("s", {}, 1, "title", "f", ("loss",), None, settings, ())


@pytest.mark.parametrize(
    ("value", "values", "inside"),
    [(2.0, [1.0, 2.0, 3.0], True), (10.0, [1.0, 2.0, 3.0], False), (1.0, [1.0], None), (1.0, [], None)],
)
def test_a_reported_value_is_held_against_the_prediction_interval(
    value: float, values: list[float], inside: bool | None
) -> None:
    """With mean 2, sd 1, n 3, the interval's half is 4.303 * sqrt(4 / 3) = 4.97."""
    reported = assignment.ReportedValue("3", value, "s", "a", "loss")
    assert _compare(reported, summary(a=values) if values else summary()).inside is inside


def test_a_reported_value_after_an_epoch_is_taken_from_the_history() -> None:
    found = _compare(assignment.ReportedValue("3", 1.0, "s", "a", "loss", epoch=1), summary(a=[1.0, 2.0]))
    assert found.ours is not None
    assert list(found.ours.values or ()) == [10, 20]
    assert _compare(assignment.ReportedValue("3", 1.0, "s", "a", "loss", epoch=3), summary(a=[1.0])).ours is None


@pytest.mark.parametrize(
    ("lower", "higher", "verdict"),
    [
        ([1.0, 1.1, 1.2], [2.0, 2.2, 2.1], "holds"),
        ([2.0, 2.2, 2.1], [1.0, 1.1, 1.2], "wrong"),
        ([1.0, 2.0, 3.0], [3.0, 2.0, 1.5], "open"),
        ([1.0], [2.0], "open"),  # one seed is no evidence
        ([], [2.0], "open"),
    ],
)
def test_a_claim_is_held_against_the_difference_over_seeds(
    lower: list[float], higher: list[float], verdict: str
) -> None:
    groups = {name: values for name, values in (("a", lower), ("b", higher)) if values}
    (judged,) = _judge([assignment.Claim("3", "b is higher", "s", "loss", "a", "b")], {"s": summary(**groups)})
    assert judged.verdict == verdict


def test_claims_are_judged_by_their_number() -> None:
    """Differences 2 to 6 times their standard errors, with 4 degrees of freedom, and a claim that was not tested.

    By hand: p of t = 6, 4, 3, 2 is 0.0039, 0.0161, 0.0399, 0.1161 (Student's t, 4 degrees of freedom). Holm's method
    takes them 4, 3, 2 and 1 times; the third alone would hold.
    """
    error = np.sqrt(2 / 3)  # of the difference of two means of three, each with variance 1
    groups = {f"t{t}": [t * error - 1, t * error, t * error + 1] for t in (2, 3, 4, 6)}
    summaries = {"s": summary(base=[-1.0, 0.0, 1.0], one=[5.0], **groups)}
    settings = ["t3", "one", "t6", "t2", "t4"]
    judged = list(_judge([assignment.Claim("3", name, "s", "loss", "base", name) for name in settings], summaries))
    tested = [one.comparison for one in judged if one.comparison]
    assert [test.p for test in tested] == pytest.approx([0.0399, 0.0039, 0.1161, 0.0161], abs=5e-5)
    assert [test.p_holm for test in tested] == pytest.approx([0.0798, 0.0156, 0.1161, 0.0483], abs=2e-4)
    assert [one.verdict for one in judged] == ["open", "open", "holds", "open", "holds"]


def test_the_assignments_values_and_claims_are_of_studies_that_exist() -> None:
    for value in assignment.REPORTED_VALUES:
        assert value.setting in STUDIES[value.study].settings
    for claim in assignment.CLAIMS:
        assert {claim.lower, claim.higher} <= set(STUDIES[claim.study].settings)


def train_or_write(run: Run | None, path: Path, config: TrainConfig, dataset: Dataset, device: str, **how: Any) -> Run:
    """Train, or write what a training of the largest study would leave."""
    if path.parts[-3] == "momentum":
        return write_run(path, dataset, config)
    return train_run(run, path, config, dataset, device, **how)


def test_reproduce(invoke: Invoke, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything at a small size, in this process."""
    checks: list[list[CheckResult]] = []

    def check_once(dataset: Dataset) -> list[CheckResult]:
        checks.append(checks[0] if checks else check_everything(dataset))
        return checks[-1]

    monkeypatch.setattr("ood_fashion.studies.trials.train_run", train_or_write)
    monkeypatch.setattr("ood_fashion.studies.reproduction.check_everything", check_once)
    sizes = ("--train-size", 60, "--val-size", 30, "--epochs", 1)
    result = invoke("reproduce", *sizes, "--seeds", 1, "--jobs", 1, "--data-dir", small_folder, "--out", "r", "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert record == json.loads((tmp_path / "r/reproduction.json").read_text())
    assert [len(record[part]) for part in ("figures", "claims", "parameters")] == [
        len(assignment.REPORTED_VALUES), len(assignment.CLAIMS), 3,
    ]  # fmt: skip
    (figure,) = [f for f in record["figures"] if (f["setting"], f["measure"]) == ("model cnn3", "accuracy up4")]
    run = Run.open(tmp_path / "r/shifts/trials/cnn3-s1")
    assert figure["ours"]["values"] == [run.read_metrics()["results"][1]["accuracy"]]
    assert run.config.train_size == 60
    for study in ("batch-size", "early-stopping", "momentum", "shifts"):
        assert matplotlib.image.imread(tmp_path / f"r/{study}/{study}.png").shape[2] == 4
    table = (tmp_path / "r/reproduction.md").read_text(encoding="utf-8")
    assert ReproductionReport.from_json(record).to_json() == record
    for shown in study_tables.reproduction_tables(ReproductionReport.from_json(record)):
        assert shown.to_markdown() in table
    worse = {"max_relative_error": None, "ratio": 0.5}
    changed = [check | {key: worse[key] for key in worse if key in check} for check in record["checks"]]
    tables = study_tables.reproduction_tables(ReproductionReport.from_json({**record, "checks": changed}))
    said = "no relative error above inf; L1 norms of two batches within a factor of 2.00."
    assert any(said in one.text for one in tables)
    assert re.search(r"\| CNN-3 +\| +68,106 \| +68,106 \|", table)
    assert len(re.findall(r"\| open +\|", table)) == len(assignment.CLAIMS)
    assert invoke("report", "r", "--data-dir", small_folder).exit_code == 0
    page = Document((tmp_path / "r/report.html").read_text())
    check_structure(page)
    for title in ("Claims", "Slips of the assignment", "Momentum (problem 3.4): 6 of 6 trainings."):
        assert title in page.text
    assert any("CNN-3 is better than CNN-2 in-domain" in row for rows in page.tables for row in rows)

    shutil.rmtree(tmp_path / "r/momentum")  # as if killed before it was made
    gone_on = json.loads(
        invoke("reproduce", "--jobs", 1, "--data-dir", small_folder, "--out", "r", "--resume", "--json").stdout
    )
    assert {**gone_on, "seconds": record["seconds"]} == record
    assert len(checks) == 2
