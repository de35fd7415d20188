"""Studies, comparisons and reproductions as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ood_fashion.evaluation.stats import SIGNIFICANCE, wilson_interval
from ood_fashion.files import atomic_write, remove_leftovers
from ood_fashion.models import specs
from ood_fashion.reports.table import Table
from ood_fashion.reports.tables import test_set
from ood_fashion.studies import assignment
from ood_fashion.text import printable


def comparison_tables(
    records: Sequence[Mapping[str, Any]], name_a: str, name_b: str, conclusion: str = ""
) -> list[Table]:
    """Show what `comparison.compare` says."""
    rows = [
        [
            test_set(record["shift"]),
            f"{record['accuracy_a']:.4f}",
            f"{record['accuracy_b']:.4f}",
            f"{record['difference']:+.4f}",
            "{:+.4f} to {:+.4f}".format(*record["interval"]) if record["interval"] else "-",
            _p_value(record["p"]),
            _p_value(record["p_holm"]),
        ]
        for record in records
    ]
    headers = ["test set", "A", "B", "A - B", "95% interval", "p", "p (Holm)"]
    names = f"A: {printable(name_a)}\nB: {printable(name_b)}"
    shown = [Table("", headers, rows, ["", conclusion] * bool(conclusion), left=(4,), text=names)]
    for name in ("a", "b") if "runs_a" in records[0] else ():
        runs = [{"shift": record["shift"], **record[f"runs_{name}"]} for record in records]
        shown.append(runs_table(runs, f"{name.upper()} by itself:"))
    return shown


def runs_table(records: Sequence[Mapping[str, Any]], title: str = "") -> Table:
    """Show `comparison.summarize_runs`: how accuracies vary over the seeds, and how over test sets."""
    rows = [
        [
            test_set(record["shift"]),
            f"{record['accuracy']:.4f}",
            *(
                text
                for of in (record["seeds"], record["images"])
                for text in (("-", "-") if of["sd"] is None else (f"{of['sd']:.4f}", _ends(of["ci95"])))
            ),
        ]
        for record in records
    ]
    first = records[0]
    headers = ["test set", "accuracy", "sd over seeds", "95% interval", "sd over test sets", "95% interval"]
    note = (
        f"Means of {first['runs']} trainings on {first['n']:,} images. Over seeds: what training again changes, on "
        "these images. Over test sets: what other images would, with these trainings."
    )
    return Table(title, headers, rows, [note], left=(3, 5))


def _ends(interval: Sequence[float]) -> str:
    return "{:.4f} to {:.4f}".format(*interval)


def _p_value(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


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
    headers = [summary["factor"], "seeds", *map(_measure, shown)]
    best = summary.get("best")
    notes = [_verdict(best, summary["factor"])] if best else []
    return headers, rows, [*notes, *_test_set_notes(summary)]


def _test_set_notes(summary: Mapping[str, Any]) -> list[str]:
    """Say how far the accuracies would vary over test sets, which their intervals over the seeds leave out."""
    n, halves = summary["test_images"] or 0, []
    for name in summary["measures"] if n else ():
        kind, _, shift = name.partition(" ")
        if kind == "accuracy" and shift:
            means = [setting["measures"][name]["mean"] for setting in summary["settings"]]
            widest = max(high - low for low, high in (wilson_interval(mean * n, n) for mean in means))
            halves.append(f"± {widest / 2:.4f} {'in-domain' if shift == 'none' else shift}")
    return [
        f"The intervals are over the seeds, on these {n:,} test images. Those over test sets of this size are at most "
        f"{', '.join(halves)} (95%, Wilson)."
    ] * bool(halves)


def study_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Show what `StudyRun.summarize` gives: a row a setting, means with half of their 95% intervals."""
    headers, rows, notes = study_rows(summary)
    shown = [Table(summary["title"], headers, rows)]
    if summary["settings"] and (patiences := summary["settings"][0]["patience"]):
        columns = ("epochs", "kept epoch", "test accuracy", "cost")
        outcomes = [
            [str(row["patience"]), *(estimate(row[column], counts="epoch" in column) for column in columns)]
            for row in patiences
        ]
        headers = ["patience", "epochs run", "kept epoch", "test accuracy", "below the best epoch's"]
        shown.append(Table("Had training stopped early:", headers, outcomes))
    return [*shown[:-1], replace(shown[-1], notes=[text for note in notes for text in ("", note)])]


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


