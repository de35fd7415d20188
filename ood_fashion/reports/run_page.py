"""The page of a run: accuracies, learning curves, predictions, confusions and mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.data.dataset import Dataset
from ood_fashion.data.sources import Source, load_dataset
from ood_fashion.errors import InvalidValueError, RunError
from ood_fashion.evaluation.metrics import (
    Predictions,
    confident_mistakes,
    confusion_matrix,
    confusion_rates,
    measure_accuracy,
)
from ood_fashion.evaluation.results import AccuracyResult, Metrics
from ood_fashion.models.specs import MODELS
from ood_fashion.reports import failure_gallery, run_figures, tables
from ood_fashion.reports.figures import test_set
from ood_fashion.reports.page import Drawing, Page, Section, configuration_section, folder_name
from ood_fashion.reports.table import Table
from ood_fashion.runs.history import History
from ood_fashion.runs.run import Run
from ood_fashion.runs.start import require_same_dataset
from ood_fashion.shifts.shift import Shift
from ood_fashion.studies import assignment

_GALLERY_CLASSES, _GALLERY_ROWS = 10, 5
_MISTAKES = 8


@dataclass(frozen=True)
class _RunRecords:
    """What a complete run's folder holds, checked against its dataset."""

    run: Run
    dataset: Dataset
    history: History
    metrics: dict[str, Any]
    measured: list[AccuracyResult]
    predictions: dict[str, Predictions]

    @classmethod
    def read(cls, path: Path, source: Source | None) -> _RunRecords:
        run = Run.open(path).require_complete()
        history, metrics, predictions = run.read_history(), run.read_metrics(), run.read_predictions()
        dataset = load_dataset(source)
        require_same_dataset(run, dataset)
        for shift, answers in predictions.items():
            _check_predictions(f"{path / 'predictions.npz'}: under {shift},", shift, answers, dataset)
        records = cls(run, dataset, history, metrics, run.read_results(), predictions)
        counted, recorded = (
            [(result.shift, result.correct, result.n) for result in results]
            for results in (records.results, records.measured)
        )
        if recorded != counted or not counted:
            raise RunError(
                f"{path}: expected predictions.npz and metrics.json to agree. Received: {_list(counted)} in the "
                f"one, {_list(recorded)} in the other. Train the run anew."
            )
        return records

    @cached_property
    def results(self) -> list[AccuracyResult]:
        """The accuracy on each test set, by the predictions."""
        labels = self.dataset.test.labels
        return [measure_accuracy(shift, answers.classes, labels) for shift, answers in self.predictions.items()]

    @cached_property
    def counts(self) -> dict[str, NDArray[np.int64]]:
        """The confusion matrix of each test set."""
        labels, size = self.dataset.test.labels, self.dataset.num_classes
        return {shift: confusion_matrix(labels, answers.classes, size) for shift, answers in self.predictions.items()}

    def true_names(self, chosen: NDArray[np.intp]) -> list[str]:
        """Name the classes of test images."""
        return [self.dataset.class_names[label] for label in self.dataset.test.labels[chosen]]

    def answers(self, shift: str, chosen: NDArray[np.intp]) -> list[tuple[str, float]]:
        """Name the predicted classes of test images, with the confidences."""
        classes, confidences = (array[chosen].tolist() for array in self.predictions[shift])
        return [(self.dataset.class_names[label], value) for label, value in zip(classes, confidences, strict=True)]


def _check_predictions(where: str, shift: str, answers: Predictions, dataset: Dataset) -> None:
    n, size = len(dataset.test), dataset.num_classes
    classes, confidences = answers
    try:
        Shift.parse(shift)
    except InvalidValueError as error:
        raise RunError(f"{where} expected a shift's name. Received: {error}") from error
    if not classes.shape == confidences.shape == (n,):
        raise RunError(
            f"{where} expected a class and a confidence for each of the {n:,} test images of {dataset.source}. "
            f"Received: arrays of {classes.shape} and {confidences.shape}. Train the run anew."
        )
    if classes.min() < 0 or classes.max() >= size or not ((confidences >= 0) & (confidences <= 1)).all():
        raise RunError(
            f"{where} expected classes from 0 to {size - 1} and confidences from 0 to 1. Received: others. "
            "Train the run anew."
        )


def _list(results: Iterable[Sequence[Any]]) -> str:
    return ", ".join(f"{shift} {correct}/{n}" for shift, correct, n in results) or "no results"


