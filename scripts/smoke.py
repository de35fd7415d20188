"""Use the installed package as people do, and note what it measures; scripts/test_versions.sh runs it in environments.

measure FOLDER NOTEBOOK  runs commands and a notebook, and writes what they leave, with numbers.json, into a new folder
exchange FOLDER ...    opens in one environment the models that every environment has written
differences FOLDER ... says where the environments' numbers differ; docs/reliability.md says why they may
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.testing import CliRunner
from numpy.typing import NDArray

import ood_fashion as api
from ood_fashion.cli import main as ood
from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.data.sources import load_dataset
from ood_fashion.runs.search import pretrained_runs
from ood_fashion.shifts.corruptions import CORRUPTIONS, SEVERITIES
from ood_fashion.shifts.shift import TEST_SETS, Shift

PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "scikit-image", "h5py", "click", "pillow", "protobuf",
            "matplotlib", "tabulate", "tensorflow-datasets")  # fmt: skip
IMAGES = 1_000
"""Test images that the package's own models are asked about, under each of the assignment's test sets."""
PIXELS = 500
"""Test images whose pixels are compared, under every corruption at every severity."""
GEOMETRIC = ("up4", "rotate90", "rotate:45", "translate:2,-1.5", "rotate:10+fog:3")
SMALL = ("--data-dir", "small.npz", "--train-size", "400", "--val-size", "100")


def run(*arguments: str, exit_code: int = 0) -> Any:
    """Run a command of the command line in this process; return its JSON where it was asked for, else its text."""
    result = CliRunner().invoke(ood, arguments)
    if result.exit_code != exit_code or "unexpected" in result.stderr:
        raise click.ClickException(f"ood-fashion {' '.join(arguments)}: exit code {result.exit_code}\n{result.output}")
    if exit_code:
        return result.stderr
    return json.loads(result.stdout) if "--json" in arguments else result.stdout


def digest(arrays: Iterable[NDArray[Any]]) -> str:
    """Return a hash of arrays' bytes."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def correct(*arguments: str) -> dict[str, int]:
    """Evaluate a model on the assignment's five test sets; return how many images it recognises in each."""
    document = run("evaluate", *arguments, "--all", "--data-dir", "small.npz", "--json")
    return {record["shift"]: record["correct"] for record in document["results"]}


@click.group(help=__doc__)
def main() -> None:
    """Take a command."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("notebook", type=click.Path(path_type=Path, exists=True))
def measure(folder: Path, notebook: Path) -> None:
    """Run commands, and measure."""
    began = time.perf_counter()
    notebook = notebook.absolute()
    folder.mkdir(parents=True)
    os.chdir(folder)
    dataset = load_dataset(download=False)
    write_small_dataset(dataset)
    numbers: dict[str, Any] = {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "installed": str(Path(api.__file__).parent),
        "pixels": measure_pixels(dataset.test),
    }
    run_commands()
    numbers["trained"] = {path.name: correct("--run", str(path)) for path in sorted(Path("runs").iterdir())}
    save_stranger(Path("stranger.keras"))
    numbers["stranger"] = correct("--model-file", "stranger.keras", "--trust")
    expect("the same from Python", measure_from_python(), numbers["stranger"])
    first = Split(dataset.test.images[:IMAGES], dataset.test.labels[:IMAGES])
    numbers["shipped"] = measure_shipped(Dataset(dataset.train, first, "the first images"))
    run_notebook(notebook)
    numbers["seconds"] = time.perf_counter() - began
    Path("numbers.json").write_text(json.dumps(numbers, indent=2))
    click.echo(f"{folder.name}: all commands ran; {numbers['seconds']:.0f} s")


def write_small_dataset(dataset: Dataset) -> None:
    """Write small.npz, the first images, and shoe.png, the first of the test set."""
    from PIL import Image

    splits = {"train": (dataset.train, 600), "test": (dataset.test, 200)}
    arrays: dict[str, Any] = {}
    for name, (split, size) in splits.items():
        arrays |= {f"x_{name}": split.images[:size], f"y_{name}": split.labels[:size]}
    np.savez("small.npz", **arrays)
    Image.fromarray(dataset.test.images[0]).save("shoe.png")


def measure_pixels(test: Split) -> dict[str, str]:
    """Return a hash of the shifted images, as bytes, by the shift's text form."""
    shifts = [*GEOMETRIC, *(f"{name}:{severity}" for name in CORRUPTIONS for severity in SEVERITIES)]
    return {shift: digest([Shift.parse(shift).apply_uint8(test.images[:PIXELS])]) for shift in shifts}


def run_commands() -> None:
    """Train, evaluate, predict and the rest, at the smallest size."""
    run("data", "--json")
    run("data", "--data-dir", "small.npz", "--shift", "up4+fog:3", "--format", "tfds", "--export", "exported")
    run("data", "--data-dir", "small.npz", "--preview", "preview.png")
    run("params", "--verify")
    run("train", "--model", "mlp", *SMALL, "--epochs", "2", "--calibrate", "--out", "runs/mlp")
    run("train", "--model", "cnn2", *SMALL, "--epochs", "1", "--engine", "stock", "--out", "runs/cnn2")
    run("train", "--model", "p4mcnn", *SMALL, "--protocol", "full", "--epochs", "1", "--batch-size", "50",
        "--augment", "rotate90", "--out", "runs/p4mcnn")  # fmt: skip
    run("evaluate", "--run", "runs/mlp", "--all", "--metrics", "all", "--data-dir", "small.npz")
    run("evaluate", "--pretrained", "p4mgap", "--tta", "c4", "--data-dir", "small.npz")
    (picture,) = run("predict", "shoe.png", "--pretrained", "robust", "--json")["images"]
    assert picture["top"][0]["class"] == "Ankle boot", picture
    run("compare", "runs/mlp", "runs/cnn2", "--data-dir", "small.npz")
    run("sweep", "rotate", "--step", "90", "--limit", "100", "--pretrained", "mlp", "--run", "runs/mlp", "--jobs", "2",
        "--out", "swept")  # fmt: skip
    run("scratch", "mlp", *SMALL, "--epochs", "1", "--out", "scratched")
    run("report", "runs/mlp", "--data-dir", "small.npz")
    run("report", "swept")


