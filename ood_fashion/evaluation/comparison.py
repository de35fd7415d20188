"""Whether one model is better than another under a shift: on the same images, with tests that count the shifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.errors import InvalidValueError
from ood_fashion.evaluation.stats import (
    SIGNIFICANCE,
    PairedComparison,
    RunsSummary,
    UnpairedComparison,
    adjust,
    compare_paired,
    compare_unpaired,
    summarize_correct,
)

Correct = Mapping[str, NDArray[np.bool_]]
"""Whether each test image is recognised, (n,), by the text form of the shift."""


@dataclass(frozen=True)
class ShiftComparison:
    """The accuracies of two sides under a shift, each the mean over its trainings, and the test of their difference.

    The test is by images with one training a side, and over seeds with several, which are then described by themselves.
    """

    shift: str
    accuracy_a: float
    accuracy_b: float
    test: PairedComparison | UnpairedComparison
    runs_a: RunsSummary | None = None
    runs_b: RunsSummary | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, the test's beside the others."""
        test = self.test.to_json()
        p_holm = test.pop("p_holm", None)
        accuracies = {"shift": self.shift, "accuracy_a": self.accuracy_a, "accuracy_b": self.accuracy_b}
        runs = {"runs_a": self.runs_a, "runs_b": self.runs_b}
        described = {name: summary.to_json() for name, summary in runs.items() if summary}
        return {**accuracies, **test, **described, "p_holm": p_holm}


def compare(side_a: Sequence[Correct], side_b: Sequence[Correct]) -> list[ShiftComparison]:
    """Compare two sides under every shift, each one model or two or more trainings of one.

    The test is `stats.compare_paired` of one training a side or `compare_unpaired` of several, with p adjusted for the
    number of shifts.
    """
    if (len(side_a) == 1) != (len(side_b) == 1):
        raise InvalidValueError(
            f"expected one training a side, or several on both. Received: {len(side_a)} and {len(side_b)}."
        )
    found = []
    for shift in side_a[0]:
        a, b = ([float(correct[shift].mean()) for correct in side] for side in (side_a, side_b))
        test: PairedComparison | UnpairedComparison
        runs: list[RunsSummary] = []
        if len(a) == 1:
            test = compare_paired(side_a[0][shift], side_b[0][shift])
        else:
            test = compare_unpaired(a, b)
            runs = [_summarize(shift, side) for side in (side_a, side_b)]
        found.append(ShiftComparison(shift, float(np.mean(a)), float(np.mean(b)), test, *runs))
    adjusted = adjust([one.test for one in found])
    return [replace(one, test=test) for one, test in zip(found, adjusted, strict=True)]


def _summarize(shift: str, side: Sequence[Correct]) -> RunsSummary:
    return summarize_correct(np.stack([correct[shift] for correct in side]))


def summarize_runs(side: Sequence[Correct]) -> dict[str, RunsSummary]:
    """Describe several trainings, by the text forms of the shifts."""
    return {shift: _summarize(shift, side) for shift in side[0]}


def conclude(comparisons: Sequence[ShiftComparison], name_a: str, name_b: str) -> str:
    """Say in a sentence or two what `compare` allows to conclude, and what not."""
    better: dict[str, list[str]] = {name_a: [], name_b: []}
    open_ones = []
    for one in comparisons:
        if one.test.p_holm is not None and one.test.p_holm < SIGNIFICANCE:
            better[name_a if one.test.difference > 0 else name_b].append(one.shift)
        else:
            open_ones.append(one.shift)
    shown = [f"{name} is more accurate under {', '.join(shifts)}." for name, shifts in better.items() if shifts]
    if open_ones:
        shown.append(f"Nothing may be concluded about {', '.join(open_ones)}: the difference may be chance.")
    test = comparisons[0].test
    if isinstance(test, PairedComparison):
        shown.append(
            "This is about these two trained models on images like these; trained again, they may differ otherwise. "
            "Compare several runs a side for that."
        )
    else:
        shown.append(f"This is about trainings like these {test.n_a} and {test.n_b}, on this test set.")
    return " ".join(shown)
