from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import timeit
from pathlib import Path
from typing import Any

import keras
import matplotlib.image
import pytest
from click.testing import CliRunner
from matplotlib.category import StrCategoryLocator

import ood_fashion as ood
from ood_fashion.cli import main
from ood_fashion.cli.studies import _duration
from ood_fashion.data.dataset import GENUINE_SHA256, Dataset
from ood_fashion.data.sources import load_dataset
from ood_fashion.errors import InvalidValueError, RunError
from ood_fashion.evaluation.stats import summarize
from ood_fashion.reports import study_figures, study_tables
from ood_fashion.reports.folders import read_page
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.run import Run
from ood_fashion.runs.start import start_run
from ood_fashion.shifts.shift import TEST_SETS
from ood_fashion.studies.histories import Histories, SettingSummary
from ood_fashion.studies.study import FIGURES, STUDIES, Study
from ood_fashion.studies.study_run import StudyRun, StudySummary
from ood_fashion.studies.trials import Trial, estimate_seconds, require_replaceable
from ood_fashion.training.keras_trainer import train
from tests.conftest import Invoke
from tests.records import write_run

SMALL = ("--train-size", "100", "--val-size", "50", "--epochs", "2")


def without_times(summary: dict[str, Any]) -> dict[str, Any]:
    for setting in summary["settings"]:
        del setting["measures"]["seconds"]
        del setting["curves"]["seconds"]
    return summary


