from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import InvalidValueError, RunError
from ood_fashion.evaluation import baseline
from ood_fashion.evaluation.metrics import worst_of_random
from ood_fashion.evaluation.stats import wilson_interval
from ood_fashion.evaluation.sweep_report import SweepReport, over_shifts
from ood_fashion.evaluation.sweeps import (
    Correct,
    Sweep,
    corruptions,
    default_folder,
    measure,
    open_folder,
    rotations,
    translations,
    write_report,
)
from ood_fashion.reports.tables import sweep_tables
from ood_fashion.shifts.corruptions import CORRUPTIONS
from ood_fashion.shifts.shift import Shift


def tenths(number: int) -> str:
    """Write a rotation by so many tenths of a degree without computing with fractions."""
    whole, rest = divmod(number, 10)
    degrees = f"{whole}.{rest}" if rest else str(whole)
    return f"rotate{degrees}" if degrees in ("90", "180", "270") else f"rotate:{degrees}"


def test_the_points_of_each_sweep() -> None:
    texts = [str(shift) for shift in translations(1).shifts]
    assert texts[:3] == ["translate:-1,-1", "translate:0,-1", "translate:1,-1"]
    assert (len(texts), len(set(texts))) == (9, 9)
    assert len(translations(8).points) == 289
    assert {"dx": 0, "dy": -4, "shift": Shift.parse("up4")} in translations(4).points
    assert [str(shift) for shift in rotations(90).shifts] == ["none", "rotate90", "rotate180", "rotate270"]
    assert [point["degrees"] for point in rotations(15).points] == list(range(0, 360, 15))
    assert [str(shift) for shift in rotations(7.2).shifts] == ["none", *map(tenths, range(72, 3600, 72))]
    assert [str(shift) for shift in rotations(0.1).shifts[1:900]] == [*map(tenths, range(1, 900))]
    assert [len(rotations(360 / number).points) for number in (7, 161, 3599)] == [7, 161, 3599]
    assert len(corruptions().points) == 1 + 5 * len(CORRUPTIONS)
    assert [str(shift) for shift in corruptions(["fog", "fog"]).shifts] == ["none", *(f"fog:{i}" for i in range(1, 6))]


@pytest.mark.parametrize("step", [0, -1, 361, float("nan"), float("inf")])
def test_an_angle_that_makes_no_sweep_is_refused(step: float) -> None:
    with pytest.raises(InvalidValueError, match="`extent`: expected degrees"):
        rotations(step)


def test_worst_cases_equal_plain_loops() -> None:
    correct = np.random.default_rng(0).random((12, 500)) < 0.8
    drawn = np.random.default_rng(3).integers(0, 12, (10, 500))
    expected = [all(correct[drawn[k, i], i] for k in range(10)) for i in range(500)]
    np.testing.assert_array_equal(worst_of_random(correct, 10, 3), expected)
    assert correct.all(axis=0).sum() <= worst_of_random(correct, 10, 3).sum() <= worst_of_random(correct, 1, 3).sum()


def one_by_one(function: Callable[[Shift], Correct]) -> Callable[[list[Shift]], Iterator[tuple[Shift, Correct]]]:
    return lambda shifts: ((shift, function(shift)) for shift in shifts)


def scripted(sweep: Sweep) -> dict[str, Correct]:
    """Two models on seven images, by the shift's text."""
    rng = np.random.default_rng(1)
    return {str(shift): rng.random((2, 7)) < 0.7 for shift in sweep.shifts}


SETTINGS = {"kind": "rotate", "models": {"a": "1", "b": "2"}}


