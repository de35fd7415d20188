"""Records as text for people."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from ood_fashion import paper, specs
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
    return _table(rows, [model["title"], "output shape", "formula", "parameters"], right=[3])


def dataset_table(record: Mapping[str, Any]) -> str:
    """Show what `datasets.describe` says."""
    everything = {"name": "all", **record["images"]}
    rows = [(row["name"], f"{row['train']:,}", f"{row['test']:,}") for row in [*record["classes"], everything]]
    height, width = record["image_shape"]
    verdict = "genuine Fashion-MNIST, every pixel and label" if record["genuine"] else "not Fashion-MNIST as published"
    export = record.get("export")
    written = [f"Written: {export['folder']}, as {export['format']}: {', '.join(export['shifts'])}"] if export else []
    return "\n".join(
        [
            f"Source:  {record['source']}",
            f"Content: {verdict} (by SHA-256)",
            f"Images:  {height}x{width}, {record['dtype']}; training pixels / 255 have mean {record['pixel_mean']:.4f}"
            f" and standard deviation {record['pixel_std']:.4f}",
            *written,
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


def study_table(summary: Mapping[str, Any]) -> str:
    """Show what `StudyRun.summarize` gives: a row a setting, means with half of their 95% intervals."""
    shown = summary["measures"]
    rows = [
        [setting["setting"], str(len(setting["seeds"])), *(estimate(setting["measures"][name]) for name in shown)]
        for setting in summary["settings"]
    ]
    headers = [summary["factor"], "seeds", *map(_measure, shown)]
    lines = [summary["title"], "", _table(rows, headers, right=range(1, len(headers)))]
    if best := summary.get("best"):
        lines += ["", _verdict(best, summary["factor"])]
    return "\n".join(lines)


_MEASURES = {
    "accuracy none": "accuracy in-domain",
    "loss": "training loss",
    "accuracy": "training accuracy",
    "val_accuracy": "validation accuracy",
    "seconds": "training time (s)",
}


def _measure(name: str) -> str:
    """Say what `histories.measures` or a column of the history is, with the epoch if `name` has one."""
    name, comma, epoch = name.partition(",")
    return _MEASURES.get(name, name) + comma + epoch


def estimate(summary: Mapping[str, Any]) -> str:
    """Show a `statistics.summarize` with half of its interval, to as many decimals as suit its values."""
    mean, interval = summary["mean"], summary["interval"]
    decimals = _decimals(summary["values"])
    half = "" if interval is None else f" ± {interval[1] - mean:,.{decimals}f}"
    return f"{mean:,.{decimals}f}{half}"


def _verdict(best: Mapping[str, Any], factor: str) -> str:
    difference = best["difference"]
    found = f"Lowest {_measure(best['measure'])}: {factor} {best['best']}, then {best['next']}."
    if difference is None or difference["interval"] is None:
        return f"{found} One seed cannot say whether that is chance."
    low, high = difference["interval"]
    beyond = "more than" if low > 0 else "no more than"
    return (
        f"{found} The difference, seed by seed, is {difference['mean']:.4f} (95% interval {low:.4f} to {high:.4f}, "
        f"n = {difference['n']}): {beyond} chance would give."
    )


def reproduction_report(record: Mapping[str, Any], *, markdown: bool = False) -> str:
    """Show what `reproduction.reproduce` gives: the document's figures and claims beside ours, and its slips."""
    style = "github" if markdown else "simple"
    title = "## " if markdown else ""
    figures = [
        [
            figure["problem"],
            figure["setting"],
            _measure(figure["measure"]),
            _number(figure["document"]) + "†" * bool(figure["slip"]),
            estimate(figure["ours"]) if figure["ours"] else "-",
            _interval(figure["ours"], "prediction_interval"),
            {True: "yes", False: "no", None: "-"}[figure["inside"]],
        ]
        for figure in record["figures"]
    ]
    counts = [
        ["3.5", specs.MODELS[row["model"]].title, f"{row['document']:,}", f"{row['ours']:,}"]
        for row in record["parameters"]
    ]
    claims = [
        [
            claim["problem"],
            claim["claim"],
            estimate(claim["difference"]) if claim["difference"] else "-",
            _interval(claim["difference"], "interval"),
            claim["verdict"],
        ]
        for claim in record["claims"]
    ]
    seeds = record["seeds"]
    return "\n".join(
        [
            f"{title}Figures",
            "",
            f"Ours: mean over {seeds} {'seed' if seeds == 1 else 'seeds'} with half of its 95% interval, and where a "
            "further training would lie with 95% probability.",
            "",
            _table(
                figures,
                ["problem", "of", "figure", "document", "ours", "one more training", "document in it"],
                right=[3, 4, 5],
                style=style,
            ),
            "",
            "† a slip of the document, listed below",
            "",
            f"{title}Parameters",
            "",
            _table(counts, ["problem", "model", "document", "ours"], right=[2, 3], style=style),
            "",
            f"{title}Claims",
            "",
            "The difference that the claim says is positive, seed by seed, with its 95% interval: the claim holds "
            "where the interval lies above 0, is wrong where it lies below, and is open otherwise.",
            "",
            _table(claims, ["problem", "claim", "difference", "95% interval", "verdict"], right=[2, 3], style=style),
            "",
            f"{title}Slips of the document",
            "",
            _table(paper.CORRECTIONS, ["problem", "the document", "right"], right=[], style=style),
        ]
    )


def _number(value: float) -> str:
    return f"{value:,}" if value >= 2 else f"{value:.4f}"


def _interval(summary: Mapping[str, Any] | None, name: str) -> str:
    if summary is None or summary[name] is None:
        return "-"
    decimals = _decimals(summary["values"])
    return " to ".join(f"{end:,.{decimals}f}" for end in summary[name])


def _decimals(values: Sequence[float]) -> int:
    """Return how many decimals suit the mean of counts, or of measured values of this size."""
    size = max(map(abs, values))
    if all(float(value).is_integer() for value in values):
        return 0 if size >= 1000 else 1
    return 1 if size >= 10 else 2 if size >= 2 else 4


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


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str], right: Collection[int], style: str = "simple") -> str:
    align = ["right" if column in right else "left" for column in range(len(headers))]
    return tabulate(rows, headers, tablefmt=style, disable_numparse=True, colalign=align, headersalign=align)
