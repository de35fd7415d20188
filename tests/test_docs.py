"""The documentation: its Python runs, its commands are spelled as the program takes them, its site is whole."""

from __future__ import annotations

import inspect
import re
import runpy
import shlex
import tomllib
from collections.abc import Callable
from functools import cache, partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner
from mkdocs.commands.build import build
from mkdocs.config import load_config

import ood_fashion as ood
from ood_fashion.cli import main
from ood_fashion.data import sources
from ood_fashion.reports.tables import accuracy_table
from ood_fashion.runs import model_files  # noqa: F401 # which takes `sources.load_dataset` as it is at its import

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SMALL: dict[str, dict[str, Any]] = {
    "evaluate": {"limit": 100},
    "compare": {"limit": 100},
    "sweep": {"limit": 20},
    "train": {"train_size": 500, "val_size": 100, "epochs": 1},
    "study": {"seeds": 1},
}
"""What the examples are run with instead of their own sizes, so that they take seconds."""

_load_dataset = cache(sources.load_dataset)


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def prose(page: Path) -> list[str]:
    """Return the lines of a page outside of blocks of code, and its tables' lines with them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [line for line in text.splitlines() if not line.startswith("    ")]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, in which models are trained and measured on few images.

    `train("cnn3")` gives the run that comes with the package, which is what it trains in a minute.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "load_dataset", _load_dataset)
    for name, sizes in SMALL.items():
        monkeypatch.setattr(ood, name, partial(_call_small, getattr(ood, name), sizes), raising=False)


def _call_small(function: Callable[..., Any], sizes: dict[str, Any], *arguments: Any, **options: Any) -> Any:
    inspect.signature(function).bind(*arguments, **options)
    if arguments == ("cnn3",) and not options:
        assert ood.pretrained("cnn3").config == ood.TrainConfig(model="cnn3")
        return ood.pretrained("cnn3")
    return function(*arguments, **options | sizes)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=lambda page: page.stem)
def test_python_runs(page: Path) -> None:
    """The blocks of a page, one after another, in an empty folder."""
    names: dict[str, object] = {}
    for block in python_blocks(page):
        code = compile(block, str(page), "exec")
        if "tensorflow_datasets" not in block:  # which tests/data/test_tfds.py loads, on fewer images
            exec(code, names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_fit_the_screen(page: Path) -> None:
    """No table has more than six columns, no line of prose more than 120 characters."""
    for line in prose(page):
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) <= 7, line
        else:
            assert len(line) <= 120, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_are_there(page: Path) -> None:
    """Those that a page names between backticks."""
    for path in re.findall(r"`((?:docs|ood_fashion|scripts|tests)/[\w./*]*)`", page.read_text()):
        assert next(ROOT.glob(path.replace("NAME", "*").rstrip("/")), None), path


def test_printed_results() -> None:
    """README's are what its commands print; the accuracies are those that the package's model was measured with."""
    text = PAGES[0].read_text()
    printed = accuracy_table(ood.pretrained("robust").results).to_text()
    assert f"$ ood-fashion evaluate --pretrained robust --all\n{printed}\n" in text
    commands = re.findall(r"^\$ ood-fashion ((?:compare|params) .*)$", text, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        result = CliRunner().invoke(main, command.split())
        assert f"$ ood-fashion {command}\n{result.stdout.rstrip()}\n" in text


def test_badges_say_what_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (tensorflow,) = [name for name in project["dependencies"] if name.startswith("tensorflow>")]
    required = {"licence": project["license"], "python": project["requires-python"], "tensorflow": tensorflow}
    for name, text in required.items():
        badge = ElementTree.parse(ROOT / f"docs/badges/{name}.svg").getroot()
        assert re.search(r"[\d.]+|[A-Z]+", text)[0] == badge.attrib["aria-label"].partition(": ")[2].rstrip("+")  # type: ignore[index]


def test_the_cards_are_what_the_script_prints() -> None:
    main = runpy.run_path(str(ROOT / "scripts/pretrained.py"))["main"]
    assert CliRunner().invoke(main, ["cards"]).stdout == (ROOT / "docs/pretrained.md").read_text()


def test_the_leaderboard_is_what_the_command_prints(tmp_path: Path) -> None:
    board = ood.leaderboard(page=tmp_path / "page.html")
    tables = "\n\n".join(table.to_markdown() for table in board.tables)
    text = (ROOT / "docs/leaderboard.md").read_text()
    assert f"<!-- tables -->\n\n{tables}\n\n<!-- end of tables -->\n" in text
    assert (tmp_path / "page.html").read_text() == (ROOT / "docs/leaderboard-page.html").read_text()


def commands(page: Path) -> list[str]:
    """Return the command lines that stand alone on a line, in a block or between backticks."""
    text = page.read_text().replace("\\\n", " ")
    alone = re.findall(r"^(?: {4}|\$ )(ood-fashion [a-z].*)$", text, re.MULTILINE)
    inline = re.findall(r"`(ood-fashion [a-z][^`\n]*)`", text)
    return [line.partition("  #")[0].strip() for line in [*alone, *inline]]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_commands_are_known(page: Path) -> None:
    """Each is parsed by the command line, and not run."""
    for line in commands(page):
        if re.search(r"\.\.\.|COMMAND|MODELS|\[", line):
            continue
        command: click.Command = main
        words = shlex.split(line)[1:]
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        if isinstance(command, click.Group):
            assert not words, line
            continue
        try:
            command.make_context(command.name, list(words))
        except click.exceptions.Exit:  # of --help
            pass
        except click.MissingParameter:
            assert not words, line  # the command alone is named
        except click.UsageError as error:
            pytest.fail(f"{page.name}: {line}: {error.format_message()}")


class Links(HTMLParser):
    """What a page shows and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img":
            self.images.append(given)
        if tag in ("img", "script", "source", "iframe"):
            self.loaded.append(given.get("src") or "")
        if tag == "link" and "stylesheet" in (given.get("rel") or ""):
            self.loaded.append(given.get("href") or "")


@pytest.mark.filterwarnings("ignore")
def test_the_site_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is built without a warning, every picture has a text in its place, and nothing is fetched from elsewhere."""
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True))
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        links = Links()
        links.feed(page.read_text())
        assert all(image.get("alt") for image in links.images), page.name
        assert not [source for source in links.loaded if source.startswith(("http:", "https:", "//"))], page.name
