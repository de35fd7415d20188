"""Whether one model is better than another under a shift: on the same images, with tests that count the shifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.errors import InvalidValueError
from ood_fashion.evaluation.stats import SIGNIFICANCE, add_holm, compare_paired, compare_unpaired, summarize_correct

Correct = Mapping[str, NDArray[np.bool_]]
"""Whether each test image is recognised, (n,), by the text form of the shift."""


def compare(side_a: Sequence[Correct], side_b: Sequence[Correct]) -> list[dict[str, Any]]:
    """Compare two sides under every shift.

    Args:
        side_a: of one model, or of two or more trainings of it.
        side_b: as many of another, at least two if A has two.

    Returns:
        A record per shift: accuracy_a and accuracy_b (means over the trainings), what `stats.compare_paired` says
        of one training a side or `compare_unpaired` of several, and p_holm, adjusted for the number of shifts; of
        several also runs_a and runs_b, what `stats.summarize_correct` says of each side.

    Raises:
        InvalidValueError: one side has one training, and the other several.
    """
    if (len(side_a) == 1) != (len(side_b) == 1):
        raise InvalidValueError(
            f"expected one training a side, or several on both. Received: {len(side_a)} and {len(side_b)}."
        )
    records = []
    for shift in side_a[0]:
        a, b = ([float(correct[shift].mean()) for correct in side] for side in (side_a, side_b))
        if len(a) == 1:
            result = compare_paired(side_a[0][shift], side_b[0][shift])
        else:
            sides = {"runs_a": side_a, "runs_b": side_b}
            summaries = {name: summarize_correct(correct_under(shift, side)) for name, side in sides.items()}
            result = {**compare_unpaired(a, b), **summaries}
        records.append({"shift": shift, "accuracy_a": float(np.mean(a)), "accuracy_b": float(np.mean(b)), **result})
    add_holm(records)
    return records


def correct_under(shift: str, side: Sequence[Correct]) -> NDArray[np.bool_]:
    """Return whether each training is right about each image under a shift, (trainings, n)."""
    return np.stack([correct[shift] for correct in side])


def summarize_runs(side: Sequence[Correct]) -> list[dict[str, Any]]:
    """Describe several trainings: a record per shift of `stats.summarize_correct`.

    Args:
        side: of each training.
    """
    return [{"shift": shift, **summarize_correct(correct_under(shift, side))} for shift in side[0]]


def conclude(records: Sequence[Mapping[str, Any]], name_a: str, name_b: str) -> str:
    """Say in a sentence or two what `compare` allows to conclude, and what not."""
    better: dict[str, list[str]] = {name_a: [], name_b: []}
    for record in records:
        if record["p_holm"] < SIGNIFICANCE:
            better[name_a if record["difference"] > 0 else name_b].append(record["shift"])
    shown = [f"{name} is more accurate under {', '.join(shifts)}." for name, shifts in better.items() if shifts]
    if open_ones := [record["shift"] for record in records if record["p_holm"] >= SIGNIFICANCE]:
        shown.append(f"Nothing may be concluded about {', '.join(open_ones)}: the difference may be chance.")
    if "only_a" in records[0]:
        shown.append(
            "This is about these two trained models on images like these; trained again, they may differ otherwise. "
            "Compare several runs a side for that."
        )
    else:
        shown.append(
            f"This is about trainings like these {records[0]['n_a']} and {records[0]['n_b']}, on this test set."
        )
    return " ".join(shown)
