"""Results as tables and sentences for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ood_fashion.evaluation.audit import NEAR, NEIGHBOURS, Audit
from ood_fashion.evaluation.published import PublishedPoint, PublishedSummary
from ood_fashion.evaluation.results import AccuracyResult, Metrics, Prediction
from ood_fashion.evaluation.stats import Accuracy
from ood_fashion.evaluation.sweep_report import SweepReport
from ood_fashion.reports.table import Table, ends
from ood_fashion.runs.run import Run
from ood_fashion.shifts.corruptions import SEVERITIES
from ood_fashion.studies import assignment
from ood_fashion.studies.exercises import CheckResult, GradientResult, MiniCNNResult, PerceptronResult
from ood_fashion.text import printable


def parameter_table(model: Mapping[str, Any]) -> Table:
    """Show a record of `ood-fashion params`."""
    rows = [
        (
            layer["layer"],
            "x".join(map(str, layer["output_shape"])),
            layer["formula"] and f"{layer['formula']} = {layer['parameters']:,}",
            f"{layer['parameters']:,}",
        )
        for layer in model["layers"]
    ]
    rows.append(("total", "", "", f"{model['parameters']:,}"))
    if model["document"] is not None:
        rows.append(("in the assignment", "", "", f"{model['document']:,}"))
    rows.append(("multiply-adds an image", "", "", f"{model['multiply_adds']:,}"))
    return Table("", [model["title"], "output shape", "formula", "parameters"], rows, left=(1, 2))


def dataset_table(record: Mapping[str, Any]) -> str:
    """Show what `dataset.describe` says."""
    everything = {"name": "all", **record["images"]}
    rows = [(row["name"], f"{row['train']:,}", f"{row['test']:,}") for row in [*record["classes"], everything]]
    height, width = record["image_shape"]
    pixels = "training" if record["images"]["train"] else "test"
    verdict = "genuine Fashion-MNIST, every pixel and label" if record["genuine"] else "not Fashion-MNIST as published"
    lines = [
        f"Source:  {printable(record['source'])}",
        f"Content: {verdict} (by SHA-256)",
        f"Images:  {height}x{width}, {record['dtype']}; {pixels} pixels / 255 have mean {record['pixel_mean']:.4f}"
        f" and standard deviation {record['pixel_std']:.4f}",
    ]
    if export := record.get("export"):
        lines.append(f"Written: {printable(export['folder'])}, as {export['format']}: {', '.join(export['shifts'])}")
    return "\n".join([*lines, "", Table("", ["class", "train", "test"], rows).to_text()])


def audit_tables(audit: Audit, class_names: Sequence[str]) -> list[Table]:
    """Show what an audit counted, and the most suspicious labels."""
    rows = [
        [title, *(f"{audit.count(pairs, *splits):,}" for splits in (("train",), ("test",), ("train", "test")))]
        for title, pairs in (("same image", audit.duplicates), (f"differ by {NEAR} at most", audit.near_duplicates))
    ]
    for title, places in (
        ("one grey level", audit.constant),
        ("saturated", audit.saturated),
        ("suspicious label", [one.image for one in audit.suspicious]),
    ):
        rows.append([title, *(f"{sum(one.split == split for one in places):,}" for split in ("train", "test")), "-"])
    notes = [
        "Pairs differ by the root mean square of their pixels in [0, 1].",
        f"Labels that are the most probable by the {NEIGHBOURS} nearest neighbours: {audit.neighbour_accuracy:.1%}.",
    ]
    counts = Table("", ["found", "train", "test", "between them"], rows, notes)
    doubted = [
        [f"{one.image.split} {one.image.index}", class_names[one.image.label], class_names[one.suggested],
         f"{one.margin:.2f}"]
        for one in audit.suspicious[:_MAX_NAMED]
    ]  # fmt: skip
    headers = ["image", "label", "by its neighbours", "margin"]
    return [counts, Table("The most suspicious labels", headers, doubted, left=(1, 2))]


def export_table(path: str, description: Mapping[str, Any]) -> Table:
    """Show what an exported model takes and gives, as `ood-fashion export` describes it."""
    rows = [
        (role, array["dtype"], f"({', '.join(map(str, array['shape']))})", array["values"])
        for role, array in ((role, description[role]) for role in ("input", "output"))
    ]
    notes = [f"classes: {', '.join(description['classes'])}"] if description["classes"] else []
    if temperature := description["temperature"]:
        notes.append(f"calibrated by dividing the logits by {temperature:.3f}, which the model does not do")
    if check := description.get("check"):
        notes.append(
            f"checked on {check['images']:,} test images: another class for {check['other_classes']:,}, scores up to "
            f"{check['largest_difference']:.1e} off, of scores up to {check['largest_score']:.1f}"
        )
    return Table(path, ["", "type", "shape", "values"], rows, notes, left=(1, 2, 3))


def accuracy_table(results: Iterable[AccuracyResult], model: str | None = None) -> Table:
    """Show accuracies with their intervals, beside the assignment's for `model` where it reports any."""
    reported = assignment.ACCURACY.get(model or "", {})
    headers = ["test set", "accuracy", "95% interval", "n"] + ["assignment"] * bool(reported)
    rows, notes = [], []
    for result in results:
        row = [test_set(result.shift), f"{result.accuracy:.4f}", ends(result.ci95), f"{result.n:,}"]
        if reported:
            slip = assignment.SLIPS.get((model or "", result.shift))
            row.append(f"{reported[result.shift]:.4f}{'*' * bool(slip)}" if result.shift in reported else "-")
            notes += [f"* {slip}"] if slip else []
        rows.append(row)
    return Table("", headers, rows, notes, left=(2,))


