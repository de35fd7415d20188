"""What the pages of all kinds of folders share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ood_fashion.files import access
from ood_fashion.reports.figures import test_set
from ood_fashion.reports.page import Section
from ood_fashion.reports.table import Table
from ood_fashion.runs.config import SETTINGS, TrainConfig


def folder_name(path: Path) -> str:
    """Return what a page of a folder is called."""
    with access(path):
        return path.resolve().name


def identifier(shift: str) -> str:
    """Make a shift's text fit for a file's name and an HTML id."""
    return test_set(shift).translate(str.maketrans(":,+", "___"))


def configuration_section(configs: Iterable[TrainConfig], environments: Iterable[Mapping[str, Any]]) -> Section:
    """List what decided the trainings and what they ran on; where they differ, each value."""
    settings: dict[str, dict[str, None]] = {}
    for config in configs:
        for name in SETTINGS:
            settings.setdefault(name.replace("_", " "), {})[_text(getattr(config, name))] = None
    facts: dict[str, dict[str, None]] = {}
    for record in environments:
        dataset, versions = record["dataset"], record.get("versions")
        for name, value in {
            "dataset": dataset.get("source"),
            "genuine Fashion-MNIST": dataset.get("genuine"),
            **{key.replace("_", " "): record.get(key) for key in ("device", "threads", "git_revision", "started")},
            **(versions if isinstance(versions, dict) else {}),
        }.items():
            facts.setdefault(str(name), {})[_text(value)] = None
        facts["started"] = {min(facts["started"]): None}
    return Section(
        "Configuration and versions",
        tables=[
            Table(caption, ["name", "value"], [[name, ", ".join(values)] for name, values in listed.items()])
            for caption, listed in (("Settings", settings), ("Environment", facts))
        ],
    )


def _text(value: Any) -> str:
    return {None: "none", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)
