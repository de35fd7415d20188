from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import keras
import matplotlib.image
import numpy as np
import pytest

from ood_fashion.data.dataset import Dataset
from ood_fashion.models.build import build_model
from ood_fashion.runs.config import TrainConfig
from tests.conftest import Invoke
from tests.records import write_run


@pytest.fixture(scope="module")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """An MLP and a CNN, untrained."""
    folder = tmp_path_factory.mktemp("models")
    small = keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.AveragePooling2D(7), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    for name, model in (("mlp", build_model("mlp", seed=5)), ("small", small)):
        model.save(folder / f"{name}.keras")
    return [folder / "mlp.keras", folder / "small.keras"]


@pytest.fixture
def options(model_files: list[Path], small_folder: Path) -> list[object]:
    return ["--model-file", model_files[0], "--model-file", model_files[1], "--data-dir", small_folder]


def test_a_translation_equals_evaluate(invoke: Invoke, options: list[object], small_folder: Path) -> None:
    result = invoke("sweep", "translate", "--max", 1, *options, "--json", "--out", "sweep")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert len(report["results"]) == 2 * 9
    for model in report["models"]:
        arguments = (
            "evaluate",
            "--model-file",
            model,
            "--data-dir",
            small_folder,
            "--shift",
            "translate:0,-1",
            "--json",
        )
        (expected,) = json.loads(invoke(*arguments).stdout)["results"]
        (received,) = (r for r in report["results"] if (r["model"], r["dx"], r["dy"]) == (model, 0, -1))
        assert received == {"model": model, "dx": 0, "dy": -1, **expected}
    assert matplotlib.image.imread("sweep/translate-axes.png").shape[2] == 4
    with Path("sweep/results.csv").open() as file:
        assert [int(row["correct"]) for row in csv.DictReader(file)] == [r["correct"] for r in report["results"]]


def test_a_model_trained_with_corruptions_of_the_sweep_is_marked(invoke: Invoke, small_fashion: Dataset) -> None:
    """Both runs have noise in training, and the sweeps one corruption that is noise, one that is not."""
    for path, augment in (("seen", ("noise:0.2", "mirror")), ("wave", ("wave:0.5",))):
        run = write_run(Path(path), small_fashion, TrainConfig(model="mlp", augment=augment), ("none",))
        build_model("mlp").save(run.model_path)
    arguments = ("sweep", "corruptions", "--run", "seen", "--run", "wave", "--limit", 20, "--reference", "wave")
    seen = invoke(*arguments, "--corruption", "shot_noise", "--corruption", "fog")
    assert seen.exit_code == 0, seen.stderr
    (row,) = re.findall(r"^seen +0\.\d+ .*", seen.stdout.partition("over all shifts")[2], re.MULTILINE)
    assert row.count("*") == 2  # mCE and relative mCE
    assert "\n* seen was trained with shot_noise.\n" in seen.stdout
    (wave,) = re.findall(r"^wave +0\.\d+ .*", seen.stdout.partition("over all shifts")[2], re.MULTILINE)
    assert "*" not in wave
    fog = invoke(*arguments, "--corruption", "fog", "--json")
    assert [row["seen"] for row in json.loads(fog.stdout)["over_shifts"]] == [[], []]


def test_the_same_command_again_measures_nothing(
    invoke: Invoke, options: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("sweep", "rotate", "--step", 90, *options, "--limit", 50, "--json")
    first = invoke(*arguments)
    assert first.exit_code == 0, first.stderr
    assert {row["n"] for row in json.loads(first.stdout)["results"]} == {50}

    def measured(*given: object) -> None:
        raise AssertionError

    monkeypatch.setattr("ood_fashion.evaluation.scorer.shift_within", measured)
    again = invoke(*arguments)
    assert again.stdout == first.stdout
    (folder,) = Path("sweeps").iterdir()
    assert again.stderr.startswith(f"Sweep folder: {folder}\n")
    assert {path.name for path in folder.iterdir()} == {
        "settings.json",
        "correct.jsonl",
        "results.csv",
        "results.json",
        "rotate.png",
        "in-domain.png",
    }


def test_as_a_person_sees_it(invoke: Invoke, options: list[object]) -> None:
    names = ("--corruption", "fog", "--corruption", "shear")
    result = invoke("sweep", "corruptions", *names, *options, "--quiet", "--out", "out")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "Sweep folder: out\n"
    assert np.sum([line.startswith("fog ") for line in result.stdout.splitlines()]) == 2
    assert result.stdout.count("the worst of all 11") == result.stdout.count("the worst of 10 random") == 2
    assert Path("out/in-domain.png").exists()
    rotated = ("sweep", "rotate", "--step", 90, *options, "--quiet")
    text = invoke(*rotated).stdout
    assert "rotate270" in text
    first, second = options[1], options[3]
    assert f"mCE: errors as multiples of those of {first}, which so has 1." in text
    reports = [json.loads(invoke(*rotated, "--json", "--reference", name).stdout) for name in (first, second)]
    (a, b), (c, d) = (report["over_shifts"] for report in reports)
    assert a["mce"] == d["mce"] == 1
    assert b["mce"] == pytest.approx(1 / c["mce"], rel=0.2)  # the mean of ratios is not the ratio of means
    assert reports[1]["reference"] == str(second)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        ("sweep translate --max -1", 2, "--max: expected a whole number from 0 to 100. Received: -1"),
        ("sweep rotate --step 0", 2, "--step: expected degrees from 0.1 to 360. Received: 0.0"),
        ("sweep rotate --step nan", 2, "--step: expected degrees from 0.1 to 360. Received: nan"),
        ("sweep rotate --limit 0", 2, "0 is not in the range x>=1"),
        ("sweep corruptions --corruption fgo", 2, "'fgo' is not one of 'gaussian_noise'"),
        ("sweep rotate", 1, "no trained run in runs. Train one with ood-fashion train, or use a model"),
        (
            "sweep rotate --model-file absent.keras",
            1,
            "absent.keras: expected a run folder, a model file, or one of cnn2",
        ),
        ("sweep rotate --run absent", 1, "absent: expected a run folder"),
        ("sweep rotate --model-file M --model-file M", 1, "expected every model once. Received: "),
        ("sweep rotate --model-file M --reference mlp", 2, "--reference: expected one of /"),
        ("sweep rotate --model-file M --out occupied", 1, "occupied: expected an absent or empty folder"),
    ],
)
def test_bad_input_is_one_line(
    invoke: Invoke, model_files: list[Path], tmp_path: Path, arguments: str, exit_code: int, message: str
) -> None:
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied/note.txt").write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    result = invoke(*(model_files[0] if word == "M" else word for word in arguments.split()))
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_kind_it_explains_itself(invoke: Invoke) -> None:
    result = invoke("sweep")
    assert result.exit_code == 2
    assert result.output == invoke("sweep", "--help").stdout