_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "nll": "NLL",
    "brier": "Brier",
    "ece": "ECE",
    "flip_rate": "flips",
}
_CALIBRATED = ("nll", "brier", "ece")


def metrics_table(results: Sequence[Metrics], class_names: Sequence[str], title: str = "") -> Table:
    """Show all metrics under each shift."""
    against_baseline = any(result.effective_robustness is not None for result in results)
    rows = []
    for result in results:
        row = [test_set(result.shift), *(f"{getattr(result, name):.4f}" for name in _METRICS)]
        if against_baseline:
            robustness, spread = result.effective_robustness, result.effective_robustness_sd
            row.append("-" if robustness is None or spread is None else f"{robustness:+.3f} ({spread:.3f})")
        rows.append([*row, *class_changes(result.class_change, class_names)])
    notes = [
        "Effective robustness: accuracy less what standard models as good in-domain have; in brackets, their own "
        "standard deviation."
    ] * against_baseline
    headers = ["test set", *_METRICS.values(), *["eff. robustness"] * against_baseline, "class hurt most", "least"]
    return Table(title, headers, rows, notes, left=(len(headers) - 2, len(headers) - 1))


def class_changes(changes: Sequence[float | None], class_names: Sequence[str]) -> tuple[str, str]:
    """Name the classes whose accuracy falls and rises most, with their changes."""
    names = class_names if len(class_names) == len(changes) else list(map(str, range(len(changes))))
    known = [(change, name) for change, name in zip(changes, names, strict=True) if change is not None]
    if not any(change for change, _ in known):
        return "-", "-"
    return "{1} {0:+z.2f}".format(*min(known)), "{1} {0:+z.2f}".format(*max(known))


def calibration_tables(results: Iterable[AccuracyResult], end: str = ":") -> list[Table]:
    """Show what a temperature changes under each shift of a model; no table where nothing has been calibrated."""
    full = [result for result in results if isinstance(result, Metrics)]
    calibrated = [(result, result.calibrated) for result in full if result.calibrated and result.temperature]
    if not calibrated:
        return []
    headers = ["test set", *(text for name in _CALIBRATED for text in (_METRICS[name], "then"))]
    rows = [
        [test_set(before.shift), *(f"{getattr(one, name):.4f}" for name in _CALIBRATED for one in (before, after))]
        for before, after in calibrated
    ]
    title = f"Calibrated on the validation images, at temperature {calibrated[0][0].temperature:.3f}{end}"
    return [Table(title, headers, rows)]


def test_set(shift: str) -> str:
    """Return what a person calls the test set of a shift."""
    return "none (in-domain)" if shift == "none" else shift


def preparation_notes(predictions: Sequence[Prediction]) -> str:
    """Say what was done to each picture, a line each; pictures that were left alone share one."""
    lines = [f"{printable(one.image)}: {', '.join(one.prepared)}." for one in predictions if one.prepared]
    if untouched := len(predictions) - len(lines):
        lines.append(f"{untouched:,} taken as {'they are' if untouched > 1 else 'it is'}: grey, of the model's size.")
    return "\n".join(lines)


