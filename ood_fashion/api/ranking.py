"""Result files of many models, on one leaderboard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from ood_fashion.api.data import Data, load_dataset
from ood_fashion.api.opening import find_run, pretrained
from ood_fashion.api.results import Results
from ood_fashion.data.dataset import GENUINE_SHA256, Dataset
from ood_fashion.errors import DataError, InvalidValueError, ModelError, RunError
from ood_fashion.evaluation import baseline, classifier, sweeps
from ood_fashion.evaluation.prediction_files import is_predictions, read_predictions
from ood_fashion.evaluation.ranking import MEASURES, Entry, LeaderboardRow, rank
from ood_fashion.evaluation.records import describe_fault
from ood_fashion.evaluation.results import AccuracyResult, read_result, require_known_schema
from ood_fashion.evaluation.sweep_report import SweepPoint, SweepReport
from ood_fashion.files import is_file, is_folder, read_json
from ood_fashion.models import specs
from ood_fashion.reports import ranking
from ood_fashion.reports.table import Table
from ood_fashion.runs.predictions import saved_classes
from ood_fashion.runs.run import Run
from ood_fashion.runs.search import distinct_name, pretrained_runs, shipped_sweeps
from ood_fashion.shifts.augmentations import overlaps


@dataclass(frozen=True, repr=False)
class Leaderboard(Results):
    """Models beside each other, the best first.

    Attributes:
        ranked: a `LeaderboardRow` per model.
        sort: the measure that they are sorted by, a key of `MEASURES`.
    """

    ranked: Sequence[LeaderboardRow]
    sort: str

    @property
    def record(self) -> dict[str, Any]:
        """The measure, and a record per model."""
        return {"sort": self.sort, "rows": [row.to_json() for row in self.ranked]}

    @property
    def rows(self) -> Sequence[LeaderboardRow]:
        """A `LeaderboardRow` per model."""
        return self.ranked

    @property
    def tables(self) -> list[Table]:
        """The accuracies, and the other measures."""
        return ranking.leaderboard_tables(self.ranked, self.sort)


def leaderboard(
    files: str | Path | Run | Sequence[str | Path | Run] = (),
    *,
    sort: str = "worst",
    names: str = "*",
    data: Data = None,
    page: str | Path | None = None,
) -> Leaderboard:
    """Put the results of models beside those of the models of the package.

    No model is run: what is not in the files is shown as "-".

    Args:
        files: one or several of: a run folder; a folder of a sweep over models, or its results.json; what `evaluate
            --json` printed; a .csv or .npz file of predictions for the test images, or the first of them. A sweep over
            a run's model adds to the row of the run, by the hash of the model file.
        sort: a key of `evaluation.ranking.MEASURES`: "worst" of the five test sets, "in-domain", "every-angle", "mce",
            "mce-unseen", "ece", "parameters" or "multiply-adds".
        names: a pattern of the models' names, such as "p4*"; the others are left out.
        data: Fashion-MNIST, where it is not found: what `load_dataset` takes or gives.
        page: an HTML file to write, with a table that can be sorted and filtered.

    Returns:
        A row per model, the best first, with the places of those that it cannot be told apart from.

    Raises:
        InvalidValueError: there is no such measure, or no model has such a name.
        DataError: the data are not Fashion-MNIST.
        ModelError: a file of predictions is damaged, or lacks images.
        RunError: another file is damaged, or holds something else.

    Examples:
        >>> import ood_fashion as ood
        >>> board = ood.leaderboard(names="p4m*")
        >>> [row.model for row in board][:2]
        ['p4mgap-augmented', 'p4mgap']
        >>> round(board.rows[0].measures["worst"].value, 2)
        0.91
    """
    if sort not in MEASURES:
        raise InvalidValueError(f"`sort`: expected one of {', '.join(MEASURES)}. Received: {sort!r}.")
    dataset = load_dataset(data)
    if not baseline.applies(dataset.test):
        raise DataError(f"{dataset.source}: expected Fashion-MNIST's test images. Received: others. Leave `data` out.")
    given = [files] if isinstance(files, str | Path | Run) else list(files)
    entries: dict[str, Entry] = {}
    # Runs first: their files have names that sweeps over them can be told by.
    for file in sorted([*map(pretrained, pretrained_runs()), *given], key=lambda one: find_run(one) is None):
        for key, entry in _read(file, dataset):
            entries[key] = entries[key].merge(entry) if key in entries else entry
    chosen = [entry for entry in entries.values() if fnmatchcase(entry.model, names)]
    if not chosen:
        raise InvalidValueError(f"`names`: expected a pattern of names of models. Received: {names!r}, which none has.")
    results = Leaderboard(rank(chosen, sort), sort)
    if page:
        from ood_fashion.reports.page import write_html
        from ood_fashion.reports.ranking_page import leaderboard_page

        write_html(leaderboard_page(results.ranked, sort), Path(page))
    return results


def _read(file: str | Path | Run, dataset: Dataset) -> Iterator[tuple[str, Entry]]:
    """Give the models of a file, each with what tells it apart from all others."""
    if run := find_run(file):
        entry = _read_run(run, dataset)
        yield sweeps.hash_model(run.model_path), entry
        return
    path = Path(str(file))
    if is_predictions(path):
        yield str(path), _read_predictions(path, dataset)
        return
    if is_folder(path):
        path /= "results.json"
    record = read_json(path)
    if "training" in record and is_file(path.with_name("config.json")):
        yield from _read(path.parent, dataset)
        return
    try:
        require_known_schema(record)
        if "over_shifts" in record:
            yield from _read_sweep(path, SweepReport.from_json(record))
        else:
            tta = f", tta {record['tta']}" if record.get("tta") else ""
            results = tuple(map(read_result, record["results"]))
            yield str(path), Entry(f"{record['model']}{tta} ({path})", results, sources=(str(path),))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: expected results of evaluate, of a run or of a sweep. Received: {describe_fault(error)}."
        ) from error


def _read_run(run: Run, dataset: Dataset) -> Entry:
    correct = {shift: classes == dataset.test.labels for shift, classes in saved_classes(run, dataset).items()}
    described = specs.describe(run.config.model)
    return Entry(
        distinct_name(run),
        (*run.read_results(), *map(_accuracy, shipped_sweeps(run))),
        parameters=described["parameters"],
        multiply_adds=described["multiply_adds"],
        seen=overlaps(run.config.augmentations),
        correct=correct,
        sources=(str(run.path),),
    )


def _read_sweep(path: Path, report: SweepReport) -> Iterator[tuple[str, Entry]]:
    """Give the models of a sweep, by the hashes of their files where its settings are beside the results."""
    beside = path.with_name("settings.json")
    settings = read_json(beside) if is_file(beside) else {}
    if settings and settings["images"] != GENUINE_SHA256["test images"]:
        raise ValueError("a sweep over other images than Fashion-MNIST's")
    tta = f", tta {settings['tta']}" if settings.get("tta") else ""
    seen = {row.model: row.seen for row in report.over_shifts}
    for model in report.models:
        key = settings["models"][model] if settings else f"{path} {model}"
        results = tuple(_accuracy(one) for one in report.results if one.model == model)
        yield key + tta, Entry(f"{model}{tta} ({path})", results, seen=seen.get(model), sources=(str(path),))


def _accuracy(point: SweepPoint) -> AccuracyResult:
    return AccuracyResult(point.shift, point.accuracy, point.correct, point.n, point.ci95)


def _read_predictions(path: Path, dataset: Dataset) -> Entry:
    """Measure a file of predictions under each of its shifts, on the first images, of which it must have all."""
    file = read_predictions(path)
    results: list[AccuracyResult] = []
    correct = {}
    for shift, (places, given) in file.answers.items():
        if places[-1] >= len(dataset.test):
            raise ModelError(f"{path}: expected images up to {len(dataset.test) - 1:,}. Received: {places[-1]:,}.")
        first = dataset.with_test_images(len(places)).test
        score = cache(file.scorer(first))
        full = shift == "none" and given.ndim == 2
        results += classifier.evaluate(score, first, shift, full=full)
        correct[shift] = classifier.predict_classes(score, shift)[shift] == first.labels
    return Entry(str(path), tuple(results), correct=correct, sources=(str(path),))
