from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import matplotlib.image
import pytest

from ood_fashion.cli.scratch import gradcheck, mini_cnn, perceptron
from ood_fashion.data.sources import load_dataset
from ood_fashion.runs.config import MLP_PROTOCOL, TrainConfig
from ood_fashion.studies.exercises import check_everything, train_mini_cnn, train_perceptron
from tests.conftest import Invoke

SCRATCH = ("scratch", "mlp", "--train-size", 400, "--val-size", 100, "--epochs", 3, "--out", "run")


def test_scratch_mlp(invoke: Invoke, small_folder: Path) -> None:
    result = invoke(*SCRATCH, "--data-dir", small_folder, "--check-gradient", "--check-magnitude")
    assert result.exit_code == 0, result.stderr
    assert re.search(r"mlp: 3 epochs of 80 updates in \d+ s; kept the weights of epoch [123]\.", result.stdout)
    assert re.search(r"rotate270 +0\.\d{4} +0\.\d{4} to 0\.\d{4} +200", result.stdout)
    assert len(re.findall(r"^MLP +L[12]\.[Wb] .* passed$", result.stderr, re.MULTILINE)) == 8
    assert re.search(r"epoch 3/3  loss \d\.\d{4} \(the assignment's sum \d\.\d{3}\)  accuracy 0\.\d{4}", result.stderr)
    files = ["accuracy.png", "config.json", "history.csv", "metrics.json", "model.npz", "predictions.npz"]
    assert sorted(path.name for path in Path("run").iterdir()) == ["MLP_lr0.01_b5.json", *files]
    assert matplotlib.image.imread("run/accuracy.png").shape[2] == 4
    result = invoke("evaluate", "--run", "run")
    assert result.stderr.startswith("Error: run: expected a run with a Keras model. Received: one of numpy.")
    result = invoke("train", "--resume", "--out", "run")
    assert "Received: implementation keras instead of numpy" in result.stderr


def test_a_killed_scratch_mlp_is_finished_by_resume(invoke: Invoke, small_folder: Path) -> None:
    arguments = (*SCRATCH, "--minibatch-size", 50, "--data-dir", small_folder, "--json")
    document = json.loads(invoke(*arguments).stdout)
    weights = Path("run/model.npz").read_bytes()
    for left in ("metrics.json", "model.npz", "accuracy.png"):
        Path("run", left).unlink()
    refused = invoke("report", "run", "--data-dir", small_folder)
    assert refused.stderr.endswith("Finish it: ood-fashion scratch mlp --resume --out run\n")
    assert "Received: an unfinished run. Resume it, or choose another folder." in invoke(*arguments).stderr
    assert json.loads(invoke(*arguments, "--resume").stdout) == document
    assert Path("run/model.npz").read_bytes() == weights
    Path("run/accuracy.png").rename("run/.tmp-1-accuracy.png")  # as a kill leaves it
    assert json.loads(invoke("scratch", "mlp", "--resume", "--out", "run", "--data-dir", small_folder, "--json").stdout)
    assert Path("run/accuracy.png").exists()
    assert not list(Path("run").glob(".tmp-*"))


def test_scratch_mlp_says_nothing_but_its_result_when_quiet(invoke: Invoke, small_folder: Path) -> None:
    result = invoke(
        *SCRATCH, "--data-dir", small_folder, "--minibatch-size", 50, "--check-gradient", "--quiet", "--json"
    )
    assert result.stderr == ""
    document = json.loads(result.stdout)
    assert [check["passed"] for check in document.pop("checks")] == [True] * 4
    assert document == {"run": "run", **json.loads(Path("run/metrics.json").read_text())}
    assert json.loads(Path("run/MLP_lr0.01_b50.json").read_text()).keys() == {"train", "val", "test", "time"}


def test_scratch_mlp_diverges_in_one_line(invoke: Invoke, small_folder: Path) -> None:
    result = invoke(*SCRATCH, "--data-dir", small_folder, "--learning-rate", "1e30", "--quiet")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("Error: training diverged in epoch 1: expected a finite loss. Received: ")


