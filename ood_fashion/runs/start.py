"""The start of a run: its folder, and what it records of where it runs."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ood_fashion import __version__
from ood_fashion.data.dataset import Dataset, split_train
from ood_fashion.errors import RunError
from ood_fashion.files import exists
from ood_fashion.models.specs import MODELS
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.run import Run

PACKAGES = {"keras": ("tensorflow", "keras", "numpy"), "numpy": ("numpy",)}
"""The packages that decide a run beside this one, by implementation."""


def start_run(
    path: Path,
    config: TrainConfig,
    dataset: Dataset,
    device: str,
    threads: int | None = None,
    packages: Sequence[str] | None = None,
) -> Run:
    """Make a run folder, once it is clear that the dataset is large enough for the config.

    It records the versions of `packages`, or else of those that train its implementation.
    """
    from importlib.metadata import version  # which takes a tenth of a second

    split_train(dataset, config.train_size, config.val_size)
    MODELS[config.model].summary((*dataset.image_shape, 1), dataset.num_classes)
    return Run.create(
        path,
        config,
        dataset={"source": dataset.source, "genuine": dataset.is_genuine, "sha256": dataset.sha256}
        | {"class_names": list(dataset.class_names)},
        device=device,
        threads=threads or os.cpu_count(),
        versions={"python": platform.python_version(), "ood-fashion": __version__}
        # Of what is imported, which may have been installed under another name, or else of what is installed.
        | {
            name: getattr(sys.modules.get(name), "__version__", None) or version(name)
            for name in packages or PACKAGES[config.implementation]
        },
        git_revision=_git_revision(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _git_revision() -> str | None:
    """Return the commit that this code was checked out from, or None for an installed copy."""
    root = Path(__file__).parents[2]
    if not exists(root / ".git"):
        return None
    try:
        return subprocess.check_output(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"],
            stderr=subprocess.DEVNULL,
            text=True,
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def require_same_dataset(run: Run, dataset: Dataset, remedy: str = "Name it with `data`.") -> None:
    """Check that a run goes on with the dataset that it began on; the remedy is for the message."""
    began_on = run.record["dataset"]
    if began_on.get("sha256") != dataset.sha256:
        raise RunError(
            f"{run.path}: expected the dataset that the run began on, {began_on.get('source')}. "
            f"Received: {dataset.source}, whose content differs. {remedy}"
        )
