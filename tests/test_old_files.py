"""Folders that commit 8e9d27b wrote, whose modules lay elsewhere, are opened, gone on with and reported.

old_files.tar.xz has a run of Keras, one of NumPy, one that was stopped after two of four epochs, a study, a sweep and a
reproduction, all on the 150 + 40 images of data.npz. Pictures, and the models of trainings in studies, were left out.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ood_fashion as ood
from tests.conftest import Invoke


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(Path(__file__).with_name("old_files.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def old(unpacked: Path, tmp_path: Path) -> Path:
    """Copy the folders to where `invoke` works."""
    shutil.copytree(unpacked, tmp_path, dirs_exist_ok=True)
    return tmp_path


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", ["run", "numpy-run"])
def test_a_run(old: Path, name: str) -> None:
    run = ood.load_run(old / name)
    assert len(run.history) == 2
    assert [row.accuracy for row in run.results] == [
        record["accuracy"] for record in read(old / name / "metrics.json")["results"]
    ]


def test_a_model(old: Path) -> None:
    run = ood.load_run(old / "run")
    measured = ood.evaluate(run, data=old / "data.npz", metrics="all")
    for row, saved in zip(measured, run.results, strict=True):
        assert (row.shift, row.correct) == (saved.shift, saved.correct)
        assert row.nll == pytest.approx(saved.nll, rel=1e-5)
    np.testing.assert_array_equal(ood.load_model(old / "run/model.keras").get_weights()[0], run.model.get_weights()[0])


def test_an_unfinished_run_is_finished(old: Path, invoke: Invoke) -> None:
    before = (old / "unfinished/history.csv").read_text()
    result = invoke("train", "--resume", "--out", "unfinished", "--data-dir", "data.npz", "--quiet")
    assert result.exit_code == 0, result.stderr
    after = (old / "unfinished/history.csv").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 1 + 4
    assert not (old / "unfinished/checkpoint.npz").exists()


def test_a_study(old: Path, invoke: Invoke) -> None:
    summary = read(old / "study/summary.json")
    result = invoke("study", "momentum", "--resume", "--jobs", 1, "--out", "study", "--data-dir", "data.npz", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == summary == read(old / "study/summary.json")
    compared = invoke("compare", "study/trials/0.0-s1", "study/trials/0.9-s1", "--data-dir", "data.npz")
    assert compared.exit_code == 0, compared.stderr


def test_a_sweep(old: Path, invoke: Invoke) -> None:
    """Nothing is measured again."""
    correct, results = (old / "sweep/hits.jsonl").read_bytes(), read(old / "sweep/results.json")
    arguments = ("--step", 90, "--run", "run", "--data-dir", "data.npz", "--out", "sweep", "--json")
    result = invoke("sweep", "rotate", *arguments)
    assert result.exit_code == 0, result.stderr
    for key in ("results", "reference"):
        assert json.loads(result.stdout)[key] == results[key]
    assert (old / "sweep/hits.jsonl").read_bytes() == correct


@pytest.mark.usefixtures("few_figures")
@pytest.mark.parametrize("name", ["run", "numpy-run", "study", "sweep", "reproduction"])
def test_a_report(old: Path, invoke: Invoke, name: str) -> None:
    result = invoke("report", name, "--data-dir", "data.npz")
    if name == "reproduction":  # whose CNN-3 needs larger images
        assert result.exit_code == 1
        assert "1 trainings cannot be read and are left out: reproduction/shifts/trials/cnn3-s1" in result.stderr
    else:
        assert result.exit_code == 0, result.stderr
    assert (old / name / "report.html").stat().st_size > 10_000
