from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib.image
import pytest

from ood_fashion.data.dataset import Dataset
from ood_fashion.models.build import build_model
from ood_fashion.models.specs import MODELS
from ood_fashion.studies import assignment
from tests.conftest import Invoke


def test_params(invoke: Invoke) -> None:
    text = invoke("params").stdout
    for line in (
        r"conv2d_1 +22x22x64 +\(7\*7\*1\+1\)\*64 = 3,200 +3,200",
        r"total +68,106",
        r"in the assignment +68,106",
    ):
        assert re.search(line, text)
    records = json.loads(invoke("params", "--json", "--verify").stdout)
    assert [record["model"] for record in records] == list(MODELS)
    assert {record["model"]: record["document"] for record in records if record["document"]} == assignment.PARAMETERS
    assert all(record["verified"] and record["document"] in (None, record["parameters"]) for record in records)
    assert "in the assignment" not in invoke("params", "--model", "p4cnn").stdout
    assert [record["model"] for record in json.loads(invoke("params", "--model", "cnn2", "--json").stdout)] == ["cnn2"]


def test_params_verify_fails_on_a_difference(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ood_fashion.models.build.build_model", lambda name: build_model(name, num_classes=11))
    result = invoke("params", "--model", "mlp", "--verify")
    assert result.exit_code == 1
    assert "expected ('logits_3', (10,), 1290) from the formulas. Received: ('logits_3', (11,), 1419)" in result.stderr


def test_data(invoke: Invoke, fashion: Dataset) -> None:
    text = invoke("data").stdout
    assert f"Source:  {fashion.source}" in text
    assert "genuine Fashion-MNIST" in text
    assert re.search(r"Ankle boot +6,000 +1,000", text)
    record = json.loads(invoke("data", "--json").stdout)
    assert (record["genuine"], record["images"], record["image_shape"]) == (
        True,
        {"train": 60_000, "test": 10_000},
        [28, 28],
    )


def test_data_says_that_other_content_is_not_genuine(invoke: Invoke, small_folder: Path) -> None:
    result = invoke("data", "--data-dir", small_folder)
    assert "not Fashion-MNIST as published" in result.stdout
    assert result.exit_code == 0


def test_preview_draws_a_picture(
    invoke: Invoke, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OOD_FASHION_DATA", str(small_folder))
    assert invoke("data", "--preview", "shifts.png", "--shift", "up4", "--shift", "rotate:45").exit_code == 0
    assert matplotlib.image.imread(tmp_path / "shifts.png").shape[2] == 4
    assert invoke("data", "--gallery", "corruptions.png").exit_code == 0
    assert matplotlib.image.imread(tmp_path / "corruptions.png").shape[2] == 4
    result = invoke("data", "--preview", "shifts.xyz")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "expected an ending among" in result.stderr
