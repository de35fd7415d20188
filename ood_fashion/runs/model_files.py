"""Models by their files, with what a run folder knows of them."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ood_fashion._tensorflow import keras, select_device
from ood_fashion.data.dataset import Split
from ood_fashion.data.sources import load_dataset
from ood_fashion.errors import DataError, ModelError, PixelRangeWarning, RunError
from ood_fashion.evaluation.model_io import with_pixel_range
from ood_fashion.evaluation.scorer import IDENTITY_ORBIT, RowScorer, make_row_scorer
from ood_fashion.evaluation.sweeps import Row
from ood_fashion.files import is_file
from ood_fashion.models.files import load_file, load_weights
from ood_fashion.runs.run import Run
from ood_fashion.shifts.orbits import Orbit
from ood_fashion.shifts.shift import Shift


def load_model(path: Path, pixel_range: str | None = None, *, trust: bool = False) -> keras.Model:
    """Load a model: of a run's model.keras the weights, whichever version of Keras wrote them, else `files.load_file`.

    The path is of a .keras file or a SavedModel folder. The pixel range is as for `model_io.with_pixel_range`, whose
    result is returned, and trust as for `files.load_file`, of a file that no run wrote.
    """
    run = run_of(path) if is_file(path, ModelError) else None
    model = load_weights(run.config.model, path) if run else load_file(path, trust=trust)
    return with_pixel_range(model, pixel_range)


def run_of(path: Path) -> Run | None:
    """Return the run that wrote a model file, None where none did."""
    with suppress(RunError):
        run = Run.open(path.parent)
        if run.model_path.name == path.name:
            return run
    return None


@dataclass(frozen=True)
class ModelFiles:
    """Models and the first `limit` test images to ask them about, by what any process can load.

    Files may change under their names: `content` decides the models and the images, and `sha256` is of the test images
    and their labels.
    """

    paths: tuple[Path, ...]
    pixel_ranges: tuple[str | None, ...]
    data_dir: Path | str | None
    limit: int | None
    device: str
    content: str
    sha256: tuple[str, str]
    trust: bool = False
    orbit: Orbit = IDENTITY_ORBIT


@lru_cache(maxsize=1)
def load_scorer(files: ModelFiles, threads: int | None) -> tuple[RowScorer, NDArray[np.int64]]:
    """Load models and images, once a process; return what scores them, and the labels, (n,)."""
    select_device(files.device, threads=threads)
    dataset = load_dataset(files.data_dir)
    if (dataset.sha256["test images"], dataset.sha256["test labels"]) != files.sha256:
        raise DataError(f"{dataset.source}: expected the test images and labels that were asked for. Received: others.")
    split = Split(dataset.test.images[: files.limit], dataset.test.labels[: files.limit])
    files_and_ranges = zip(files.paths, files.pixel_ranges, strict=True)
    models = [load_model(path, pixel_range, trust=files.trust) for path, pixel_range in files_and_ranges]
    return make_row_scorer(models, dataset, split, files.orbit), split.labels


def correct_under(row: Row, files: ModelFiles, *, threads: int | None) -> list[tuple[Shift, NDArray[np.bool_]]]:
    """Return each shift of a row, and whether each model is right about each image under it, (models, n)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PixelRangeWarning)  # of which the process that asks has warned
        score, labels = load_scorer(files, threads)
    return list(zip(row.shifts, score(row).argmax(axis=3) == labels, strict=True))
