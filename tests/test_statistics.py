from __future__ import annotations

import math

import pytest

from ood_fashion.statistics import wilson_interval


@pytest.mark.parametrize(("successes", "n"), [(8718, 10_000), (1, 10), (0, 5), (5, 5), (1, 1)])
def test_against_wilsons_formula(successes: int, n: int) -> None:
    z, p = 1.959963984540054, successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson_interval(successes, n) == pytest.approx((max(centre - half, 0), min(centre + half, 1)), abs=1e-12)


def test_published_example() -> None:
    # R. G. Newcombe, Statistics in Medicine 17:857 (1998), table I, method 3: 81 of 263.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
