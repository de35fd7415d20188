from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ood_fashion.data.dataset import Dataset, describe, split_train
from ood_fashion.data.sources import load_dataset
from ood_fashion.errors import DataError
from tests.conftest import Invoke


def save_npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


SMALL = {
    "x_train": np.arange(3 * 8 * 6, dtype=np.uint8).reshape(3, 8, 6),
    "y_train": np.array([2, 0, 1]),
    "x_test": np.ones((2, 8, 6), np.uint8),
    "y_test": np.array([1, 2], np.uint8),
}


def test_an_npz_file_is_read(tmp_path: Path) -> None:
    dataset = load_dataset(save_npz(tmp_path / "set.npz", **SMALL, other=np.zeros(3)))
    np.testing.assert_array_equal(dataset.train.images, SMALL["x_train"])
    assert dataset.test.labels.tolist() == [1, 2]
    assert [str(array.dtype) for array in (dataset.train.images, dataset.test.labels)] == ["uint8", "int64"]
    assert (dataset.image_shape, dataset.num_classes, dataset.source) == ((8, 6), 3, str(tmp_path / "set.npz"))


def test_an_npz_file_has_names_of_classes(tmp_path: Path) -> None:
    names = np.array(["none", "one", "two", "three"])
    assert load_dataset(save_npz(tmp_path / "set.npz", **SMALL, class_names=names)).class_names == tuple(names)
    for faulty, message in (
        (names[:2], r"set.npz: y_train: expected labels below 2, one a class name\. Received: 2"),
        (np.arange(3), r"set.npz: class_names: expected texts \(n,\)\. Received: int64 \(3,\)"),
        (names.astype(object), r"Received: objects\. Save numpy\.array\(names, dtype=str\)"),
    ):
        with pytest.raises(DataError, match=message):
            load_dataset(save_npz(tmp_path / "set.npz", **SMALL, class_names=faulty))


def test_the_same_images_in_other_types_are_the_same(tmp_path: Path, small_fashion: Dataset) -> None:
    train, test = small_fashion.train, small_fashion.test
    other = {
        "x_train": train.images[..., None] / np.float32(255),
        "y_train": train.labels[:, None].astype(np.int32),
        "x_test": test.images.astype(np.int64),
        "y_test": test.labels,
    }
    assert load_dataset(save_npz(tmp_path / "set.npz", **other)).sha256 == small_fashion.sha256


def test_an_npz_file_without_training_images(tmp_path: Path, small_fashion: Dataset) -> None:
    test = small_fashion.test
    dataset = load_dataset(save_npz(tmp_path / "set.npz", x_test=test.images, y_test=test.labels))
    assert (len(dataset.train), dataset.num_classes, dataset.knows_all_classes) == (0, 10, False)
    assert describe(dataset)["pixel_mean"] == pytest.approx(test.images.mean() / 255)
    with pytest.raises(DataError, match="expected at most 0 training"):
        split_train(dataset, 1, 1)


def test_a_model_knows_more_classes_than_a_test_set_shows(
    invoke: Invoke, tmp_path: Path, small_fashion: Dataset
) -> None:
    few = small_fashion.test.labels < 3
    path = save_npz(tmp_path / "set.npz", x_test=small_fashion.test.images[few], y_test=small_fashion.test.labels[few])
    result = invoke("evaluate", "--model", "mlp", "--metrics", "all", "--all", "--data-dir", path)
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None}, "expected x_test and y_test.* Received: no x_test, only x_train, y_train, y_test"),
        ({"y_train": None}, "Received: no y_train, only"),
        ({"x_test": np.ones((2, 8, 6, 3), np.uint8)}, r"x_test: expected grey .*: colour, \(2, 8, 6, 3\)\. Convert"),
        ({"x_test": np.ones((2, 48), np.uint8)}, r"x_test: expected grey .* Received: \(2, 48\)\. Reshape"),
        ({"x_test": np.full((2, 8, 6), 256)}, "x_test: expected integers in 0-255.* int64 from 256 to 256"),
        ({"x_test": np.full((2, 8, 6), 16.0)}, "x_test: .*Received: float64 from 16 to 16. Scale and round"),
        ({"x_test": np.full((2, 8, 6), 0.3)}, "Received: float64 from 0.3 to 0.3"),
        ({"x_test": np.full((2, 8, 6), np.nan)}, "Received: NaN or infinity for 96 of 96 pixels. Replace them"),
        ({"x_test": np.where(np.eye(8, 6) == 1, np.inf, np.zeros((2, 8, 6)))}, "infinity for 12 of 96 pixels. Replace"),
        ({name: np.ones((3, 8, 6), int) for name in ("x_train", "x_test")} | {"y_test": [0, 1, 2]}, "almost black"),
        ({"x_test": np.full((2, 8, 6), "a")}, "x_test: expected integers in 0-255.* Received: <U1"),
        ({"x_test": np.full((2, 8, 6), None)}, "expected a readable .npz file. Received: Object arrays"),
        ({"x_test": np.ones((2, 8, 7), np.uint8)}, r"x_test: expected images of \(8, 6\).* Received: \(8, 7\)"),
        ({"x_test": np.ones((0, 8, 6), np.uint8)}, "y_test: expected a label for each of the 0 images"),
        ({"y_test": np.array([1, 2, 0])}, "y_test: expected a label for each of the 2 images.*: 3 labels"),
        ({"y_test": np.array([1, 3])}, "y_test: expected labels up to 2.* Received: 3"),
        ({"y_test": np.array([1, -1])}, "y_test: expected labels from 0 to 65,535. Received: -1 to 1"),
        ({"y_test": np.eye(2)}, r"y_test: expected integers \(n,\). Received: float64 \(2, 2\)"),
        ({"y_train": np.array([3, 0, 1])}, "y_train: expected labels without gaps.* but no 2"),
    ],
)
def test_every_fault_of_an_npz_file_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    arrays = {name: array for name, array in {**SMALL, **changes}.items() if array is not None}
    path = save_npz(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_what_is_no_npz_file_is_refused(tmp_path: Path) -> None:
    whole = save_npz(tmp_path / "whole.npz", **SMALL).read_bytes()
    contents = {"text": b"no archive", "empty": b"", "half": whole[: len(whole) // 2]}
    contents["damaged"] = whole.replace(SMALL["x_train"].tobytes(), bytes(144))
    for name, content in contents.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}.npz: expected a readable .npz file. Received: "):
            load_dataset(path)
    with pytest.raises(DataError, match=r"absent.npz: .* Received: No such file or directory\."):
        load_dataset(tmp_path / "absent.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with pytest.raises(DataError, match="expected a readable"):
        load_dataset(tmp_path / "array.npz")
