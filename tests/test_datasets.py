from __future__ import annotations

import gzip
import io
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ood_fashion import datasets, tfds_reader
from ood_fashion.data_files import read_idx
from ood_fashion.datasets import FILES, Dataset, describe, load_dataset, load_idx_folder, split_train
from ood_fashion.errors import DataError, InvalidValueError
from tests.conftest import as_arrays, idx_bytes, write_idx_folder


def test_the_real_set_has_its_published_signs(fashion: Dataset) -> None:
    assert fashion.is_genuine
    assert fashion.train.images.shape == (60_000, 28, 28)
    assert fashion.test.images.shape == (10_000, 28, 28)
    assert fashion.train.images.dtype == np.uint8
    assert fashion.train.labels.dtype == np.int64
    assert np.bincount(fashion.train.labels).tolist() == [6_000] * 10
    assert np.bincount(fashion.test.labels).tolist() == [1_000] * 10
    assert fashion.train.labels[:5].tolist() == [9, 0, 0, 3, 0]
    assert fashion.test.labels[:5].tolist() == [9, 2, 1, 1, 6]
    record = describe(fashion)
    assert (round(record["pixel_mean"], 4), round(record["pixel_std"], 4)) == (0.2860, 0.3530)
    assert record["classes"][9] == {"label": 9, "name": "Ankle boot", "train": 6_000, "test": 1_000}


def test_the_papers_split(fashion: Dataset) -> None:
    train, validation = split_train(fashion, 10_000, 2_000)
    np.testing.assert_array_equal(train.images, fashion.train.images[:10_000])
    np.testing.assert_array_equal(validation.labels, fashion.train.labels[10_000:12_000])


def test_a_seeded_split_is_disjoint_and_repeatable(fashion: Dataset) -> None:
    first, second = (split_train(fashion, 55_000, 5_000, seed=7) for _ in range(2))
    other = split_train(fashion, 55_000, 5_000, seed=8)
    np.testing.assert_array_equal(first[1].labels, second[1].labels)
    assert not np.array_equal(first[1].labels, other[1].labels)
    pixel_sums = np.concatenate([split.images.sum(axis=(1, 2)) for split in first])
    np.testing.assert_array_equal(np.sort(pixel_sums), np.sort(fashion.train.images.sum(axis=(1, 2))))


def test_more_than_there_is_is_refused(small_fashion: Dataset) -> None:
    split_train(small_fashion, 500, 100)
    with pytest.raises(DataError, match=r"at most 600 .*Received: 500 \+ 101 = 601"):
        split_train(small_fashion, 500, 101)


@pytest.mark.parametrize("compress", [True, False])
def test_any_mnist_format_set_is_read(tmp_path: Path, compress: bool) -> None:
    arrays = {
        "train images": np.arange(3 * 8 * 6, dtype=np.uint8).reshape(3, 8, 6),
        "train labels": np.array([2, 0, 1], np.uint8),
        "test images": np.ones((1, 8, 6), np.uint8),
        "test labels": np.array([1], np.uint8),
    }
    dataset = load_dataset(write_idx_folder(tmp_path / "set", arrays, compress=compress))
    np.testing.assert_array_equal(dataset.train.images, arrays["train images"])
    assert dataset.train.labels.tolist() == [2, 0, 1]
    assert dataset.image_shape == (8, 6)
    assert dataset.class_names == ("0", "1", "2")
    assert not dataset.is_genuine


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("key", "damage", "message"),
    [
        ("train images", truncate, r"expected 470,400 bytes for \(600, 28, 28\). Received: only"),
        ("train images", lambda content: content + b"x", "Received: more"),
        ("test images", lambda content: b"", "begins 00000803. Received: an empty file"),
        ("test labels", lambda content: b"\0\0\x08\x03" + content[4:], "begins 00000801. Received: 00000803"),
        ("train labels", lambda content: b"\0\0\x0d\x01" + content[4:], "Received: 00000d01"),
        ("train labels", lambda content: content[:5], "IDX header that begins 00000801"),
        ("train images", lambda content: truncate(gzip.compress(content)), "readable IDX file. Received: "),
        ("train images", lambda content: gzip.compress(content)[:-8] + b"12345678", "readable IDX file. Received: "),
        ("train images", lambda content: b"\x1f\x8bno gzip at all", "readable IDX file. Received: "),
        (
            "train labels",
            lambda content: idx_bytes(np.zeros(599, np.uint8)),
            "each of the 600 images .*Received: 599 labels",
        ),
        (
            "test images",
            lambda content: idx_bytes(np.zeros((200, 27, 28), np.uint8)),
            r"of \(28, 28\), as .*\(27, 28\)",
        ),
        ("test labels", lambda content: content[:-1] + b"\x0a", "labels up to 9, as in the training set. Received: 10"),
        ("train labels", lambda content: content[:-1] + b"\xc8", "without gaps. Received: labels up to 200 but no 10"),
    ],
)
def test_every_kind_of_damage_names_the_file(
    small_fashion: Dataset, tmp_path: Path, key: str, damage: Callable[[bytes], bytes], message: str
) -> None:
    folder = write_idx_folder(tmp_path / "set", as_arrays(small_fashion), compress=False)
    path = folder / FILES[key]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        load_idx_folder(folder, "test")
    assert str(path) in str(caught.value)


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    arrays = {key: np.zeros((0, 28, 28) if "images" in key else 0, np.uint8) for key in FILES}
    with pytest.raises(DataError, match="one at least"):
        load_idx_folder(write_idx_folder(tmp_path / "set", arrays), "test")