def save_stranger(path: Path) -> None:
    """Save a model that Keras alone has built and trained."""
    import keras

    layers = keras.layers
    stack = [layers.Conv2D(8, 3, activation="relu"), layers.BatchNormalization(), layers.Flatten(), layers.Dense(10)]
    model = keras.Sequential([keras.Input((28, 28, 1)), *stack])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    train = load_dataset(Path("small.npz")).train
    model.fit(train.images[..., None] / 255.0, train.labels, epochs=2, verbose=0)
    model.save(path)


def measure_shipped(dataset: Dataset) -> dict[str, Any]:
    """Measure each model of the package's own: how many images it recognises, and a hash of all classes it gives."""
    from ood_fashion.evaluation.classifier import predict_classes
    from ood_fashion.evaluation.scorer import make_scorer
    from ood_fashion.runs.model_files import load_model

    numbers: dict[str, Any] = {}
    for name, folder in pretrained_runs().items():
        classes = predict_classes(make_scorer(load_model(folder / "model.keras"), dataset), TEST_SETS)
        found = {shift: int((given == dataset.test.labels).sum()) for shift, given in classes.items()}
        numbers[name] = found | {"classes": digest(classes.values())}
    return numbers


def measure_from_python() -> dict[str, int]:
    """Do for a model file what `correct` does, by the public API; and train, compare and study there."""
    data = api.load_dataset("small.npz")
    model = api.load_model("stranger.keras", trust=True)
    run = api.train("mlp", data, train_size=400, val_size=100, epochs=1, verbose=False)
    assert len(run.results) == len(TEST_SETS)
    api.compare(run, run.model, "up4")
    settings = {"slow": {"model": "mlp", "learning_rate": 0.001}, "fast": {"model": "mlp"}}
    study = api.study(api.Study(settings), data=data, seeds=1, jobs=1, epochs=1, train_size=200, val_size=50)
    for results in (run.results, study):
        results.plot()
        str(results), results.to_json(), results._repr_html_()
    result = api.evaluate(lambda images: model.predict(images[..., None], verbose=0), data=data)
    return {row.shift: row.correct for row in result}


def run_notebook(notebook: Path) -> None:
    """Run the cells of a notebook, at a small size, and ask for the HTML of what each ends with."""
    import matplotlib as mpl

    mpl.use("agg")
    names: dict[str, Any] = {}
    for cell in json.loads(notebook.read_text())["cells"]:
        source = "".join(line for line in cell["source"] if not line.startswith("%"))
        if "parameters" in cell["metadata"].get("tags", ()):
            source = "TRAIN_SIZE, VAL_SIZE, EPOCHS = 200, 100, 1"
        if cell["cell_type"] == "code" and source.strip():
            *body, last = ast.parse(source).body
            ends_with_value = isinstance(last, ast.Expr)
            exec(compile(ast.Module([*body, *([] if ends_with_value else [last])], []), str(notebook), "exec"), names)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), str(notebook), "eval"), names)
                getattr(value, "_repr_html_", str)()


@main.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path, exists=True))
def exchange(folders: tuple[Path, ...]) -> None:
    """Open what every environment has written: runs always, other .keras files where this Keras is as new."""
    import keras

    here = release(keras.__version__)
    for folder in [path.absolute() for path in folders]:
        os.chdir(folder)
        numbers = json.loads(Path("numbers.json").read_text())
        for name, expected in numbers["trained"].items():
            expect(f"{folder.name}'s {name}", correct("--run", f"runs/{name}"), expected)
        stranger = ("--model-file", "stranger.keras")
        if here < (3, 15):
            refusal = run("evaluate", *stranger, "--data-dir", "small.npz", exit_code=1)
            expect("a refusal that names the version", f"Received: Keras {keras.__version__}" in refusal, True)
        if here >= release(numbers["versions"]["keras"]):
            expect(f"{folder.name}'s stranger.keras", correct(*stranger, "--trust"), numbers["stranger"])
        click.echo(f"Keras {keras.__version__} opens what Keras {numbers['versions']['keras']} wrote in {folder.name}")


def release(version: str) -> tuple[int, ...]:
    """Return a version's first two numbers."""
    return tuple(map(int, version.split(".")[:2]))


def expect(what: str, received: Any, expected: Any) -> None:
    """Fail where a value is another."""
    if received != expected:
        raise click.ClickException(f"{what}: expected {expected}. Received: {received}.")


@main.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path, exists=True))
def differences(folders: tuple[Path, ...]) -> None:
    """Say where numbers differ that should not, and exit with 1; list those that may."""
    documents = {folder.name: json.loads((folder / "numbers.json").read_text()) for folder in folders}
    for name, document in documents.items():
        click.echo(f"{name}: {', '.join(' '.join(pair) for pair in document['versions'].items())}")
    failed = False
    for kind in ("pixels", "shipped", "trained"):
        for key in next(iter(documents.values()))[kind]:
            values = {name: document[kind][key] for name, document in documents.items()}
            if len(set(map(str, values.values()))) > 1:
                failed |= kind != "trained"
                click.echo(f"{kind} {key}: " + "; ".join(f"{name} {value}" for name, value in values.items()))
    if failed:
        raise click.ClickException("expected the same numbers in every environment. Received: the above.")


if __name__ == "__main__":
    main()