def estimate(summary: Mapping[str, Any], *, counts: bool = False) -> str:
    """Show a `stats.summarize` with half of its interval, to as many decimals as suit its values, or counts."""
    mean, interval = summary["mean"], summary["interval"]
    decimals = _decimals(summary.get("values", [round(mean) if counts else mean]))
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


def reproduction_tables(record: Mapping[str, Any]) -> list[Table]:
    """Lay out what `reproduction.reproduce` gives: the assignment's figures and claims beside ours, and its slips."""
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
            *_difference(claim["comparison"]),
            _holm(claim["comparison"]),
            claim["verdict"],
        ]
        for claim in record["claims"]
    ]
    checks, seeds = record["checks"], record["seeds"]
    verdicts = [
        [check["model"], check["parameter"], check["check"], "passed" if check["passed"] else "FAILED"]
        for check in checks
    ]
    return [
        Table(
            "Figures",
            ["problem", "of", "figure", "assignment", "ours", "one more training", "assignment in it"],
            figures,
            ["† a slip of the assignment, listed below"],
            left=(1, 2, 6),
            text=f"Ours: mean over {seeds} {'seed' if seeds == 1 else 'seeds'} with half of its 95% interval, and "
            "where a further training would lie with 95% probability.",
        ),
        Table("Parameters", ["problem", "model", "assignment", "ours"], counts, left=(1,)),
        Table(
            "Gradient checks",
            ["model", "parameter", "check", "verdict"],
            verdicts,
            left=(1, 2, 3),
            text=f"{sum(check['passed'] for check in checks)} of {len(checks)} checks passed, by `ood-fashion scratch "
            f"gradcheck`: no relative error above {max(check.get('max_relative_error') or 0 for check in checks):.0e}; "
            f"L1 norms of two batches within a factor of {max(check.get('ratio') or 1 for check in checks):.2f}.",
        ),
        Table(
            "Claims",
            ["problem", "claim", "difference", "95% interval", "p (Holm)", "verdict"],
            claims,
            left=(1, 5),
            text="The difference of means that the claim says is positive, with its 95% interval over the seeds, and p "
            f"of Welch's test, adjusted for the {len(claims)} claims by Holm's method. Where p is below {SIGNIFICANCE} "
            "the claim holds if the difference is positive, and is wrong if it is negative; otherwise it is open.",
        ),
        Table(
            "Slips of the assignment",
            ["problem", "the assignment", "right"],
            [list(correction) for correction in assignment.CORRECTIONS],
            left=(1, 2),
        ),
    ]


def write_markdown(path: Path, record: Mapping[str, Any]) -> None:
    """Write `reproduction_tables` to reproduction.md in a folder."""
    tables = "\n\n".join(table.to_markdown() for table in reproduction_tables(record))
    with atomic_write(path / "reproduction.md") as temporary:
        temporary.write_text(f"{tables}\n", encoding="utf-8")
    remove_leftovers(path, "reproduction.md")


def _difference(comparison: Mapping[str, Any] | None) -> tuple[str, str]:
    """Show a difference and its interval, to as many decimals as suit its size."""
    if comparison is None or comparison["interval"] is None:
        return "-", "-"
    size = max(map(abs, comparison["interval"]))
    decimals = 0 if size >= 1000 else 1 if size >= 2 else 4
    low, high = comparison["interval"]
    return f"{comparison['difference']:,.{decimals}f}", f"{low:,.{decimals}f} to {high:,.{decimals}f}"


def _holm(comparison: Mapping[str, Any] | None) -> str:
    """Show the adjusted p; reproductions of earlier versions have none."""
    return _p_value(comparison["p_holm"]) if comparison and "p_holm" in comparison else "-"


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
