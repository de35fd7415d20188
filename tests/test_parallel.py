from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.config
import pytest
from distributed import LocalCluster

from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import BackendError, InvalidValueError
from ood_fashion.files import write_folder
from ood_fashion.parallel import run_parallel
from ood_fashion.studies import trials
from ood_fashion.studies.study_run import StudyRun
from tests.calls import fatal, grow, slow
from tests.conftest import Invoke

SMALL = ("momentum", "--implementation", "numpy", "--train-size", "400", "--val-size", "100", "--epochs", "10")


def test_a_killed_worker_of_dask_costs_no_trial(small_folder: Path) -> None:
    """A scheduler and two workers as processes; the second is killed in the middle of a trial."""
    command = [sys.executable, "scripts/benchmarks/scaling.py", "cluster", *SMALL, "--seeds", "1"]
    folder = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [*command, "--data-dir", str(small_folder)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result.pop("killed")["when_begun"] < 6
    assert result == {"trials": 6, "finished": 6, "finished_twice": [], "as_undisturbed": True}


def test_a_trial_that_kills_its_workers_is_an_outcome() -> None:
    """Dask gives it up after the fourth worker, and goes on; without a word about its outcome, it ends them all."""
    lost = []

    def on_loss(arguments: tuple[int, ...], error: BaseException) -> str:
        lost.append((arguments, type(error).__name__))
        return "lost"

    # One worker a death: Dask does not start a worker again that dies before it has told of its start.
    with LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        options: dict[str, Any] = {"backend": "dask", "address": cluster.scheduler_address, "jobs": None}
        for number, expected in ((1, "lost"), (2, 2)):  # one after another, for Dask blames what waits beside it too
            assert list(run_parallel(fatal, [(number,)], on_loss=on_loss, **options)) == [expected]
    assert lost == [((1,), "KilledWorker")]
    hasty = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with hasty, pytest.raises(BackendError, match=r"1: expected a worker that survives it. Received: "):
        list(run_parallel(fatal, [(1,)], backend="dask", address=None, jobs=1))


def test_a_cluster_that_is_lost_is_one_line() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        outcomes = run_parallel(slow, [(0,), (600,)], backend="dask", address=cluster.scheduler_address, jobs=None)
        assert next(outcomes) == 1  # thread a call
        cluster.close()
        with pytest.raises(BackendError, match=r"^`backend` dask: expected a cluster that lives .* Received: .*$"):
            next(outcomes)


def test_an_unknown_backend_is_one_line(invoke: Invoke) -> None:
    result = invoke("study", "momentum", "--backend", "ray")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "'ray' is not one of 'loky', 'dask'" in result.stderr
    with pytest.raises(InvalidValueError, match=r"`backend`: expected one of loky, dask\. Received: 'ray'"):
        list(run_parallel(fatal, [(2,)], backend="ray", address=None, jobs=None))


def test_a_killed_worker_process_is_one_line() -> None:
    with pytest.raises(BackendError, match=r"^expected worker processes that live .* Received: one was killed.*$"):
        list(run_parallel(fatal, [(1,), (2,)], backend="loky", address=None, jobs=2))


def test_workers_that_grow_are_replaced() -> None:
    outcomes = run_parallel(grow, [(number,) for number in range(6)], backend="loky", address=None, jobs=2)
    assert sorted(outcomes) == list(range(6))


def test_a_sweep_on_workers_equals_one_in_this_process(invoke: Invoke, small_folder: Path) -> None:
    """In any order, and from workers that load the model themselves."""
    options = ("--step", 90, "--model", "mlp", "--limit", 200, "--data-dir", small_folder, "--quiet", "--json")
    reports: list[dict[str, object]] = []
    for workers in ((), ("--jobs", 2), ("--backend", "dask", "--jobs", 1)):
        result = invoke("sweep", "rotate", *options, *workers, "--out", f"sweep{len(reports)}")
        assert result.exit_code == 0, result.stderr
        reports.append({**json.loads(result.stdout), "folder": None})
    assert reports[1:] == reports[:1] * 2


def test_a_worker_that_does_not_see_the_folder_sends_it(
    small_folder: Path, small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial runs where no study is, and what it returns is pickled, as between machines."""
    changes = {"implementation": "numpy", "train_size": 100, "val_size": 50, "epochs": 1}
    study = StudyRun.create(tmp_path / "s", "momentum", seeds=1, changes=changes, dataset=small_fashion, resume=False)
    trial = next(study.trials())
    elsewhere = replace(trial, path=Path("/nowhere/study/trials") / trial.path.name)
    outcome = pickle.loads(pickle.dumps(trials._run_trial(elsewhere, small_folder, "cpu", threads=None)))
    assert (outcome.path, outcome.failure) == (elsewhere.path, None)
    write_folder(trial.path, outcome.files)
    assert trial.read()[1]["epochs"] == 1
    trial.path.joinpath("model.npz").unlink()
    write_folder(trial.path, outcome.files)
    assert trial.path.joinpath("model.npz").exists()
    assert [path.name for path in trial.path.parent.iterdir()] == [trial.path.name]


def test_a_worker_with_other_images_is_refused(small_folder: Path, small_fashion: Dataset, tmp_path: Path) -> None:
    study = StudyRun.create(tmp_path / "s", "momentum", seeds=1, changes={}, dataset=small_fashion, resume=False)
    trial = replace(next(study.trials()), sha256={"train images": "another"})
    outcome = trials._run_trial(trial, small_folder, "cpu", threads=None)
    assert "expected the dataset that the study began on. Received: " in str(outcome.failure)
    assert not trial.path.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--address", "tcp://127.0.0.1:1"), "--backend loky: expected no --address"),
        (("--backend", "dask", "--address", "tcp://127.0.0.1:1", "--jobs", 2), "--jobs: expected none with an"),
    ],
)
def test_options_that_do_not_go_together(
    invoke: Invoke, tmp_path: Path, options: tuple[str | int, ...], message: str
) -> None:
    result = invoke("study", "momentum", *options, "--out", "study")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("backend", "address", "absent", "message"),
    [
        ("dask", "tcp://127.0.0.1:1", None, "expected a Dask cluster at tcp://127.0.0.1:1. Received: "),
        ("dask", "nonsense", None, "expected a Dask cluster at nonsense. Received: "),
        ("dask", None, "distributed", "expected the package distributed. Received: none. Install it: pip install"),
    ],
)
def test_a_backend_that_is_not_there(
    invoke: Invoke,
    small_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    address: str | None,
    absent: str | None,
    message: str,
) -> None:
    monkeypatch.setitem(dask.config.config["distributed"]["comm"]["timeouts"], "connect", "1s")
    if absent:
        monkeypatch.setitem(sys.modules, absent, None)
    options = ("--backend", backend, *(("--address", address) if address else ()))
    result = invoke(*("study", *SMALL, "--data-dir", small_folder), *options)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"Error: --backend {backend}: {message}")
