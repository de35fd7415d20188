"""Records as text for people."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from ood_fashion import paper
from ood_fashion.corruptions import CORRUPTIONS, SEVERITIES


def parameter_table(model: Mapping[str, Any]) -> str:
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
        rows.append(("in the document", "", "", f"{model['document']:,}"))
    rows.append(("multiply-adds an image", "", "", f"{model['multiply_adds']:,}"))
    return table(rows, [model["title"], "output shape", "formula", "parameters"], right=[3])


def dataset_table(record: Mapping[str, Any]) -> str:
    """Show what `datasets.describe` says."""
    everything = {"name": "all", **record["images"]}
    rows = [(row["name"], f"{row['train']:,}", f"{row['test']:,}") for row in [*record["classes"], everything]]
    height, width = record["image_shape"]
    pixels = "training" if record["images"]["train"] else "test"
    verdict = "genuine Fashion-MNIST, every pixel and label" if record["genuine"] else "not Fashion-MNIST as published"
    export = record.get("export")
    written = [f"Written: {export['folder']}, as {export['format']}: {', '.join(export['shifts'])}"] if export else []
    return "\n".join(
        [
            f"Source:  {record['source']}",
            f"Content: {verdict} (by SHA-256)",
            f"Images:  {height}x{width}, {record['dtype']}; {pixels} pixels / 255 have mean {record['pixel_mean']:.4f}"
            f" and standard deviation {record['pixel_std']:.4f}",
            *written,
            "",
            table(rows, ["class", "train", "test"], right=[1, 2]),
        ]
    )


def accuracy_rows(
    records: Iterable[Mapping[str, Any]], model: str | None = None
) -> tuple[list[str], list[list[str]], list[str]]:
    """Put accuracies with their intervals beside the document's figures for `model` where it gives any.

    Returns:
        Headers, a row of texts per record, and notes.
    """
    figures = paper.ACCURACY.get(model or "", {})
    headers = ["test set", "accuracy", "95% interval", "n"] + ["document"] * bool(figures)
    rows, notes = [], []
    for record in records:
        shift, (low, high) = record["shift"], record["ci95"]
        row = [
            "none (in-domain)" if shift == "none" else shift,
            f"{record['accuracy']:.4f}",
            f"{low:.4f} to {high:.4f}",
            f"{record['n']:,}",
        ]
        if figures:
            slip = paper.SLIPS.get((model or "", shift))
            row.append(f"{figures[shift]:.4f}{'*' * bool(slip)}" if shift in figures else "-")
            notes += [f"* {slip}"] if slip else []
        rows.append(row)
    return headers, rows, notes


def accuracy_table(records: Iterable[Mapping[str, Any]], model: str | None = None) -> str:
    """Show accuracies with their intervals, beside the document's figures for `model` where it gives any."""
    headers, rows, notes = accuracy_rows(records, model)
    return "\n".join([table(rows, headers, right=[1, 3, 4]), *notes])


