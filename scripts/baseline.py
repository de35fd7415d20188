"""Measure the standard models that robustness is held against, and write ood_fashion/baseline.csv.

python scripts/baseline.py FOLDER    # trains and measures there; goes on where it was killed
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from ood_fashion import baseline, paper, sweeps
from ood_fashion.config import TrainConfig
from ood_fashion.datasets import Dataset, load_dataset
from ood_fashion.nn import evaluation, models, training
from ood_fashion.records import start_run
from ood_fashion.runs import Run
from ood_fashion.shifts import Shift

TRAININGS = [
    *(TrainConfig(name, size) for size in (500, 2_000, 10_000) for name in ("mlp", "cnn2", "cnn3")),
    *(TrainConfig("mlp", seed=seed) for seed in (2, 3, 4, 5)),
]
"""The document's models as it trains them, and on fewer images, so that in-domain accuracies differ."""


def trained(config: TrainConfig, folder: Path, dataset: Dataset) -> tuple[str, Path]:
    """Return the name of a training and its model file, after it."""
    name = f"{config.model}-{config.train_size}-s{config.seed}"
    path = folder / name
    run = Run.open(path) if path.exists() else start_run(path, config, dataset, "cpu")
    if not run.is_complete:
        training.train(run, dataset)
    return name, run.model_path


def measured(name: str, shifts: list[Shift], files: dict[str, Path], folder: Path, dataset: Dataset) -> np.ndarray:
    """Return the accuracies of models under shifts, (shifts, models)."""
    sweep = sweeps.Sweep(name, tuple({"shift": shift} for shift in shifts))
    path = sweeps.open_folder(folder / name, sweeps.settings(sweep, files, dataset, len(dataset.test)))
    score = evaluation.scorer([models.load_model(file) for file in files.values()], dataset)
    with tqdm(total=len(shifts), desc=name) as bar:
        hits = sweeps.measure(
            sweep,
            len(files),
            len(dataset.test),
            lambda shift: score(shift).argmax(axis=2) == dataset.test.labels,
            path,
            bar.update,
        )
    return np.asarray(hits.mean(axis=2))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Train, measure and write."""
    dataset = load_dataset(download=False)
    files = dict(trained(config, folder, dataset) for config in tqdm(TRAININGS, desc="trainings"))
    mlps = {name: file for name, file in files.items() if name.startswith("mlp")}
    everywhere = list(
        dict.fromkeys([*map(Shift.parse, paper.TEST_SETS), *sweeps.corruptions().shifts, *sweeps.rotations(15).shifts])
    )
    # Translations are many, and take the CNNs an hour.
    moved = [shift for shift in sweeps.translations(8).shifts if shift not in everywhere]
    rows = dict(zip(map(str, everywhere), measured("all", everywhere, files, folder, dataset), strict=True))
    moved_rows = zip(map(str, moved), measured("translations", moved, mlps, folder, dataset), strict=True)
    with baseline.PATH.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["shift", *files])
        for shift, row in rows.items():
            writer.writerow([shift, *(f"{value:.4f}" for value in row)])
        for shift, row in moved_rows:
            values = dict(zip(mlps, row, strict=True))
            writer.writerow([shift, *(f"{values[name]:.4f}" if name in values else "" for name in files)])


if __name__ == "__main__":
    main()
