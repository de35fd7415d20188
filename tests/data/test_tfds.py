from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given

from ood_fashion.data import dataset
from ood_fashion.data.dataset import FASHION_CLASSES, Dataset, Split
from ood_fashion.data.export import export
from ood_fashion.data.tfds import OodFashion, config_for, parse_config_name
from ood_fashion.errors import DataError
from ood_fashion.shifts.corruptions import CORRUPTIONS
from ood_fashion.shifts.shift import SHIFTS, Shift, file_name
from tests.conftest import as_arrays, write_idx_folder
from tests.shifts.test_shift import shifts


@pytest.fixture(scope="module")
def few(fashion: Dataset) -> Dataset:
    """The first real images."""
    train, test = (Split(split.images[:n], split.labels[:n]) for split, n in ((fashion.train, 60), (fashion.test, 50)))
    return Dataset(train, test, "the first images")


@pytest.fixture(scope="module", autouse=True)
def _few_for_all(few: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Take the first images for all of Fashion-MNIST."""
    folder = write_idx_folder(tmp_path_factory.mktemp("data") / "few", as_arrays(few))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "GENUINE_SHA256", few.sha256)
        patch.setenv("OOD_FASHION_DATA", str(folder))
        yield


class TestOodFashion(tfds.testing.DatasetBuilderTestCase):
    """TensorFlow Datasets' own test of a builder."""

    DATASET_CLASS = OodFashion
    SPLITS: ClassVar = {"train": 60, "test": 50}
    BUILDER_CONFIG_NAMES_TO_TEST: ClassVar = ["rotate90", "fog-3", config_for(Shift.parse("translate:2,-1.5+jpeg:2"))]
    EXAMPLE_DIR = str(Path(__file__).parent)  # it downloads nothing

    def test_session(self, *arguments: Any, **options: Any) -> Any:
        return super().test_session(*arguments, **options)

    setattr(test_session, "__test__", False)  # noqa: B010 # TensorFlow's helper, no test


@given(shifts)
def test_a_config_name_is_read_back(shift: Shift) -> None:
    assert parse_config_name(file_name(shift)) == shift


def test_named_shifts_and_corruptions_are_listed() -> None:
    names = [config.name for config in OodFashion.BUILDER_CONFIGS]
    assert names[:5] == list(SHIFTS)
    assert len(set(names)) == len(names) == 5 + 5 * len(CORRUPTIONS)


@pytest.mark.parametrize("text", ["rotate90", "translate:0,-4", "up4+impulse_noise:2,3"])
def test_load(few: Dataset, tmp_path: Path, text: str) -> None:
    name = text.replace(":", "-").replace(",", "_")
    loaded, info = tfds.load(f"ood_fashion/{name}", data_dir=tmp_path, with_info=True)
    assert info.features["label"].names == list(FASHION_CLASSES)
    assert "Xiao" in info.citation
    for split_name, split in (("train", few.train), ("test", few.test)):
        examples = list(tfds.as_numpy(loaded[split_name]))
        images = np.stack([example["image"][..., 0] for example in examples])
        np.testing.assert_array_equal(images, Shift.parse(text).apply_uint8(split.images))
        np.testing.assert_array_equal([example["label"] for example in examples], split.labels)


def test_an_unknown_config_is_refused(tmp_path: Path) -> None:
    """TensorFlow Datasets puts words of its own before the message, in an error of its own."""
    with pytest.raises(RuntimeError, match=r"(?s)'rotat:90': unknown.* Did you mean rotate"):
        tfds.load("ood_fashion/rotat-90", data_dir=tmp_path)
    with pytest.raises(RuntimeError, match="expected a severity from 0 to 5"):
        tfds.load("ood_fashion/fog-6", data_dir=tmp_path)


def negative(dataset: Dataset) -> Dataset:
    """28x28 images of ten classes that are not Fashion-MNIST's."""
    train, test = (Split(255 - split.images[:50], split.labels[:50]) for split in (dataset.train, dataset.test))
    return Dataset(train, test, "negatives.npz")


def test_other_data_is_refused_unless_given(few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same shape and as many classes, so that only the content tells them apart."""
    folder = write_idx_folder(tmp_path / "negative", as_arrays(negative(few)))
    monkeypatch.setenv("OOD_FASHION_DATA", str(folder))
    with pytest.raises(
        DataError, match=r"expected Fashion-MNIST as published\. .*Give other data as OodFashion\(dataset"
    ):
        OodFashion(config="none", data_dir=tmp_path).download_and_prepare()
    options = {"dataset": negative(few)}
    loaded = tfds.load("ood_fashion/none", split="test", data_dir=tmp_path / "given", builder_kwargs=options)
    assert len(loaded) == 50


@pytest.mark.parametrize("names", [(), tuple("abcdefghij")])
def test_an_export_says_what_it_was_made_from(few: Dataset, tmp_path: Path, names: tuple[str, ...]) -> None:
    """Only Fashion-MNIST is described, cited and labelled as such."""
    other = replace(negative(few), names=names)
    for folder, source in (("genuine", few), ("other", other)):
        export(source, [Shift.parse("fog:2")], tmp_path / folder, "tfds")
    genuine, info = (
        tfds.builder_from_directory(tmp_path / folder / "ood_fashion/fog-2/1.0.0").info
        for folder in ("genuine", "other")
    )
    assert genuine.description == "Fashion-MNIST in its original order, every image moved, turned or corrupted."
    assert genuine.features["label"].names == list(FASHION_CLASSES)
    assert "fashion-mnist" in genuine.homepage
    assert info.description.startswith("negatives.npz, which is not Fashion-MNIST as published, in its original order")
    assert info.features["label"].names == list(names or "0123456789")
    for text in ("Xiao", "Hendrycks", "Mu, Norman"):
        assert text in genuine.citation
        assert (text in info.citation) == (text != "Xiao")
    assert "zalando" not in info.homepage


def test_an_export_is_loaded_without_this_package(few: Dataset, tmp_path: Path) -> None:
    export(few, [Shift.parse("fog:2")], tmp_path / "out", "tfds")
    program = (
        "import sys, tensorflow_datasets as tfds; tfds.disable_progress_bar(); "
        "images, _ = tfds.load('ood_fashion/fog-2', split='test', data_dir=sys.argv[1], as_supervised=True, "
        "batch_size=-1); print(int(images.numpy().astype(int).sum()), 'ood_fashion' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env={"PATH": ""})
    expected = int(Shift.parse("fog:2").apply_uint8(few.test.images).astype(int).sum())
    assert result.stdout.split() == [str(expected), "False"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "croissant.json",
        "dataset.json",
        "ood_fashion",
    ]
