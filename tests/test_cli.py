from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import keras
import matplotlib.image
import numpy as np
import pytest

from ood_fashion import paper
from ood_fashion.cli import main
from ood_fashion.datasets import Dataset
from ood_fashion.nn.models import build_model
from ood_fashion.specs import MODELS
from tests.conftest import Invoke

ROOT = Path(__file__).parents[1]
SMALL = ("--engine", "compiled", "--train-size", 400, "--val-size", 100, "--epochs", 3, "--seed", 11)


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize(
    ("path", "command"), commands(), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_is_explained(invoke: Invoke, path: tuple[str, ...], command: click.Command) -> None:
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Example:\s+ood-fashion {' '.join(path)}", result.stdout)
    for parameter in command.params:
        explained = (
            parameter.help if isinstance(parameter, click.Option) else parameter.human_readable_name in result.stdout
        )
        assert explained, f"{parameter.name} is not explained"
    documents = "".join(document.read_text() for document in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
    assert f"ood-fashion {' '.join(path)}" in documents
    assert len(command.get_short_help_str()) < 60
    assert not command.get_short_help_str().endswith("...")


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "params",
        "params --json",
        "data --help",
        "data",
        "train --help",
        "evaluate --help",
        "scratch mlp --help",
        "scratch mini-cnn --steps 9",
        "scratch perceptron --train-size 99",
        "scratch gradcheck",
        "sweep rotate --help",
    ],
)
def test_light_commands_import_neither_tensorflow_nor_matplotlib(arguments: str) -> None:
    program = (
        "import sys; from ood_fashion.cli import main; main(sys.argv[1:], standalone_mode=False); "
        "print([name for name in ('tensorflow', 'keras', 'matplotlib') if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments.split()], capture_output=True, text=True, check=True
    )
    assert result.stderr.splitlines()[-1] == "[]"


def test_the_module_is_the_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "ood_fashion", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("ood-fashion, version ")


def test_params(invoke: Invoke) -> None:
    text = invoke("params").stdout
    for line in (
        r"conv2d_1 +22x22x64 +\(7\*7\*1\+1\)\*64 = 3,200 +3,200",
        r"total +68,106",
        r"in the document +68,106",
    ):
        assert re.search(line, text)
    records = json.loads(invoke("params", "--json", "--verify").stdout)
    assert [record["model"] for record in records] == list(MODELS)
    assert {record["model"]: record["document"] for record in records if record["document"]} == paper.PARAMETERS
    assert all(record["verified"] and record["document"] in (None, record["parameters"]) for record in records)
    assert "in the document" not in invoke("params", "--model", "p4cnn").stdout
    assert [record["model"] for record in json.loads(invoke("params", "--model", "cnn2", "--json").stdout)] == ["cnn2"]