def test_a_wrong_gradient_fails_the_checks(invoke: Invoke, small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ood_fashion.from_scratch.layers.ReLU.backward", lambda self, gradient: gradient)
    for command in (("scratch", "gradcheck"), (*SCRATCH, "--check-gradient")):
        result = invoke(*command, "--data-dir", small_folder)
        assert result.exit_code == 1
        assert "FAILED" in result.output
        assert re.search(
            r"Error: expected all \d+ checks to pass\. Received: 2 that failed: MLP L1.W \(", result.stderr
        )
    assert not Path("run").exists()


def test_scratch_gradcheck(invoke: Invoke) -> None:
    result = invoke("scratch", "gradcheck")
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(re.findall("passed$", result.stdout, re.MULTILINE)) == 11
    assert len(json.loads(invoke("scratch", "gradcheck", "--json").stdout)) == 11


@pytest.mark.parametrize(
    ("command", "function"),
    [
        (perceptron, train_perceptron),
        (mini_cnn, train_mini_cnn),
        (gradcheck, check_everything),
    ],
)
def test_the_command_line_has_the_defaults_of_python(command: click.Command, function: Callable[..., Any]) -> None:
    shown = {option.name: option.default for option in command.params if isinstance(option, click.Option)}
    defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    numbers = {name: default for name, default in defaults.items() if isinstance(default, int | float)}
    assert "seed" in numbers
    assert {name: shown[name] for name in numbers} == numbers


def test_the_help_of_scratch_mlp_has_the_defaults_of_its_runs(invoke: Invoke) -> None:
    text = " ".join(invoke("scratch", "mlp", "--help").stdout.split())
    shown = dict(re.findall(r"--([\w-]+) (?:INTEGER|FLOAT) [^\[]*\[default: ([\d.]+)\]", text))
    config = TrainConfig(**MLP_PROTOCOL)
    assert {"seed", "epochs", "minibatch-size"} <= shown.keys()
    for option, default in shown.items():
        field = "batch_size" if option == "minibatch-size" else option.replace("-", "_")
        assert float(default) == getattr(config, field)


def test_a_perceptron_from_python_is_that_of_the_command_line(invoke: Invoke, small_folder: Path) -> None:
    dataset = load_dataset(small_folder)
    result = invoke("scratch", "perceptron", "--data-dir", small_folder, "--train-size", 300, "--quiet", "--json")
    shown, record = json.loads(result.stdout), train_perceptron(dataset, train_size=300)
    assert {**shown, "seconds": 0} == {**record.to_json(), "seconds": 0}


def test_scratch_perceptron(invoke: Invoke, small_folder: Path) -> None:
    arguments = ("scratch", "perceptron", "--data-dir", small_folder, "--train-size", 500, "--epochs", 2)
    result = invoke(*arguments)
    assert "multiclass perceptron: 2 epochs over 500 images" in result.stdout
    assert re.search(r"test accuracy 0\.\d{4}  \(95% interval 0\.\d{4} to 0\.\d{4}, n = 200\)", result.stdout)
    assert re.search(r"epoch 2/2  mistakes \d+ of 500", result.stderr)
    result = invoke(*arguments, "--kernel", "poly", "--degree", 2)
    assert re.search(r"kernel perceptron, poly kernel: .* \d+ support vectors\.", result.stdout)
    record = json.loads(invoke(*arguments, "--kernel", "rbf", "--gamma", 0.02, "--quiet", "--json").stdout)
    assert (record["gamma"], record["kernel"], record["epochs"]) == (0.02, "rbf", 2)


def test_scratch_mini_cnn(invoke: Invoke) -> None:
    assert "mini CNN: 5 starts of 10,000 updates each" in invoke("scratch", "mini-cnn").stdout
    record = json.loads(invoke("scratch", "mini-cnn", "--steps", 50, "--restarts", 2, "--json").stdout)
    assert len(record["losses"]) == 2
