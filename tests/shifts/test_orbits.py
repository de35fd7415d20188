from __future__ import annotations

import pytest

from ood_fashion.errors import InvalidValueError
from ood_fashion.shifts.orbits import parse_orbit
from ood_fashion.shifts.shift import Shift


def test_the_quarter_turns() -> None:
    assert [str(shift) for shift in parse_orbit("c4").shifts] == ["none", "rotate90", "rotate180", "rotate270"]


@pytest.mark.parametrize("pixels", [1, 3])
def test_all_translations_of_a_square(pixels: int) -> None:
    orbit = parse_orbit(f"translate:{pixels}").shifts
    assert len(set(orbit)) == len(orbit) == (2 * pixels + 1) ** 2
    assert {Shift(), Shift.parse(f"translate:{pixels},-{pixels}")} <= set(orbit)


def test_angles_divide_a_quarter_turn() -> None:
    assert [str(shift) for shift in parse_orbit("rotate:3").shifts] == ["none", "rotate:30", "rotate:60"]
    assert len(set(parse_orbit("rotate:45").shifts)) == 45


def test_batch_statistics_are_no_orbit() -> None:
    assert parse_orbit("batch-statistics") == ((Shift(),), False, True)


def test_how_answers_become_one() -> None:
    assert parse_orbit("translate:2/sharpest") == (parse_orbit("translate:2").shifts, True, False)
    assert parse_orbit("c4/sharpest").sharpest
    assert not parse_orbit("c4").sharpest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c5",
        "c4:1",
        "c4/",
        "c4/mean",
        "/sharpest",
        "translate:2/",
        "translate",
        "translate:0",
        "translate:15",
        "translate:1.5",
        "rotate:1",
        "rotate:46",
        "rotate",
        "batch-statistics/sharpest",
        "batch",
    ],
)
def test_what_is_no_orbit_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match=f"expected c4, rotate:N .* Received: '{text}'"):
        parse_orbit(text)
