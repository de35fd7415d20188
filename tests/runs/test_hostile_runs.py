"""Run folders made to harm."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ood_fashion.data.dataset import Dataset
from ood_fashion.data.readers import read_npz
from ood_fashion.runs.run import Run
from tests.hostile import (
    JSON,
    archive,
    check_refused,
    damaged,
    npy,
    places,
    put,
    read_or_refuse,
)
from tests.records import write_run


class Bomb:
    """Pickles to a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def run(small_fashion: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_run(tmp_path_factory.mktemp("hostile-run") / "run", small_fashion)


def read_everything(run: Run) -> None:
    from ood_fashion.reports import tables

    run = Run.open(run.path)
    _ = run.class_names
    run.read_predictions()
    tables.run_report(run, run.read_history(), run.read_metrics())


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@given(data=st.data())
def test_documents_of_a_run(run: Run, name: str, data: st.DataObject) -> None:
    path = run.path / name
    whole = path.read_bytes()
    document = json.loads(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(places(document))))
        container[key] = data.draw(JSON)
    try:
        path.write_text(json.dumps(document))
        read_or_refuse(lambda: read_everything(run), run.path)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "history.csv", "predictions.npz"])
@given(data=st.data())
def test_damaged_files_of_a_run(run: Run, name: str, data: st.DataObject) -> None:
    path = run.path / name
    whole = path.read_bytes()
    try:
        path.write_bytes(data.draw(damaged(whole)))
        read_or_refuse(lambda: read_everything(run), run.path)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"[" * 1_000_000),
        ("config.json", b"{" + b" " * 40_000_000 + b"}"),
        ("metrics.json", b'{"a":' * 100_000),
        ("metrics.json", b'{"results": [], "training": NaN}'),
        ("history.csv", b"epoch," + b"9" * 1_000_000),
        ("history.csv", b"epoch,loss,accuracy,val_loss,val_accuracy,seconds\n1,2,3,4,5,inf\n"),
    ],
)
def test_documents_that_no_training_leaves(run: Run, name: str, content: bytes) -> None:
    path = run.path / name
    whole = path.read_bytes()
    try:
        path.write_bytes(content)
        check_refused(lambda: read_everything(run), run.path)
    finally:
        path.write_bytes(whole)


def test_pickles_are_left_alone(hostile_folder: Path, run: Run, tmp_path: Path) -> None:
    objects = io.BytesIO()
    np.save(objects, np.array([Bomb(hostile_folder / "exploded")], object), allow_pickle=True)
    hostile = objects.getvalue()
    named = {"x_test": hostile, "y_test": npy("(1,)") + b"\0", "none/classes": hostile, "none/confidences": hostile}
    for content in (pickle.dumps(Bomb(hostile_folder / "exploded")), archive(**named)):
        path = put(hostile_folder, "pickled.npz", content)
        check_refused(lambda path=path: read_npz(path), hostile_folder)  # type: ignore[misc]
        copy = Run(Path(shutil.copytree(run.path, tmp_path / "copy", dirs_exist_ok=True)))
        for name, read in (("predictions.npz", copy.read_predictions), ("checkpoint.npz", copy.read_checkpoint)):
            put(copy.path, name, content)
            check_refused(read, hostile_folder)