def run_page(path: Path, source: Source | None = None) -> Page:
    """Describe a complete run."""
    records = _RunRecords.read(path, source)
    config = records.run.config
    sentence = tables.training_sentence(records.history, records.metrics)
    return Page(
        title=folder_name(path),
        kind="run",
        lead=f"{MODELS[config.model].title}, seed {config.seed}: {sentence}",
        sections=[
            _accuracy_section(records),
            _curves_section(records.history, records.metrics["training"]["kept_epoch"], config.implementation),
            _gallery_section(records),
            _classes_section(records),
            *_metrics_sections(records),
            *_confusion_sections(records),
            _mistakes_section(records),
            failure_gallery.run_section(records.run, records.dataset, records.predictions),
            configuration_section([config], [records.run.record]),
        ],
    )


def _accuracy_section(records: _RunRecords) -> Section:
    model = assignment.comparable_model(records.run.config, genuine=records.dataset.is_genuine)
    table = replace(
        tables.accuracy_table(records.results, model), title="Test accuracy, with its 95% Wilson interval", left=()
    )
    figure = run_figures.accuracies(records.results, assignment.ACCURACY.get(model or "", {}))
    alternative = "Bars: " + ", ".join(f"{test_set(r.shift)} {r.accuracy:.4f}" for r in records.results)
    caption = "Test accuracy" + ("; the crosses are the assignment's" if model else "")
    drawing = Drawing("accuracy", figure, caption, alternative)
    return Section("Accuracy", tables=[table], drawings=[drawing])


def _curves_section(history: History, kept_epoch: int, implementation: str) -> Section:
    def describe(measure: str) -> str:
        curves = {"training": measure, "validation": f"val_{measure}", "test": f"test_{measure}"}
        ends = [
            f"{name} {history[0][column]:.4f} in the first epoch and {history[-1][column]:.4f} in the last"
            for name, column in curves.items()
            if column in history[0]
        ]
        return f"{measure.capitalize()} over {len(history)} epochs: {'; '.join(ends)}. Epoch {kept_epoch} is marked."

    return Section(
        "Learning curves",
        f"The weights of epoch {kept_epoch} are kept.",
        drawings=[
            Drawing(
                f"{measure}-curve",
                run_figures.learning_curve(history, measure, kept_epoch, implementation),
                caption,
                describe(measure),
            )
            for measure, caption in (("loss", "Cross-entropy per epoch"), ("accuracy", "Accuracy per epoch"))
        ],
    )


def _gallery_section(records: _RunRecords) -> Section:
    _, first = np.unique(records.dataset.test.labels, return_index=True)
    shown = first[:_GALLERY_CLASSES]
    drawings = []
    for number, start in enumerate(range(0, len(shown), _GALLERY_ROWS), start=1):
        chosen = shown[start : start + _GALLERY_ROWS]
        names = records.true_names(chosen)
        predicted = {shift: records.answers(shift, chosen) for shift in records.predictions}
        alternative = " ".join(
            f"{name}: "
            + ", ".join(
                f"{test_set(shift)} {'right' if answers[row][0] == name else f'taken for {answers[row][0]}'}"
                for shift, answers in predicted.items()
            )
            + "."
            for row, name in enumerate(names)
        )
        figure = run_figures.predictions(records.dataset.test.images[chosen], chosen, names, predicted)
        drawings.append(Drawing(f"predictions-{number}", figure, f"Predictions for {', '.join(names)}", alternative))
    of_all = "" if len(shown) == len(first) else f" of the first {len(shown)} of {len(first)} classes"
    return Section(
        "Predictions on shifted images",
        f"The first test image of each class{of_all}, as it is and shifted. Below each, the predicted class and the "
        "model's confidence in it. ✓ and a green frame: right. ✗ and a dashed orange frame: wrong.",
        drawings=drawings,
    )


def _classes_section(records: _RunRecords) -> Section:
    names, counts = records.dataset.class_names, records.counts
    totals = np.bincount(records.dataset.test.labels, minlength=len(names))
    rates = [confusion_rates(matrix).diagonal() for matrix in counts.values()]
    rows = [
        [name, f"{totals[label]:,}", *(f"{rate[label]:.3f}" if totals[label] else "-" for rate in rates)]
        for label, name in enumerate(names)
    ]
    table = Table("Share of each class's images that are right", ["class", "n", *map(test_set, counts)], rows)
    figure = run_figures.class_accuracies(counts, names)
    caption = "Accuracy in each class, with 95% Wilson intervals"
    return Section(
        "Accuracy by class",
        tables=[table],
        drawings=[Drawing("class-accuracy", figure, caption, f"{caption}: a mark for each value of the table.")],
    )


