from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from selenium import webdriver

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.data.sources import load_dataset
from ood_fashion.errors import RunError
from ood_fashion.evaluation.metrics import Predictions
from ood_fashion.evaluation.ranking import Entry, rank
from ood_fashion.evaluation.sweeps import Sweep, corruptions, rotations, translations, write_report
from ood_fashion.reports.folders import read_page
from ood_fashion.reports.page import Page, to_html
from ood_fashion.reports.ranking_page import leaderboard_page
from ood_fashion.reports.sweep_figures import PICTURES
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.run import Run
from tests.browser import read_log, read_requests, start_chromium
from tests.conftest import Invoke, as_arrays, write_idx_folder
from tests.documents import Document, check_structure
from tests.records import write_run, write_study


@pytest.fixture(scope="module")
def dataset(small_folder: Path) -> Dataset:
    return load_dataset(small_folder)


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of two test sets, for each costs a second to draw."""
    return write_run(tmp_path_factory.mktemp("reports") / "run", dataset, shifts=("none", "up4"))


@pytest.fixture(scope="module")
def page(run: Run, small_folder: Path) -> Page:
    return read_page(run.path, small_folder)


@pytest.fixture(scope="module")
def reported(run: Run, small_folder: Path) -> Path:
    """Where the command has written the run's report and figures."""
    folder = run.path.parent
    program = (
        "import sys; from ood_fashion.cli import main; main(sys.argv[1:], standalone_mode=False); "
        "sys.exit([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    options = ["--data-dir", str(small_folder), "--out", "report.html", "--figures", "a/b", "--json"]
    command = [sys.executable, "-c", program, "report", "run", *options]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.stderr == "[]\n"
    (folder / "stdout.json").write_text(result.stdout)
    return folder


def drawing_names(*test_sets: str, more: tuple[str, ...] = ()) -> list[str]:
    """Name the drawings of a run's report, `more` between those of calibration and the confusion matrices."""
    return [
        *("accuracy", "loss-curve", "accuracy-curve", "predictions-1", "predictions-2", "class-accuracy"),
        *("reliability", *more),
        *(f"confusion-{shift}" for shift in test_sets),
        *(f"change-{shift}" for shift in test_sets[1:]),
        *(f"mistakes-{shift}" for shift in test_sets),
    ]


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Run:
    """A copy of the run, to be damaged."""
    return Run(Path(shutil.copytree(run.path, tmp_path / "run")))


def test_a_run_report_shows_its_records(reported: Path, run: Run, page: Page, dataset: Dataset) -> None:
    document = Document((reported / "report.html").read_text())
    check_structure(document)
    results = run.read_metrics()["results"]
    assert document.tables[0] == [
        ["test set", "accuracy", "95% interval", "n"],
        *(
            [
                "none (in-domain)" if r["shift"] == "none" else r["shift"],
                f"{r['accuracy']:.4f}",
                "{:.4f} to {:.4f}".format(*r["ci95"]),
                "200",
            ]
            for r in results
        ),
    ]
    labels, predictions = dataset.test.labels, run.read_predictions()
    for label, row in enumerate(document.tables[1][1:]):
        chosen = labels == label
        accuracies = [np.mean(classes[chosen] == label) for classes, _ in predictions.values()]
        assert row == [str(label), str(chosen.sum()), *(f"{accuracy:.3f}" for accuracy in accuracies)]
    headers, *shown = document.tables[2]
    assert headers == [
        "test set", "accuracy", "balanced", "NLL", "Brier", "ECE", "flips", "class hurt most", "least",
    ]  # fmt: skip
    names = ("accuracy", "balanced_accuracy", "nll", "brier", "ece", "flip_rate")
    assert [row[1:7] for row in shown] == [[f"{r[name]:.4f}" for name in names] for r in results]
    changes = results[1]["class_change"]
    assert shown[1][7:] == [
        f"{int(np.argmin(changes))} {min(changes):+.2f}",
        f"{int(np.argmax(changes))} {max(changes):+.2f}",
    ]
    assert f"in-domain {results[0]['ece']:.4f}, up4 {results[1]['ece']:.4f}" in str(document.elements)
    assert {"momentum": "0.0", "patience": "3", "keras": "3.15", "device": "cpu"}.items() <= {
        row[0]: row[1] for table in document.tables[2:] for row in table
    }.items()
    assert [drawing.name for drawing in page.drawings] == drawing_names("in-domain", "up4")


def test_alternative_texts_say_what_the_figures_show(run: Run, page: Page, dataset: Dataset) -> None:
    texts = {drawing.name: drawing.alternative for drawing in page.drawings}
    labels, predictions = dataset.test.labels, run.read_predictions()
    for row in range(5):
        first = int(np.argmax(labels == row))
        for shift, (classes, _) in predictions.items():
            answer = "right" if classes[first] == row else f"taken for {classes[first]}"
            assert re.search(
                rf"{row}: [^.]*{'in-domain' if shift == 'none' else shift} {answer}", texts["predictions-1"]
            )
    classes, confidences = predictions["up4"]
    worst = max(np.flatnonzero(classes != labels), key=lambda i: confidences[i])
    assert texts["mistakes-up4"].startswith(f"up4: {labels[worst]} taken for {classes[worst]}, ")
    share = [(np.mean(classes[labels == t] == p), t, p) for t in range(10) for p in range(10) if t != p]
    most, true, predicted = max(share, key=lambda entry: entry[0])
    assert f"Largest off the diagonal: {true} taken for {predicted} {100 * most:.0f}%" in texts["confusion-up4"]


def test_genuine_data_has_names_and_the_assignments_figures(fashion: Dataset, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", fashion, TrainConfig(model="cnn3", monitor_test=True, calibrate=True))
    page = read_page(run.path)
    shifts = ("in-domain", "up4", "rotate90", "rotate180", "rotate270")
    assert [drawing.name for drawing in page.drawings] == drawing_names(*shifts, more=("in-domain",))
    kinds = [replace(section, drawings=section.drawings[:1]) for section in page.sections]
    check_structure(Document(to_html(replace(page, sections=kinds))))
    results = run.read_metrics()["results"]
    sections = {section.title: section for section in page.sections}
    metrics, calibrated = (
        sections[title].tables[0] for title in ("Likelihood, flips and the classes hurt", "Calibration")
    )
    assert [row[7] for row in metrics.rows[1:]] == [
        f"{r['effective_robustness']:+.3f} ({r['effective_robustness_sd']:.3f})" for r in results[1:]
    ]
    assert metrics.rows[0][7] == "-"
    assert calibrated.title.endswith("at temperature 1.500")
    assert [row[5:] for row in calibrated.rows] == [
        [f"{r['ece']:.4f}", f"{r['calibrated']['ece']:.4f}"] for r in results
    ]
    (scatter,) = sections["Effective robustness"].drawings
    assert f"up4 {results[1]['effective_robustness']:+.4f}, rotate90" in scatter.alternative
    (accuracies,), (by_class,) = (page.sections[number].tables for number in (0, 3))
    assert accuracies.columns[4] == "assignment"
    assert [row[4] for row in accuracies.rows] == ["0.8718", "0.5653", "0.0528", "0.0465*", "0.0465"]
    assert accuracies.notes == ["* a slip of the assignment: it repeats the accuracy for rotate270"]
    assert [row[0] for row in by_class.rows][:3] == ["T-shirt/top", "Trouser", "Pullover"]
    assert "test 0." in page.drawings[1].alternative or "test 0." in page.drawings[2].alternative


def test_other_datasets_and_shifts(tmp_path: Path) -> None:
    """Three classes, one without test images, images that are not square, no in-domain test set, no mistakes."""
    generator = np.random.default_rng(0)
    train, test = (
        Split(generator.integers(0, 256, (len(labels), 20, 12), np.uint8), np.array(labels))
        for labels in ([0, 1, 2] * 3, [0, 2, 2, 0])
    )
    folder = write_idx_folder(tmp_path / "data", as_arrays(Dataset(train, test, "other")))
    run = write_run(tmp_path / "run", load_dataset(folder), shifts=("translate:1,-2.5+rotate:45",))
    page = read_page(run.path, folder)
    document = Document(to_html(page))
    check_structure(document)
    assert document.tables[1][2] == ["1", "0", "-"]
    assert "What each shift changes" not in document.text
    assert "confusion-translate_1_-2.5_rotate_45" in {drawing.name for drawing in page.drawings}


def test_a_run_without_other_metrics_is_reported(copy: Run, small_folder: Path) -> None:
    """As versions before these metrics have left them."""
    metrics = copy.read_metrics()
    short = ("shift", "accuracy", "correct", "n", "ci95")
    copy.write_metrics({**metrics, "results": [{name: r[name] for name in short} for r in metrics["results"]]})
    assert "Calibration" not in {section.title for section in read_page(copy.path, small_folder).sections}


@pytest.mark.parametrize("sweep", [translations(1), rotations(90), corruptions(["fog", "shear"]), rotations(360)])
def test_a_sweep_report_shows_its_tables_and_pictures(tmp_path: Path, sweep: Sweep) -> None:
    correct = np.random.default_rng(0).random((len(sweep.shifts), 2, 50)) < [[[0.7], [0.5]]]
    report = sweep.report(["mlp", "a&b"], correct, "a&b")
    write_report(tmp_path, report)
    page = read_page(tmp_path)
    document = Document(to_html(page))
    check_structure(document)
    over = report.over_shifts
    names = [*PICTURES[sweep.kind], *["in-domain"] * bool(over)]
    assert [drawing.name for drawing in page.drawings] == names
    if over:
        assert [row[:2] for row in document.tables[0][1:]] == [[row.model, f"{row.mean:.4f}"] for row in over]
        assert "mCE: errors as multiples of those of a&b, which so has 1." in document.text
    assert f"mlp, a&b: {len(sweep.shifts)} test sets of 50 images." in document.text
    (tmp_path / "results.json").write_text('{"kind": "rotate"}')
    with pytest.raises(RunError, match=r"results.json: expected a sweep's results. Received: no 'models'"):
        read_page(tmp_path)


def test_names_stay_text(small_fashion: Dataset, tmp_path: Path) -> None:
    name = "<script>alert(1)<|script>\" & 'x"
    study_run = write_study(tmp_path / name, "shifts", small_fashion, seeds=1)
    html = to_html(read_page(study_run.path))
    document = Document(html)
    check_structure(document)
    assert name in document.text
    assert "<script" not in html
    assert html == to_html(read_page(study_run.path))  # to the bit


def test_the_command_writes_page_and_figures_without_tensorflow(reported: Path) -> None:
    record = json.loads((reported / "stdout.json").read_text())
    assert (record["report"], record["damaged"]) == ("report.html", [])
    assert sorted(record["figures"]) == sorted(f"a/b/{path.name}" for path in (reported / "a/b").iterdir())
    assert len(record["figures"]) == 2 * len(drawing_names("in-domain", "up4"))
    assert matplotlib.image.imread(reported / "a/b/confusion-up4.png").shape[:2] == (750, 720)
    assert (reported / "a/b/confusion-up4.svg").read_text().startswith("<?xml")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = start_chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def test_hostile_names_stay_text_in_a_browser(
    browser: webdriver.Chrome, dataset: Dataset, small_folder: Path, tmp_path: Path
) -> None:
    """A folder and a version whose names are elements that would change the page."""
    hostile = "<script>document.title = 'hostile'<|script><img src=x onerror=document.body.remove()>"
    copy = write_run(tmp_path / hostile, dataset, shifts=("none",)).path
    version = hostile.replace("|", "/")
    rewrite("config.json", '"keras": "3.15"', f'"keras": "{version}"')(Run(copy))
    page = tmp_path / "report.html"
    page.write_text(to_html(read_page(copy, small_folder)))
    browser.get(page.as_uri())
    assert hostile in browser.title
    text = browser.execute_script("return document.body.innerText")
    assert hostile in text
    assert version in text
    assert browser.execute_script(
        "return [document.scripts.length, document.querySelectorAll('img[onerror]').length]"
    ) == [0, 0]


def test_a_report_in_a_browser(browser: webdriver.Chrome, reported: Path, run: Run) -> None:
    address = (reported / "report.html").as_uri()
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        read_log(browser, kind)
    browser.get(address)
    requests = read_requests(browser)
    assert [url for url in requests if not url.startswith("data:")] == [address]
    widths = browser.execute_async_script(
        """const done = arguments[0];
        const images = [...document.images].map(image => image.src);
        for (const image of document.querySelectorAll("svg image")) images.push(image.href.baseVal);
        Promise.all(images.map(src => {
            const image = new Image();
            image.src = src;
            return image.decode().then(() => image.naturalWidth, () => 0);
        })).then(done);"""
    )
    assert len(widths) > 20 + 16  # the predictions and the mistakes
    assert min(widths) > 0
    rows = browser.execute_script(
        "return [...document.querySelector('table').rows].map(row => [...row.cells].map(cell => cell.innerText))"
    )
    results = run.read_metrics()["results"]
    assert [row[1] for row in rows[1:]] == [f"{record['accuracy']:.4f}" for record in results]
    colours = set()
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        colours.add(browser.execute_script("return getComputedStyle(document.querySelector('svg')).fill"))
    assert len(colours) == 2  # the text of figures follows
    phone = {"width": 375, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    assert browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [375, 375]
    assert read_log(browser, "browser") == []


def test_a_leaderboard_in_a_browser(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """Its one script, which the page's policy allows by its hash, sorts by a column and filters; names stay text."""
    hostile = "<img src=x onerror=document.body.remove()>"
    entries = [Entry(name, (), n) for name, n in ((hostile, 20), ("b", 100_000), ("c", None), ("a", 3_000))]
    document = to_html(leaderboard_page(rank(entries, "worst"), "worst"))
    (tmp_path / "page.html").write_text(document)
    browser.get((tmp_path / "page.html").as_uri())
    read_log(browser, "browser")
    browser.refresh()

    def parameters() -> list[str]:
        shown: list[str] = browser.execute_script(
            "return [...document.querySelectorAll('tbody tr')].filter(row => row.offsetHeight).map(row => "
            "row.cells[7].innerText)"
        )
        return shown

    column = "document.querySelectorAll('th button')[7]"
    assert browser.execute_script(f"return {column}.innerText") == "parameters"
    assert parameters() == ["20", "3,000", "100,000", "-"]  # by their names
    for expected in (["20", "3,000", "100,000", "-"], ["100,000", "3,000", "20", "-"]):
        browser.execute_script(f"{column}.click()")
        assert parameters() == expected
    assert browser.execute_script(f"return {column}.parentElement.ariaSort") == "descending"
    box = browser.find_element("css selector", "input[type=search]")
    box.send_keys("ONERROR")
    assert parameters() == ["20"]
    assert hostile in browser.execute_script("return document.body.innerText")
    assert browser.execute_script("return [document.scripts.length, document.images.length]") == [1, 0]
    assert read_log(browser, "browser") == []
    assert "script-src" not in to_html(replace(leaderboard_page(rank(entries, "worst"), "worst"), sortable=False))


def keep_some(n: int) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        run.write_predictions(
            {
                shift: Predictions(answers.classes[:n], answers.confidences[:n])
                for shift, answers in run.read_predictions().items()
            }
        )

    return change


def rewrite(name: str, old: str, new: str) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        path = run.path / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


def predict_class_ten(run: Run) -> None:
    predictions = run.read_predictions()
    predictions["up4"].classes[7] = 10
    run.write_predictions(predictions)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run.path / "config.json").unlink(), "run: expected a folder with one of config.json, study.json"),
        (lambda run: (run.path / "metrics.json").unlink(), "expected a complete run. Received: one without"),
        (lambda run: (run.path / "predictions.npz").unlink(), "predictions.npz: expected the predictions of a run"),
        (lambda run: (run.path / "predictions.npz").write_bytes(b"PK"), "predictions.npz: expected the predictions"),
        (lambda run: (run.path / "history.csv").write_text("epoch\n1\n"), "history.csv: expected rows with accuracy"),
        (lambda run: (run.path / "metrics.json").write_text("{}"), "metrics.json: expected the metrics of a run"),
        (keep_some(150), "under none, expected a class and a confidence for each of the 200 test images"),
        (predict_class_ten, "under up4, expected classes from 0 to 9"),
        (rewrite("metrics.json", '"shift": "up4"', '"shift": "up5"'), "expected predictions.npz and metrics.json"),
        (rewrite("metrics.json", '"brier"', '"breir"'), "expected a run's metrics. Received: no 'brier'."),
        (rewrite("metrics.json", '"kept_epoch": 2', '"kept_epoch": null'), "expected the metrics of a run"),
        (rewrite("config.json", '"train images": "', '"train images": "0'), "expected the dataset that the run began"),
    ],
)  # fmt: skip
def test_a_damaged_run_is_one_line(
    invoke: Invoke, copy: Run, small_folder: Path, tmp_path: Path, damage: Callable[[Run], None], message: str
) -> None:
    damage(copy)
    before = sorted(tmp_path.rglob("*"))
    result = invoke("report", "run", "--data-dir", small_folder, "--figures", "figures")
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert sorted(tmp_path.rglob("*")) == before
