"""Failure galleries against predictions made by hand, and against what the app says of the same images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ood_fashion as ood
from ood_fashion.data.dataset import Dataset
from ood_fashion.data.sources import load_dataset
from ood_fashion.evaluation.exploring import View
from ood_fashion.evaluation.failures import weaker_shifts
from ood_fashion.evaluation.metrics import Predictions
from ood_fashion.reports.failure_gallery import run_section, sweep_section
from ood_fashion.reports.folders import read_page
from ood_fashion.reports.page import Page, Section, to_html
from ood_fashion.shifts.shift import Shift
from tests.conftest import Invoke
from tests.documents import Document, check_structure
from tests.records import write_run


def shown(section: Section) -> list[list[list[str]]]:
    """The rows of each table, as the page has them; in place of the picture its text, of the link its address."""
    document = Document(to_html(Page("a page", "run", "", [section])))
    pictures = iter([str(image["alt"]) for image in document.of("img")])
    links = iter([str(link["href"]) for link in document.of("a") if "127.0.0.1" in str(link["href"])])
    return [[[next(pictures), *row[1:4], next(links)] for row in rows[1:]] for rows in document.tables]


def test_a_run_by_hand(small_fashion: Dataset, tmp_path: Path) -> None:
    """Image 0 is wrong from the start; 3, 5 and 9 become wrong, of which 5 and 9 are surest."""
    labels = small_fashion.test.labels
    before, after = labels.copy(), labels.copy()
    wrong = [0, 3, 5, 9]
    before[0], after[wrong] = (labels[0] + 1) % 10, (labels[wrong] + 1) % 10
    confidences = np.full(len(labels), 0.7)
    confidences[[5, 9]] = 0.9
    run = write_run(tmp_path / "my <run>", small_fashion, shifts=("none", "up4+fog:2"))
    predictions = {"none": Predictions(before, confidences), "up4+fog:2": Predictions(after, confidences)}
    section = run_section(run, replace(small_fashion, origin=tmp_path / "my data"), predictions)
    address = f"http://127.0.0.1:7860/?{View(5, Shift.parse('up4+fog:2'), (str(run.path),)).query}"
    answers = {index: f"{(labels[index] + 1) % 10} {confidences[index]:.1%}" for index in wrong}
    assert shown(section) == [
        [
            [f"Test image {i} under up4+fog:2", str(labels[i]), answers[i], "-", address.replace("=5&", f"={i}&")]
            for i in (5, 9, 3)
        ]
    ]
    hurt = {label: np.mean(after[labels == label] == label) - np.mean(before[labels == label] == label)
            for label in range(10)}  # fmt: skip
    worst = min(hurt, key=lambda label: (hurt[label], str(label)))
    (table,) = section.tables
    assert table.title == (
        f"up4+fog:2: 3 of {len(labels) - 1} right answers become wrong. Class hurt most: {worst} {hurt[worst]:+.2f}"
    )
    assert f"ood-fashion app --run '{run.path}' --data-dir '{tmp_path}/my data'" in section.text
    assert "Least shifts are not known: the run has no Keras model." in section.text
    named = run_section(run, replace(small_fashion, origin="kmnist"), predictions)
    assert f"ood-fashion app --run '{run.path}' --dataset kmnist" in named.text
    alone = run_section(run, small_fashion, {"up4": predictions["none"]})
    assert alone.text == "Not drawn: the run has no predictions for the images as they are."


def is_least(explorer: ood.Explorer, index: int, least: str, tried: Sequence[str]) -> bool:
    """Whether the explorer's model is right under all of the shifts before this one, and wrong under it."""
    image = explorer.image(index)
    right = [bool(explorer.answers(image, shift)[0].correct) for shift in tried[: tried.index(least) + 1]]
    return right == [*[True] * (len(right) - 1), False]


