"""Leaderboards: measures against naive ones, which models are told apart, and files of every kind."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

import ood_fashion as ood
from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import DataError, InvalidValueError, ModelError, RunError
from ood_fashion.evaluation import baseline
from ood_fashion.evaluation.ranking import ANGLES, MEASURES, SUITE, Entry, measure, rank
from ood_fashion.evaluation.results import AccuracyResult
from ood_fashion.evaluation.stats import compare_paired, wilson_interval
from ood_fashion.files import read_json
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.search import pretrained_runs
from ood_fashion.shifts.corruptions import CORRUPTIONS, SEVERITIES
from ood_fashion.shifts.shift import TEST_SETS
from tests.conftest import Invoke
from tests.records import write_run


def result(shift: str, correct: int, n: int = 100) -> AccuracyResult:
    return AccuracyResult(shift, correct / n, correct, n, wilson_interval(correct, n))


def test_measures_of_made_up_accuracies() -> None:
    generator = np.random.default_rng(0)
    correct = {shift: int(generator.integers(20, 90)) for shift in ("none", *TEST_SETS, *ANGLES, *SUITE)}
    seen = ["fog", "stripe"]
    entry = Entry("a", tuple(result(shift, count) for shift, count in correct.items()), 3, 4, seen)
    found = measure(entry)
    assert list(found) == [name for name in MEASURES if name != "ece"]
    assert found["in-domain"].ci95 == pytest.approx(wilson_interval(correct["none"], 100))
    worst = min(TEST_SETS, key=lambda shift: correct[shift])
    assert (found["worst"].value, found["worst"].shift) == (correct[worst] / 100, worst)
    angles = [correct[f"rotate{15 * i}" if i % 6 == 0 else f"rotate:{15 * i}"] for i in range(1, 24)]
    assert found["every-angle"].value == pytest.approx(fmean(angles) / 100)
    for name, left_out in (("mce", []), ("mce-unseen", seen)):
        expected = [
            sum(100 - correct[f"{family}:{s}"] for s in SEVERITIES)
            / sum(100 - 100 * baseline.reference()[f"{family}:{s}"] for s in SEVERITIES)
            for family in CORRUPTIONS
            if family not in left_out
        ]
        assert found[name].value == pytest.approx(fmean(expected))
        low, high = found[name].ci95 or (0, 0)
        assert low < found[name].value < high
    assert (found["parameters"].value, found["multiply-adds"].value) == (3, 4)


def test_a_measure_has_all_its_shifts_on_the_same_images() -> None:
    """The most that have them all; with one missing there is none."""
    few, many = (tuple(result(shift, n // 2, n) for shift in ANGLES) for n in (40, 100))
    assert measure(Entry("a", few + many))["every-angle"].n == 100
    assert measure(Entry("a", few + many[1:]))["every-angle"].n == 40
    assert not measure(Entry("a", few[1:] + many[:-1]))
    assert "mce-unseen" not in measure(Entry("a", tuple(result(shift, 50) for shift in SUITE)))


def test_the_interval_of_the_calibration_error_holds_it() -> None:
    """In 19 of 20 draws or so, of predictions whose confidences are 0.1 too high."""
    generator, held = np.random.default_rng(0), 0
    from ood_fashion.evaluation.metrics import measure as measure_all

    for _ in range(200):
        confidences = generator.uniform(0.65, 0.95, 2000)
        probabilities = np.stack([confidences, 1 - confidences], axis=1)
        labels = (generator.uniform(size=2000) > confidences - 0.1).astype(int)
        found = measure(Entry("a", (measure_all("none", probabilities, labels, probabilities),)))["ece"]
        assert found.ci95
        held += found.ci95[0] <= 0.1 <= found.ci95[1]
    assert 180 <= held <= 200


def test_pairs_are_told_apart_by_a_paired_test_where_there_are_predictions() -> None:
    """B is right wherever A is, and on 8 of 100 images more: intervals overlap, and the test tells them apart."""
    a = np.arange(100) < 80
    b = np.arange(100) < 88
    of = {"a": a, "b": b, "c": np.roll(b, 50)}
    with_predictions = [
        Entry(name, (result("none", int(correct.sum())),), correct={"none": correct}) for name, correct in of.items()
    ]
    assert compare_paired(a, b).p < 0.01
    rows = rank(with_predictions, "in-domain")
    assert [(row.model, row.same) for row in rows] == [("b", (2,)), ("c", (1, 3)), ("a", (2,))]
    without = [Entry(one.model, one.results) for one in with_predictions]
    assert [row.same for row in rank(without, "in-domain")] == [(2, 3), (1, 3), (1, 2)]
    assert [row.same for row in rank(with_predictions[:1] + without[1:], "in-domain")] == [(2, 3), (1, 3), (1, 2)]


def test_what_has_no_such_measure_comes_last() -> None:
    entries = [Entry("x", ()), Entry("b", (), 7), Entry("c", (), 3), Entry("d", (), 7)]
    rows = rank(entries, "parameters")
    assert "".join(row.model for row in rows) == "cbdx"
    assert [row.same for row in rows] == [(), (3,), (2,), ()]


@pytest.mark.parametrize("name", pretrained_runs())
def test_shipped_sweeps_agree_with_shipped_predictions(name: str, fashion: Dataset) -> None:
    saved = ood.pretrained(name).read_predictions()
    record = read_json(pretrained_runs()[name] / "rotate.json")
    found = {row["shift"]: row for row in record["results"]}
    for shift in ("none", "rotate90", "rotate180", "rotate270"):
        n = found[shift]["n"]
        assert abs(found[shift]["correct"] - (saved[shift].classes[:n] == fashion.test.labels[:n]).sum()) <= 1
    (row,) = ood.leaderboard(names=name)
    assert set(row.measures) == set(MEASURES)


def test_every_kind_of_file(invoke: Invoke, fashion: Dataset, tmp_path: Path) -> None:
    """What a sweep, an evaluation and predictions say of shipped models is what the models' own rows say."""
    assert invoke("sweep", "rotate", "--pretrained", "mlp", "--limit", 300, "--out", "sweep", "--quiet").exit_code == 0
    results = invoke("evaluate", "--pretrained", "cnn2", "--all", "--metrics", "all", "--json", "--limit", 300)
    (tmp_path / "cnn2.json").write_text(results.stdout)
    scores = {shift: np.eye(10)[of.classes] for shift, of in ood.pretrained("cnn3").read_predictions().items()}
    shifts = np.repeat(list(scores), len(fashion.test))
    index = np.tile(np.arange(len(fashion.test)), len(scores))
    np.savez(tmp_path / "answers.npz", index=index, shift=shifts, scores=np.concatenate(list(scores.values())))
    write_run(tmp_path / "own", fashion, TrainConfig(model="mlp", augment=("noise:0.2",)))
    (tmp_path / "own/model.keras").write_bytes(b"own")

    shown = invoke("leaderboard", "sweep", "cnn2.json", "answers.npz", "own", "--json")
    assert shown.exit_code == 0, shown.stderr
    rows = {row["model"]: row for row in json.loads(shown.stdout)["rows"]}
    assert set(rows) == {*pretrained_runs(), "cnn2 (cnn2.json)", "answers.npz", "own"}
    assert rows["mlp"]["sources"] == [str(pretrained_runs()["mlp"]), "sweep/results.json"]
    assert rows["mlp"]["measures"]["every-angle"]["n"] == 2000  # the larger
    assert rows["cnn2 (cnn2.json)"]["measures"]["in-domain"]["n"] == 300
    assert set(rows["cnn2 (cnn2.json)"]["measures"]) == {"in-domain", "worst", "ece"}
    answers, cnn3 = rows["answers.npz"], rows["cnn3"]
    for name in ("in-domain", "worst"):
        assert answers["measures"][name] == cnn3["measures"][name]
    assert "parameters" not in answers["measures"]
    assert answers["place"] in cnn3["same"]
    assert cnn3["place"] in answers["same"]
    assert "gaussian_noise" in rows["own"]["seen"]
    text = invoke("leaderboard", "answers.npz", "--filter", "a*").stdout
    assert text.splitlines()[2].split()[-2:] == ["-", "-"]  # every angle, and none as good
    again = invoke("leaderboard", "own/metrics.json", "sweep/results.json", "--json")
    assert {"own", "mlp"} <= {row["model"] for row in json.loads(again.stdout)["rows"]}