def prediction_table(predictions: Iterable[Prediction]) -> Table:
    """Show each picture's classes, the most probable first."""
    rows = [[one.image, *(f"{top.class_name} {top.probability:.3f}" for top in one.top)] for one in predictions]
    return Table("", ["image", "class", "or", "or"][: len(rows[0])], rows, left=(1, 2, 3))


def run_report(run: Run, history: Sequence[Mapping[str, float]], metrics: Mapping[str, Any]) -> str:
    """Show a complete run: what config.json, history.csv and metrics.json say."""
    results = run.read_results()
    shown = accuracy_table(results, assignment.comparable_model(run.config, genuine=run.is_genuine))
    summary = f"{metrics['model']}: {training_sentence(history, metrics)}"
    return "\n\n".join(map(str, [summary, shown, *calibration_tables(results)]))


def training_sentence(history: Sequence[Mapping[str, float]], metrics: Mapping[str, Any]) -> str:
    """Say what a training took and which weights it kept."""
    spent = metrics["training"]
    seconds = sum(row["seconds"] for row in history)
    return (
        f"{spent['epochs']} epochs of {spent['updates_per_epoch']:,} updates in {seconds:.0f} s; "
        f"kept the weights of epoch {spent['kept_epoch']}."
    )


def sweep_tables(report: SweepReport) -> list[Table]:
    """Lay out a sweep: the accuracies of all models side by side, the worst case, and what there is over all shifts."""
    models, results = report.models, report.results
    accuracies = {(point.model, point.shift): f"{point.accuracy:.4f}" for point in results}
    parts = []
    if report.kind == "corruptions":
        named = dict.fromkeys(p.coordinates["corruption"] for p in results[1:] if p.coordinates["severity"])
        for model in models:
            rows = [[name, *(accuracies[model, f"{name}:{severity}"] for severity in SEVERITIES)] for name in named]
            headers = [f"{model}: none {accuracies[model, 'none']}", *map(str, SEVERITIES)]
            parts.append(Table(f"Accuracy of {model} by severity", headers, rows))
    elif report.kind == "rotate":
        shifts = [point.shift for point in results if point.model == models[0]]
        rows = [[shift, *(accuracies[model, shift] for model in models)] for shift in shifts]
        parts.append(Table("Accuracy by angle", ["test set", *models], rows))
    rows = [
        [one.model, f"the worst of {one.worst_of}", f"{one.accuracy:.4f}", ends(one.ci95), f"{one.n:,}"]
        for one in report.worst
    ]
    headers = ["model", "each image under", "accuracy", "95% interval", "n"]
    parts.append(Table("The worst case", headers, rows, left=(1, 3)))
    if not report.over_shifts:
        return parts
    against_baseline = any(row.effective_robustness is not None for row in report.over_shifts)
    rows = [
        [
            row.model,
            f"{row.mean:.4f}",
            f"{row.worst:.4f} ({row.worst_shift})",
            *("-" if value is None else f"{value:.3f}{'*' * bool(row.seen)}" for value in (row.mce, row.relative_mce)),
            *[f"{row.effective_robustness:+.3f}" for _ in range(against_baseline)],
        ]
        for row in report.over_shifts
    ]
    own = ", which so has 1" * (report.reference in report.models)
    headers = ["over all shifts", "mean", "worst", "mCE", "relative mCE", *["eff. robustness"] * against_baseline]
    notes = [
        f"mCE: errors as multiples of those of {printable(report.reference)}{own}.",
        *_left_out_notes(report),
        *(
            f"* {printable(row.model)} was trained with {', '.join(row.seen)}."
            for row in report.over_shifts
            if row.seen
        ),
    ]
    return [*parts, Table("Over all shifts", headers, rows, notes, left=(2,))]