def test_a_run_with_its_model_says_the_least_shift(fashion: Dataset) -> None:
    """Its records, and the least shifts, are what the app says of the images that the links open."""
    run, explorer = ood.pretrained("mlp"), ood.Explorer(data=fashion, pretrained=["mlp"])
    predictions = {shift: answers for shift, answers in run.read_predictions().items() if shift in ("none", "rotate90")}
    section = run_section(run, fashion, predictions)
    (rows,) = shown(section)
    tried = list(map(str, weaker_shifts(Shift.parse("rotate90"))))
    confidences = [float(row[2].rpartition(" ")[2].rstrip("%")) for row in rows]
    assert len(rows) == 8
    assert confidences == sorted(confidences, reverse=True)
    for _, name, answer, least, link in rows:
        view = View.parse(link.partition("?")[2], len(fashion.test), explorer.names)
        assert view.models == ("mlp",)
        (said,) = explorer.answers(explorer.image(view.image or 0), view.shift, view.models)
        assert answer == f"{said.top[0].class_name} {said.top[0].probability:.1%}"
        assert name == fashion.class_names[fashion.test.labels[view.image]]
        assert is_least(explorer, view.image or 0, least, tried)
    assert "ood-fashion app --pretrained mlp" in section.text
    assert "not known" not in section.text


@pytest.fixture(scope="module")
def swept(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep over two corruptions, of a model of the package and of one of a run's own."""
    folder = tmp_path_factory.mktemp("swept")
    own = shutil.copytree(ood.pretrained("mlp").path, folder / "own")
    (own / "model.keras").write_bytes((own / "model.keras").read_bytes() + b" ")  # other content, the same weights
    ood.sweep(["cnn2", own], "corruptions", ["fog", "shear"], data=small_folder, out=folder / "sweep")
    return folder


def test_a_sweep_asks_the_models_that_it_finds(swept: Path, small_folder: Path) -> None:
    """The rows of `cnn2` are what the app says; the run, called by its architecture, is not found from here."""
    section = sweep_section(swept / "sweep", small_folder)
    assert [table.title.partition(":")[0] for table in section.tables] == [
        "cnn2 under fog", "mlp under fog", "cnn2 under shear", "mlp under shear",
    ]  # fmt: skip
    explorer = ood.Explorer(data=load_dataset(small_folder), pretrained=["cnn2"])
    fog, of_run, *_ = shown(section)
    assert len(fog) == 4
    for _, _, answer, least, link in fog:
        view = View.parse(link.partition("?")[2], 200, explorer.names)
        (said,) = explorer.answers(explorer.image(view.image or 0), view.shift, view.models)
        assert answer == f"{said.top[0].class_name} {said.top[0].probability:.1%}"
        assert is_least(explorer, view.image or 0, least, [f"fog:{severity}" for severity in range(1, 6)])
    assert [row[2] for row in of_run] == ["-"] * 4
    assert [row[3] for row in of_run] == sorted(row[3] for row in of_run)
    assert "Answers are not known: the model mlp of the sweep is not found." in section.text
    assert "--pretrained cnn2 --data-dir" in section.text


def test_a_sweep_of_what_is_there(swept: Path, small_folder: Path, tmp_path: Path) -> None:
    """Without records, with those of other images, and with a method of test time: a line says so."""
    copy = Path(shutil.copytree(swept / "sweep", tmp_path / "sweep"))
    assert sweep_section(copy, None).text.startswith("Not drawn: the sweep's test images are others than those of ")
    settings = json.loads((copy / "settings.json").read_text())
    (copy / "settings.json").write_text(json.dumps({**settings, "tta": "c4"}))
    text = sweep_section(copy, small_folder).text
    assert "Answers are not known: the sweep was made with test-time augmentation." in text
    lines = (copy / "correct.jsonl").read_text().splitlines(keepends=True)
    (copy / "correct.jsonl").write_text("".join(line for line in lines if '"none"' not in line))
    assert sweep_section(copy, small_folder).text == "Not drawn: the sweep does not have the images as they are."
    (copy / "settings.json").unlink()
    assert sweep_section(copy, small_folder).text.startswith(f"Not drawn: {copy}/settings.json: expected ")


def test_the_page_has_the_gallery(swept: Path, small_folder: Path, invoke: Invoke) -> None:
    document = Document(to_html(read_page(swept / "sweep", small_folder)))
    check_structure(document)
    assert len(document.of("img")) == 16
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in document.of("img"))
    result = invoke("report", swept / "sweep", "--data-dir", small_folder, "--out", "sweep.html")
    assert (result.exit_code, result.output) == (0, "sweep.html\n")
