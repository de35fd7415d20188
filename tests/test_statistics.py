from __future__ import annotations

import pytest
from scipy.stats import binomtest

from ood_fashion.statistics import wilson_interval


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(8718, 10_000), (1, 10), (0, 5), (5, 5), (0, 1), (1, 1)])
def test_against_scipy(successes: int, n: int, confidence: float) -> None:
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    received = wilson_interval(successes, n, confidence=confidence)
    assert received == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_published_example() -> None:
    # R. G. Newcombe, Statistics in Medicine 17:857 (1998), table I, method 3: 81 of 263.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
