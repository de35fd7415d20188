"""Predictions that another program has written: measured as the model itself is."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ood_fashion as ood
from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import InvalidValueError, ModelError
from ood_fashion.evaluation.prediction_files import read_predictions
from tests.conftest import Invoke

SHIFTS = ("none", "rotate90", "fog:3")
N = 200


@pytest.fixture(scope="module")
def scores(small_fashion: Dataset) -> dict[str, NDArray[np.float64]]:
    """The logits of a model, by shift, from the images that an export writes."""
    model = ood.load_model("cnn3")
    shifted = (ood.shift_images(small_fashion.test.images, shift)[..., None] for shift in SHIFTS)
    return {shift: model.predict(x, verbose=0).astype(float) for shift, x in zip(SHIFTS, shifted, strict=True)}


def write_csv(path: Path, scores: dict[str, NDArray[Any]], *, classes: bool) -> Path:
    rows = [(i, s, *([int(row.argmax())] if classes else row)) for s, of in scores.items() for i, row in enumerate(of)]
    np.random.default_rng(0).shuffle(rows)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "shift", *(["class"] if classes else map(str, range(10)))])
        writer.writerows(rows)
    return path


def write_npz(path: Path, scores: dict[str, NDArray[Any]], *, classes: bool) -> Path:
    given = np.concatenate(list(scores.values()))
    answers: dict[str, Any] = {"class": given.argmax(axis=1)} if classes else {"scores": given}
    shifts = np.repeat(list(scores), N)
    np.savez(path, index=np.tile(np.arange(N), len(scores)), shift=shifts, **answers)
    return path


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("write", [write_csv, write_npz])
def test_predictions_are_measured_as_the_model_is(
    write: Any, classes: bool, scores: dict[str, NDArray[Any]], small_fashion: Dataset, tmp_path: Path
) -> None:
    path = write(tmp_path / f"answers.{write.__name__[-3:]}", scores, classes=classes)
    for limit in (None, 50):
        received = ood.evaluate(path, SHIFTS, data=small_fashion, limit=limit)
        assert list(received) == list(ood.evaluate("cnn3", SHIFTS, data=small_fashion, limit=limit))
    compared = ood.compare(str(path), ood.load_model("cnn3"), SHIFTS, data=small_fashion)
    assert [row.difference for row in compared] == [0, 0, 0]
    if classes:
        with pytest.raises(ModelError, match=r"expected scores .*, for all metrics"):
            ood.evaluate(path, "none", data=small_fashion, metrics="all")
    else:
        received, expected = (
            ood.evaluate(model, "fog:3", data=small_fashion, metrics="all")["fog:3"] for model in (path, "cnn3")
        )
        assert (received.ece, received.flip_rate) == pytest.approx((expected.ece, expected.flip_rate), abs=1e-4)


def test_an_export_says_what_is_asked(invoke: Invoke, small_folder: Path, tmp_path: Path) -> None:
    """A program that knows the exported folder alone answers it, and the file is measured."""
    shown = invoke("data", "--data-dir", small_folder, "--export", "asked", "--shift", "rotate:90", "--shift", "fog:3")
    assert shown.exit_code == 0
    asked = json.loads((tmp_path / "asked/dataset.json").read_text())
    assert list(asked["predictions"]) == ["index", "shift", "class"]
    with (tmp_path / "answers.csv").open("w") as file:
        print("index", "shift", "class", sep=",", file=file)
        for name, shift in asked["shifts"].items():
            images = np.load(tmp_path / f"asked/{name}.npz")["x_test"]
            assert len(images) == asked["test_images"]
            for i, image in enumerate(images):
                print(i, f'"{shift}"', image[0].argmax() % 10, sep=",", file=file)
    options = ("--shift", "rotate90", "--shift", "fog:3", "--data-dir", small_folder, "--json")
    result = invoke("evaluate", "--model-file", "answers.csv", *options)
    expected = ood.evaluate(lambda x: x[:, 0].argmax(axis=1) % 10, ["rotate90", "fog:3"], data=str(small_folder))
    received = json.loads(result.stdout)["results"]
    assert [one["correct"] for one in received] == pytest.approx([row.correct for row in expected], abs=4)
    compared = invoke("compare", "answers.csv", "answers.csv", *options)
    assert json.loads(compared.stdout)["a"] == "answers.csv"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected rows of index, shift and class, or a score for each class. Received: "),
        ("index,class\n0,1\n", "Received: the columns index, class."),
        ("index,shift,class\n", "Received: 0 places, 0 shifts and 0 answers."),
        ("index,shift,class\n0,none\n", "Received: 2 values in line 2, below 3 columns."),
        ("index,shift,class\n0,none,boot\n", "Received: invalid literal for int() with base 10"),
        ("index,shift,class\n-1,none,2\n", "Received: places int64 (1,) from -1."),
        ("index,shift,class\n0,fogg:3,2\n", "answers.csv: shift 'fogg:3': "),
        ("index,shift,class,0\n0,none,2,0.5\n", "Received: a class and scores beside it."),
        ("index,shift,class\n0,none,2\n0,none,3\n", "expected one row for an image under none. Received: two for 0."),
        ("index,shift,class\n0,none,2\n2,none,3\n", "a row for each of the 200 test images under none. Received: none "
         "for 198, the first of which is 1."),
        ("index,shift,class\n0,up4,2\n", "expected predictions under none. Received: those under up4. Ask the model"),
        ("index,shift,0,1\n" + "".join(f"{i},none,0.5,0.5\n" for i in range(200)), "expected scores for 10 classes"),
        ("index,shift,0,1\n" + "".join(f"{i},none,nan,0.5\n" for i in range(200)), "expected scores for 10 classes"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_a_line(
    content: str, message: str, invoke: Invoke, small_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "answers.csv").write_text(content)
    result = invoke("evaluate", "--model-file", "answers.csv", "--data-dir", small_folder)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("Model: ")]
    assert message in line


def test_other_bad_files_and_commands(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(ModelError, match=r"a\.npz: expected rows of index, shift and class"):
        read_predictions(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", index=np.arange(3))
    with pytest.raises(ModelError, match="no shift, no class, only index"):
        read_predictions(tmp_path / "a.npz")
    with pytest.raises(ModelError, match=r"absent\.csv: expected rows .* Received: No such file"):
        read_predictions(tmp_path / "absent.csv")
    write_csv(tmp_path / "a.csv", {"none": np.eye(10)}, classes=True)
    for call in (ood.load_model, ood.export, lambda path: ood.sweep(path), lambda path: ood.sweep_published(".", path)):
        with pytest.raises(ModelError, match=r"a\.csv: expected a model\. Received: a file of predictions, which"):
            call(str(tmp_path / "a.csv"))
    with pytest.raises(InvalidValueError, match=r"`pixel_range`: expected a model\. Received: a file of predictions"):
        ood.evaluate(tmp_path / "a.csv", "none", pixel_range="0-1")
    with pytest.raises(InvalidValueError, match=r"`tta`, `calibrate`: expected a Keras model\. Received: a file of "):
        ood.evaluate(tmp_path / "a.csv", "none", tta="c4")
    result = invoke("predict", "x.png", "--model-file", "a.csv")
    assert result.exit_code == 1
    assert "a.csv: expected a model." in result.stderr
