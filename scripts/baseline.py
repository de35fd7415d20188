"""Measure the standard models that robustness is held against, and write ood_fashion/evaluation/baseline.csv.

python scripts/baseline.py FOLDER    # trains and measures there; goes on where it was killed
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ood_fashion.data.dataset import Dataset
from ood_fashion.data.sources import load_dataset
from ood_fashion.evaluation import baseline, scorer, sweeps
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.model_files import load_model
from ood_fashion.runs.run import Run
from ood_fashion.runs.start import start_run
from ood_fashion.shifts.corruptions import CORRUPTIONS
from ood_fashion.shifts.shift import TEST_SETS, Shift
from ood_fashion.training import keras_trainer

TRAININGS = [
    *(TrainConfig(name, size) for size in (500, 2_000, 10_000) for name in ("mlp", "cnn2", "cnn3")),
    *(TrainConfig("mlp", seed=seed) for seed in (2, 3, 4, 5)),
]
"""The assignment's models as it trains them, and on fewer images, so that in-domain accuracies differ."""


def train(config: TrainConfig, folder: Path, dataset: Dataset) -> tuple[str, Path]:
    """Return the name of a training and its model file, after it."""
    name = f"{config.model}-{config.train_size}-s{config.seed}"
    path = folder / name
    run = Run.open(path) if Run(path).has_begun else start_run(path, config, dataset, "cpu")
    if not run.is_complete:
        keras_trainer.train(run, dataset)
    return name, run.model_path


Score = Callable[[Shift], NDArray[np.float32]]


def measure(
    name: str, shifts: Iterable[Shift], files: dict[str, Path], score: Score, folder: Path, dataset: Dataset
) -> dict[str, dict[str, float]]:
    """Return the accuracies of models by their names, by the text forms of the shifts."""
    sweep, n = sweeps.Sweep(name, tuple({"shift": shift} for shift in shifts)), len(dataset.test)
    path = sweeps.open_folder(folder / name, sweeps.settings(sweep, files, dataset, n))
    with tqdm(total=len(sweep.points), desc=name) as bar:
        correct = sweeps.measure(
            sweep,
            len(files),
            n,
            lambda shifts: ((shift, score(shift).argmax(axis=2) == dataset.test.labels) for shift in shifts),
            path,
            bar.update,
        )
    accuracies = correct.mean(axis=2).tolist()
    return {str(s): dict(zip(files, row, strict=True)) for s, row in zip(sweep.shifts, accuracies, strict=True)}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Train, measure and write."""
    dataset = load_dataset(download=False)
    files = dict(train(config, folder, dataset) for config in tqdm(TRAININGS, desc="trainings"))
    score = scorer.make_joint_scorer([load_model(file) for file in files.values()], dataset)
    # A folder a corruption, so that a new one is measured alone.
    sets = {"assignment": [Shift.parse(text) for text in TEST_SETS], "rotations": sweeps.rotations(15).shifts}
    sets |= {name: sweeps.corruptions([name]).shifts[1:] for name in CORRUPTIONS}
    rows: dict[str, dict[str, float]] = {}
    for name, shifts in sets.items():
        rows |= measure(name, [shift for shift in shifts if str(shift) not in rows], files, score, folder, dataset)
    # Translations are many, and take the CNNs an hour.
    mlps = {name: file for name, file in files.items() if name.startswith("mlp")}
    score = scorer.make_joint_scorer([load_model(file) for file in mlps.values()], dataset)
    moved = [shift for shift in sweeps.translations(8).shifts if str(shift) not in rows]
    rows |= measure("translations", moved, mlps, score, folder, dataset)
    with baseline.PATH.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["shift", *files], lineterminator="\n")
        writer.writeheader()
        for shift, row in rows.items():
            writer.writerow({"shift": shift, **{name: f"{accuracy:.4f}" for name, accuracy in row.items()}})


if __name__ == "__main__":
    main()