def test_report_and_files(tmp_path: Path) -> None:
    sweep = rotations(120)
    answers = scripted(sweep)
    folder = open_folder(tmp_path / "sweep", SETTINGS)
    correct = measure(sweep, 2, 7, one_by_one(lambda shift: answers[str(shift)]), folder, lambda: None)
    report = sweep.report(["a", "b"], correct)
    expected = [
        {"model": model, "degrees": degrees, "shift": str(Shift.parse(f"rotate:{degrees}")), "correct": correct}
        for m, model in enumerate("ab")
        for degrees, correct in zip((0.0, 120.0, 240.0), (int(a[m].sum()) for a in answers.values()), strict=True)
    ]
    record = report.to_json()
    assert [{key: row[key] for key in expected[0]} for row in record["results"]] == expected
    worst = [row.correct for row in report.worst]
    assert worst[::2] == [int(np.all([a[m] for a in answers.values()], axis=0).sum()) for m in range(2)]
    write_report(folder, report)
    written = json.loads((folder / "results.json").read_text())
    assert (written, SweepReport.from_json(written)) == (record, report)
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["model", "degrees", "shift", "accuracy", "correct", "n", "ci95_low", "ci95_high"]
    assert [int(row["correct"]) for row in rows] == [row.correct for row in report.results]
    assert float(rows[0]["ci95_low"]) == wilson_interval(int(rows[0]["correct"]), 7)[0]


@pytest.mark.parametrize("cut", [0, 1, 30])
def test_a_killed_sweep_goes_on_where_it_was(tmp_path: Path, cut: int) -> None:
    """Stop after five points, with the last line cut off or not."""
    sweep = translations(1)
    answers = scripted(sweep)
    whole = measure(
        sweep, 2, 7, one_by_one(lambda shift: answers[str(shift)]), open_folder(tmp_path / "a", SETTINGS), lambda: None
    )
    folder, calls = open_folder(tmp_path / "b", SETTINGS), itertools.count()

    def killed(shift: Shift) -> Correct:
        if next(calls) == 5:
            raise KeyboardInterrupt
        return answers[str(shift)]

    with pytest.raises(KeyboardInterrupt):
        measure(sweep, 2, 7, one_by_one(killed), folder, lambda: None)
    content = (folder / "correct.jsonl").read_bytes()
    (folder / "correct.jsonl").write_bytes(content[: len(content) - cut])
    measured: list[str] = []

    def again(shift: Shift) -> Correct:
        measured.append(str(shift))
        return answers[str(shift)]

    received = measure(sweep, 2, 7, one_by_one(again), open_folder(folder, SETTINGS), lambda: None)
    np.testing.assert_array_equal(received, whole)
    assert measured == [str(shift) for shift in sweep.shifts[5 if cut == 0 else 4 :]]
    assert (folder / "correct.jsonl").read_bytes() == (tmp_path / "a/correct.jsonl").read_bytes()


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"shift": "none"}', '{"shift": "none", "correct": "AA=="}', "[" * 100_000]
)
def test_damaged_records_of_images_are_refused(tmp_path: Path, line: str) -> None:
    folder = open_folder(tmp_path / "sweep", SETTINGS)
    (folder / "correct.jsonl").write_text(f"{line}\n")
    with pytest.raises(RunError, match=r"correct.jsonl: expected a line per shift\. Received: "):
        measure(translations(1), 2, 7, lambda shifts: (), folder, lambda: None)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "sweep", SETTINGS)
    with pytest.raises(RunError, match="expected an absent or empty folder, or one of the same sweep"):
        open_folder(folder, {**SETTINGS, "n": 3})
    (tmp_path / "other").mkdir()
    (tmp_path / "other/note").write_text("precious")
    with pytest.raises(RunError, match="expected an absent or empty folder"):
        open_folder(tmp_path / "other", SETTINGS)


def test_the_folder_is_named_after_what_decides_the_figures() -> None:
    assert default_folder(SETTINGS) == default_folder({**SETTINGS}) != default_folder({**SETTINGS, "n": 3})
    assert default_folder(SETTINGS).parent == Path("sweeps")


