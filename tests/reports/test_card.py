"""Model cards, read by the Hugging Face Hub's own parser."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub as hub
import pytest

import ood_fashion as ood
from ood_fashion.data.dataset import Dataset
from ood_fashion.reports.card import model_card
from ood_fashion.runs.search import pretrained_runs
from tests.conftest import Invoke
from tests.records import write_run


@pytest.mark.parametrize("name", pretrained_runs())
def test_the_hub_reads_the_card_of_every_shipped_model(name: str) -> None:
    run = ood.pretrained(name)
    card = hub.ModelCard.load(run.path / "README.md")
    assert (run.path / "README.md").read_text() == model_card(run, name)
    assert (card.data.library_name, card.data.pipeline_tag, card.data.datasets) == (
        "keras", "image-classification", ["fashion_mnist"],
    )  # fmt: skip
    assert card.data.model_name == name
    read = {(one.dataset_config, one.metric_type): one.metric_value for one in card.data.eval_results}
    assert {shift for shift, _ in read} == {row.shift for row in run.results}
    for row in run.results:
        assert read[row.shift, "accuracy"] == row.accuracy
        assert read[row.shift, "expected_calibration_error"] == row.ece
    assert all(one.dataset_type == "fashion_mnist" and one.dataset_split == "test" for one in card.data.eval_results)
    assert f"{ood.count_parameters(run.config.model).summary['parameters']:,} parameters" in card.text
    assert all(len(line) <= 120 for line in card.text.splitlines() if "|" not in line)


@pytest.mark.usefixtures("few_figures")
def test_the_command(invoke: Invoke, small_fashion: Dataset, small_folder: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "a: b", small_fashion)
    options = ("--card", "README.md", "--data-dir", small_folder, "--json")
    result = invoke("report", "a: b", *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["card"] == "README.md"
    card = hub.ModelCard.load(tmp_path / "README.md")
    assert card.data.model_name == "a: b"
    assert {one.dataset_type for one in card.data.eval_results} == {"other"}
    assert len(card.data.eval_results) == 15
    assert invoke("report", "a: b", "--data-dir", small_folder).stdout == "a: b/report.html\n"


def test_bad_input(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = invoke("report", "empty", "--card", "README.md")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "empty: expected a run folder, with a config.json." in result.stderr
    assert not (tmp_path / "README.md").exists()