def test_a_header_alone_does_not_claim_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    path.write_bytes(struct.pack(">4I", 0x803, 2**31, 2**15, 2**15))
    with pytest.raises(DataError, match="Received: only 0"):
        read_idx(path, 3)


def test_a_missing_file_is_named(small_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match=r"expected train-images-idx3-ubyte, .* Received: no such file"):
        load_dataset(tmp_path)


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, and a system, without any dataset."""
    for variable in ("OOD_FASHION_DATA", "KERAS_HOME", "XDG_DATA_HOME", "TFDS_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(datasets, "DEBIAN_FOLDER", tmp_path / "system")
    return tmp_path


def test_the_first_source_that_is_there_wins(
    empty_home: Path, small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {
        "own copy of Debian's package": empty_home / ".local/share/ood-fashion/fashion-mnist",
        "Debian's package dataset-fashion-mnist": empty_home / "system",
        "Keras's cache": empty_home / ".keras/datasets/fashion-mnist",
    }
    for name, folder in places.items():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(small_folder)
        assert load_dataset().source == f"{name} ({folder})"
    monkeypatch.setenv("OOD_FASHION_DATA", str(small_folder))
    assert load_dataset().source == str(small_folder)
    with pytest.raises(DataError, match="expected train-images"):
        load_dataset(empty_home)  # what is named is not passed over


def test_half_a_cache_is_passed_over_and_named(empty_home: Path, small_folder: Path) -> None:
    cache = empty_home / ".keras/datasets/fashion-mnist"
    cache.mkdir(parents=True)
    (cache / "train-images-idx3-ubyte.gz").symlink_to(small_folder / "train-images-idx3-ubyte.gz")
    with pytest.raises(DataError, match="fashion-mnist lacks train-labels-idx1-ubyte, t10k-images"):
        load_dataset(download=False)


def test_without_any_source_every_one_is_explained(empty_home: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(download=False)
    lines = str(caught.value).splitlines()
    assert lines[0] == "no Fashion-MNIST found. Tried:"
    for line, remedy in zip(
        lines[1:], ("keras.datasets", "apt-get install", "fetch_data.sh", "tfds.load", "tfds.load"), strict=True
    ):
        assert re.search(r"not there|not allowed", line)
        assert remedy in line


def test_a_failed_download_is_explained(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr(tfds_reader, "urlopen", refuse)
    with pytest.raises(DataError, match="download: ConnectionError: no route to host; check the network"):
        load_dataset()


def test_tensorflow_datasets_gives_the_images_in_the_files_order(
    empty_home: Path, small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepare a real TFDS copy, from files on disk instead of the network, then read it."""
    folder = write_idx_folder(tmp_path / "download", as_arrays(small_fashion), compress=False)
    module = tfds.image_classification.mnist
    monkeypatch.setattr(module, "_TRAIN_EXAMPLES", len(small_fashion.train))
    monkeypatch.setattr(module, "_TEST_EXAMPLES", len(small_fashion.test))
    monkeypatch.setattr(tfds_reader, "urlopen", lambda *args, **options: io.BytesIO())
    paths = {key.replace(" ", "_").replace("images", "data"): str(folder / stem) for key, stem in FILES.items()}
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", lambda self, urls: paths)
    downloaded = load_dataset()
    monkeypatch.undo()
    monkeypatch.setenv("TFDS_DATA_DIR", str(empty_home / "tensorflow_datasets"))
    monkeypatch.setenv("HOME", str(empty_home))
    monkeypatch.setattr(datasets, "DEBIAN_FOLDER", empty_home / "system")
    for dataset in (downloaded, load_dataset(download=False)):
        assert dataset.source.startswith("TensorFlow Datasets (")
        assert dataset.sha256 == small_fashion.sha256


def test_a_damaged_tensorflow_datasets_copy_is_named(empty_home: Path) -> None:
    copy = empty_home / "tensorflow_datasets/fashion_mnist/3.0.1"
    copy.mkdir(parents=True)
    (copy / "dataset_info.json").write_text("{}")
    with pytest.raises(DataError, match="fashion_mnist: expected a whole copy"):
        load_dataset(download=False)


