from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ood_fashion.evaluation.stats import (
    PairedComparison,
    Spread,
    Summary,
    adjust,
    compare_paired,
    compare_unpaired,
    holm,
    summarize,
    summarize_correct,
    wilson_interval,
)
from ood_fashion.studies.histories import RunningSummary


@pytest.mark.parametrize(("successes", "n"), [(8718, 10_000), (1, 10), (0, 5), (5, 5), (0, 1), (1, 1)])
def test_against_scipy(successes: int, n: int) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(1, 10**9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_own_estimate(counts: tuple[int, int]) -> None:
    successes, n = counts
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1


@pytest.mark.parametrize("n", [1, 3, 10, 100, 300, 9_999, 10_000])
def test_where_none_or_all_succeed_an_end_is_exact(n: int) -> None:
    """At p = 0 the upper end is z^2 / (n + z^2), and at p = 1 the lower one n / (n + z^2)."""
    z_squared = 1.959963984540054**2
    low, high = wilson_interval(0, n)
    assert low == 0
    assert high == pytest.approx(z_squared / (n + z_squared), rel=1e-12)
    low, high = wilson_interval(n, n)
    assert low == pytest.approx(n / (n + z_squared), rel=1e-12)
    assert high == 1


def test_published_example() -> None:
    # R. G. Newcombe, Statistics in Medicine 17:857 (1998), table I, method 3: 81 of 263.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_a_mean_and_its_interval_against_scipy() -> None:
    values = [0.852, 0.866, 0.878, 0.851, 0.860]
    summary = summarize(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert summary.interval == pytest.approx([expected.low, expected.high], abs=1e-9)
    assert (summary.mean, summary.sd, summary.n) == pytest.approx((np.mean(values), np.std(values, ddof=1), 5))


def test_a_prediction_interval_holds_as_often_as_it_says() -> None:
    """Draw six normal numbers 4,000 times: the sixth lies in the other five's interval in about 95 of 100 draws."""
    draws = np.random.default_rng(0).normal(size=(4000, 6)).tolist()
    held = 0
    for *values, further in draws:
        low, high = summarize(values).prediction_interval or (0, 0)
        held += low <= further <= high
    assert held / 4000 == pytest.approx(0.95, abs=0.015)


def test_one_value_has_no_spread() -> None:
    one = summarize([3.0])
    assert one == Summary(1, 3.0, None, None, None, values=(3.0,))
    assert one.to_json() == {
        "values": [3.0], "n": 1, "mean": 3.0, "sd": None, "interval": None, "prediction_interval": None,
    }  # fmt: skip


def assert_same_summary(received: Summary, expected: Summary) -> None:
    """Compare what `RunningSummary` says with what `summarize` says of all values at once."""
    ours, theirs = received.to_json(), expected.to_json()
    assert ours.keys() == theirs.keys() - {"values"}
    for name, value in ours.items():
        assert value == (None if theirs[name] is None else pytest.approx(theirs[name], rel=1e-6, abs=1e-12))


@pytest.mark.parametrize("n", [1, 2, 200])
def test_a_running_summary_is_the_summary_of_all_values(n: int) -> None:
    """Small differences of large numbers, in tables with 5 to 8 rows."""
    rng = np.random.default_rng(n)
    tables = [1e6 + rng.normal(size=(rng.integers(6, 9), 2)) for _ in range(n - 1)] + [1e6 + rng.normal(size=(5, 2))]
    running = RunningSummary(("a", "b"))
    for table in tables:
        running.add(table)
    summaries = running.summaries()
    assert [len(rows) for rows in summaries.values()] == [5, 5]
    for column, rows in enumerate(summaries.values()):
        for row, received in enumerate(rows):
            assert_same_summary(received, summarize([float(table[row, column]) for table in tables]))


def test_a_paired_comparison_against_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(400) < 0.8, rng.random(400) < 0.72
    received = compare_paired(a, b)
    assert received.difference == pytest.approx(a.mean() - b.mean())
    bootstrap = stats.bootstrap(
        (a.astype(float), b.astype(float)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=1,
    )
    assert received.interval == pytest.approx(list(bootstrap.confidence_interval), abs=0.006)


def test_mcnemars_test_by_hand() -> None:
    """Of 5 images that one alone gets right, all fall to A: p = 2 / 2^5. Nothing differs: p = 1."""
    a = np.array([True] * 5 + [True, False])
    b = np.array([False] * 5 + [True, False])
    received = compare_paired(a, b)
    assert (received.only_a, received.only_b, received.n) == (5, 0, 7)
    assert received.p == pytest.approx(2 / 32)
    assert compare_paired(a, a) == PairedComparison(7, 0, 0, 0.0, (0.0, 0.0), 1.0)


def test_welchs_test_by_hand() -> None:
    """Variances 1 and 4 of three each: standard error sqrt(5 / 3), t = 2 / 1.291, 2.94 degrees of freedom."""
    received = compare_unpaired([4.0, 5.0, 6.0], [1.0, 3.0, 5.0])
    assert received.difference == 2.0
    error, freedom = np.sqrt(5 / 3), (5 / 3) ** 2 / ((1 / 3) ** 2 / 2 + (4 / 3) ** 2 / 2)
    half = stats.t.ppf(0.975, freedom) * error
    assert received.interval == pytest.approx([2 - half, 2 + half])
    assert received.p == pytest.approx(2 * stats.t.sf(2 / error, freedom))
    for same in (0.0, 1.0):  # two trainings a side that happen to agree are no evidence
        alike = compare_unpaired([1.0, 1.0], [same, same])
        assert (alike.difference, alike.interval, alike.p) == (1 - same, None, 1)


def test_paired_comparisons_at_their_edges() -> None:
    right, wrong = np.ones(1, bool), np.zeros(1, bool)
    one = compare_paired(right, wrong)  # n = 1
    assert (one.difference, one.interval, one.p) == (1, (1, 1), 1)
    all_right = compare_paired(np.ones(9, bool), np.zeros(9, bool))
    assert (all_right.difference, all_right.interval) == (1, (1, 1))
    assert all_right.p == pytest.approx(2 / 2**9)


def test_seeds_and_images_are_kept_apart() -> None:
    """Two populations with known spreads: seeds differ by 0.02, and images by how hard they are."""
    rng = np.random.default_rng(0)
    hardness, skill = rng.beta(4, 1, 2_000), rng.normal(0, 0.02, 40)
    correct = rng.random((40, 2_000)) < (hardness + skill[:, None]).clip(0, 1)
    summary = summarize_correct(correct)
    accuracies = correct.mean(axis=1)
    expected = stats.ttest_1samp(accuracies, 0).confidence_interval(0.95)
    assert summary.seeds.ci95 == pytest.approx([expected.low, expected.high])
    assert summary.seeds.sd == pytest.approx(accuracies.std(ddof=1))
    bootstrap = stats.bootstrap((correct.mean(axis=0),), np.mean, method="percentile", rng=1)
    assert summary.images.sd == pytest.approx(float(bootstrap.standard_error), rel=0.05)
    assert summary.images.ci95 == pytest.approx(list(bootstrap.confidence_interval), abs=5e-4)
    assert summary.accuracy == pytest.approx(correct.mean())
    assert (summary.runs, summary.n) == (40, 2_000)


def test_one_training_has_the_wilson_interval_and_no_seeds() -> None:
    for right in (0, 3, 10):
        summary = summarize_correct(np.arange(10)[None] < right)
        assert summary.images.ci95 == pytest.approx(list(wilson_interval(right, 10)))
        assert summary.seeds == Spread(None, None)
    # Trainings that are right about the same images are worth one; about complementary ones, no image is harder.
    same, halves = np.arange(10) < 5, np.stack([np.arange(10) < 5, np.arange(10) >= 5])
    assert summarize_correct(np.stack([same] * 4)).images.ci95 == pytest.approx(list(wilson_interval(5, 10)))
    assert summarize_correct(halves).images == Spread(0, wilson_interval(5, 10))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    tests = [PairedComparison(9, 5, 0, 0.5, (0.1, 0.9), p) for p in (0.01, 0.04)]
    assert [test.p_holm for test in adjust(tests)] == [0.02, 0.04]
    assert adjust(tests)[0].to_json() == {**tests[0].to_json(), "p_holm": 0.02}