def test_over_shifts_by_hand() -> None:
    """A is the reference: its errors are 0.4 + 0.6 under fog and 0.5 under rotate90."""
    accuracies = {
        "a": {"none": 0.8, "fog:1": 0.6, "fog:2": 0.4, "rotate90": 0.5},
        "b": {"none": 0.9, "fog:1": 0.8, "fog:2": 0.7, "rotate90": 0.1},
    }
    first, second = over_shifts(accuracies, "a")
    assert (first.mce, first.relative_mce) == (1, 1)
    assert second.mean == pytest.approx(1.6 / 3)
    assert (second.worst_shift, second.worst) == ("rotate90", 0.1)
    assert second.mce == pytest.approx((0.5 / 1.0 + 0.9 / 0.5) / 2)
    assert second.relative_mce == pytest.approx((0.3 / 0.6 + 0.8 / 0.3) / 2)
    (flawless,) = over_shifts({"a": {"none": 1.0, "fog:1": 1.0}}, "a")
    assert flawless.to_json()["mce"] is None
    assert "mce" not in over_shifts({"a": {"fog:1": 1.0}}, "a")[0].to_json()
    assert over_shifts({"a": {"none": 1.0}}, "a") == []


def test_what_has_no_error_to_compare_with_is_named_beside_the_figure() -> None:
    """Of ten images A gets 8 right, 7 under fog:1 and 9 under jpeg:1, which has no relative error; B 5 everywhere."""
    fog, jpeg = Shift.parse("fog:1"), Shift.parse("jpeg:1")
    sweep = Sweep("translate", tuple({"shift": shift} for shift in (Shift(), fog, jpeg)))
    right = np.array([[8, 5], [7, 5], [9, 5]])
    report = sweep.report(["a", "b"], np.arange(10) < right[..., np.newaxis])
    a, b = report.over_shifts
    assert (a.relative_mce, b.relative_mce, b.mce) == pytest.approx((1, 0, (5 / 3 + 5 / 1) / 2))
    for row in (a, b):
        assert (row.relative_mce_families, row.relative_mce_left_out) == (1, ("jpeg",))
        assert (row.mce_families, row.mce_left_out) == (2, ())
    note = "relative mCE: over 1 of 2 kinds of shift. Left out, because a loses no accuracy under them: jpeg."
    assert sweep_tables(report)[-1].notes[1:] == [note]
    record = report.to_json()
    for row in record["over_shifts"]:  # as an earlier version wrote it
        row.pop("relative_mce_left_out")
    assert sweep_tables(SweepReport.from_json(record))[-1].notes[1:] == []


def test_the_assignments_mlp_is_the_reference_where_it_was_measured(fashion: Dataset) -> None:
    sweep = rotations(15)
    assert sweep.reference(None, ["a", "b"], fashion.test) == baseline.REFERENCE
    some = Split(fashion.test.images[:100], fashion.test.labels[:100])
    assert sweep.reference(None, ["a", "b"], some) == "a"
    assert rotations(10).reference(None, ["a", "b"], fashion.test) == "a"
    assert sweep.reference("b", ["a", "b"], fashion.test) == "b"
    with pytest.raises(InvalidValueError, match=r"`reference`: expected one of a, b\. Received: 'c'"):
        sweep.reference("c", ["a", "b"], fashion.test)


def test_over_shifts_against_the_baseline() -> None:
    """A standard model has its own distance from the fit; the reference, five MLPs, an mCE of 1."""
    shifts = ["none", *map(str, corruptions(["fog", "shear"]).shifts[1:])]
    cnn3, mlp = baseline.accuracies()["cnn3-10000-s1"], baseline.reference()
    measured = {name: {shift: of[shift] for shift in shifts} for name, of in (("c", cnn3), ("m", mlp))}
    ours, reference = over_shifts(measured, baseline.REFERENCE, standard=True)
    assert (reference.mce, reference.relative_mce) == pytest.approx((1, 1))
    distances = [cnn3[shift] - baseline.predict(shift, cnn3["none"]) for shift in shifts[1:]]
    assert ours.effective_robustness == pytest.approx(np.mean(distances))
    assert ours.in_domain == cnn3["none"]
