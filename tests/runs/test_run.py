from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ood_fashion
from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import RunError
from ood_fashion.evaluation.metrics import Predictions
from ood_fashion.files import atomic_write
from ood_fashion.runs import search, start
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.history import history_columns
from ood_fashion.runs.run import Checkpoint, Run
from ood_fashion.runs.search import find_runs, find_unfinished_run, latest_complete_run, new_run_path


def make(path: Path, *, complete: bool = False, **settings: Any) -> Run:
    run = Run.create(path, TrainConfig(**settings), dataset={}, device="cpu")
    if complete:
        run.write_metrics({"results": []})
    return run


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail_halfway() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_where_one_cannot_is_one_clear_error(tmp_path: Path) -> None:
    run = Run(tmp_path / "absent")
    with pytest.raises(RunError, match=r"metrics.json: expected to be able to write it\. Received: No such file"):
        run.write_metrics({})


def test_config_survives(tmp_path: Path) -> None:
    make(tmp_path / "run", model="mlp", momentum=0.9)
    run = Run.open(tmp_path / "run")
    assert run.config == TrainConfig(model="mlp", momentum=0.9)
    assert run.record["device"] == "cpu"


def test_checkpoints_and_history_survive(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    assert run.read_checkpoint() is None
    weights = [np.arange(i, dtype=np.float32) for i in range(12)]  # more than ten, for their order
    run.write_checkpoint(Checkpoint({"epoch": 3, "best": 0.1}, {"weights": weights, "optimizer": [np.array(7)]}))
    checkpoint = run.read_checkpoint()
    assert checkpoint is not None
    assert checkpoint.values == {"epoch": 3, "best": 0.1}
    assert [len(array) for array in checkpoint.arrays["weights"]] == list(range(12))
    assert checkpoint.arrays["optimizer"][0] == 7
    rows = [{**dict.fromkeys(history_columns(TrainConfig()), 0.1 + 0.2), "epoch": epoch} for epoch in (1.0, 2.0)]
    run.write_history(rows)
    assert run.read_history() == rows


@pytest.mark.parametrize(
    "content", ["", "epoch,loss\n", "epoch,loss\n1,0.5\n", "epoch\n1,2\n", "epoch,loss\n1\n", "\0"]
)
def test_a_damaged_history_is_refused(tmp_path: Path, content: str) -> None:
    run = make(tmp_path / "run")
    run.history_path.write_text(content)
    with pytest.raises(RunError, match=r"history.csv: expected .*row.* Received: "):
        run.read_history()


def test_metrics_complete_a_run(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    run.write_checkpoint(Checkpoint({}, {}))
    (run.path / ".tmp-1-model.keras").write_text("left by a kill")
    assert not run.is_complete
    with pytest.raises(RunError, match=r"expected a complete run\. .*ood-fashion train --resume --out"):
        run.read_metrics()
    run.write_metrics({"results": [1]})
    with pytest.raises(RunError, match=r"metrics.json: expected the metrics of a run\. Received: "):
        run.read_metrics()
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "metrics.json"]


def test_what_is_in_the_way_of_a_run_is_named(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    way = r"run: expected an empty or absent folder\. Received: "
    with pytest.raises(RunError, match=way + r"an unfinished run\. Resume it, or choose another folder\."):
        make(run.path)
    run.write_metrics({})
    with pytest.raises(RunError, match=way + r"a complete run\. Choose another folder\."):
        make(run.path)
    (run.path / "config.json").write_text('{"config": "of another program"}')
    with pytest.raises(RunError, match=way + r"other files\. Choose another folder\."):
        make(run.path)


def test_only_a_killed_first_write_may_be_in_the_way(tmp_path: Path) -> None:
    for name in (".tmp-notes", ".tmp-1-history.csv"):
        (tmp_path / name / name).mkdir(parents=True)
        with pytest.raises(RunError, match="Received: other files"):
            make(tmp_path / name)
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed/.tmp-1-config.json").touch()
    run = make(tmp_path / "killed")
    run.write_metrics({})
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "metrics.json"]


def test_a_clone_that_was_never_installed_records_its_version(
    small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", absent)
    config = TrainConfig(model="mlp", implementation="numpy", train_size=400, val_size=100)
    versions = start.start_run(tmp_path / "run", config, small_fashion, "cpu").record["versions"]
    assert versions == {
        "python": platform.python_version(), "ood-fashion": ood_fashion.__version__, "numpy": np.__version__
    }  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(search, "RUNS_ROOT", tmp_path)
    return tmp_path


def test_runs_that_cannot_be_read_are_passed_over(root: Path) -> None:
    run = make(root / "2-run")
    (root / "1-loop").symlink_to("1-loop")
    (root / "3-loop").mkdir()
    (root / "3-loop/config.json").symlink_to("config.json")
    assert list(find_runs()) == [run]
    with pytest.raises(RunError, match=r"3-loop/config\.json: expected .* Received: Too many levels"):
        Run.open(root / "3-loop")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"config": {}}',
        '{"config": {"batch_size": 0}, "dataset": {}}',
        '{"config": {"x": 1}, "dataset": {}}',
        '{"other": 1}',
    ],
)
def test_a_damaged_config_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config.json: expected .* Received: "):
        Run.open(tmp_path)


