"""Reports: a folder's records as a page. Nothing is computed anew but what the predictions and the models say.

To report another kind of folder, add to `KINDS` a function that turns it into a `Page`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ood_fashion.data.sources import Source
from ood_fashion.errors import RunError
from ood_fashion.files import exists, is_file, is_folder
from ood_fashion.reports.page import Page
from ood_fashion.reports.run_page import run_page
from ood_fashion.reports.study_page import reproduction_page, study_page
from ood_fashion.reports.sweep_page import sweep_page

KINDS: dict[str, Callable[[Path, Source | None], Page]] = {
    "config.json": run_page,
    "study.json": study_page,
    "reproduction.json": reproduction_page,
    "results.json": sweep_page,
}
"""What turns a folder into a page, by the file that tells its kind."""


def read_page(path: Path, source: Source | None = None) -> Page:
    """Read what a folder records.

    Args:
        path: a folder of one of the `KINDS`.
        source: of a run's or a sweep's dataset, as for `sources.load_dataset`.

    Raises:
        RunError: it is no such folder, unfinished, damaged, or its run began on another dataset.
        DataError: the dataset cannot be read.
    """
    for file, to_page in KINDS.items():
        if is_file(path / file):
            return to_page(path, source)
    received = "a folder without them" if is_folder(path) else "a file" if exists(path) else "nothing there"
    raise RunError(f"{path}: expected a folder with one of {', '.join(KINDS)}. Received: {received}.")