def _metrics_sections(records: _RunRecords) -> Iterator[Section]:
    """Show what metrics.json has beside accuracies; runs of earlier versions have nothing."""
    results = [result for result in records.measured if isinstance(result, Metrics)]
    if len(results) < len(records.measured):
        return
    table = tables.metrics_table(results, records.dataset.class_names, "Test sets in every way")
    yield Section("Likelihood, flips and the classes hurt", tables=[table])
    alternative = "Accuracy against confidence, with the expected calibration errors: " + ", ".join(
        f"{test_set(result.shift)} {result.ece:.4f}"
        + (f", calibrated {result.calibrated.ece:.4f}" if result.calibrated else "")
        for result in results
    )
    caption = "Accuracy in 15 groups of equal size, by confidence, with 95% Wilson intervals"
    drawing = Drawing("reliability", run_figures.reliability(results), caption, alternative)
    yield Section("Calibration", tables=tables.calibration_tables(results, end=""), drawings=[drawing])
    shifted = [result for result in results if result.effective_robustness is not None]
    in_domain = [result.accuracy for result in results if result.shift == "none"]
    if shifted and in_domain:
        accuracies = {result.shift: result.accuracy for result in shifted}
        figure = run_figures.in_domain_scatters(in_domain[0], accuracies)
        caption = "Accuracy under the shift against accuracy in-domain"
        alternative = f"{caption}. Above standard models: " + ", ".join(
            f"{result.shift} {result.effective_robustness:+.4f}" for result in shifted
        )
        text = (
            "Grey: the assignment's models, trained as it does, on 10,000 images and fewer, and what their accuracy "
            "in-domain predicts. What the run has beyond that is its effective robustness (Taori et al., NeurIPS 2020)."
        )
        drawing = Drawing("in-domain", figure, caption, alternative)
        yield Section("Effective robustness", text, drawings=[drawing])


def _confusion_sections(records: _RunRecords) -> Iterator[Section]:
    names = records.dataset.class_names
    rates = {shift: confusion_rates(matrix) for shift, matrix in records.counts.items()}

    def drawings(
        prefix: str, matrices: Mapping[str, NDArray[np.float64]], draw: Callable[..., Any], text: str
    ) -> list[Drawing]:
        return [
            Drawing(
                f"{prefix}-{identifier(shift)}",
                draw(matrix, names),
                test_set(shift),
                f"{text}, {test_set(shift)}. Largest off the diagonal: {_largest(matrix, names)}.",
            )
            for shift, matrix in matrices.items()
        ]

    yield Section(
        "Confusion matrices",
        "Rows are true classes, columns predicted ones; a row adds up to 100%. Cells below 0.5% are empty.",
        drawings=drawings("confusion", rates, run_figures.confusion, "Confusion matrix"),
    )
    if "none" in rates and len(rates) > 1:
        changes = {shift: matrix - rates["none"] for shift, matrix in rates.items() if shift != "none"}
        yield Section(
            "What each shift changes",
            "The confusion matrices above minus the in-domain one: red cells have gained images, blue ones lost them.",
            drawings=drawings("change", changes, run_figures.confusion_change, "Change of the confusion matrix"),
        )


def identifier(shift: str) -> str:
    """Make a shift's text fit for a file's name and an HTML id."""
    return test_set(shift).translate(str.maketrans(":,+", "___"))


def _largest(matrix: NDArray[np.float64], names: Sequence[str]) -> str:
    """Name the three largest entries off the diagonal."""
    entries = np.where(np.eye(len(matrix), dtype=bool) | np.isnan(matrix), -np.inf, matrix)
    largest = np.argsort(-entries, axis=None, kind="stable")[:3]
    return ", ".join(
        f"{names[row]} taken for {names[column]} {100 * matrix[row, column]:.0f}%"
        for row, column in zip(*np.unravel_index(largest, matrix.shape), strict=True)
        if np.isfinite(entries[row, column])
    )


def _mistakes_section(records: _RunRecords) -> Section:
    drawings = []
    for shift, answers in records.predictions.items():
        chosen = confident_mistakes(records.dataset.test.labels, *answers, _MISTAKES)
        if not len(chosen):
            continue
        names, predicted = records.true_names(chosen), records.answers(shift, chosen)
        images = Shift.parse(shift).apply(records.dataset.test.images[chosen], chosen)
        listed = ", ".join(f"{name} taken for {answer[0]}" for name, answer in zip(names, predicted, strict=True))
        figure = run_figures.mistakes(images, names, predicted)
        drawings.append(
            Drawing(f"mistakes-{identifier(shift)}", figure, test_set(shift), f"{test_set(shift)}: {listed}.")
        )
    return Section(
        "Most confident mistakes",
        f"The wrong predictions with the highest confidence, up to {_MISTAKES} a test set: the true class, what the "
        "model takes it for, and its confidence.",
        drawings=drawings,
    )
