"""Records as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from ood_fashion import paper


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
    return _table(rows, [model["title"], "output shape", "formula", "parameters"], right=[3])


def dataset_table(record: Mapping[str, Any]) -> str:
    """Show what `datasets.describe` says."""
    everything = {"name": "all", **record["images"]}
    rows = [(row["name"], f"{row['train']:,}", f"{row['test']:,}") for row in [*record["classes"], everything]]
    height, width = record["image_shape"]
    verdict = "genuine Fashion-MNIST, every pixel and label" if record["genuine"] else "not Fashion-MNIST as published"
    return "\n".join(
        [
            f"Source:  {record['source']}",
            f"Content: {verdict} (by SHA-256)",
            f"Images:  {height}x{width}, {record['dtype']}; training pixels / 255 have mean {record['pixel_mean']:.4f}"
            f" and standard deviation {record['pixel_std']:.4f}",
            "",
            _table(rows, ["class", "train", "test"], right=[1, 2]),
        ]
    )


def accuracy_table(records: Iterable[Mapping[str, Any]], model: str | None = None) -> str:
    """Show accuracies with their intervals, beside the document's figures for `model` where it gives any."""
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
    return "\n".join([_table(rows, headers, right=[1, 3, 4]), *notes])


def run_report(record: Mapping[str, Any], history: Sequence[Mapping[str, float]], metrics: Mapping[str, Any]) -> str:
    """Show a complete run: what config.json, history.csv and metrics.json say."""
    spent = metrics["training"]
    seconds = sum(row["seconds"] for row in history)
    summary = (
        f"{metrics['model']}: {spent['epochs']} epochs of {spent['updates_per_epoch']:,} updates in {seconds:.0f} s; "
        f"kept the weights of epoch {spent['kept_epoch']}."
    )
    genuine = record["dataset"].get("genuine")
    return f"{summary}\n\n{accuracy_table(metrics['results'], metrics['model'] if genuine else None)}"


def check_table(records: Iterable[Mapping[str, Any]]) -> str:
    """Show gradient and magnitude checks, a table each."""
    gradients, magnitudes = [], []
    for record in records:
        row = [record["model"], record["parameter"]]
        verdict = "passed" if record["passed"] else "FAILED"
        if record["check"] == "gradient":
            row += [
                f"{record['coordinates']}, {record['nonzero']} not zero",
                _number(record["max_relative_error"], ".1e"),
            ]
            worst = (record["worst"]["computed"], record["worst"]["approximated"])
            gradients.append([*row, *(_number(value, ".9f") for value in worst), verdict])
        else:
            norms = [
                f"{_number(norm, '.4f')} (n = {n:,})"
                for norm, n in zip(record["l1_norms"], record["batch_sizes"], strict=True)
            ]
            magnitudes.append([*row, *norms, _number(record["ratio"], ".2f"), verdict])
    tables = []
    if gradients:
        headers = ["gradient of", "", "compared", "largest relative error", "there: computed", "approximated", ""]
        tables.append(_table(gradients, headers, right=[3, 4, 5]))
    if magnitudes:
        headers = ["L1 norm of the gradient of", "", "one batch", "another batch", "ratio", ""]
        tables.append(_table(magnitudes, headers, right=[2, 3, 4]))
    return "\n\n".join(tables)


def perceptron_report(record: Mapping[str, Any]) -> str:
    """Show a record of `ood-fashion scratch perceptron`."""
    kernel = f", {record['kernel']} kernel" if record["kernel"] else ""
    support = f" {record['n_support']:,} support vectors." if "n_support" in record else ""
    return (
        f"{record['model']}{kernel}: {record['epochs']} epochs over {record['train_size']:,} images in "
        f"{record['seconds']:.1f} s, with {record['mistakes'][-1]:,} mistakes in the last.{support}\n"
        f"test accuracy {_accuracy(record['test'])}"
    )


def mini_cnn_report(record: Mapping[str, Any]) -> str:
    """Show a record of `ood-fashion scratch mini-cnn`."""
    (w1, w2), (v1, v2) = record["parameters"]["w"], record["parameters"]["v"]
    return (
        f"mini CNN: {len(record['losses'])} starts of {record['steps']:,} updates each; training losses "
        f"{', '.join(f'{loss:.3f}' for loss in record['losses'])}.\n"
        f"The best has w = ({w1:.2f}, {w2:.2f}) and v = ({v1:.2f}, {v2:.2f}).\n"
        f"test accuracy {_accuracy(record['test'])}"
    )


def _accuracy(record: Mapping[str, Any]) -> str:
    low, high = record["ci95"]
    return f"{record['accuracy']:.4f}  (95% interval {low:.4f} to {high:.4f}, n = {record['n']:,})"


def _number(value: float | None, spec: str) -> str:
    return "infinite" if value is None else format(value, spec)


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str], right: Sequence[int]) -> str:
    align = ["right" if column in right else "left" for column in range(len(headers))]
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=align, headersalign=align)
