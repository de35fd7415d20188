from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from ood_fashion.data.dataset import Dataset
from ood_fashion.data.export import export
from ood_fashion.reports.figures import corruption_gallery, shift_gallery
from ood_fashion.reports.folders import read_page
from ood_fashion.reports.run_figures import learning_curve
from ood_fashion.reports.run_page import identifier
from ood_fashion.shifts.corruptions import SEVERITIES
from ood_fashion.shifts.shift import Shift, file_name
from tests.records import write_run

RANDOM = ("gaussian_noise:3", "up4+impulse_noise:2,7")


def drawn(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axis in figure.axes for image in axis.images]


@pytest.fixture(scope="module")
def exported(small_fashion: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The test images under each of `RANDOM` as other programs get them, in [0, 1]."""
    folder = tmp_path_factory.mktemp("export") / "npz"
    export(small_fashion, map(Shift.parse, RANDOM), folder, "npz")
    files = {shift: folder / f"{file_name(Shift.parse(shift))}.npz" for shift in RANDOM}
    return {shift: np.load(file)["x_test"] / np.float32(255) for shift, file in files.items()}


@pytest.fixture(scope="module")
def first(small_fashion: Dataset) -> list[int]:
    """The place of the first test image of each class."""
    labels = small_fashion.test.labels.tolist()
    return [labels.index(label) for label in range(10)]


def test_a_shift_gallery_shows_what_is_exported(
    small_fashion: Dataset, exported: dict[str, np.ndarray], first: list[int]
) -> None:
    received = drawn(shift_gallery(small_fashion, [Shift.parse(text) for text in RANDOM]))
    np.testing.assert_array_equal(received, np.concatenate([exported[shift][first] for shift in RANDOM]))


def test_a_corruption_gallery_shows_images_of_the_whole_set(small_fashion: Dataset, first: list[int]) -> None:
    strips = {a.get_ylabel(): np.asarray(a.images[0].get_array()) for a in corruption_gallery(small_fashion).axes}
    for name in ("gaussian_noise", "impulse_noise", "spatter"):
        for severity in SEVERITIES:
            pixels = Shift.parse(f"{name}:{severity}").apply(small_fashion.test.images)
            pair = strips[name][:, 2 * 28 * severity : 2 * 28 * (severity + 1)]
            np.testing.assert_array_equal(pair, np.concatenate([pixels[first[0]], pixels[first[9]]], axis=1))


def test_a_run_report_shows_what_is_exported(
    small_fashion: Dataset, small_folder: Path, exported: dict[str, np.ndarray], first: list[int], tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", small_fashion, shifts=("none", *RANDOM))
    figures = {drawing.name: drawing.figure for drawing in read_page(run.path, small_folder).drawings}
    for name, rows in (("predictions-1", first[:5]), ("predictions-2", first[5:])):
        grid = np.reshape(drawn(figures[name]), (5, 1 + len(RANDOM), 28, 28))  # the first column is unshifted
        np.testing.assert_array_equal(grid[:, 1:].swapaxes(0, 1), [exported[shift][rows] for shift in RANDOM])
    for shift in RANDOM:
        classes, confidences = run.read_predictions()[shift]
        wrong = [i for i in range(200) if classes[i] != small_fashion.test.labels[i]]
        worst = sorted(wrong, key=lambda i: -confidences[i])[:8]
        np.testing.assert_array_equal(drawn(figures[f"mistakes-{identifier(shift)}"]), exported[shift][worst])


def test_a_learning_curve_draws_the_history() -> None:
    history = [{"epoch": n, "accuracy": n / 10, "val_accuracy": (n + 4) / 10} for n in (1.0, 2.0, 3.0)]
    (axis,) = learning_curve(history, "accuracy", 2, "keras").axes
    training, validation, kept = axis.lines
    assert np.asarray(training.get_xydata()).tolist() == [[1, 0.1], [2, 0.2], [3, 0.3]]
    assert np.asarray(validation.get_xydata()).tolist() == [[1, 0.5], [2, 0.6], [3, 0.7]]
    assert list(np.asarray(kept.get_xdata())) == [2, 2]
    assert axis.get_legend_handles_labels()[1] == ["training (during the epoch)", "validation", "kept weights"]
    (axis,) = learning_curve(history, "accuracy", 2, "numpy").axes  # which measures the weights after it
    assert axis.get_legend_handles_labels()[1][0] == "training (after the epoch)"
