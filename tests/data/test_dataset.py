from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ood_fashion.data.dataset import FILES, Dataset, describe, split_train
from ood_fashion.data.readers import read_idx
from ood_fashion.data.sources import load_dataset, load_idx_folder
from ood_fashion.errors import DataError
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


def test_other_names_of_the_files_are_known(small_fashion: Dataset, small_folder: Path, tmp_path: Path) -> None:
    """As in copies whose names have a dot."""
    folder = write_idx_folder(tmp_path / "set", as_arrays(small_fashion), compress=False)
    for name in ("train-images", "train-labels", "t10k-images", "t10k-labels"):
        number = 3 if "images" in name else 1
        (folder / f"{name}-idx{number}-ubyte").rename(folder / f"{name}.idx{number}-ubyte")
    assert load_dataset(folder).sha256 == load_dataset(small_folder).sha256


def int32_idx(array: list[list[int]] | list[int]) -> bytes:
    values = np.array(array, ">i4")
    return struct.pack(f">{1 + values.ndim}I", 0xC00 + values.ndim, *values.shape) + values.tobytes()


def test_labels_of_qmnist_are_the_first_column(small_fashion: Dataset, tmp_path: Path) -> None:
    """Yadav and Bottou (2019): class, series, writer, index, code, global index, duplicate, 0; int32, (n, 8)."""
    arrays = as_arrays(small_fashion)
    for split, size in (("train", 600), ("test", 200)):
        (tmp_path / f"qmnist-{split}-images-idx3-ubyte").write_bytes(idx_bytes(arrays[f"{split} images"]))
        rows = [
            [int(label), 4, 2_000 + i, i, 53, 344_307 + i, 0, 0] for i, label in enumerate(arrays[f"{split} labels"])
        ]
        content = int32_idx(rows)
        assert len(content) == 12 + 32 * size
        (tmp_path / f"qmnist-{split}-labels-idx2-int.gz").write_bytes(gzip.compress(content))
    assert load_dataset(tmp_path).sha256 == small_fashion.sha256


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([7, 2, 1], [7, 2, 1]),
        ([[7, 0, 0], [2, 0, 0]], r"expected labels \(n,\), or \(n, 8\) as QMNIST's. Received: \(2, 3\)"),
        ([7, -2], "expected labels from 0 to 65,535. Received: -2 to 7"),
    ],
)
def test_labels_of_32_bits(tmp_path: Path, labels: list[int], expected: list[int] | str) -> None:
    path = tmp_path / "labels"
    path.write_bytes(int32_idx(labels))
    if isinstance(expected, list):
        assert read_idx(path, 1).tolist() == expected
    else:
        with pytest.raises(DataError, match=expected):
            read_idx(path, 1)


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("key", "damage", "message"),
    [
        ("train images", truncate, r"expected 470,400 bytes for \(600, 28, 28\). Received: only"),
        ("train images", lambda content: content + b"x", "Received: more"),
        ("test images", lambda content: b"", "begins 00000803. Received: an empty file"),
        ("test labels", lambda content: b"\0\0\x08\x03" + content[4:], "begins 00000801 or .*Received: 00000803"),
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


def test_a_source_that_cannot_be_read_is_passed_over_and_named(empty_home: Path, small_folder: Path) -> None:
    """A loop of links stands in for the folder of another user: both raise in `Path.is_file`."""
    (empty_home / ".keras").symlink_to(".keras")
    damaged = empty_home / "system"
    damaged.mkdir()
    for stem in FILES.values():
        (damaged / stem).write_bytes(b"damaged")
    with pytest.raises(DataError) as caught:
        load_dataset(download=False)
    tried = str(caught.value).splitlines()
    assert re.search(r"Keras's cache: .*expected .* Received: Too many levels of symbolic links\. .*; python", tried[1])
    assert re.search(r"Debian's package dataset-fashion-mnist: .*ubyte: expected an IDX header .*; sudo", tried[2])
    own = empty_home / ".local/share/ood-fashion/fashion-mnist"
    own.parent.mkdir(parents=True)
    own.symlink_to(small_folder)
    assert load_dataset(download=False).source == f"own copy of Debian's package ({own})"
    for named in (empty_home / ".keras", damaged):  # what is named is not passed over
        with pytest.raises(DataError, match=f"{named}/train-images-idx3-ubyte: expected "):
            load_dataset(named)


def test_a_user_without_a_home(empty_home: Path, small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(DataError) as caught:
        load_dataset(download=False)
    received = ("Set KERAS_HOME.", "system is not there", "Set XDG_DATA_HOME.", "Set TFDS_DATA_DIR.", "not allowed")
    for line, words in zip(str(caught.value).splitlines()[1:], received, strict=True):
        assert words in line
    with pytest.raises(DataError, match=r"\Atensorflow_datasets: expected a home folder.* Set TFDS_DATA_DIR\.\Z"):
        load_dataset("mnist", download=False)
    (empty_home / "system").symlink_to(small_folder)
    assert load_dataset().source == f"Debian's package dataset-fashion-mnist ({empty_home / 'system'})"


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

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(DataError, match="download: ConnectionError: no route to host; check the network"):
        load_dataset()
