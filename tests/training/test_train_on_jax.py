"""scripts/train_on_jax.py, in a process of its own, next to Keras on TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ood_fashion.data.dataset import Dataset
from ood_fashion.models.build import build_model
from ood_fashion.runs.config import PROTOCOLS, TrainConfig
from ood_fashion.runs.run import Run
from ood_fashion.training.optimizers import compile_as_configured
from tests.conftest import JAX_FOLDER, Invoke

SCRIPTS = Path(__file__).parents[2] / "scripts"
FROM_WEIGHTS = """
import sys
import numpy as np

sys.path.insert(0, sys.argv.pop(1))
import train_on_jax as script

assert "tensorflow" not in sys.modules
saved, build = np.load(sys.argv.pop(1)), script.build_model

def build_model(*arguments, **options):
    model = build(*arguments, **options)
    model.set_weights([saved[str(i)] for i in range(len(model.weights))])
    return model

script.build_model = build_model
script.main()
"""


def run_script(*arguments: Any) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(JAX_FOLDER)}
    subprocess.run([sys.executable, *map(str, arguments)], env=environment, check=True)


@pytest.mark.parametrize("model", ["mlp", pytest.param("p4cnn", marks=pytest.mark.slow)])
def test_it_trains_as_keras_on_tensorflow_does(
    model: str, tmp_path: Path, small_fashion: Dataset, small_folder: Path
) -> None:
    """In whole batches, whose order does not matter, from the same weights."""
    network, n, epochs = build_model(model, seed=3), 100, 3
    np.savez(tmp_path / "weights.npz", **{str(i): one for i, one in enumerate(network.get_weights())})
    options = ["--train-size", n, "--val-size", 50, "--batch-size", n, "--epochs", epochs, "--data-dir", small_folder]
    given = [tmp_path / "weights.npz", "full", tmp_path / "run", "--model", model, *options]
    run_script("-c", FROM_WEIGHTS, SCRIPTS, *given)
    run = Run.open(tmp_path / "run")
    settings = {"model": model, "train_size": n, "val_size": 50, "batch_size": n, "epochs": epochs}
    assert run.config == TrainConfig(**{**PROTOCOLS["full"], **settings})

    compile_as_configured(network, run.config)
    pixels = small_fashion.train.images[:150, ..., np.newaxis] / np.float32(255)
    labels = small_fashion.train.labels[:150]
    history = network.fit(
        *(pixels[:n], labels[:n]), validation_data=(pixels[n:], labels[n:]), batch_size=n, epochs=epochs, verbose=0
    ).history
    checkpoint = run.read_checkpoint()
    assert checkpoint is not None
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose([row[name] for row in checkpoint.values["history"]], history[name], rtol=2e-4)
    for received, expected in zip(checkpoint.arrays["kept"], network.get_weights(), strict=True):
        np.testing.assert_allclose(received, expected, atol=2e-3 * np.abs(expected).max())
    for received, variable in zip(checkpoint.arrays["optimizer"], network.optimizer.variables, strict=True):
        expected = keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(received, expected, atol=2e-3 * np.abs(expected).max())


def test_training_goes_on_with_tensorflow(invoke: Invoke, small_folder: Path) -> None:
    """A finished one is measured; one that was cut off takes the epochs that are left."""
    settings = ["--model", "mlp", "--train-size", 100, "--val-size", 50, "--batch-size", 64, "--augment", "translate:2"]
    options = [*settings, "--data-dir", small_folder]
    run_script(SCRIPTS / "train_on_jax.py", "full", "run", "--epochs", 6, *options)
    run = Run.open(Path("run"))
    checkpoint = run.read_checkpoint()
    assert checkpoint is not None
    assert (checkpoint.values["finished"], len(checkpoint.values["history"])) == (True, 6)
    assert {"jax", "keras", "numpy"} < run.record["versions"].keys()
    assert invoke("train", "--out", "run", "--resume", "--data-dir", small_folder).exit_code == 0
    model = keras.models.load_model(run.model_path)
    for received, expected in zip(model.get_weights(), checkpoint.arrays["kept"], strict=True):
        np.testing.assert_array_equal(received, expected)

    checkpoint.values["history"], checkpoint.values["finished"] = checkpoint.values["history"][:5], False
    (run.path / "metrics.json").unlink()
    run.write_checkpoint(checkpoint)
    assert invoke("train", "--out", "run", "--resume", "--data-dir", small_folder).exit_code == 0
    assert [row["epoch"] for row in run.read_history()] == [1, 2, 3, 4, 5, 6]
    assert run.is_complete


def test_a_study_is_completed_with_tensorflow(invoke: Invoke, small_folder: Path) -> None:
    """What has begun is left as it is, and what stops early is left to TensorFlow."""
    options = ["--train-size", 100, "--val-size", 50, "--epochs", 2, "--data-dir", small_folder]
    run_script(SCRIPTS / "train_on_jax.py", "batch-size", "sizes", "--seeds", 1, *options)
    assert not any(Path("sizes").glob("trials/*"))
    for _ in range(2):
        run_script(SCRIPTS / "train_on_jax.py", "momentum", "momentum", "--seeds", 1, *options)
    runs = [Run.open(path) for path in Path("momentum").glob("trials/*")]
    kept = [checkpoint.arrays["kept"] for run in runs if (checkpoint := run.read_checkpoint())]
    assert len(kept) == len(runs) == 6
    assert invoke("study", "momentum", "--out", "momentum", "--resume", "--data-dir", small_folder).exit_code == 0
    for run, weights in zip(runs, kept, strict=True):
        for received, expected in zip(keras.models.load_model(run.model_path).get_weights(), weights, strict=True):
            np.testing.assert_array_equal(received, expected)
