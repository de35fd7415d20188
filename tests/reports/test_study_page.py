from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ood_fashion.data.dataset import Dataset
from ood_fashion.reports.folders import read_page
from ood_fashion.reports.page import to_html
from ood_fashion.studies.study import STUDIES, Study
from ood_fashion.studies.study_run import StudyRun
from tests.conftest import Invoke
from tests.documents import Document, check_structure
from tests.records import write_study


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_report_shows_table_figure_and_settings(small_fashion: Dataset, tmp_path: Path, name: str) -> None:
    study_run = write_study(tmp_path / "study", name, small_fashion)
    page = read_page(study_run.path)
    document = Document(to_html(page))
    check_structure(document)
    settings = study_run.summarize().settings
    assert [row[:2] for row in document.tables[0][1:]] == [[setting.setting, "2"] for setting in settings]
    accuracy = settings[0].measures["accuracy none"]
    assert accuracy.interval is not None
    assert f"{accuracy.mean:.4f} ± {accuracy.interval[1] - accuracy.mean:.4f}" in document.text
    assert [drawing.name for drawing in page.drawings] == [name]
    values = {row[0]: row[1] for table in document.tables for row in table}
    assert values["seed"] == "1, 2"
    assert values["device"] == "cpu"
    assert "The assignment's accuracies" not in document.text  # this is not its data


def test_the_assignments_accuracies_stand_beside_those_on_its_data(fashion: Dataset, tmp_path: Path) -> None:
    document = Document(to_html(read_page(write_study(tmp_path / "study", "shifts", fashion, seeds=1).path)))
    (table,) = [rows for rows in document.tables if rows[0][:2] == ["model", "in-domain"]]
    assert table[0][1:] == ["in-domain", "up4", "rotate90", "rotate180", "rotate270"]
    assert table[3] == ["cnn3", "0.8718", "0.5653", "0.0528", "0.0465", "0.0465"]  # problem 4.3 and 4.4
    assert "it repeats the accuracy for rotate270" in document.text


def test_a_study_with_damaged_trials(invoke: Invoke, small_fashion: Dataset, tmp_path: Path) -> None:
    write_study(tmp_path / "study", "momentum", small_fashion)
    (tmp_path / "study/trials/0.3-s1/config.json").write_text("{")
    shutil.rmtree(tmp_path / "study/trials/0.9-s1")
    (tmp_path / "study/trials/0.9-s2/metrics.json").write_text('{"results": [{"shift": "none"}], "training": {}}')
    result = invoke("report", "study", "--json")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: 3 trainings cannot be read and are left out: ")
    record = json.loads(result.stdout)
    assert len(record["damaged"]) == 3
    document = Document((tmp_path / "study/report.html").read_text())
    check_structure(document)
    assert "9 of 12 trainings" in document.text
    assert "3 not readable, and left out:" in document.text
    assert all(line in document.text for line in record["damaged"])
    assert [row[:2] for row in document.tables[0][1:]] == [
        ["0.0", "2"],
        ["0.1", "2"],
        ["0.3", "1"],
        ["0.5", "2"],
        ["0.7", "2"],
    ]


def test_what_is_no_run_and_no_study(invoke: Invoke, small_fashion: Dataset, tmp_path: Path) -> None:
    study_run = write_study(tmp_path / "study", "shifts", small_fashion, seeds=1)
    shutil.rmtree(study_run.path / "trials")
    own = Study({"a": {"model": "mlp"}})
    StudyRun.create(tmp_path / "own", own, seeds=1, changes={}, dataset=small_fashion, resume=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/study.json").write_text('{"study": "shifts", "seeds": 1, "changes": {"colour": 1}}')
    for path, message in (
        ("absent", "Received: nothing there"),
        ("empty", "Received: a folder without them"),
        ("file", "Received: a file"),
        ("study", "Received: 3 trainings, none of which can be read. Finish it: ood-fashion study shifts --resume"),
        ("own", "Finish it: ood.study(study, resume=True, out='own')"),
        ("damaged", "damaged/study.json: expected a study, with 1 to 100,000 seeds and changes of"),
    ):
        result = invoke("report", path)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
        assert message in result.stderr
    assert not list(tmp_path.rglob("report.html"))


def test_where_it_is_written(invoke: Invoke, small_fashion: Dataset, tmp_path: Path) -> None:
    write_study(tmp_path / "study", "shifts", small_fashion, seeds=1)
    (tmp_path / "file").write_text("precious")
    for option, value in (("--out", "absent/report.html"), ("--out", "study"), ("--figures", "file")):
        result = invoke("report", "study", option, value)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
        assert "expected" in result.stderr
    assert (tmp_path / "file").read_text() == "precious"
    assert not list(tmp_path.rglob(".tmp-*"))
    result = invoke("report", "study", "--figures", "figures")
    assert result.stdout.splitlines() == ["study/report.html", "figures/shifts.png", "figures/shifts.svg"]
