"""Studies, comparisons and reproductions as text for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ood_fashion.evaluation.comparison import ShiftComparison
from ood_fashion.evaluation.stats import (
    SIGNIFICANCE,
    RunsSummary,
    Summary,
    UnpairedComparison,
    wilson_interval,
)
from ood_fashion.files import atomic_write, remove_leftovers
from ood_fashion.models import specs
from ood_fashion.reports.table import Table, ends
from ood_fashion.reports.tables import test_set
from ood_fashion.studies import assignment
from ood_fashion.studies.exercises import GradientResult, MagnitudeResult
from ood_fashion.studies.histories import BestSetting
from ood_fashion.studies.reproduction import ReproductionReport
from ood_fashion.studies.study_run import StudySummary
from ood_fashion.text import printable


def comparison_tables(
    comparisons: Sequence[ShiftComparison], name_a: str, name_b: str, conclusion: str = ""
) -> list[Table]:
    """Show what `comparison.compare` says."""
    rows = [
        [
            test_set(one.shift),
            f"{one.accuracy_a:.4f}",
            f"{one.accuracy_b:.4f}",
            f"{one.test.difference:+.4f}",
            ends(one.test.interval, "+.4f"),
            _p_value(one.test.p),
            _p_value(one.test.p_holm),
        ]
        for one in comparisons
    ]
    headers = ["test set", "A", "B", "A - B", "95% interval", "p", "p (Holm)"]
    names = f"A: {printable(name_a)}\nB: {printable(name_b)}"
    notes = [f"p (Holm): p adjusted for {len(rows)} test sets by Holm's method."] * (len(rows) > 1)
    notes += ["", conclusion] * bool(conclusion)
    shown = [Table("", headers, rows, notes, left=(4,), text=names)]
    for name in ("a", "b"):
        runs = {one.shift: summary for one in comparisons if (summary := getattr(one, f"runs_{name}"))}
        shown += [runs_table(runs, f"{name.upper()} by itself:")] if runs else []
    return shown


def runs_table(summaries: Mapping[str, RunsSummary], title: str = "") -> Table:
    """Show `comparison.summarize_runs`: how accuracies vary over the seeds, and how over test sets."""
    rows = [
        [
            test_set(shift),
            f"{summary.accuracy:.4f}",
            *(
                text
                for spread in (summary.seeds, summary.images)
                for text in ("-" if spread.sd is None else f"{spread.sd:.4f}", ends(spread.ci95))
            ),
        ]
        for shift, summary in summaries.items()
    ]
    first = next(iter(summaries.values()))
    headers = ["test set", "accuracy", "sd over seeds", "95% interval", "sd over test sets", "95% interval"]
    note = (
        f"Means of {first.runs} trainings on {first.n:,} images. Over seeds: what training again changes, on "
        "these images. Over test sets: what other images would, with these trainings."
    )
    return Table(title, headers, rows, [note], left=(3, 5))


def _p_value(p: float | None) -> str:
    """Show a p; reproductions of earlier versions have no adjusted one."""
    return "-" if p is None else "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def results_table(summary: StudySummary) -> Table:
    """Show what `StudyRun.summarize` gives: a row a setting, means with half of their 95% intervals."""
    rows = [
        [setting.setting, str(len(setting.seeds)), *(estimate(setting.measures[name]) for name in summary.measures)]
        for setting in summary.settings
    ]
    headers = [summary.factor, "seeds", *map(_measure, summary.measures)]
    notes = [_verdict(summary.best, summary.factor)] if summary.best else []
    return Table(summary.title, headers, rows, [*notes, *_test_set_notes(summary)])


def _test_set_notes(summary: StudySummary) -> list[str]:
    """Say how far the accuracies would vary over test sets, which their intervals over the seeds leave out."""
    n, halves = summary.test_images or 0, []
    for name in summary.measures if n else ():
        kind, _, shift = name.partition(" ")
        if kind == "accuracy" and shift:
            means = [setting.measures[name].mean for setting in summary.settings]
            widest = max(high - low for low, high in (wilson_interval(mean * n, n) for mean in means))
            halves.append(f"± {widest / 2:.4f} {'in-domain' if shift == 'none' else shift}")
    return [
        f"The intervals are over the seeds, on these {n:,} test images. Those over test sets of this size are at most "
        f"{', '.join(halves)} (95%, Wilson)."
    ] * bool(halves)


def study_tables(summary: StudySummary) -> list[Table]:
    """Show `results_table` and what stopping early would have cost; the notes follow, an empty line before each."""
    results = results_table(summary)
    shown = [replace(results, notes=())]
    if summary.settings and (patiences := summary.settings[0].patience):
        outcomes = [
            [
                str(row.patience),
                *(estimate(count, counts=True) for count in (row.epochs, row.kept_epoch)),
                *map(estimate, (row.test_accuracy, row.cost)),
            ]
            for row in patiences
        ]
        headers = ["patience", "epochs run", "kept epoch", "test accuracy", "below the best epoch's"]
        shown.append(Table("Had training stopped early:", headers, outcomes))
    return [*shown[:-1], replace(shown[-1], notes=[text for note in results.notes for text in ("", note)])]


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


def estimate(summary: Summary, *, counts: bool = False) -> str:
    """Show a mean with half of its interval, to as many decimals as suit its values, or counts."""
    mean, interval, decimals = summary.mean, summary.interval, _decimals(summary, counts=counts)
    return f"{mean:,.{decimals}f}" + (f" ± {interval[1] - mean:,.{decimals}f}" if interval else "")


def _verdict(best: BestSetting, factor: str) -> str:
    difference = best.difference
    found = f"Lowest {_measure(best.measure)}: {factor} {best.best}, then {best.next}."
    if difference is None or difference.interval is None:
        return f"{found} One seed cannot say whether that is chance."
    beyond = "more than" if difference.interval[0] > 0 else "no more than"
    return (
        f"{found} The difference, seed by seed, is {difference.mean:.4f} (95% interval {ends(difference.interval)}, "
        f"n = {difference.n}): {beyond} chance would give."
    )


def reproduction_tables(report: ReproductionReport) -> list[Table]:
    """Show the assignment's reported values and claims beside the measured ones, and its slips."""
    values = [
        [
            f"{value.problem}, {value.setting}",
            _measure(value.measure),
            (f"{value.assignment:,}" if value.assignment >= 2 else f"{value.assignment:.4f}") + "†" * bool(value.slip),
            estimate(value.ours) if value.ours else "-",
            ends(value.ours.prediction_interval, f",.{_decimals(value.ours)}f") if value.ours else "-",
            {True: "yes", False: "no", None: "-"}[value.inside],
        ]
        for value in report.values
    ]
    counts = [
        ["3.5", specs.MODELS[one.model].title, f"{one.assignment:,}", f"{one.ours:,}"] for one in report.parameters
    ]
    claims = [
        [
            claim.problem,
            claim.claim,
            *_difference(claim.comparison),
            _p_value(claim.comparison.p_holm if claim.comparison else None),
            claim.verdict,
        ]
        for claim in report.claims
    ]
    checks, seeds = report.checks, report.seeds
    verdicts = [[check.model, check.parameter, check.check, "passed" if check.passed else "FAILED"] for check in checks]
    # None stands for what is not finite.
    errors = [check.max_relative_error for check in checks if isinstance(check, GradientResult)]
    error = max(math.inf if error is None else error for error in errors)
    ratios = [check.ratio or math.inf for check in checks if isinstance(check, MagnitudeResult)]
    ratio = max(max(ratio, 1 / ratio) for ratio in ratios)
    return [
        Table(
            "Reported values",
            ["problem", "value", "assignment", "measured", "one more training", "assignment in it"],
            values,
            ["† a slip of the assignment, listed below"],
            left=(1, 5),
            text=f"Measured: mean over {seeds} {'seed' if seeds == 1 else 'seeds'} with half of its 95% interval, and "
            "where a further training would lie with 95% probability.",
        ),
        Table("Parameters", ["problem", "model", "assignment", "measured"], counts, left=(1,)),
        Table(
            "Gradient checks",
            ["model", "parameter", "check", "verdict"],
            verdicts,
            left=(1, 2, 3),
            text=f"{sum(check.passed for check in checks)} of {len(checks)} checks passed, by `ood-fashion scratch "
            f"gradcheck`: no relative error above {error:.0e}; "
            f"L1 norms of two batches within a factor of {ratio:.2f}.",
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
            assignment.CORRECTIONS,
            left=(1, 2),
        ),
    ]


def write_markdown(path: Path, report: ReproductionReport) -> None:
    """Write `reproduction_tables` to reproduction.md in a folder."""
    tables = "\n\n".join(table.to_markdown() for table in reproduction_tables(report))
    with atomic_write(path / "reproduction.md") as temporary:
        temporary.write_text(f"{tables}\n", encoding="utf-8")
    remove_leftovers(path, "reproduction.md")


def _difference(comparison: UnpairedComparison | None) -> tuple[str, str]:
    """Show a difference and its interval, to as many decimals as suit its size."""
    if comparison is None or comparison.interval is None:
        return "-", "-"
    low, high = comparison.interval
    size = max(abs(low), abs(high))
    decimals = 0 if size >= 1000 else 1 if size >= 2 else 4
    return f"{comparison.difference:,.{decimals}f}", ends(comparison.interval, f",.{decimals}f")


def _decimals(summary: Summary, *, counts: bool = False) -> int:
    """Return how many decimals suit the mean of counts, or of measured values of this size."""
    values = summary.values or [round(summary.mean) if counts else summary.mean]
    size = max(map(abs, values))
    if all(float(value).is_integer() for value in values):
        return 0 if size >= 1000 else 1
    return 1 if size >= 10 else 2 if size >= 2 else 4
