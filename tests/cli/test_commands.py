from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import keras
import matplotlib.image
import numpy as np
import pytest

from ood_fashion.cli import main
from ood_fashion.data.dataset import Dataset
from ood_fashion.runs.config import SETTINGS, TrainConfig
from tests.conftest import Invoke
from tests.records import write_run

ROOT = Path(__file__).parents[2]
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
        if isinstance(parameter, click.Option) and parameter.hidden:  # an older spelling
            continue
        explained = (
            parameter.help if isinstance(parameter, click.Option) else parameter.human_readable_name in result.stdout
        )
        assert explained, f"{parameter.name} is not explained"
    documents = "".join(document.read_text() for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    assert f"ood-fashion {' '.join(path)}" in documents
    assert len(command.get_short_help_str()) < 60
    assert not command.get_short_help_str().endswith("...")


def test_every_setting_has_an_option() -> None:
    options = {option.name: option for option in main.commands["train"].params if isinstance(option, click.Option)}
    assert SETTINGS.keys() - options.keys() == {"implementation", "dtype"}
    for name in SETTINGS.keys() & options.keys():
        field, option = SETTINGS[name], options[name]
        assert option.opts == [f"--{name.replace('_', '-')}"]
        assert str(option.help).startswith(field.metadata["help"])
        assert ("[default: " in str(option.help)) == (field.default not in (None, ()) and field.default is not False)
        assert tuple(getattr(option.type, "choices", ())) == field.metadata["rule"].choices
        assert option.is_flag == isinstance(field.default, bool)


LIGHT = (
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
)


def test_light_commands_import_neither_tensorflow_nor_matplotlib(small_folder: Path) -> None:
    """They run one after another in a process, for what none of them imports, each of them does not."""
    assert_import_none_of(("tensorflow", "keras", "matplotlib"), LIGHT, small_folder)


def test_help_waits_for_no_library_of_algorithms(small_folder: Path) -> None:
    names = ("scipy", "skimage", "joblib", "tensorflow", "matplotlib", "PIL", "urllib.request")
    assert_import_none_of(names, ("--help",), small_folder)


def assert_import_none_of(names: tuple[str, ...], commands: tuple[str, ...], data: Path) -> None:
    program = f"""import sys
from ood_fashion.cli import main
for arguments in {commands}:
    main(arguments.split(), standalone_mode=False)
    print(arguments, [name for name in {names} if name in sys.modules], file=sys.stderr)"""
    environment = {**os.environ, "OOD_FASHION_DATA": str(data)}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    shown = [line for line in result.stderr.splitlines() if line.endswith("]")]
    assert shown == [f"{arguments} []" for arguments in commands]


def test_the_module_is_the_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "ood_fashion", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("ood-fashion, version ")


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


def test_the_assignments_figures_stand_beside_those_of_its_protocol(invoke: Invoke, fashion: Dataset) -> None:
    write_run(Path("other"), fashion, TrainConfig(model="cnn3", epochs=1))
    assert "document" not in invoke("train", "--resume", "--out", "other").stdout
    write_run(Path("run"), fashion, TrainConfig(model="cnn3", seed=7))
    text = invoke("train", "--resume", "--out", "run").stdout
    assert re.search(r"up4 +0\.\d{4} +0\.\d{4} to 0\.\d{4} +10,000 +0\.5653", text)
    assert re.search(r"rotate180 .* 0\.0465\*", text)
    assert text.rstrip().endswith("* a slip of the assignment: it repeats the accuracy for rotate270")


def test_evaluate(invoke: Invoke, run_dir: Path, small_folder: Path) -> None:
    result = invoke("evaluate", "--run", run_dir, "--all", "--data-dir", small_folder, "--json")
    short = ("shift", "accuracy", "correct", "n", "ci95")
    full = json.loads((run_dir / "metrics.json").read_text())["results"]
    metrics = {"results": [{name: record[name] for name in short} for record in full]}
    assert json.loads(result.stdout) == {"schema": 1, "model": "mlp", **metrics}
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


def test_a_group_without_a_command_shows_its_help(invoke: Invoke) -> None:
    result = invoke("scratch")
    assert result.output.startswith("Usage: ")
    assert result.exit_code == 2


def test_a_bug_is_one_line_unless_debugging(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr("ood_fashion.data.sources.load_dataset", broken)
    result = invoke("data")
    assert result.exit_code == 1
    assert result.stderr == "Error: unexpected KeyError: 'surprise'. Show where: ood-fashion --debug data ...\n"
    assert isinstance(invoke("--debug", "data").exception, KeyError)


def test_a_bug_with_a_long_story_is_one_line(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("Graph execution error:\n\n  detected at node" + "\n  of a graph" * 1000)

    monkeypatch.setattr("ood_fashion.data.sources.load_dataset", broken)
    (line,) = invoke("data").stderr.splitlines()
    assert line.startswith("Error: unexpected RuntimeError: Graph execution error: detected at node of a graph of a")
    assert line.endswith(" [...]. Show where: ood-fashion --debug data ...")
    assert len(line) < 700


def test_interruption_exits_with_130(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ood_fashion.data.sources.load_dataset", interrupted)
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


def test_a_strangers_model_is_refused_by_an_older_keras(
    invoke: Invoke, run_dir: Path, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is trusted; a run's own is safe, since its weights alone are read."""
    picture = str(tmp_path / "shoe.png")
    matplotlib.image.imsave(picture, np.arange(784).reshape(28, 28), cmap="gray")
    strange = str(shutil.copy(run_dir / "model.keras", tmp_path / "strange.keras"))
    data = ("--data-dir", str(small_folder))
    commands = [
        ("evaluate", "--model-file", strange, *data),
        ("evaluate", "--run", str(tmp_path / "s*.keras"), *data),
        ("predict", picture, "--model-file", strange),
        ("sweep", "rotate", "--step", "180", "--model-file", strange, "--out", "swept", *data),
        ("compare", strange, str(run_dir), "--shift", "up4", *data),
    ]
    monkeypatch.setattr(keras, "__version__", "3.14.1")
    for command in commands:
        refused = invoke(*command)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert re.search(r"strange\.keras: expected Keras 3\.15 .* Received: Keras 3\.14\.1, .* trust", refused.stderr)
        assert invoke(*command, "--trust").exit_code == 0
    assert invoke("evaluate", "--run", run_dir, *data).exit_code == 0
    monkeypatch.setattr(keras, "__version__", "3.15.0")
    assert invoke(*commands[0]).exit_code == 0
