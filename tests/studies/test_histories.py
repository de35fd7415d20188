from __future__ import annotations

import pytest

from ood_fashion.evaluation.stats import Summary, summarize
from ood_fashion.runs.history import stopped_at
from ood_fashion.studies.histories import Histories, SettingSummary, best_setting
from tests.evaluation.test_stats import assert_same_summary


def rows(*accuracies: float) -> list[dict[str, float]]:
    """A history in which the test accuracy is 0.1 below the validation accuracy."""
    return [{"val_accuracy": accuracy, "test_accuracy": accuracy - 0.1} for accuracy in accuracies]


@pytest.mark.parametrize(
    ("patience", "accuracies", "epochs", "kept"),
    [  # as in tests/training/test_callbacks.py, for the callback
        (3, [0.5, 0.6, 0.6, 0.6, 0.6, 0.9], 5, 2),
        (3, [0.5, 0.6, 0.4, 0.5, 0.7, 0.1, 0.1, 0.1, 0.9], 8, 5),
        (1, [0.5, 0.4, 0.9], 2, 1),
        (2, [0.1, 0.2, 0.3], 3, 3),
        (1, [0.0, 0.0], 2, 1),
        (1, [0.7], 1, 1),
    ],
)
def test_where_early_stopping_would_have_ended(patience: int, accuracies: list[float], epochs: int, kept: int) -> None:
    assert stopped_at(rows(*accuracies), patience) == (epochs, kept)


def test_what_patience_costs_by_hand() -> None:
    histories = Histories(("val_accuracy", "test_accuracy"))
    for history in (rows(0.5, 0.4, 0.8), rows(0.6, 0.7, 0.5)):
        histories.add(history)
    first, second, *others = histories.patience_table()
    expected: list[tuple[Summary, list[float]]] = [
        (first.epochs, [2, 3]),
        (first.kept_epoch, [1, 2]),
        (first.test_accuracy, [0.4, 0.6]),
        (first.cost, [0.3, 0.0]),
        (second.cost, [0.0, 0.0]),
    ]
    for received, values in expected:
        assert_same_summary(received, summarize(values))
    assert [cost.patience for cost in (first, second, *others)] == list(range(1, 11))
    assert list(first.to_json()) == ["patience", "epochs", "kept epoch", "test accuracy", "cost"]


def test_curves_end_with_the_shortest_history() -> None:
    histories = Histories(("val_accuracy",))
    for history in (rows(0.5, 0.4, 0.8), rows(0.6, 0.7), rows(0.1, 0.2, 0.3)):
        histories.add(history)
    (curve,) = histories.curves().values()
    for received, values in zip(curve, ([0.5, 0.6, 0.1], [0.4, 0.7, 0.2]), strict=True):
        assert_same_summary(received, summarize(values))
    assert histories.patience_table() == ()


def setting(label: str, losses: dict[int, float]) -> SettingSummary:
    return SettingSummary(label, tuple(losses), {"loss": summarize(list(losses.values()))}, {}, (), {})


def test_the_best_setting_by_hand() -> None:
    """Seed 3 of the best setting is missing, so two seeds are compared."""
    settings = [setting("a", {1: 0.4, 2: 0.6, 3: 0.5}), setting("b", {1: 0.3, 2: 0.4}), setting("c", {1: 0.9})]
    best = best_setting(settings, "loss")
    assert best is not None
    assert best.difference is not None
    assert (best.best, best.next) == ("b", "a")
    assert best.difference.values == pytest.approx((0.1, 0.2))
    assert best_setting(settings[:1], "loss") is None
