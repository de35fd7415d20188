from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.evaluation import baseline
from ood_fashion.evaluation.classifier import evaluate
from ood_fashion.evaluation.sweeps import corruptions, rotations, translations
from ood_fashion.shifts.shift import TEST_SETS
from ood_fashion.studies import assignment


def test_it_covers_the_sweeps_and_the_assignments_test_sets() -> None:
    everywhere = {*TEST_SETS, *map(str, corruptions().shifts), *map(str, rotations(15).shifts)}
    moved = set(map(str, translations(8).shifts))
    for name, by_shift in baseline.accuracies().items():
        assert set(by_shift) == everywhere | moved if name.startswith("mlp") else set(by_shift) == everywhere
        assert all(0 <= accuracy <= 1 for accuracy in by_shift.values())
    assert all(baseline.fit(shift) is not None for shift in everywhere - {"none"})
    assert baseline.fit("none") is baseline.fit("translate:1,1") is baseline.fit("up4+fog:3") is None


def test_the_reference_has_the_assignments_accuracies() -> None:
    figures, reference = assignment.ACCURACY["mlp"], baseline.reference()
    assert {shift: reference[shift] for shift in figures} == pytest.approx(figures, abs=0.02)


def test_the_fit_against_scipy() -> None:
    in_domain, shifted = np.transpose(list(baseline.points("up4").values()))
    assert len(in_domain) == 9
    expected = stats.linregress(special.logit(in_domain), special.logit(shifted))
    line = special.expit(expected.slope * special.logit(in_domain) + expected.intercept)
    assert baseline.predict("up4", in_domain) == pytest.approx(line)
    assert baseline.spread("up4") == pytest.approx(np.sqrt(np.sum((shifted - line) ** 2) / 7))
    means = baseline.mean_points(["up4", "rotate90"])
    first = baseline.accuracies()["mlp-500-s1"]
    assert means[0] == pytest.approx((first["none"], (first["up4"] + first["rotate90"]) / 2))


def test_records_on_its_own_test_set_are_held_against_it(fashion: Dataset) -> None:
    """A model with accuracy 0.8 in-domain and 0.5 under every shift."""
    labels, wrong = fashion.test.labels, (fashion.test.labels + 1) % 10
    scores = {right: np.eye(10)[np.where(np.arange(10_000) < right, labels, wrong)] for right in (8_000, 5_000)}
    none, up4, chain = evaluate(
        lambda shift: scores[5_000 if shift.steps else 8_000], fashion.test, ["none", "up4", "up4+fog:3"], full=True
    )
    assert up4.effective_robustness == pytest.approx(0.5 - baseline.predict("up4", 0.8))
    assert up4.effective_robustness_sd == baseline.spread("up4")
    assert none.effective_robustness is chain.effective_robustness is None
    assert "effective_robustness" not in none.to_json().keys() | chain.to_json().keys()


def test_other_test_sets_are_not(fashion: Dataset) -> None:
    assert baseline.applies(fashion.test)
    images, labels = fashion.test.images, fashion.test.labels
    assert not baseline.applies(Split(images[:9_999], labels[:9_999]))
    assert not baseline.applies(Split(images[::-1], labels[::-1]))
    assert not baseline.applies(fashion.train)
