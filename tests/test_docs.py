"""The documentation: its Python runs, its commands are spelled as the program takes them, its site is whole."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest

from ood_fashion.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXECUTED = [ROOT / "docs/index.md", *sorted((ROOT / "docs/guides").glob("*.md"))]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", [page for page in EXECUTED if python_blocks(page)], ids=lambda page: page.stem)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page, one after another, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in python_blocks(page):
        if "tensorflow_datasets" not in block:  # which tests/data/test_tfds.py loads, on fewer images
            exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("page", sorted({*PAGES} - {*EXECUTED}), ids=lambda page: page.stem)
def test_python_is_python(page: Path) -> None:
    for block in python_blocks(page):
        compile(block, str(page), "exec")


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


def test_the_site_is_whole(tmp_path: Path) -> None:
    """It is built without a warning, every picture has a text in its place, and nothing is fetched from elsewhere."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        links = Links()
        links.feed(page.read_text())
        assert all(image.get("alt") for image in links.images), page.name
        assert not [source for source in links.loaded if source.startswith(("http:", "https:", "//"))], page.name
