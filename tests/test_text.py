"""Names from outside are shown as they are, whatever is in them: in pictures, on pages, in tables, on the terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from ood_fashion.cli import main
from ood_fashion.data.dataset import Dataset
from ood_fashion.evaluation.sweeps import Sweep, corruptions, rotations, translations, write_report
from ood_fashion.reports import figures, study_figures, sweep_figures
from ood_fashion.reports.folders import read_page
from ood_fashion.reports.page import Drawing, Page, Section, to_html, write_figures, write_html
from ood_fashion.reports.table import Table
from ood_fashion.shifts.shift import Shift
from ood_fashion.studies.study_run import StudySummary
from ood_fashion.text import printable
from tests.conftest import Invoke
from tests.documents import Document, check_structure
from tests.records import write_run, write_study

NAMES = {
    # Each as a table and a page show it, and as a picture draws it where that differs.
    "a$\\frac$b": ("a$\\frac$b", ""),
    "a\\$b$ $": ("a\\$b$ $", ""),
    "_mine": ("_mine", ""),
    "bad\udce9dir": ("bad\\udce9dir", ""),
    "half\ud83d": ("half\\ud83d", ""),
    "\x1b[31mred\x07\x7f": ("\\x1b[31mred\\x07\\x7f", ""),
    "two\nlines\t": ("two\\nlines\\t", ""),
    "T\xa0shirt\u2009": ("T\xa0shirt\u2009", ""),
    "שלום": ("שלום", ""),
    "a\u202eb\u200b": ("a\\u202eb\\u200b", ""),
    "衣服": ("衣服", "\\u8863\\u670d"),
    "👟": ("👟", "\\U0001f45f"),
    "<b>&amp;": ("<b>&amp;", ""),
    "W" * 99: ("W" * 99, "W" * 14 + "…" + "W" * 14),
}


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_print_has_an_escape(name: str) -> None:
    assert printable(name) == NAMES[name][0]


@given(st.text(st.characters()))
def test_any_text_can_be_printed(name: str) -> None:
    shown = printable(name)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert printable(shown) == shown


def pixels(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="raw")
    return stream.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_pictures_draw_names_as_they_are(name: str) -> None:
    """As matplotlib draws the text that is expected, without reading mathematics in it, in a legend too."""
    drawn, expected, labelled = Figure(), Figure(), Figure()
    drawn.text(0.1, 0.5, figures.literal(name))
    expected.text(0.1, 0.5, NAMES[name][1] or NAMES[name][0], parse_math=False)
    assert pixels(drawn) == pixels(expected)
    axis = labelled.subplots()
    axis.plot([0, 1], label=figures.literal(name))
    assert len(axis.legend().get_texts()) == 1


def named(dataset: Dataset) -> Iterator[Dataset]:
    """Give the classes these names."""
    size = dataset.num_classes
    for start in (0, len(NAMES) - size):
        yield Dataset(dataset.train, dataset.test, "bad\udce9dir", tuple(NAMES)[start : start + size])


def test_a_gallery_and_a_legend_take_any_name(small_fashion: Dataset) -> None:
    for dataset in named(small_fashion):
        figures.shift_gallery(dataset, [Shift.parse("up4")]).savefig(io.BytesIO(), dpi=50)
    figure = Figure()
    figures.in_domain_scatter(figure.subplots(), dict.fromkeys(NAMES, (0.9, 0.5)), [], ["up4"])
    assert len(figure.axes[0].legend().get_texts()) == 1 + len(NAMES)


@pytest.mark.parametrize("sweep", [translations(1), rotations(180), corruptions(["fog"])])
def test_a_sweep_and_its_report_take_any_name(tmp_path: Path, sweep: Sweep) -> None:
    correct = np.random.default_rng(0).random((len(sweep.shifts), len(NAMES), 20)) < 0.5
    report = sweep.report(list(NAMES), correct, "bad\udce9dir")
    write_report(tmp_path, report)
    assert json.loads((tmp_path / "results.json").read_text(encoding="ascii"))["models"] == list(NAMES)
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        written = dict.fromkeys(row["model"] for row in csv.DictReader(file))
    assert list(written) == [name.encode(errors="backslashreplace").decode() for name in NAMES]
    page, path = read_page(tmp_path), tmp_path / "page.html"
    assert write_html(page, path) == []
    assert [drawing.name for drawing in page.drawings] == list(sweep_figures.pictures(report))
    for drawing in page.drawings:
        shown = {text.get_text().lstrip("\u200b").replace(r"\$", "$") for text in drawing.figure.findobj(Text)}
        assert {drawn or plain for plain, drawn in NAMES.values()} <= shown
    document = Document(path.read_text(encoding="utf-8"))
    check_structure(document)
    for plain, _ in NAMES.values():
        assert plain in document.text


def test_a_runs_report_takes_any_name_of_a_class(
    small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, dataset in enumerate(named(small_fashion)):
        monkeypatch.setattr("ood_fashion.reports.run_page.load_dataset", lambda source, dataset=dataset: dataset)
        run = write_run(tmp_path / f"run{number}\udcff", dataset, shifts=("none",))
        record = json.loads((run.path / "config.json").read_text())
        record["dataset"]["class_names"] = dataset.class_names
        (run.path / "config.json").write_text(json.dumps(record))
        assert type(run).open(run.path).class_names == dataset.class_names
        page = read_page(run.path)
        assert write_html(page, run.path / "report.html") == []
        document = Document((run.path / "report.html").read_text(encoding="utf-8"))
        check_structure(document)
        rows = [row[0] for row in document.tables[1][1:]]
        assert rows == [NAMES[name][0] for name in dataset.class_names]
        assert f"run{number}\\udcff" in document.text
        assert "bad\\udce9dir" in document.text


@pytest.mark.parametrize("name", NAMES)
def test_a_table_keeps_its_lines_and_columns(name: str) -> None:
    lines = Table("", ["name", name], [[name, "1"], ["b", "2"]], left=(1,)).to_text().splitlines()
    assert len(lines) == 4
    assert lines[2].startswith(NAMES[name][0].strip())
    assert lines[0].rstrip().endswith(NAMES[name][0].strip())


def test_names_on_the_terminal(invoke: Invoke, small_folder: Path, tmp_path: Path) -> None:
    for name in ("bad\udce9\n\x1b[2Jdir", "衣服\u202e"):
        (tmp_path / name).symlink_to(small_folder)
        result = invoke("data", "--data-dir", name)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.splitlines()[0] == f"Source:  {printable(name)}"
        assert json.loads(invoke("data", "--data-dir", name, "--json").stdout)["source"] == name
        result = invoke("data", "--data-dir", f"{name}/absent\n")
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert result.stderr.startswith(f"Error: {printable(name)}/absent\\n: expected ")


def test_a_terminal_that_has_not_all_characters(small_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "衣é").symlink_to(small_folder)
    result = CliRunner(charset="latin-1").invoke(main, ["data", "--data-dir", str(tmp_path / "衣é")])
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, f"Source:  {tmp_path}/\\u8863é")


@pytest.fixture
def model(tmp_path: Path) -> keras.Model:
    made: keras.Model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    return made


def test_a_sweep_of_any_file_into_any_folder(
    invoke: Invoke, model: keras.Model, small_folder: Path, tmp_path: Path
) -> None:
    folder = os.fsdecode(b"bad\xe9dir")
    (tmp_path / folder).mkdir()
    files = [f"{folder}/$\\frac$.keras", "_mine.keras"]
    for file in files:
        model.save(tmp_path / file)
    options = [word for file in files for word in ("--model-file", file)]
    result = invoke("sweep", "rotate", "--step", 180, *options, "--data-dir", small_folder, "--out", f"{folder}/out")
    assert result.exit_code == 0, result.stderr
    assert "bad\\udce9dir/$\\frac$.keras" in result.stdout
    assert "Not drawn" not in result.stderr
    out = tmp_path / folder / "out"
    assert {path.name for path in out.glob("*.*")} == {
        "correct.jsonl", "in-domain.png", "results.csv", "results.json", "rotate.png", "settings.json",
    }  # fmt: skip
    result = invoke("report", f"{folder}/out", "--figures", f"{folder}/figures")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "bad\\udce9dir/out/report.html"), result.stderr


def break_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(figure: Figure, path: Path) -> None:
        raise ValueError("no\nglyph")

    monkeypatch.setattr(figures, "save", broken)


def test_a_sweep_without_its_pictures(
    invoke: Invoke, model: keras.Model, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save(tmp_path / "m.keras")
    arguments = ("sweep", "rotate", "--step", 180, "--model-file", "m.keras", "--data-dir", small_folder, "--quiet")
    expected = invoke(*arguments, "--out", "whole")
    break_saving(monkeypatch)
    result = invoke(*arguments, "--out", "out")
    assert (result.exit_code, result.stdout) == (0, expected.stdout)
    assert result.stderr.splitlines() == [
        "Sweep folder: out",
        "Not drawn: out/rotate.png: ValueError: no\\nglyph",
        "Not drawn: out/in-domain.png: ValueError: no\\nglyph",
    ]
    for name in ("results.json", "results.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert isinstance(invoke("--debug", *arguments, "--out", "out").exception, ValueError)


def test_a_study_without_its_figure(
    invoke: Invoke, small_fashion: Dataset, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(summary: StudySummary) -> Figure:
        raise ValueError("no glyph")

    write_study(tmp_path / "study", "shifts", small_fashion, seeds=1)
    monkeypatch.setitem(study_figures.KINDS, "bars", broken)
    result = invoke("study", "shifts", "--resume", "--out", "study", "--data-dir", small_folder, "--jobs", 1, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[-2:] == [
        f"Not drawn: study/shifts.{ending}: ValueError: no glyph" for ending in ("png", "svg")
    ]
    assert json.loads(result.stdout) == json.loads((tmp_path / "study/summary.json").read_text())


def test_a_run_in_numpy_without_its_plot(invoke: Invoke, small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_saving(monkeypatch)
    sizes = ("--train-size", 50, "--val-size", 20, "--epochs", 1, "--quiet")
    result = invoke("scratch", "mlp", *sizes, "--data-dir", small_folder, "--out", "run", "--json")
    assert (result.exit_code, result.stderr) == (0, "Not drawn: run/accuracy.png: ValueError: no\\nglyph\n")
    assert json.loads(result.stdout)["run"] == "run"


def test_a_page_without_one_of_its_figures(tmp_path: Path) -> None:
    good, bad = Figure(), Figure()
    good.text(0, 0, "good")
    bad.text(0, 0, r"$\frac$")
    drawings = [Drawing("bad", bad, "One", ""), Drawing("good", good, "Other", "")]
    page = Page("t", "run", "lead", [Section("s", tables=[Table("c", ["h"], [["x"]])], drawings=drawings)])
    (line,) = write_html(page, tmp_path / "page.html")
    assert line.startswith("bad: ")
    html = (tmp_path / "page.html").read_text()
    assert html == to_html(page)
    assert (html.count("<svg"), html.count("Not drawn: bad: ")) == (1, 1)
    written, undrawn = write_figures(page, tmp_path / "figures")
    assert [path.name for path in written] == ["good.png", "good.svg"]
    assert [line.partition(": ")[0] for line in undrawn] == [str(tmp_path / f"figures/bad.{e}") for e in ("png", "svg")]
    assert sorted((tmp_path / "figures").iterdir()) == written


def test_a_picture_beside_an_export(invoke: Invoke, small_folder: Path, tmp_path: Path) -> None:
    """It is drawn last, and what its name says is checked first."""
    arguments = ("data", "--data-dir", small_folder, "--shift", "up4", "--export", "out", "--preview")
    result = invoke(*arguments, "shifts.xyz")
    assert (result.exit_code, list(tmp_path.iterdir())) == (2, [])
    result = invoke(*arguments, "absent/shifts.png")
    assert result.exit_code == 1
    assert "shifts.png: expected to be able to write it" in result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"croissant.json", "dataset.json", "up4.npz"}
