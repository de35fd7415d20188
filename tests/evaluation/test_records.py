from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from ood_fashion.evaluation.records import JsonRecord, describe_fault


@dataclass(frozen=True)
class Point(JsonRecord):
    x: float
    y: int | None
    note: str | None = None


@dataclass(frozen=True)
class Line(JsonRecord):
    title: str | None = field(default=None, kw_only=True)
    points: tuple[Point, ...]
    interval: tuple[float, float] | None = field(metadata={"key": "95% interval"})
    marks: Mapping[str, Point | Line]
    extra: Any


LINE = Line((Point(1, None), Point(0.5, 2, "last")), (0.25, 0.75), {"a": Line((), None, {}, 0)}, {"k": [1]}, title="t")
RECORD = {
    "title": "t",
    "points": [{"x": 1, "y": None}, {"x": 0.5, "y": 2, "note": "last"}],
    "95% interval": [0.25, 0.75],
    "marks": {"a": {"points": [], "95% interval": None, "marks": {}, "extra": 0}},
    "extra": {"k": [1]},
}


def test_a_record_is_read_as_it_was_written() -> None:
    assert LINE.to_json() == RECORD
    assert list(LINE.to_json()) == list(RECORD)
    assert Line.from_json({**RECORD, "of a later version": 1}) == LINE


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"points": {}}, TypeError),
        ({"points": [{"x": True, "y": 1}]}, TypeError),
        ({"points": [{"x": 1, "y": 1.5}]}, TypeError),
        ({"points": [{"x": 1}]}, KeyError),
        ({"points": [[]]}, TypeError),
        ({"95% interval": [1]}, ValueError),
        ({"title": 3}, TypeError),
        ({"marks": {"a": {}}}, KeyError),
    ],
)
def test_a_damaged_record_is_refused(changes: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        Line.from_json({**RECORD, **changes})


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({"x": 1.0}, "no 'y'"),
        ({"x": "a", "y": 1}, "'a' instead of float"),
        ({"x": "a" * 10**6, "y": 1}, "'aaaaaaaaaaaa...aaaaaaaaaaaaa' instead of float"),
    ],
)
def test_a_fault_is_said_in_brief(record: dict[str, Any], fault: str) -> None:
    with pytest.raises((KeyError, TypeError)) as caught:
        Point.from_json(record)
    assert describe_fault(caught.value) == fault
