"""Leaderboards as tables."""

from __future__ import annotations

from collections.abc import Sequence

from ood_fashion.evaluation import baseline
from ood_fashion.evaluation.ranking import MEASURES, PAIRED, LeaderboardRow
from ood_fashion.evaluation.stats import SIGNIFICANCE
from ood_fashion.reports.table import Table, ends
from ood_fashion.text import printable

_ACCURACIES = ("in-domain", "worst", "every-angle")
_OTHERS = ("mce", "mce-unseen", "ece", "parameters", "multiply-adds")


def leaderboard_tables(rows: Sequence[LeaderboardRow], sort: str) -> list[Table]:
    """Show a leaderboard as a table of accuracies and one of the other measures, which fit a page."""
    both = []
    for names in (_ACCURACIES, _OTHERS):
        with_same = [_same(row) for row in rows] if names == _ACCURACIES else [[]] * len(rows)
        cells = [[_name(row), *_cells(row, names), *same] for row, same in zip(rows, with_same, strict=True)]
        headers = ["model", *map(MEASURES.__getitem__, names), *["as good"] * (names == _ACCURACIES)]
        both.append((headers, cells))
    (headers, cells), (other_headers, other_cells) = both
    return [
        Table("", headers, cells, [_sorted_by(rows, sort), *_sizes(rows, _ACCURACIES)], left=(4,)),
        Table("", other_headers, other_cells, [*_sizes(rows, _OTHERS), *_explanations(rows)]),
    ]


def leaderboard_table(rows: Sequence[LeaderboardRow], sort: str) -> Table:
    """Show a leaderboard as one wide table."""
    names = (*_ACCURACIES, *_OTHERS)
    cells = [[_name(row), *_cells(row, names), *_same(row)] for row in rows]
    headers = ["model", *map(MEASURES.__getitem__, names), "as good"]
    notes = [_sorted_by(rows, sort), *_sizes(rows, names), *_explanations(rows)]
    return Table("", headers, cells, notes, left=(len(headers) - 1,))


def _name(row: LeaderboardRow) -> str:
    return f"{row.place}. {printable(row.model)}"


def _same(row: LeaderboardRow) -> list[str]:
    return [", ".join(map(str, row.same)) or "-"]


def _cells(row: LeaderboardRow, names: Sequence[str]) -> list[str]:
    shown = []
    for name in names:
        found = row.measures.get(name)
        if found is None:
            shown.append("-")
        elif found.ci95 is None:
            shown.append(f"{found.value:,.0f}")
        else:
            shown.append(f"{found.value:.3f}{'*' * (name == 'mce' and bool(row.seen))} ({ends(found.ci95, '.3f')})")
    return shown


def _sorted_by(rows: Sequence[LeaderboardRow], sort: str) -> str:
    test = "by overlapping intervals"
    if sort in PAIRED:
        test = f"by McNemar's exact test with p (Holm) of {SIGNIFICANCE} or more, or without predictions {test}"
    elif not any(row.measures[sort].ci95 for row in rows if sort in row.measures):
        test = "because it has as many"
    return (
        f"Sorted by {MEASURES[sort]}; in brackets, 95% intervals over test sets. As good: the places that a model "
        f"cannot be told apart from {test}."
    )


def _sizes(rows: Sequence[LeaderboardRow], names: Sequence[str]) -> list[str]:
    sizes: dict[str, list[str]] = {}
    for name in names:
        if counts := sorted({row.measures[name].n or 0 for row in rows if name in row.measures} - {0}):
            sizes.setdefault(" or ".join(f"{n:,}" for n in counts), []).append(MEASURES[name])
    shown = "; ".join(f"{', '.join(measures)}: the first {n}" for n, measures in sizes.items())
    return [f"Test images: {shown}."] if shown else []


def _explanations(rows: Sequence[LeaderboardRow]) -> list[str]:
    notes = [
        f"mCE: errors under all corruptions as multiples of those of {baseline.REFERENCE}, so lower is better; unseen: "
        "without corruptions that augmentation showed in training. ECE: in-domain. The intervals of mCE and of every "
        "angle are wider than 95%."
    ]
    seen = [f"{printable(row.model)}: {', '.join(row.seen)}" for row in rows if row.seen and "mce" in row.measures]
    return notes + [f"* Seen in training by {one}." for one in seen]
