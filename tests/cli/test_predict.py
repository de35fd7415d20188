from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ood_fashion.data.dataset import FASHION_CLASSES, Dataset
from ood_fashion.errors import InvalidValueError
from ood_fashion.evaluation.classifier import class_names
from ood_fashion.models.build import build_model
from ood_fashion.runs.run import Run
from ood_fashion.text import printable
from tests.conftest import Invoke
from tests.data.test_pictures import draw_boot


@pytest.fixture(scope="module")
def run_dir(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a few hundred images."""
    from click.testing import CliRunner

    from ood_fashion.cli import main

    out = tmp_path_factory.mktemp("predict") / "run"
    sizes = ["--train-size", "500", "--val-size", "100", "--epochs", "2", "--data-dir", str(small_folder)]
    done = CliRunner().invoke(main, ["train", "--model", "mlp", *sizes, "--out", str(out), "--quiet"])
    assert done.exit_code == 0, done.stderr
    return out


def test_test_images_as_pictures_have_the_accuracy_that_evaluate_reports(
    invoke: Invoke, run_dir: Path, fashion: Dataset, tmp_path: Path
) -> None:
    images, labels = fashion.test.images[:500], fashion.test.labels[:500]
    np.savez(tmp_path / "test.npz", x_test=images, y_test=labels)
    (tmp_path / "pictures").mkdir()
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(tmp_path / f"pictures/{index:03d}-{label}.png")
    done = invoke("predict", "pictures", "--run", run_dir, "--json")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.endswith("500 taken as they are: grey, of the model's size.\n")
    records = json.loads(done.stdout)["images"]
    correct = sum(record["image"].endswith(f"-{record['top'][0]['label']}.png") for record in records)
    (result,) = json.loads(invoke("evaluate", "--run", run_dir, "--data-dir", "test.npz", "--json").stdout)["results"]
    assert (correct, len(records)) == (result["correct"], result["n"])
    assert 200 < correct < 500


def test_a_calibrated_runs_probabilities_are_calibrated(invoke: Invoke, run_dir: Path, tmp_path: Path) -> None:
    """At a temperature of 2, p becomes proportional to its square root."""
    draw_boot().save(tmp_path / "boot.png")
    run = Run(Path(shutil.copytree(run_dir, tmp_path / "run")))

    def top() -> dict[int, float]:
        done = invoke("predict", "boot.png", "--run", "run", "--json")
        assert ("Calibrated: temperature 2.000" in done.stderr) == (run.temperature is not None)
        return {entry["label"]: entry["probability"] for entry in json.loads(done.stdout)["images"][0]["top"]}

    plain = top()
    run.write_metrics({**run.read_metrics(), "temperature": 2.0})
    calibrated = top()
    assert list(calibrated) == list(plain)
    ratios = [calibrated[label] / plain[label] ** 0.5 for label in plain]
    assert ratios == pytest.approx([ratios[0]] * 3, rel=1e-4)
    run.write_metrics({**run.read_metrics(), "temperature": -1})
    assert (
        "metrics.json: expected a temperature above 0. Received: -1."
        in invoke("predict", "boot.png", "--run", "run").stderr
    )


def test_a_picture_as_a_person_sees_it(invoke: Invoke, run_dir: Path, tmp_path: Path) -> None:
    draw_boot().save(tmp_path / "boot.jpg")
    done = invoke("predict", "boot.jpg", "--run", run_dir)
    assert done.exit_code == 0, done.stderr
    name = "|".join(map(re.escape, map(str, range(10))))  # the small folder is not Fashion-MNIST, it has no names
    assert re.search(rf"boot\.jpg +(({name}) 0\.\d{{3}} *){{3}}$", done.stdout.rstrip())
    assert "boot.jpg: made grey, light background inverted, background made black, trimmed to" in done.stderr


def test_a_run_with_any_names_of_classes_is_read(
    invoke: Invoke, run_dir: Path, small_folder: Path, tmp_path: Path
) -> None:
    names = ["T\xa0shirt", "a\nb", "\x1b[1m", "$x$", "_", "衣", "שלום", "\udcff", "8", "9"]
    run = Run(Path(shutil.copytree(run_dir, tmp_path / "run")))
    record = json.loads((run.path / "config.json").read_text())
    record["dataset"]["class_names"] = names
    (run.path / "config.json").write_text(json.dumps(record))
    draw_boot().save(tmp_path / "a\nboot.png")
    done = invoke("predict", "a\nboot.png", "--run", "run", "--json")
    best = [entry["class"] for entry in json.loads(done.stdout)["images"][0]["top"]]
    assert set(best) <= set(names)
    shown = invoke("predict", "a\nboot.png", "--run", "run")
    assert shown.exit_code == 0, shown.stderr
    assert len(shown.stdout.splitlines()) == 3
    assert shown.stdout.splitlines()[2].startswith(f"a\\nboot.png  {printable(best[0])} 0.")
    assert "\na\\nboot.png: made grey" in shown.stderr
    assert invoke("evaluate", "--run", "run", "--data-dir", small_folder).exit_code == 0


def test_json_and_class_names(invoke: Invoke, tmp_path: Path) -> None:
    build_model("mlp", seed=4).save(tmp_path / "m.keras")
    build_model("mlp", seed=4, num_classes=2).save(tmp_path / "two.keras")
    draw_boot().save(tmp_path / "boot.png")

    def top(*arguments: str) -> list[dict[str, object]]:
        done = invoke("predict", "boot.png", "--json", "--model-file", *arguments)
        assert done.exit_code == 0, done.stderr
        (record,) = json.loads(done.stdout)["images"]
        assert record["image"] == "boot.png"
        assert record["prepared"][-1] == "centred in 28x28"
        found: list[dict[str, object]] = record["top"]
        return found

    best = top("m.keras")
    assert [set(entry) for entry in best] == [{"label", "class", "probability"}] * 3
    assert all(entry["class"] == FASHION_CLASSES[int(str(entry["label"]))] for entry in best)
    probabilities = [float(str(entry["probability"])) for entry in best]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) < 1
    assert all(entry["class"] == str(entry["label"]) for entry in top("m.keras", "--dataset", "mnist"))
    assert sorted(str(entry["class"]) for entry in top("two.keras")) == ["0", "1"]


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize(
    ("scores", "names"),
    [
        (26, [*LETTERS]),  # labels 1 to 26 less 1
        (27, ["none", *LETTERS]),
        (37, ["none", *LETTERS, *map(str, range(27, 37))]),  # what TensorFlow Datasets declares
    ],
)
def test_letters_are_named_whatever_the_number_of_scores(scores: int, names: list[str]) -> None:
    assert list(class_names("emnist/letters", scores)) == names


def test_a_dataset_names_its_own_number_of_classes_alone() -> None:
    assert class_names(None, 10) == class_names("fashion_mnist", 10) == FASHION_CLASSES
    assert class_names(None, 3) == ("0", "1", "2")  # of unknown data
    assert class_names("emnist", 62)[61] == "z"
    message = r"`class_names` mnist: expected a model of 10 classes. Received: .* 37\."
    with pytest.raises(InvalidValueError, match=message):
        class_names("mnist", 37)


def test_bad_pictures_are_a_line_each_and_the_others_are_classified(
    invoke: Invoke, run_dir: Path, tmp_path: Path
) -> None:
    draw_boot().save(tmp_path / "boot.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    done = invoke("predict", "bad.png", "boot.png", "absent.jpg", "--run", run_dir, "--json")
    assert done.exit_code == 1
    assert [record["image"] for record in json.loads(done.stdout)["images"]] == ["boot.png"]
    assert done.stderr.splitlines()[-2:] == [
        "Error: bad.png: expected a PNG or JPEG picture. Received: something else, or a damaged one.",
        "absent.jpg: expected a readable PNG or JPEG picture. Received: No such file or directory.",
    ]


def test_what_is_beside_the_pictures_in_a_folder_decides_nothing(invoke: Invoke, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    draw_boot().save(tmp_path / "photos/boot.png")
    for name in ("._boot.png", "bad.png"):
        (tmp_path / "photos" / name).write_bytes(b"no picture")
    done = invoke("predict", "photos", "--run", run_dir, "--json")
    assert done.exit_code == 0
    assert [record["image"] for record in json.loads(done.stdout)["images"]] == ["photos/boot.png"]
    assert [line for line in done.stderr.splitlines() if line.startswith("Passed over: ")] == [
        "Passed over: photos/bad.png: expected a PNG or JPEG picture. Received: something else, or a damaged one."
    ]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        ("", 2, "Missing argument 'IMAGE...'"),
        ("boot.png", 1, "package: --pretrained robust."),
        (
            "boot.png --model-file m.keras --class-names emnist/letters",
            2,
            "--class-names emnist/letters: expected a model of 26, 27 or 37 classes. Received: one of 10.",
        ),
        (
            "boot.png --model-file m.keras --class-names emnist",
            2,
            "expected a model of 62 classes. Received: one of 10.",
        ),
        ("boot.png --run a --model-file b", 2, "exclude each other"),
        ("boot.png --class-names cifar10", 2, "'cifar10' is not one of 'fashion_mnist'"),
        ("boot.png --model-file m.h5", 1, "m.h5: expected a run folder, a model file, or one of cnn2"),
        (
            "absent.png --model-file m.keras",
            1,
            "absent.png: expected a readable PNG or JPEG picture. Received: No such",
        ),
        ("boot.png --model-file colour.keras", 1, "expected an input of grey images"),
    ],
)
def test_bad_input_is_one_line(invoke: Invoke, tmp_path: Path, arguments: str, exit_code: int, message: str) -> None:
    draw_boot().save(tmp_path / "boot.png")
    if "m.keras" in arguments:
        build_model("mlp").save(tmp_path / "m.keras")
    if "colour.keras" in arguments:
        build_model("mlp", input_shape=(28, 28, 3)).save(tmp_path / "colour.keras")
    done = invoke("predict", *arguments.split())
    assert (done.exit_code, done.stdout) == (exit_code, "")
    (error,) = [line for line in done.stderr.splitlines() if not line.startswith("Model: ")]
    assert error.startswith("Error: ")
    assert message in error
