"""The page of a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence

from ood_fashion.evaluation.ranking import MEASURES, LeaderboardRow
from ood_fashion.reports.page import Page, Section
from ood_fashion.reports.ranking import leaderboard_table


def leaderboard_page(rows: Sequence[LeaderboardRow], sort: str) -> Page:
    """Lay a leaderboard out as one table, which the reader sorts and filters."""
    lead = f"{len(rows)} models on Fashion-MNIST's test images under shifts, by {MEASURES[sort]}."
    section = Section("Models", tables=[leaderboard_table(rows, sort)])
    return Page("Leaderboard", "leaderboard", lead, [section], sortable=True)