@pytest.fixture(scope="module")
def study_dir(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study that two worker processes made."""
    path = tmp_path_factory.mktemp("studies") / "study"
    arguments = ["study", "batch-size", "--seeds", "1", "--jobs", "2", *SMALL, "--data-dir", str(small_folder)]
    done = CliRunner().invoke(main, [*arguments, "--json", "--out", str(path)])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((path / "summary.json").read_text())
    assert re.search(r"^5 trainings, at most about \d+ seconds on this CPU$", done.stderr, re.MULTILINE)
    return path


def test_two_studies_of_a_process_may_have_other_data(
    small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is what no name stands for at the time."""
    mlp = Study({"mlp": TrainConfig(model="mlp", train_size=50, val_size=20, epochs=1)})
    for folder in (small_folder, None):
        if folder:
            monkeypatch.setenv("OOD_FASHION_DATA", str(folder))
        else:
            monkeypatch.delenv("OOD_FASHION_DATA")
        assert ood.study(mlp, seeds=1, jobs=1, out=tmp_path / str(folder is None)).failures == []


def test_the_time_is_estimated_from_the_models_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 1e-11 s a product of large matrices, which take 1e9 products."""
    monkeypatch.setattr(timeit, "repeat", lambda *arguments, **options: [0.03, 0.01])
    config = TrainConfig(model="mlp", train_size=1_003, batch_size=10, epochs=7)
    trial = Trial(Path("trial"), "mlp", config, None)
    products = 3 * (784 * 128 + 128 * 10) * 1_003 * 7
    assert estimate_seconds([trial, trial]) == pytest.approx(2 * (2 * products * 1e-11 + 7 * 101 * 5e-5))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "2 seconds"), (119, "119 seconds"), (125, "2.1 minutes"), (15_432, "4.3 hours")]
)
def test_a_duration_has_two_digits(seconds: float, text: str) -> None:
    assert _duration(seconds) == text


def test_a_study_says_what_its_runs_say(study_dir: Path) -> None:
    summary = json.loads((study_dir / "summary.json").read_text())
    assert StudySummary.from_json(summary) == StudyRun(study_dir).summarize()
    assert [setting["setting"] for setting in summary["settings"]] == ["1", "5", "50", "500", "5000"]
    assert summary["damaged"] == []
    for setting in summary["settings"]:
        run = Run.open(study_dir / f"trials/{setting['setting']}-s1")
        assert run.config.batch_size == int(setting["setting"])
        assert setting["measures"]["accuracy up4"] == (
            summarize([run.read_metrics()["results"][1]["accuracy"]]).to_json()
        )
        assert [row["mean"] for row in setting["curves"]["loss"]] == [row["loss"] for row in run.read_history()]
    assert matplotlib.image.imread(study_dir / "batch-size.png").shape[2] == 4
    assert (study_dir / "batch-size.svg").read_text().startswith("<?xml")


class Interrupt(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        raise KeyboardInterrupt


def test_an_unfinished_training_goes_on_where_it_was(
    invoke: Invoke, study_dir: Path, small_folder: Path, tmp_path: Path
) -> None:
    study_run = StudyRun(shutil.copytree(study_dir, tmp_path / "study"))
    undisturbed = study_run.summarize()
    (trial,) = (trial for trial in study_run.trials() if trial.setting == "50")
    losses = [row["loss"] for row in Run.open(trial.path).read_history()]
    shutil.rmtree(trial.path)
    dataset = load_dataset(small_folder)
    run = start_run(trial.path, trial.config, dataset, "cpu")
    with pytest.raises(KeyboardInterrupt):
        train(run, dataset, [Interrupt()])
    (row,) = run.read_history()
    result = invoke("study", "batch-size", "--jobs", 2, "--data-dir", small_folder, "--out", "study", "--resume")
    assert result.exit_code == 0, result.stderr
    history = Run.open(trial.path).read_history()
    assert history[0] == row  # its seconds too
    assert [row["loss"] for row in history] == pytest.approx(losses, rel=1e-4)  # threads differ
    assert [one for one in study_run.summarize().settings if one.setting != "50"] == [
        one for one in undisturbed.settings if one.setting != "50"
    ]


def descendants(process: int) -> list[int]:
    lists = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    children = [int(child) for text in lists for child in text.split()]
    return [*children, *(grandchild for child in children for grandchild in descendants(child))]


def start_study(arguments: list[str], folder: Path, files: str, count: int) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a study in NumPy, and return it with its worker processes once there are so many files."""
    # A shell's background jobs ignore SIGINT, and so would what the tests start among them.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "ood_fashion", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(list(folder.glob(files))) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    workers = descendants(process.pid)
    assert len(workers) >= 2
    return process, workers


def assert_gone(workers: list[int]) -> None:
    deadline = time.monotonic() + 60
    while (left := [worker for worker in workers if Path(f"/proc/{worker}").exists()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def test_a_killed_study_is_finished_by_resume(invoke: Invoke, small_folder: Path, tmp_path: Path) -> None:
    arguments = ["study", "batch-size", "--implementation", "numpy", "--jobs", "2", *SMALL, "--seeds", "12"]
    arguments += ["--data-dir", str(small_folder), "--json", "--out"]
    process, workers = start_study([*arguments, "killed"], tmp_path, "killed/trials/*/metrics.json", 1)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert_gone(workers)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("killed/trials/*/metrics.json")}
    assert 1 <= len(finished) < 60
    resumed, undisturbed = invoke(*arguments, "killed", "--resume"), invoke(*arguments, "undisturbed")
    assert finished == {path: path.stat().st_mtime_ns for path in finished}
    assert without_times(json.loads(resumed.stdout)) == without_times(json.loads(undisturbed.stdout))


@pytest.mark.parametrize(
    ("number", "exit_code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGKILL, -9, None)],
)
def test_a_study_ends_with_all_its_processes(
    small_folder: Path, tmp_path: Path, number: signal.Signals, exit_code: int, word: str | None
) -> None:
    arguments = ["study", "batch-size", "--implementation", "numpy", "--jobs", "2", *SMALL[:4], "--epochs", "100000"]
    arguments += ["--seeds", "100", "--data-dir", str(small_folder)]  # more than are done before the signal comes
    process, workers = start_study(arguments, tmp_path, "studies/*/trials/*/history.csv", 2)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == exit_code
    if word:
        (folder,) = tmp_path.glob("studies/*")
        out = folder.relative_to(tmp_path)
        resume = f"Go on: ood-fashion {' '.join(arguments)} --out {out} --resume"
        # After it, loky's resource tracker may warn that what it was to delete is gone already.
        assert f"Error: {word}. What is done is in {out}. {resume}" in errors.replace("\r", "\n").splitlines()
        assert "Traceback" not in errors
    assert_gone(workers)


def test_more_seeds_are_added_and_damaged_trials_are_named(invoke: Invoke, small_folder: Path, tmp_path: Path) -> None:
    data = ("--data-dir", small_folder, "--out", "study")
    arguments = ("study", "batch-size", "--implementation", "numpy", *SMALL, "--jobs", 1, *data)
    assert invoke(*arguments, "--seeds", 1).exit_code == 0
    before = (tmp_path / "study/trials/50-s1/metrics.json").stat().st_mtime_ns
    (tmp_path / "study/trials/5-s1/config.json").write_text("{")
    (tmp_path / "study/trials/500-s1/metrics.json").write_text("{}")
    result = invoke(*arguments, "--seeds", 2, "--resume")
    assert result.exit_code == 1
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "2 trainings failed and are left out: " in error
    assert "5-s1/config.json: expected a readable JSON file" in error
    assert "500-s1/metrics.json: expected the metrics of a run" in error
    rows = [line.split()[:2] for line in result.stdout.splitlines()[4:9]]
    assert rows == [["1", "2"], ["5", "1"], ["50", "2"], ["500", "1"], ["5000", "2"]]
    assert (tmp_path / "study/trials/50-s1/metrics.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("names", [(".tmp-notes", "x"), (".tmp-notes",), (".tmp-1-study.json", ".tmp-1-x")])
def test_a_folder_of_others_is_refused_as_it_is(
    invoke: Invoke, small_folder: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    (tmp_path / "others").mkdir()
    for name in names:
        (tmp_path / "others" / name).touch()
    for resume in ((), ("--resume",)):
        refused = invoke("study", "momentum", "--data-dir", small_folder, "--out", "others", *resume)
        assert refused.stderr == (
            "Error: others: expected an empty or absent folder. Received: other files. Choose another folder.\n"
        )
    assert sorted(path.name for path in (tmp_path / "others").iterdir()) == sorted(names)


def test_a_study_that_is_there_is_named(small_fashion: Dataset, tmp_path: Path) -> None:
    def create() -> StudyRun:
        return StudyRun.create(tmp_path, "momentum", seeds=1, changes={}, dataset=small_fashion, resume=False)

    (tmp_path / ".tmp-1-study.json").touch()  # by a kill
    create()
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]
    with pytest.raises(RunError, match=r"Received: a study\. Resume it, or choose another folder\."):
        create()


def test_what_a_worker_sends_replaces_nothing_but_a_run(small_fashion: Dataset, tmp_path: Path) -> None:
    """A worker on a disk of its own does not see what is in the way."""
    theirs, new = tmp_path / "theirs", tmp_path / "new"
    theirs.mkdir()
    (theirs / "precious").touch()
    with pytest.raises(RunError, match=r"theirs: expected an empty or absent folder\. Received: other files"):
        require_replaceable(theirs)
    require_replaceable(new)
    write_run(new, small_fashion)
    require_replaceable(new)


def test_a_study_goes_on_as_it_began(invoke: Invoke, small_folder: Path, tmp_path: Path) -> None:
    """By its own seeds and settings, sharing the threads as when all trainings were to be done."""
    command = ("study", "batch-size", "--data-dir", small_folder, "--out", "study")
    began = invoke(*command, *SMALL, "--implementation", "numpy", "--seeds", 2)
    assert began.exit_code == 0, began.stderr
    trial = tmp_path / "study/trials/5000-s2"
    history = Run.open(trial).read_history()
    shutil.rmtree(trial)
    left = tmp_path / "study/trials/.tmp-1-5000-s2x"  # by a kill while a worker's files were written
    (left / "new").mkdir(parents=True)
    gone_on = invoke(*command, "--resume")
    assert gone_on.exit_code == 0, gone_on.stderr
    assert gone_on.stdout.splitlines()[0] == began.stdout.splitlines()[0]
    assert json.loads((tmp_path / "study/study.json").read_text())["seeds"] == 2
    assert [row["loss"] for row in Run.open(trial).read_history()] == [row["loss"] for row in history]
    threads = {Run.open(path).record["threads"] for path in (tmp_path / "study/trials").iterdir()}
    assert threads == {max(1, (os.cpu_count() or 1) // min(os.cpu_count() or 1, 4))}
    assert not left.exists()
    other = invoke(*command, "--resume", "--epochs", 3)
    assert (other.exit_code, "expected what the study there began with" in other.stderr) == (1, True)


@pytest.mark.parametrize(
    "record", [{"seeds": 10**15}, {"seeds": True}, {"changes": {"monitor_test": False}}, {"changes": {"epochs": 0}}]
)
def test_a_studys_record_is_checked(tmp_path: Path, record: dict[str, Any]) -> None:
    sound = {"study": "early-stopping", "changes": {}, "sha256": GENUINE_SHA256, "seeds": 1}
    (tmp_path / "study.json").write_text(json.dumps({**sound, **record}))
    with pytest.raises(RunError, match=r"study\.json: expected "):
        read_page(tmp_path, None)


@pytest.mark.parametrize("damage", [False, True])
def test_worker_processes_summarize_as_this_one_does(
    study_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bool
) -> None:
    study_run = StudyRun(shutil.copytree(study_dir, tmp_path / "study"))
    if damage:
        (study_run.path / "trials/50-s1/history.csv").write_text("epoch\n")
    here = study_run.summarize()
    assert len(here.damaged) == damage
    monkeypatch.setattr("ood_fashion.studies.study_run.MANY_TRIALS", 1)
    monkeypatch.delattr(Trial, "read")  # which the workers have
    assert study_run.summarize() == here


def test_a_study_in_numpy(invoke: Invoke, small_folder: Path, tmp_path: Path) -> None:
    arguments = (
        "study",
        "batch-size",
        *SMALL,
        "--seeds",
        1,
        "--jobs",
        1,
        "--implementation",
        "numpy",
        "--out",
        "study",
    )
    assert invoke(*arguments, "--data-dir", small_folder).exit_code == 0
    run = Run.open(tmp_path / "study/trials/50-s1")
    assert (run.config.implementation, run.model_path.name) == ("numpy", "model.npz")
    result = invoke("study", "shifts", "--implementation", "numpy", "--data-dir", small_folder, "--out", "other")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "--implementation numpy: expected model 'mlp'" in result.stderr
    assert not (tmp_path / "other").exists()


def histories(seeds: int) -> Histories:
    names = ("loss", "accuracy", "val_loss", "val_accuracy", "test_accuracy")
    added = Histories(names)
    for seed in range(seeds):
        added.add([dict.fromkeys(names, 0.5 + 0.01 * epoch + 0.02 * seed) for epoch in range(3)])
    return added


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_a_figure(name: str, seeds: int) -> None:
    names = (*(f"accuracy {shift}" for shift in TEST_SETS), "loss", "seconds")
    measures = {measure: summarize([0.1 * seed + 0.5 for seed in range(seeds)]) for measure in names}
    settings = tuple(
        SettingSummary(
            label, tuple(range(seeds)), measures, histories(seeds).curves(), histories(seeds).patience_table(), {}
        )
        for label in STUDIES[name].settings
    )
    study = STUDIES[name]
    summary = StudySummary(
        name, {}, seeds, study.title, study.factor, tuple(study.measures), None, settings, (), sha256=GENUINE_SHA256
    )
    figure = study_figures.figure(summary)
    figure.draw_without_rendering()
    assert all(axis.get_xlabel() or axis.get_title() for axis in figure.axes)
    assert all(axis.get_ylabel() for axis in figure.axes)
    assert not any(isinstance(axis.yaxis.get_major_locator(), StrCategoryLocator) for axis in figure.axes)
    if study.figure == "bars":
        bars = [bar.get_facecolor() for bar in figure.axes[0].patches]
        assert len(set(bars)) == len(STUDIES[name].settings)


@pytest.mark.parametrize(("seeds", "accuracy"), [(1, "0.5200"), (3, "0.5400 ± 0.0497")])
def test_what_stopping_early_would_have_cost_is_shown(seeds: int, accuracy: str) -> None:
    """The validation accuracy rises in every epoch, so that all trainings run on to the third and keep it."""
    setting = SettingSummary("30 epochs", tuple(range(seeds)), {}, {}, histories(seeds).patience_table(), {})
    study = STUDIES["early-stopping"]
    summary = StudySummary(
        "early-stopping", {}, seeds, study.title, study.factor, (), None, (setting,), (), sha256=GENUINE_SHA256
    )
    *_, table = study_tables.study_tables(summary)
    assert table.title == "Had training stopped early:"
    assert [row[0] for row in table.rows] == [str(patience) for patience in range(1, 11)]
    exact = " ± 0.0" * (seeds > 1)
    assert {tuple(row[1:]) for row in table.rows} == {(f"3.0{exact}", f"3.0{exact}", accuracy, f"0.0{exact}")}


def test_every_kind_of_figure_is_drawn_and_asks_for_settings_that_fit() -> None:
    assert study_figures.KINDS.keys() == FIGURES.keys()
    numbers = {"0.1": {"momentum": 0.1}, "0.9": {"momentum": 0.9}}
    assert Study(numbers, figure="curves").to_json()["figure"] == "curves"
    assert "figure" not in Study(numbers).to_json()  # so that studies of earlier versions are resumed
    for settings, kind, message in (
        (numbers, "pie", r"`figure`: expected one of bars, costs, curves, stopping\. Received: 'pie'"),
        ({"low": {}, "2": {}}, "costs", "expected numbers as labels for the figure 'costs'. Received: low"),
        ({"nan": {}}, "curves", "Received: nan"),
        (numbers, "stopping", "expected one with `monitor_test` for the figure 'stopping'"),
    ):
        with pytest.raises(InvalidValueError, match=message):
            Study(settings, figure=kind)