@pytest.mark.parametrize("name", ["mnist", "kmnist", "emnist/letters"])
def test_tensorflow_datasets_gives_other_sets_by_name(
    empty_home: Path, small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Prepare real TFDS copies from the first Fashion-MNIST images, in the places of their own files."""
    module = tfds.image_classification.mnist
    monkeypatch.setattr(module, "_TRAIN_EXAMPLES", 600)
    monkeypatch.setattr(module, "_TEST_EXAMPLES", 200)
    for config in module.EMNIST.BUILDER_CONFIGS:
        monkeypatch.setattr(config, "train_examples", 600)
        monkeypatch.setattr(config, "test_examples", 200)
    folder = write_idx_folder(tmp_path / "gzip", as_arrays(small_fashion), compress=False)
    paths = {key.replace(" ", "_").replace("images", "data"): str(folder / stem) for key, stem in FILES.items()}
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", lambda self, urls: paths)
    if name.startswith("emnist"):
        monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", lambda self, url: str(tmp_path))
        monkeypatch.setattr(tfds.download.DownloadManager, "extract", lambda self, names: paths)
    asked: list[str] = []

    def answer(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO()

    monkeypatch.setattr(tfds_reader, "urlopen", answer)
    dataset = load_dataset(name)
    assert len(asked) == 1
    assert dataset.sha256 == small_fashion.sha256
    expected = {
        "mnist": tuple("0123456789"),
        "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        "emnist/letters": ("none", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *map(str, range(27, 37))),
    }[name]
    assert dataset.names == expected
    assert dataset.num_classes == len(expected)
    monkeypatch.setattr(tfds_reader, "urlopen", None)  # what is prepared asks nobody
    assert load_dataset(name).sha256 == dataset.sha256


class TinySet(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg, misc]
    """What a test makes of it."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent
    shape: tuple[int | None, ...] = (8, 6, 1)
    splits: tuple[str, ...] = ("train", "test")
    supervised: tuple[str, str] | None = ("image", "label")

    def _info(self) -> tfds.core.DatasetInfo:
        label = tfds.features.ClassLabel(names=["ring", "disc", "dot"])
        features = {"image": tfds.features.Image(shape=self.shape), "label": label}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=self.supervised
        )

    def _split_generators(self, dl_manager: object) -> dict[str, object]:
        return {split: self._generate_examples() for split in self.splits}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, object]]]:
        height, width, channels = (size or 7 for size in self.shape)
        for i in range(4):
            yield i, {"image": np.full((height, width, channels), 50 * i, np.uint8), "label": (0, 2, 0, 2)[i]}


def prepare(folder: Path, **attributes: object) -> None:
    builder = type("TinySet", (TinySet,), attributes, skip_registration=True)(data_dir=folder / "tensorflow_datasets")
    builder.download_and_prepare(download_dir=folder)


def test_any_grey_set_of_tensorflow_datasets_is_read(empty_home: Path) -> None:
    prepare(empty_home)
    dataset = load_dataset("tiny_set")
    assert dataset.image_shape == (8, 6)
    assert (dataset.num_classes, dataset.class_names) == (3, ("ring", "disc", "dot"))  # though there is no disc
    assert sorted(zip(dataset.test.images[:, 0, 0].tolist(), dataset.test.labels.tolist(), strict=True)) == [
        (0, 0), (50, 2), (100, 0), (150, 2),
    ]  # fmt: skip
    assert [row["train"] for row in describe(dataset)["classes"]] == [2, 0, 2]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"shape": (8, 6, 3)}, r"grey images of one size, .* Received: \(8, 6, 3\)\. Convert them"),
        ({"shape": (None, None, 1)}, r"grey images of one size, .* Received: \(None, None, 1\)"),
        ({"splits": ("train", "validation")}, "expected a training and a test set. Received: no test"),
        ({"supervised": None}, "expected images with a class label. Received: None"),
    ],
)
def test_other_sets_of_tensorflow_datasets_are_refused(
    empty_home: Path, attributes: dict[str, object], message: str
) -> None:
    prepare(empty_home, **attributes)
    with pytest.raises(DataError, match=message) as caught:
        load_dataset("tiny_set")
    assert str(caught.value).startswith("dataset 'tiny_set': ")


def test_names_that_nobody_knows_are_refused(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nonsense", "emnist/nonsense", "digits.npz", "", "mnist:9.9.9"):
        with pytest.raises(InvalidValueError, match=r"expected one of TensorFlow Datasets, .*--data-dir") as caught:
            load_dataset(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"'mnist': expected a prepared copy. Received: none in .*tensorflow_datasets"):
        load_dataset("mnist", download=False)
    with pytest.raises(DataError, match=r"'cifar10': expected grey images of one size"):
        load_dataset("cifar10")  # before anything is downloaded

    def refuse(*args: object, **options: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds_reader, "urlopen", refuse)
    with pytest.raises(
        DataError, match=r"Received: ConnectionError: no route to host\. Check the network, then python"
    ):
        load_dataset("mnist")


def test_a_name_goes_before_the_environment(
    empty_home: Path, small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OOD_FASHION_DATA", str(small_folder))
    with pytest.raises(DataError, match="no Fashion-MNIST found"):
        load_dataset("fashion_mnist", download=False)


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
        ({"x_test": np.full((2, 8, 6), np.nan)}, "Received: float64 from nan to nan"),
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