def metrics_table(records: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> str:
    """Show records of `nn.evaluation.evaluate_fully`, with a second table for calibrated ones."""
    rows, calibrated = [], []
    for record in records:
        shift = "none (in-domain)" if record["shift"] == "none" else record["shift"]
        columns = ("accuracy", "balanced_accuracy", "nll", "brier", "ece", "flip_rate")
        changes = [(change, name) for change, name in zip(record["class_change"], class_names, strict=True) if change]
        hurt = "{1} {0:+.2f}".format(*min(changes)) if changes else "-"
        least = "{1} {0:+.2f}".format(*max(changes)) if changes else "-"
        rows.append([shift, *(f"{record[column]:.4f}" for column in columns), hurt, least])
        if "calibrated" in record:
            pairs = ((record[column], record["calibrated"][column]) for column in ("nll", "brier", "ece"))
            calibrated.append([shift, *(f"{value:.4f}" for pair in pairs for value in pair)])
    headers = ["test set", "accuracy", "balanced", "NLL", "Brier", "ECE", "flips", "class hurt most", "least"]
    shown = [table(rows, headers, right=range(1, 7))]
    if calibrated:
        shown += [
            "",
            f"Calibrated on the validation images, at temperature {records[0]['temperature']:.3f}:",
            "",
            table(calibrated, ["test set", "NLL", "then", "Brier", "then", "ECE", "then"], right=range(1, 7)),
        ]
    return "\n".join(shown)


def preparation_notes(records: Iterable[Mapping[str, Any]]) -> str:
    """Say what was done to each picture, a line each; pictures that were left alone share one."""
    lines, untouched = [], 0
    for record in records:
        if record["prepared"]:
            lines.append(f"{record['image']}: {', '.join(record['prepared'])}.")
        else:
            untouched += 1
    if untouched:
        lines.append(f"{untouched:,} taken as {'they are' if untouched > 1 else 'it is'}: grey, of the model's size.")
    return "\n".join(lines)


def prediction_table(records: Iterable[Mapping[str, Any]]) -> str:
    """Show the records of `ood-fashion predict`: each picture's classes, the most probable first."""
    rows = [
        [record["image"], *(f"{top['class']} {top['probability']:.3f}" for top in record["top"])] for record in records
    ]
    return table(rows, ["image", "class", "or", "or"][: len(rows[0])], right=[])


def run_report(record: Mapping[str, Any], history: Sequence[Mapping[str, float]], metrics: Mapping[str, Any]) -> str:
    """Show a complete run: what config.json, history.csv and metrics.json say."""
    summary = f"{metrics['model']}: {training_sentence(history, metrics)}"
    genuine = record["dataset"].get("genuine")
    return f"{summary}\n\n{accuracy_table(metrics['results'], metrics['model'] if genuine else None)}"


def training_sentence(history: Sequence[Mapping[str, float]], metrics: Mapping[str, Any]) -> str:
    """Say what a training took and which weights it kept."""
    spent = metrics["training"]
    seconds = sum(row["seconds"] for row in history)
    return (
        f"{spent['epochs']} epochs of {spent['updates_per_epoch']:,} updates in {seconds:.0f} s; "
        f"kept the weights of epoch {spent['kept_epoch']}."
    )


def sweep_report(report: Mapping[str, Any]) -> str:
    """Show a sweep: the figures of every model side by side, and the worst case."""
    models, results = report["models"], report["results"]
    accuracies = {(row["model"], row["shift"]): f"{row['accuracy']:.4f}" for row in results}
    parts = []
    if report["kind"] == "corruptions":
        named = dict.fromkeys(row["corruption"] for row in results[1:] if row["severity"])
        for model in models:
            rows = [(name, *(accuracies[model, f"{name}:{severity}"] for severity in SEVERITIES)) for name in named]
            headers = [f"{model}: none {accuracies[model, 'none']}", *map(str, SEVERITIES)]
            parts.append(table(rows, headers, right=range(1, 6)))
    elif report["kind"] == "rotate":
        shifts = [row["shift"] for row in results if row["model"] == models[0]]
        rows = [(shift, *(accuracies[model, shift] for model in models)) for shift in shifts]
        parts.append(table(rows, ["test set", *models], right=range(1, 1 + len(models))))
    summary = [
        (
            row["model"],
            f"the worst of {row['worst of']}",
            f"{row['accuracy']:.4f}",
            f"{row['ci95'][0]:.4f} to {row['ci95'][1]:.4f}",
            f"{row['n']:,}",
        )
        for row in report["worst"]
    ]
    parts.append(table(summary, ["model", "each image under", "accuracy", "95% interval", "n"], right=[2, 4]))
    over = [
        [
            row["model"],
            f"{row['mean']:.4f}",
            f"{row['worst']:.4f} ({row['worst_shift']})",
            *("-" if row.get(name) is None else f"{row[name]:.3f}" for name in ("mce", "relative_mce")),
        ]
        for row in report["over_shifts"]
    ]
    if over:
        headers = ["over all shifts", "mean", "worst", f"mCE, {models[0]} = 1", "relative mCE"]
        parts.append(table(over, headers, right=[1, 3, 4]))
    return "\n\n".join(parts)


def corruption_table() -> str:
    """Show the corruptions with their parameters, as a Markdown table for the docs."""
    rows = [
        ["corruption", "what it does", "parameters", *map(str, SEVERITIES), "source"],
        ["---"] * (4 + len(SEVERITIES)),
    ]
    for name, corruption in CORRUPTIONS.items():
        values = ["; ".join(f"{value:g}" for value in row) for row in corruption.table]
        star = "" if corruption.is_random else " *"
        rows.append(
            [f"`{name}`{star}", corruption.effect, "; ".join(corruption.parameters), *values, corruption.source]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def table(rows: Sequence[Sequence[str]], headers: Sequence[str], right: Collection[int], style: str = "simple") -> str:
    """Lay out a table.

    Args:
        rows: texts.
        headers: as many as a row has texts.
        right: the columns that are aligned to the right.
        style: a format of tabulate.
    """
    align = ["right" if column in right else "left" for column in range(len(headers))]
    return tabulate(rows, headers, tablefmt=style, disable_numparse=True, colalign=align, headersalign=align)