def published_tables(
    points: Sequence[PublishedPoint], summaries: Sequence[PublishedSummary], reference: str
) -> list[Table]:
    """Lay out models on published sets: a table of the accuracies each, and one over all corruptions."""
    parts = []
    for summary in summaries:
        rows = [
            [point.corruption, f"{point.accuracy:.4f}", ends(point.ci95), f"{point.n:,}"]
            for point in points
            if point.model == summary.model
        ]
        headers = ["corruption", "accuracy", "95% interval", "n"]
        parts.append(Table(f"Accuracy of {summary.model}", headers, rows, left=(2,)))
    rows = [
        [
            one.model,
            "-" if one.in_domain is None else f"{one.in_domain:.4f}",
            f"{one.mean:.4f}",
            f"{one.worst:.4f} ({one.worst_corruption})",
            "-" if one.mce is None else f"{one.mce:.3f}",
        ]
        for one in summaries
    ]
    note = f"mCE: errors as multiples of those of {printable(reference)}, which so has 1."
    headers = ["over all corruptions", "identity", "mean", "worst", "mCE"]
    return [*parts, Table("Over all corruptions", headers, rows, [note], left=(3,))]


_MAX_NAMED = 10


def _left_out_notes(report: SweepReport) -> list[str]:
    """Say which shifts have no error as a multiple of the reference's, the same ones for every model."""
    row, notes = report.over_shifts[0], []
    for title, reason, left_out, count in (
        ("mCE", "makes no error", row.mce_left_out, row.mce_families),
        ("relative mCE", "loses no accuracy", row.relative_mce_left_out, row.relative_mce_families),
    ):
        if left_out and count is not None:  # folders of earlier versions have none
            more = f" and {len(left_out) - _MAX_NAMED} more" * (len(left_out) > _MAX_NAMED)
            notes.append(
                f"{title}: over {count} of {count + len(left_out)} kinds of shift. Left out, because "
                f"{report.reference} {reason} under them: {', '.join(left_out[:_MAX_NAMED])}{more}."
            )
    return notes


def check_table(checks: Iterable[CheckResult]) -> str:
    """Show gradient and magnitude checks, a table each."""
    gradients, magnitudes = [], []
    for check in checks:
        row = [check.model, check.parameter]
        verdict = "passed" if check.passed else "FAILED"
        if isinstance(check, GradientResult):
            row += [f"{check.coordinates}, {check.nonzero} not zero", _or_infinite(check.max_relative_error, ".1e")]
            worst = (check.worst.computed, check.worst.approximated)
            gradients.append([*row, *(_or_infinite(value, ".9f") for value in worst), verdict])
        else:
            batches = zip(check.l1_norms, check.batch_sizes, strict=True)
            norms = (f"{_or_infinite(norm, '.4f')} (n = {n:,})" for norm, n in batches)
            magnitudes.append([*row, *norms, _or_infinite(check.ratio, ".2f"), verdict])
    headers = ["gradient of", "", "compared", "largest relative error", "there: computed", "approximated", ""]
    of_gradients = Table("", headers, gradients, left=(1, 2, 6))
    headers = ["L1 norm of the gradient of", "", "one batch", "another batch", "ratio", ""]
    of_magnitudes = Table("", headers, magnitudes, left=(1, 5))
    return "\n\n".join(str(table) for table in (of_gradients, of_magnitudes) if table.rows)


def perceptron_report(result: PerceptronResult) -> str:
    """Show what `ood-fashion scratch perceptron` trained."""
    kernel = f", {result.kernel} kernel" if result.kernel else ""
    support = "" if result.n_support is None else f" {result.n_support:,} support vectors."
    return (
        f"{result.model}{kernel}: {result.epochs} epochs over {result.train_size:,} images in "
        f"{result.seconds:.1f} s, with {result.mistakes[-1]:,} mistakes in the last.{support}\n"
        f"test accuracy {_accuracy(result.test)}"
    )


def mini_cnn_report(result: MiniCNNResult) -> str:
    """Show what `ood-fashion scratch mini-cnn` trained."""
    (w1, w2), (v1, v2) = result.parameters["w"], result.parameters["v"]
    return (
        f"mini CNN: {len(result.losses)} starts of {result.steps:,} updates each; training losses "
        f"{', '.join(f'{loss:.3f}' for loss in result.losses)}.\n"
        f"The best has w = ({w1:.2f}, {w2:.2f}) and v = ({v1:.2f}, {v2:.2f}).\n"
        f"test accuracy {_accuracy(result.test)}"
    )


def _accuracy(test: Accuracy) -> str:
    return f"{test.accuracy:.4f}  (95% interval {ends(test.ci95)}, n = {test.n:,})"


def _or_infinite(value: float | None, spec: str) -> str:
    return "infinite" if value is None else format(value, spec)
