from __future__ import annotations

from pathlib import Path

import keras
import pytest

from tests.conftest import Invoke


def save_model(path: Path, input_shape: tuple[int, ...] = (784,), classes: int = 10) -> Path:
    model = keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(classes)])
    model.save(path)
    return path


LONG = "a" * 300


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        ("train --model resnet", 2, "'resnet' is not one of 'mlp', 'cnn2', 'cnn3'"),
        ("train --batch-size 0", 2, "--batch-size: expected a whole number from 1 to 2,147,483,647. Received: 0"),
        ("train --batch-size five", 2, "'five' is not a valid integer"),
        ("train --learning-rate -0.1", 2, "--learning-rate: expected a finite number above 0. Received: -0.1"),
        ("train --learning-rate nan", 2, "--learning-rate: expected"),
        ("train --momentum 1.0", 2, "--momentum: expected a number from 0 to below 1. Received: 1.0"),
        ("train --patience 0", 2, "--patience: expected a whole number from 1 to 2,147,483,647, or none. Received: 0"),
        ("train --patience 2 --no-early-stopping", 2, "exclude each other"),
        ("train --epochs 0", 2, "--epochs: expected"),
        ("train --seed -1", 2, "--seed: expected a whole number from 0 to 2,147,483,647. Received: -1"),
        ("train --seed 2147483648", 2, "--seed: expected a whole number from 0 to 2,147,483,647. Received: 2147483648"),
        ("train --protocol huge", 2, "'huge' is not one of 'assignment', 'full'"),
        ("train --train-size 60000", 1, "at most 60,000 training and validation images"),
        ("train --device gpu", 1, "--device gpu: expected a GPU that TensorFlow sees. Received: none"),
        ("train --out occupied", 1, "occupied: expected an empty or absent folder. Received: other files. Choose"),
        ("train --out file", 1, "file: expected a folder to write to. Received: File exists"),
        ("train --out /proc/run", 1, "/proc/run: expected a folder to write to. Received: "),
        ("train --augment translate:1.5", 2, "--augment: expected translate:N with whole pixels N from 1 to 28."),
        ("train --augment flip", 2, "--augment: expected translate:N, rotate90, mirror, rotate:D, tone:S, "),
        ("train --resume --out incomplete --augment mirror", 1, "Received: --augment ['mirror'] instead of []"),
        ("train --resume --out incomplete --epochs 5", 1, "Received: --epochs 5 instead of 30"),
        ("train --resume --out incomplete", 1, "incomplete: expected the dataset that the run began on"),
        ("train --data-dir absent", 1, "absent: expected train-images-idx3-ubyte"),
        ("evaluate", 1, "no trained run in runs. Train one with ood-fashion train, or use a model that comes with the "
         "package: --pretrained robust."),
        ("evaluate --run absent", 1, "absent: expected a run folder, with a config.json. Received: nothing there"),
        ("evaluate --run occupied", 1, "occupied: expected a run folder, with a config.json. Received: a folder"),
        ("evaluate --run incomplete", 1, "expected a complete run. Received: one without metrics.json. Finish it"),
        ("evaluate --run a --model-file b", 2, "exclude each other"),
        ("evaluate --calibrate --model-file b", 2, "--calibrate needs a run"),
        ("evaluate --model-file model.h5", 1, "model.h5: expected a run folder, a model file, or one of cnn2"),
        ("evaluate --model-file occupied", 1, "occupied: expected a SavedModel folder. Received: a folder without"),
        ("evaluate --data-dir a --dataset mnist", 2, "--data-dir and --dataset exclude each other"),
        ("data --dataset nonsense", 2, "expected one of TensorFlow Datasets, such as mnist, kmnist or emnist"),
        ("data --data-dir absent.npz", 1, "absent.npz: expected a readable .npz file. Received: No such file"),
        ("evaluate --tta c5", 2, "test-time orbit: expected c4, rotate:N with N from 2 to 45 or translate:N"),
        ("evaluate --model-file absent.keras", 1, "Received: nothing there"),
        ("study", 2, "Choose from: batch-size, early-stopping, momentum"),
        ("evaluate --model-file shape.keras", 1, "expected an input of shape (n, 28, 28, 1)"),
        ("evaluate --model-file classes.keras", 1, "an output of shape (n, 10), a score per class"),
        ("evaluate --shift roate90", 2, "shift 'roate90': unknown."),
        ("evaluate --shift fog:6", 2, "at character 5 of 'fog:6': expected a severity from 0 to 5. Received: fog with"),
        ("evaluate --shift up4+fgo:1", 2, "'fgo:1', at character 5 of 'up4+fgo:1': unknown"),
        ("evaluate --shift translate:1", 2, "expected translate:DX,DY with finite numbers"),
        ("scratch mlp --minibatch-size 0", 2, "--minibatch-size: expected a whole number from 1 to 2,147,483,647."),
        ("scratch mlp --dtype float16", 2, "'float16' is not one of 'float32', 'float64'"),
        ("scratch mlp --train-size 60000", 1, "at most 60,000 training and validation images"),
        ("scratch mlp --check-magnitude --train-size 50", 2, "expected more than 50 images. Received: 50"),
        ("scratch mlp --out occupied", 1, "occupied: expected an empty or absent folder"),
        ("scratch perceptron --kernel cubic", 2, "'cubic' is not one of 'linear', 'poly', 'rbf'"),
        ("scratch perceptron --kernel rbf --gamma 0", 2, '--gamma: expected "scale" or a finite number above 0'),
        ("scratch perceptron --epochs 0", 2, "0 is not in the range x>=1"),
        ("scratch perceptron --train-size 60001", 1, "at most 60,000"),
        ("scratch mini-cnn --learning-rate 0", 2, "0.0 is not in the range x>0"),
        ("scratch mini-cnn --learning-rate 1e300", 1, "training diverged: expected finite weights"),
        ("scratch gradcheck --seed -1", 2, "-1 is not in the range x>=0"),
        ("scratch gradcheck --data-dir absent", 1, "absent: expected train-images-idx3-ubyte"),
        ("scratch nonsense", 2, "No such command 'nonsense'"),
        ("data --data-dir occupied", 1, "occupied: expected train-images-idx3-ubyte"),
        ("data --export occupied", 1, "occupied: expected nothing there. Choose another folder, or delete it."),
        ("data --export .", 1, ".: expected nothing there. Choose another folder, or delete it."),
        (f"data --data-dir {LONG}", 1, "train-images-idx3-ubyte: expected a readable file or folder. Received: File"),
        (f"report {LONG}", 1, "config.json: expected a readable file or folder. Received: File name too long"),
        (f"report occupied --out {LONG}", 1, "occupied: expected a folder with one of config.json"),
        (f"evaluate --run {LONG}", 1, "config.json: expected a readable file or folder. Received: File name too long"),
        (f"evaluate --run {LONG}*", 1, "*: expected a readable file or folder. Received: File name too long"),
        (f"evaluate --model-file {LONG}.keras", 1, "expected a readable file or folder. Received: File name too long"),
        (f"compare {LONG} mlp", 1, "expected a readable file or folder. Received: File name too long"),
        (f"sweep rotate --model-file {LONG}", 1, "expected a readable file or folder. Received: File name too long"),
        (f"train --out {LONG}", 1, "expected a folder to write to. Received: File name too long"),
        (f"data --export {LONG}", 1, "expected a folder to write to. Received: File name too long"),
        (f"data --preview {LONG}.png", 1, "expected to be able to write it. Received: File name too long"),
        ("data --export x --format csv", 2, "'csv' is not one of 'npz', 'idx', 'tfds'"),
        ("data --preview absent/p.png", 1, "p.png: expected to be able to write it"),
        ("params --model x", 2, "'x' is not one of"),
        ("params extra", 2, "unexpected extra argument"),
        ("nonsense", 2, "No such command 'nonsense'"),
        ("--nonsense", 2, "No such option"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    invoke: Invoke,
    small_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    exit_code: int,
    message: str,
) -> None:
    if arguments.startswith(("data", "evaluate", "compare", "sweep")):  # the others train on as many as there are
        monkeypatch.setenv("OOD_FASHION_DATA", str(small_folder))
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