def test_a_sweep_of_another_model_of_the_same_name_is_another_row(fashion: Dataset, tmp_path: Path) -> None:
    board = ood.sweep("mlp", "rotate", 90, limit=50, out=tmp_path / "sweep")
    settings = json.loads((tmp_path / "sweep/settings.json").read_text())
    settings["models"]["mlp"] = "0" * 64
    (tmp_path / "sweep/settings.json").write_text(json.dumps(settings))
    names = [row.model for row in ood.leaderboard(tmp_path / "sweep")]
    assert {"mlp", f"mlp ({tmp_path / 'sweep/results.json'})"} <= set(names)
    (tmp_path / "printed.json").write_text(board.to_json())
    assert f"mlp ({tmp_path / 'printed.json'})" in [row.model for row in ood.leaderboard(tmp_path / "printed.json")]
    settings["images"] = "0" * 64
    (tmp_path / "sweep/settings.json").write_text(json.dumps(settings))
    with pytest.raises(RunError, match="a sweep over other images than Fashion-MNIST's"):
        ood.leaderboard(tmp_path / "sweep")


def test_predictions_of_the_first_images_are_enough(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "shift", "class"])
        writer.writerows([i, shift, 9] for shift in ("none", *ANGLES) for i in range(50))
    (row,) = ood.leaderboard(tmp_path / "a.csv", names="*.csv")
    assert {name: found.n for name, found in row.measures.items()} == {"in-domain": 50, "every-angle": 50}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "a.json: expected a readable JSON file. Received: "),
        ("a.json", "[]", "a.json: expected a JSON object. Received: list."),
        ("a.json", "{}", "a.json: expected results of evaluate, of a run or of a sweep. Received: no 'results'."),
        ("a.json", '{"model": "m", "results": [{"shift": "none"}]}', "Received: no 'accuracy'."),
        ("a.json", '{"schema": 2, "model": "m", "results": []}', "results of schema 2, where this version reads 1."),
        ("a.json", '{"over_shifts": []}', "Received: no 'kind'."),
        ("a.csv", "index,shift,class\n0,none,2\n2,none,3\n", "a row for each of the 2 test images under none."),
        ("a.csv", "index,shift,class\n0,none,2\n0,none,3\n", "expected one row for an image under none."),
        ("a.csv", "index,shift,class\n10000,none,3\n", "expected images up to 9,999. Received: 10,000."),
        ("a.npz", "PK", "a.npz: expected rows of index, shift and class"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_a_line(name: str, content: str, message: str, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    result = invoke("leaderboard", name)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert message in result.stderr


def test_other_bad_input(invoke: Invoke, small_fashion: Dataset, tmp_path: Path) -> None:
    for arguments, code, message in (
        (("absent",), 1, "absent: expected a readable JSON file. Received: No such file or directory."),
        (("--sort", "speed"), 2, "'speed' is not one of 'in-domain', 'worst'"),
        (("--filter", "x*"), 2, "--filter: expected a pattern of names of models. Received: 'x*', which none has."),
        ((".",), 1, "results.json: expected a readable JSON file."),
    ):  # fmt: skip
        shown = invoke("leaderboard", *arguments)
        assert (shown.exit_code, shown.stdout) == (code, "")
        assert message in shown.stderr
    with pytest.raises(DataError, match="expected Fashion-MNIST's test images"):
        ood.leaderboard(data=small_fashion)
    with pytest.raises(InvalidValueError, match="`sort`: expected one of in-domain"):
        ood.leaderboard(sort="speed")
    write_run(tmp_path / "small", small_fashion)
    with pytest.raises(RunError, match="expected the dataset that the run began on"):
        ood.leaderboard(tmp_path / "small")
    with pytest.raises(ModelError):
        ood.leaderboard([tmp_path / "a.csv"])


def test_a_model_that_is_named_again_is_one_row() -> None:
    (row,) = ood.leaderboard(["cnn3", ood.pretrained("cnn3")], names="cnn3", sort="parameters")
    assert row.sources == (str(pretrained_runs()["cnn3"]),)
    board = ood.leaderboard(names="p4m*", sort="parameters")
    assert [row.same for row in board] == [(2, 3), (1, 3), (1, 2)]
    assert "because it has as many" in str(board)


def test_no_model_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("ood_fashion.runs.model_files.load_model", refuse)
    assert len(ood.leaderboard(sort="mce")) == len(pretrained_runs())
