"""The examples in docs/, run as their users run them, on few images."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.datasets import load_digits

from ood_fashion.shifts.corruptions import CORRUPTIONS
from ood_fashion.shifts.shift import TEST_SETS
from tests.conftest import Invoke, write_idx_folder

EXAMPLES = Path(__file__).parents[1] / "docs/examples"


def run(example: str, folder: Path, *arguments: str, **variables: object) -> str:
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def accuracies(table: str) -> dict[str, float]:
    return {name: float(number) for name, number in re.findall(r"^(\S+).*? +(\d\.\d{4}) +\d\.\d{4} to", table, re.M)}


def test_a_keras_model_of_another_program(small_folder: Path, tmp_path: Path, invoke: Invoke) -> None:
    """The example does not import this package, and finds the data where Keras keeps them."""
    assert "import ood_fashion" not in (example := (EXAMPLES / "keras_model.py").read_text())
    assert "from ood_fashion" not in example
    cache = tmp_path / "keras/datasets/fashion-mnist"
    shutil.copytree(small_folder, cache)
    run("keras_model.py", tmp_path, KERAS_HOME=tmp_path / "keras", TF_CPP_MIN_LOG_LEVEL=3)
    results = []
    for name in ("my_model.keras", "my_saved_model"):
        done = invoke("evaluate", "--model-file", name, "--all", "--data-dir", small_folder, "--json")
        assert done.exit_code == 0, done.stderr
        results.append(json.loads(done.stdout)["results"])
    assert results[0] == results[1]
    same = invoke("compare", "my_model.keras", "my_saved_model", "--data-dir", small_folder, "--shift", "up4", "--json")
    assert json.loads(same.stdout)["results"][0]["difference"] == 0
    sweep = ("sweep", "corruptions", "--corruption", "fog", "--corruption", "shear", "--limit", 20, "--quiet", "--json")
    done = invoke(*sweep, "--data-dir", small_folder, "--model-file", "my_saved_model")
    assert done.exit_code == 0, done.stderr
    assert len(json.loads(done.stdout)["results"]) == 1 + 5 * 2
    assert [record["shift"] for record in results[0]] == list(TEST_SETS)
    assert results[0][0]["accuracy"] > 0.4 > results[0][2]["accuracy"]


@pytest.mark.parametrize("example", ["scikit_learn_model.py", "pytorch_model.py"])
def test_a_model_in_a_callable(small_folder: Path, tmp_path: Path, example: str) -> None:
    """Under the assignment's sets, and under every corruption."""
    if example == "pytorch_model.py":
        pytest.importorskip("torch", reason="PyTorch is in the extra bench, for it takes gigabytes")
    suite = [f"{name}:3" for name in CORRUPTIONS]
    shown = accuracies(run(example, tmp_path, *TEST_SETS, *suite, OOD_FASHION_DATA=small_folder))
    assert list(shown) == [*TEST_SETS, *suite]
    assert shown["none"] > 0.5 > shown["rotate90"]


def test_digits_of_8x8_pixels(tmp_path: Path, invoke: Invoke) -> None:
    """scikit-learn's digits, 8x8, as IDX files: trained on and evaluated, without a size being said anywhere."""
    images, labels = load_digits().images, load_digits().target
    pixels = (images * 255 / 16).round().astype("uint8")
    write_idx_folder(
        tmp_path / "digits",
        {
            "train images": pixels[:1_500],
            "train labels": labels[:1_500].astype("uint8"),
            "test images": pixels[1_500:],
            "test labels": labels[1_500:].astype("uint8"),
        },
    )
    sizes = ("--train-size", 1_300, "--val-size", 200, "--epochs", 9)
    done = invoke("train", "--model", "mlp", *sizes, "--data-dir", "digits", "--out", "run", "--quiet")
    assert done.exit_code == 0, done.stderr
    done = invoke("evaluate", "--run", "run", "--all", "--data-dir", "digits", "--json")
    results = {record["shift"]: record for record in json.loads(done.stdout)["results"]}
    assert results["none"]["n"] == 297
    assert results["none"]["accuracy"] > 0.85 > results["rotate90"]["accuracy"]
    done = invoke("evaluate", "--run", "run")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 2)
    assert "expected an input of shape (n, 28, 28, 1)" in done.stderr
    assert "as the data are: 28x28 pixels, 1 channel, 10 classes. Received: (None, 8, 8, 1)" in done.stderr
    assert "Name the model's data with --data-dir or --dataset" in done.stderr