def test_params_verify_fails_on_a_difference(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ood_fashion.nn.models.build_model", lambda name: build_model(name, num_classes=11))
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


def test_preview_draws_a_picture(invoke: Invoke, tmp_path: Path) -> None:
    assert invoke("data", "--preview", "shifts.png", "--shift", "up4", "--shift", "rotate:45").exit_code == 0
    assert matplotlib.image.imread(tmp_path / "shifts.png").shape[2] == 4
    assert invoke("data", "--gallery", "corruptions.png").exit_code == 0
    assert matplotlib.image.imread(tmp_path / "corruptions.png").shape[2] == 4
    result = invoke("data", "--preview", "shifts.xyz")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "expected an ending among" in result.stderr


@pytest.fixture(scope="module")
def run_dir(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run that the command line made, with its JSON beside it."""
    folder = tmp_path_factory.mktemp("cli")
    options = ["--calibrate", "--data-dir", str(small_folder), "--out", "run", "--json"]
    arguments = ["train", "--model", "mlp", *map(str, SMALL), *options]
    # Keras set this one in our own process.
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-m", "ood_fashion", *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    (folder / "stdout.json").write_text(result.stdout)
    (folder / "stderr.txt").write_text(result.stderr)
    return folder / "run"


def test_train_keeps_result_and_progress_apart(run_dir: Path) -> None:
    document = json.loads((run_dir.parent / "stdout.json").read_text())
    assert document == {"run": "run", **json.loads((run_dir / "metrics.json").read_text())}
    lines = (run_dir.parent / "stderr.txt").read_text().splitlines()
    assert lines[0] == "Run folder: run"
    assert [line.split()[:2] for line in lines[1:]] == [["epoch", f"{n}/3"] for n in (1, 2, 3)]  # and no chatter


def test_train_as_a_person_sees_it(invoke: Invoke, small_folder: Path) -> None:
    arguments = ("--model", "mlp", *SMALL, "--data-dir", small_folder, "--quiet", "--no-early-stopping")
    result = invoke("train", *arguments, "--tensorboard")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert re.search(r"mlp: 3 epochs of 80 updates in \d+ s; kept the weights of epoch 3\.", result.stdout)
    assert re.search(r"rotate270 +0\.\d{4} +0\.\d{4} to 0\.\d{4} +200", result.stdout)
    assert "document" not in result.stdout  # these are not its data
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"\d{8}T\d{6}-mlp-s11", folder.name)
    assert list(folder.glob("tensorboard/validation/events.*"))
    assert "up4" in invoke("evaluate", "--shift", "up4", "--data-dir", small_folder).stdout  # the latest run


def test_the_documents_figures_stand_beside_those_of_its_data(invoke: Invoke) -> None:
    text = invoke("train", "--model", "cnn3", *SMALL[2:6], "--epochs", 1, "--quiet").stdout
    assert re.search(r"up4 +0\.\d{4} +0\.\d{4} to 0\.\d{4} +10,000 +0\.5653", text)
    assert re.search(r"rotate180 .* 0\.0465\*", text)
    assert text.rstrip().endswith("* a slip of the document: it repeats the figure for rotate270")


def test_evaluate(invoke: Invoke, run_dir: Path, small_folder: Path) -> None:
    result = invoke("evaluate", "--run", run_dir, "--all", "--data-dir", small_folder, "--json")
    short = ("shift", "accuracy", "correct", "n", "ci95")
    full = json.loads((run_dir / "metrics.json").read_text())["results"]
    metrics = {"results": [{name: record[name] for name in short} for record in full]}
    assert json.loads(result.stdout) == {"model": "mlp", **metrics}
    arguments = ("--model-file", run_dir / "model.keras", "--data-dir", small_folder, "--json")
    result = invoke("evaluate", *arguments, "--shift", "translate:0,-4", "--shift", "rotate:90", "--shift", "up4")
    document = json.loads(result.stdout)
    assert document["model"] == str(run_dir / "model.keras")
    assert document["results"] == metrics["results"][1:3]  # canonical names, none twice
    assert json.loads(invoke("evaluate", *arguments).stdout)["results"] == metrics["results"][:1]


def test_evaluate_in_every_way(invoke: Invoke, run_dir: Path, small_folder: Path) -> None:
    """What training has measured and fitted is what evaluation measures, and fits again."""
    arguments = ("evaluate", "--run", run_dir, "--all", "--metrics", "all", "--data-dir", small_folder)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert json.loads(invoke(*arguments, "--json").stdout)["results"] == metrics["results"]
    assert json.loads(invoke(*arguments, "--calibrate", "--json").stdout)["results"] == metrics["results"]
    text = invoke(*arguments).stdout
    assert re.search(r"rotate180 +0\.\d{4}( +\d\.\d{4}){5}", text)
    assert f"at temperature {metrics['temperature']:.3f}" in text
    assert f"at temperature {metrics['temperature']:.3f}" in invoke("train", "--resume", "--out", run_dir).stdout
    turned = json.loads(invoke(*arguments, "--tta", "c4", "--json").stdout)["results"]  # has another temperature
    assert "calibrated" not in turned[0]


def test_evaluate_averages_over_an_orbit(invoke: Invoke, run_dir: Path, small_folder: Path) -> None:
    arguments = ("--model-file", run_dir / "model.keras", "--data-dir", small_folder, "--tta", "c4", "--json")
    document = json.loads(invoke("evaluate", *arguments, "--all").stdout)
    assert document["tta"] == "c4"
    upright, _, *turned = (record["correct"] for record in document["results"])
    assert turned == [upright] * 3
    text = invoke("evaluate", *arguments[:-1], "--metrics", "all", "--shift", "rotate90").stdout
    assert f"{upright / 200:.4f}" in text


def test_resume_of_a_complete_run_shows_it(invoke: Invoke, run_dir: Path, small_folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run_dir.iterdir()}
    result = invoke("train", "--resume", "--out", run_dir, "--json")
    assert json.loads(result.stdout)["results"] == json.loads((run_dir / "metrics.json").read_text())["results"]
    assert before == {path: path.stat().st_mtime_ns for path in run_dir.iterdir()}


def test_resume_starts_a_run_where_there_is_none(invoke: Invoke, run_dir: Path, small_folder: Path) -> None:
    arguments = ("--model", "mlp", *SMALL, "--calibrate", "--data-dir", small_folder, "--quiet", "--json", "--resume")
    document = json.loads(invoke("train", *arguments, "--out", "new").stdout)
    assert document["results"] == json.loads((run_dir / "metrics.json").read_text())["results"]


def test_resume_knows_the_augmentations(invoke: Invoke, small_folder: Path) -> None:
    settings = ("--model", "mlp", *SMALL[2:6], "--epochs", 1, "--augment", "translate:2.0", "--augment", "rotate90")
    arguments = ("train", *settings, "--data-dir", small_folder, "--quiet", "--json", "--out", "run")
    document = json.loads(invoke(*arguments).stdout)
    assert json.loads(Path("run/config.json").read_text())["config"]["augment"] == ["translate:2", "rotate90"]
    assert json.loads(invoke(*arguments, "--resume").stdout) == document


@pytest.mark.parametrize("seconds_after_start", [0.0, 1.2])
def test_sigkill_then_resume_gives_the_same_bits(
    small_folder: Path, tmp_path: Path, seconds_after_start: float
) -> None:
    """Kill a real process after its first checkpoint or later, then finish its run by the same command and --resume."""
    settings = ["--model", "cnn2", "--train-size", "400", "--val-size", "100", "--epochs", "12", "--no-early-stopping"]
    command = [
        sys.executable,
        "-m",
        "ood_fashion",
        "train",
        *settings,
        "--data-dir",
        str(small_folder),
        "--quiet",
        "--json",
    ]

    def finish(out: str, *more: str) -> dict[str, Any]:
        done = subprocess.run([*command, "--out", out, *more], cwd=tmp_path, capture_output=True, text=True, check=True)
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    process = subprocess.Popen([*command, "--out", "killed"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed/checkpoint.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(seconds_after_start)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed/metrics.json").exists()
    resumed, undisturbed = finish("killed", "--resume"), finish("undisturbed")
    assert {**resumed, "run": ""} == {**undisturbed, "run": ""}
    weights = [
        keras.models.load_model(tmp_path / name / "model.keras").get_weights() for name in ("killed", "undisturbed")
    ]
    for received, expected in zip(*weights, strict=True):
        np.testing.assert_array_equal(received, expected)


def save_model(path: Path, input_shape: tuple[int, ...] = (784,), classes: int = 10) -> Path:
    model = keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(classes)])
    model.save(path)
    return path


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        ("train --model resnet", 2, "'resnet' is not one of 'mlp', 'cnn2', 'cnn3'"),
        ("train --batch-size 0", 2, "batch size: expected a whole number of 1 or more. Received: 0"),
        ("train --batch-size five", 2, "'five' is not a valid integer"),
        ("train --learning-rate -0.1", 2, "learning rate: expected a finite number above 0. Received: -0.1"),
        ("train --learning-rate nan", 2, "learning rate: expected"),
        ("train --momentum 1.0", 2, "momentum: expected a number from 0 to below 1. Received: 1.0"),
        ("train --patience 0", 2, "patience: expected a whole number of 1 or more or none. Received: 0"),
        ("train --patience 2 --no-early-stopping", 2, "exclude each other"),
        ("train --epochs 0", 2, "epochs: expected"),
        ("train --seed -1", 2, "seed: expected"),
        ("train --protocol huge", 2, "'huge' is not one of 'paper', 'full'"),
        ("train --train-size 60000", 1, "at most 60,000 training and validation images"),
        ("train --device gpu", 1, "--device gpu: expected a GPU that TensorFlow sees. Received: none"),
        ("train --out occupied", 1, "occupied: expected an empty or absent folder"),
        ("train --out file", 1, "file: expected a folder to write to. Received: File exists"),
        ("train --out /proc/run", 1, "/proc/run: expected a folder to write to. Received: "),
        ("train --augment translate:1.5", 2, "augment: expected translate:N with whole pixels N from 1 to 28."),
        ("train --augment flip", 2, "augment: expected translate:N, rotate90, mirror or rotate:D, with @SHARE or "),
        ("train --resume --out incomplete --augment mirror", 1, "Received: augment ['mirror'] instead of []"),
        ("train --resume --out incomplete --epochs 5", 1, "Received: epochs 5 instead of 30"),
        ("train --resume --out incomplete", 1, "incomplete: expected the dataset that the run began on"),
        ("train --data-dir absent", 1, "absent: expected train-images-idx3-ubyte"),
        ("evaluate", 1, "runs: expected a complete run. Received: none. Train one: ood-fashion train --model cnn3"),
        ("evaluate --run absent", 1, "absent: expected a run folder, with a config.json. Received: nothing there"),
        ("evaluate --run occupied", 1, "occupied: expected a run folder, with a config.json. Received: a folder"),
        ("evaluate --run incomplete", 1, "expected a complete run. Received: one without metrics.json. Finish it"),
        ("evaluate --run a --model-file b", 2, "exclude each other"),
        ("evaluate --calibrate --model-file b", 2, "--calibrate needs a run"),
        ("evaluate --model-file model.h5", 1, "expected a .keras file or a SavedModel folder. Received: .h5"),
        ("evaluate --model-file occupied", 1, "occupied: expected a SavedModel folder. Received: a folder without"),
        ("evaluate --data-dir a --dataset mnist", 2, "--data-dir and --dataset exclude each other"),
        ("data --dataset nonsense", 2, "expected one of TensorFlow Datasets, such as mnist, kmnist or emnist"),
        ("data --data-dir absent.npz", 1, "absent.npz: expected a readable .npz file. Received: No such file"),
        ("evaluate --tta c5", 2, "test-time orbit: expected c4, or translate:N with N from 1 to 14, and"),
        ("evaluate --model-file absent.keras", 1, "Received: nothing there"),
        ("evaluate --model-file shape.keras", 1, "expected an input of shape (n, 28, 28, 1)"),
        ("evaluate --model-file classes.keras", 1, "an output of shape (n, 10), a score per class"),
        ("evaluate --shift roate90", 2, "shift 'roate90': unknown."),
        ("evaluate --shift fog:6", 2, "at character 5 of 'fog:6': expected a severity from 0 to 5. Received: fog with"),
        ("evaluate --shift up4+fgo:1", 2, "'fgo:1', at character 5 of 'up4+fgo:1': unknown"),
        ("evaluate --shift translate:1", 2, "expected translate:DX,DY with finite numbers"),
        ("scratch mlp --minibatch-size 0", 2, "batch size: expected a whole number of 1 or more. Received: 0"),
        ("scratch mlp --dtype float16", 2, "'float16' is not one of 'float32', 'float64'"),
        ("scratch mlp --train-size 60000", 1, "at most 60,000 training and validation images"),
        ("scratch mlp --check-magnitude --train-size 50", 2, "expected more than 50 images. Received: 50"),
        ("scratch mlp --out occupied", 1, "occupied: expected an empty or absent folder"),
        ("scratch perceptron --kernel cubic", 2, "'cubic' is not one of 'linear', 'poly', 'rbf'"),
        ("scratch perceptron --kernel rbf --gamma 0", 2, 'gamma: expected "scale" or a finite number above 0'),
        ("scratch perceptron --epochs 0", 2, "0 is not in the range x>=1"),
        ("scratch perceptron --train-size 60001", 1, "at most 60,000"),
        ("scratch mini-cnn --learning-rate 0", 2, "0.0 is not in the range x>0"),
        ("scratch mini-cnn --learning-rate 1e300", 1, "training diverged: expected finite weights"),
        ("scratch gradcheck --seed -1", 2, "-1 is not in the range x>=0"),
        ("scratch gradcheck --data-dir absent", 1, "absent: expected train-images-idx3-ubyte"),
        ("scratch nonsense", 2, "No such command 'nonsense'"),
        ("data --data-dir occupied", 1, "occupied: expected train-images-idx3-ubyte"),
        ("data --export occupied", 1, "occupied: expected nothing there. Choose another --export, or delete it."),
        ("data --export x --format csv", 2, "'csv' is not one of 'npz', 'idx', 'tfds'"),
        ("data --preview absent/p.png", 1, "p.png: expected to be able to write it"),
        ("params --model x", 2, "'x' is not one of"),
        ("params extra", 2, "unexpected extra argument"),
        ("nonsense", 2, "No such command 'nonsense'"),
        ("--nonsense", 2, "No such option"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(invoke: Invoke, tmp_path: Path, arguments: str, exit_code: int, message: str) -> None:
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied/note.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    (tmp_path / "incomplete").mkdir()
    (tmp_path / "incomplete/config.json").write_text('{"config": {}, "dataset": {}}')
    if "shape.keras" in arguments:
        save_model(tmp_path / "shape.keras", input_shape=(32, 32, 1))
    if "classes.keras" in arguments:
        save_model(tmp_path / "classes.keras", classes=9)
    before = sorted(tmp_path.rglob("*"))
    result = invoke(*arguments.split())
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if not line.startswith(("Model: ", "Run folder: "))]
    assert len(errors) == 1, result.stderr
    assert errors[0].startswith("Error: ")
    assert message in errors[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_tensorboard_has_to_be_installed_for_its_logs_alone(
    invoke: Invoke, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    training = ["train", "--model", "mlp", *SMALL, "--data-dir", small_folder, "--out", "run"]
    result = invoke(*training, "--tensorboard")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "expected the package tensorboard. Received: none. Install it: pip install" in result.stderr
    assert not (tmp_path / "run").exists()
    assert invoke(*training).exit_code == 0


def test_divergence_is_one_line(invoke: Invoke, small_folder: Path) -> None:
    result = invoke(
        "train",
        "--model",
        "mlp",
        *SMALL,
        "--data-dir",
        small_folder,
        "--learning-rate",
        "1e30",
        "--quiet",
        "--out",
        "run",
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: training diverged in epoch 1: expected a finite loss. Received: nan.")
    assert result.stderr.count("\n") == 1
    assert Path("run/model.keras").exists()
    assert not Path("run/metrics.json").exists()


SCRATCH = ("scratch", "mlp", "--train-size", 400, "--val-size", 100, "--epochs", 3, "--out", "run")


def test_scratch_mlp(invoke: Invoke, small_folder: Path) -> None:
    result = invoke(*SCRATCH, "--data-dir", small_folder, "--check-gradient", "--check-magnitude")
    assert result.exit_code == 0, result.stderr
    assert re.search(r"mlp: 3 epochs of 80 updates in \d+ s; kept the weights of epoch [123]\.", result.stdout)
    assert re.search(r"rotate270 +0\.\d{4} +0\.\d{4} to 0\.\d{4} +200", result.stdout)
    assert len(re.findall(r"^MLP +L[12]\.[Wb] .* passed$", result.stderr, re.MULTILINE)) == 8
    assert re.search(r"epoch 3/3  loss \d\.\d{4} \(the document's sum \d\.\d{3}\)  accuracy 0\.\d{4}", result.stderr)
    files = ["accuracy.png", "config.json", "history.csv", "metrics.json", "model.npz", "predictions.npz"]
    assert sorted(path.name for path in Path("run").iterdir()) == ["MLP_lr0.01_b5.json", *files]
    assert matplotlib.image.imread("run/accuracy.png").shape[2] == 4
    result = invoke("evaluate", "--run", "run")
    assert result.stderr.startswith("Error: run: expected a run with a Keras model. Received: one of numpy.")
    result = invoke("train", "--resume", "--out", "run")
    assert "Received: implementation keras instead of numpy" in result.stderr


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


def test_a_group_without_a_command_shows_its_help(invoke: Invoke) -> None:
    result = invoke("scratch")
    assert result.output.startswith("Usage: ")
    assert result.exit_code == 2


def test_a_bug_is_one_line_unless_debugging(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr("ood_fashion.datasets.load_dataset", broken)
    result = invoke("data")
    assert result.exit_code == 1
    assert result.stderr == "Error: unexpected KeyError: 'surprise'. Show where: ood-fashion --debug data ...\n"
    assert isinstance(invoke("--debug", "data").exception, KeyError)


def test_interruption_exits_with_130(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ood_fashion.datasets.load_dataset", interrupted)
    result = invoke("data")
    assert (result.exit_code, result.stderr) == (130, "Error: interrupted.\n")


def test_a_closed_pipe_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ood_fashion", "params"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ},
    )
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate()
    assert b"Traceback" not in stderr
