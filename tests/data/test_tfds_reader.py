from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ood_fashion.data import sources
from ood_fashion.data.dataset import FILES, Dataset, describe
from ood_fashion.data.sources import load_dataset
from ood_fashion.errors import DataError, InvalidValueError
from tests.conftest import as_arrays, write_idx_folder


def test_tensorflow_datasets_gives_the_images_in_the_files_order(
    empty_home: Path, small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepare a real TFDS copy, from files on disk instead of the network, then read it."""
    folder = write_idx_folder(tmp_path / "download", as_arrays(small_fashion), compress=False)
    module = tfds.image_classification.mnist
    monkeypatch.setattr(module, "_TRAIN_EXAMPLES", len(small_fashion.train))
    monkeypatch.setattr(module, "_TEST_EXAMPLES", len(small_fashion.test))
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **options: io.BytesIO())
    paths = {key.replace(" ", "_").replace("images", "data"): str(folder / stem) for key, stem in FILES.items()}
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", lambda self, urls: paths)
    downloaded = load_dataset()
    monkeypatch.undo()
    monkeypatch.setenv("TFDS_DATA_DIR", str(empty_home / "tensorflow_datasets"))
    monkeypatch.setenv("HOME", str(empty_home))
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", empty_home / "system")
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

    monkeypatch.setattr("urllib.request.urlopen", answer)
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
    monkeypatch.setattr("urllib.request.urlopen", None)  # what is prepared asks nobody
    assert load_dataset(name).sha256 == dataset.sha256


class TinySet(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
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
        with pytest.raises(InvalidValueError, match=r"expected one of TensorFlow Datasets, .*`data_dir`") as caught:
            load_dataset(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"'mnist': expected a prepared copy. Received: none in .*tensorflow_datasets"):
        load_dataset("mnist", download=False)
    with pytest.raises(DataError, match=r"'cifar10': expected grey images of one size"):
        load_dataset("cifar10")  # before anything is downloaded

    def refuse(*args: object, **options: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(
        DataError, match=r"Received: ConnectionError: no route to host\. Check the network and the disk, then python"
    ):
        load_dataset("mnist")


def test_a_name_goes_before_the_environment(
    empty_home: Path, small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OOD_FASHION_DATA", str(small_folder))
    with pytest.raises(DataError, match="no Fashion-MNIST found"):
        load_dataset("fashion_mnist", download=False)
