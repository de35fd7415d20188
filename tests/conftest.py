"""Fixtures: the real dataset, small datasets written as IDX files, and the command line run in an empty folder."""

from __future__ import annotations

import gzip
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from ood_fashion.cli import main
from ood_fashion.data import sources
from ood_fashion.data.dataset import FILES, Dataset, Split
from ood_fashion.data.sources import load_dataset

# Files of a fixture are written anew for every example.
_FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
settings.register_profile("everyday", derandomize=True, deadline=None, suppress_health_check=_FIXTURES)
settings.register_profile("fuzz", max_examples=5_000, deadline=2_000, suppress_health_check=_FIXTURES)
settings.load_profile("everyday")

Arrays = dict[str, NDArray[np.uint8]]


@pytest.fixture(scope="session")
def fashion() -> Dataset:
    """The real Fashion-MNIST."""
    return load_dataset(download=False)


@pytest.fixture(scope="session")
def small_fashion(fashion: Dataset) -> Dataset:
    """The first real images: 600 to train and validate on, 200 to test on."""
    train = Split(fashion.train.images[:600], fashion.train.labels[:600])
    test = Split(fashion.test.images[:200], fashion.test.labels[:200])
    return Dataset(train, test, "the first images")


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def write_idx_folder(folder: Path, arrays: Arrays, *, compress: bool = True) -> Path:
    """Write arrays by the keys of `FILES` as the four IDX files."""
    folder.mkdir(parents=True)
    for key, stem in FILES.items():
        content = idx_bytes(arrays[key])
        if compress:
            (folder / f"{stem}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (folder / stem).write_bytes(content)
    return folder


def as_arrays(dataset: Dataset) -> Arrays:
    return {
        "train images": dataset.train.images,
        "train labels": dataset.train.labels.astype(np.uint8),
        "test images": dataset.test.images,
        "test labels": dataset.test.labels.astype(np.uint8),
    }


@pytest.fixture(scope="session")
def small_folder(small_fashion: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_fashion` as IDX files."""
    return write_idx_folder(tmp_path_factory.mktemp("data") / "small", as_arrays(small_fashion))


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave most of the figures of a run's report out, which tests/reports draws and which take seconds."""
    monkeypatch.setattr("ood_fashion.reports.run_page._confusion_sections", lambda records: [])
    monkeypatch.setattr("ood_fashion.reports.run_page._GALLERY_CLASSES", 1)
    monkeypatch.setattr("ood_fashion.reports.run_page._MISTAKES", 1)


JAX_FOLDER = Path(sys.prefix) / "jax"
"""Where scripts/setup.sh installs JAX, apart from what TensorFlow would import."""

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run the command line inside an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where hostile files lie, and nothing may be written besides."""
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, and a system, without any dataset."""
    for variable in ("OOD_FASHION_DATA", "KERAS_HOME", "XDG_DATA_HOME", "TFDS_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", tmp_path / "system")
    return tmp_path
