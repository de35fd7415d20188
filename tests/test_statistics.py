from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ood_fashion.statistics import summarize, wilson_interval


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(8718, 10_000), (1, 10), (0, 5), (5, 5), (0, 1), (1, 1)])
def test_against_scipy(successes: int, n: int, confidence: float) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    received = wilson_interval(successes, n, confidence=confidence)
    assert received == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_published_example() -> None:
    # R. G. Newcombe, Statistics in Medicine 17:857 (1998), table I, method 3: 81 of 263.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_a_mean_and_its_interval_against_scipy() -> None:
    values = [0.852, 0.866, 0.878, 0.851, 0.860]
    summary = summarize(values, confidence=0.9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert summary["interval"] == pytest.approx([expected.low, expected.high], abs=1e-9)
    assert (summary["mean"], summary["sd"], summary["n"]) == pytest.approx((np.mean(values), np.std(values, ddof=1), 5))


def test_a_prediction_interval_holds_as_often_as_it_says() -> None:
    """Draw six normal numbers 4,000 times: the sixth lies in the other five's interval in about 80 of 100 draws."""
    draws = np.random.default_rng(0).normal(size=(4000, 6)).tolist()
    held = 0
    for *values, further in draws:
        low, high = summarize(values, confidence=0.8)["prediction_interval"]
        held += low <= further <= high
    assert held / 4000 == pytest.approx(0.8, abs=0.025)


def test_one_value_has_no_spread() -> None:
    assert summarize([3.0]) == {
        "values": [3.0], "n": 1, "mean": 3.0, "sd": None, "interval": None, "prediction_interval": None,
    }  # fmt: skip
