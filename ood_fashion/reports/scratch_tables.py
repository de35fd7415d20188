"""Checks and trainings from scratch as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ood_fashion.reports.table import Table


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
        tables.append(Table("", headers, gradients, left=(1, 2, 6)))
    if magnitudes:
        headers = ["L1 norm of the gradient of", "", "one batch", "another batch", "ratio", ""]
        tables.append(Table("", headers, magnitudes, left=(1, 5)))
    return "\n\n".join(map(str, tables))


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
