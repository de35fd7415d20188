"""Records as text for people."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
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
    return "\n".join([_table(rows, headers, right=[1, 3, 4]), *notes])


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


def study_rows(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]], list[str]]:
    """Lay out what `StudyRun.summarize` gives: means with half of their 95% intervals.

    Returns:
        Headers, a row of texts per setting, and notes.
    """
    shown = summary["measures"]
    rows = [
        [setting["setting"], str(len(setting["seeds"])), *(estimate(setting["measures"][name]) for name in shown)]
        for setting in summary["settings"]
    ]
    headers = [summary["factor"], "seeds", *(_HEADERS.get(name, name.removeprefix("accuracy ")) for name in shown)]
    best = summary.get("best")
    return headers, rows, [_verdict(best, summary["factor"])] if best else []


def study_table(summary: Mapping[str, Any]) -> str:
    """Show what `StudyRun.summarize` gives: a row a setting, means with half of their 95% intervals."""
    headers, rows, notes = study_rows(summary)
    lines = [summary["title"], "", _table(rows, headers, right=range(1, len(headers)))]
    return "\n".join([*lines, *(f"\n{note}" for note in notes)])


_HEADERS = {"accuracy none": "in-domain", "loss": "training loss"}


def estimate(summary: Mapping[str, Any]) -> str:
    """Show a `statistics.summarize` with half of its interval, to as many decimals as suit its size."""
    mean, interval = summary["mean"], summary["interval"]
    decimals = 0 if abs(mean) >= 1000 else 1 if abs(mean) >= 2 else 4
    half = "" if interval is None else f" ± {interval[1] - mean:,.{decimals}f}"
    return f"{mean:,.{decimals}f}{half}"


def _verdict(best: Mapping[str, Any], factor: str) -> str:
    difference = best["difference"]
    found = f"Lowest {_HEADERS.get(best['measure'], best['measure'])}: {factor} {best['best']}, then {best['next']}."
    if difference is None or difference["interval"] is None:
        return f"{found} One seed cannot say whether that is chance."
    low, high = difference["interval"]
    beyond = "more than" if low > 0 else "no more than"
    return (
        f"{found} The difference, seed by seed, is {difference['mean']:.4f} (95% interval {low:.4f} to {high:.4f}, "
        f"n = {difference['n']}): {beyond} chance would give."
    )


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str], right: Collection[int]) -> str:
    align = ["right" if column in right else "left" for column in range(len(headers))]
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=align, headersalign=align)