def test_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, received in (
        (tmp_path / "absent", "nothing there"),
        (tmp_path, "a folder"),
        (tmp_path / "file", "a file"),
    ):
        with pytest.raises(RunError, match=f"expected a run folder, with a config.json. Received: {received}"):
            Run.open(path)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="expected an empty or absent folder"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(RunError, match=r"Received: .*(File exists|Not a directory)"):
        make(tmp_path / "thesis.txt")


def test_names_of_new_runs_do_not_collide(root: Path) -> None:
    config = TrainConfig(model="mlp", seed=7)
    paths = [make(new_run_path(config)).path for _ in range(3)]
    assert len(set(paths)) == 3
    assert all("-mlp-s7" in path.name for path in paths)


def test_finding_runs(root: Path) -> None:
    message = r"no trained run in .*\. Train one with ood-fashion train, or use .*: `pretrained` "
    with pytest.raises(RunError, match=message):
        latest_complete_run()
    make(root / "20260101T000000-mlp-s1", complete=True)
    make(root / "20260102T000000-mlp-s1", complete=True)
    make(root / "20260103T000000-mlp-s1", model="mlp")
    (root / "20260104T000000-mlp-s1").mkdir()
    (root / "20260104T000000-mlp-s1" / "config.json").write_text("{}")
    assert [run.path.name[:8] for run in find_runs()] == ["20260103", "20260102", "20260101"]
    assert latest_complete_run().path.name[:8] == "20260102"
    assert find_unfinished_run({}, None) == Run(root / "20260103T000000-mlp-s1")
    assert find_unfinished_run({"model": "mlp"}, None) is not None
    assert find_unfinished_run({"model": "cnn3"}, None) is None


def test_runs_of_keras_and_numpy_are_kept_apart(root: Path) -> None:
    run = make(root / "20260103T000000-numpy-mlp-s1", model="mlp", implementation="numpy")
    assert find_unfinished_run({"model": "mlp"}, None) is None
    assert find_unfinished_run({"implementation": "numpy"}, None) == run
    with pytest.raises(RunError, match="Received: `implementation` keras instead of numpy"):
        find_unfinished_run({}, run.path)
    run.write_metrics({})
    with pytest.raises(RunError, match="no trained run in"):
        latest_complete_run()


def test_resuming_a_named_folder(tmp_path: Path) -> None:
    assert find_unfinished_run({"epochs": 5}, tmp_path / "absent") is None
    run = make(tmp_path / "run", epochs=5, complete=True)
    assert find_unfinished_run({"epochs": 5}, run.path) == run
    with pytest.raises(
        RunError, match=r"the settings that the run began with. Received: `epochs` 6 instead of 5, `patience` None"
    ):
        find_unfinished_run({"epochs": 6, "patience": None}, run.path)


def test_predictions_come_back_as_they_were(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", TrainConfig(), dataset={})
    written = {
        "none": Predictions(np.array([0, 9, 3]), np.array([0.25, 1, 0.5], np.float32)),
        "translate:1,-2.5": Predictions(np.array([300, 0, 0]), np.array([0, 0.1, 0.2], np.float32)),
    }
    run.write_predictions(written)
    read = run.read_predictions()
    assert list(read) == list(written)
    for shift, predictions in written.items():
        np.testing.assert_array_equal(read[shift].classes, predictions.classes)
        np.testing.assert_array_equal(read[shift].confidences, predictions.confidences)
    (run.path / "predictions.npz").write_bytes(b"PK")
    with pytest.raises(RunError, match="expected the predictions of a run"):
        run.read_predictions()
