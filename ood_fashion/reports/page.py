"""Pages: what a report says, as one HTML file that needs nothing else, and its figures as files."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from ood_fashion import __version__
from ood_fashion.errors import OodFashionError
from ood_fashion.files import access, atomic_write, make_folder
from ood_fashion.reports import figures
from ood_fashion.reports.table import Table
from ood_fashion.runs.config import SETTINGS, TrainConfig
from ood_fashion.text import printable


@dataclass(frozen=True)
class Drawing:
    """A figure: its file name without an ending, a caption, and a text for those who do not see it."""

    name: str
    figure: Figure
    caption: str
    alternative: str


@dataclass(frozen=True)
class Section:
    """A part of a page."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    drawings: Sequence[Drawing] = ()


@dataclass(frozen=True)
class Page:
    """A report. `damaged` has a line for everything that should be in it and cannot be read.

    Tables of a page that is `sortable` are sorted by a column and filtered by the reader.
    """

    title: str
    kind: str
    lead: str
    sections: Sequence[Section]
    damaged: Sequence[str] = ()
    sortable: bool = False

    @property
    def drawings(self) -> list[Drawing]:
        """All figures, in their order."""
        return [drawing for section in self.sections for drawing in section.drawings]


def folder_name(path: Path) -> str:
    """Return what a page of a folder is called."""
    with access(path):
        return path.resolve().name


def configuration_section(configs: Iterable[TrainConfig], environments: Iterable[Mapping[str, Any]]) -> Section:
    """List what decided the trainings and what they ran on; where they differ, each value."""
    settings: dict[str, dict[str, None]] = {}
    facts: dict[str, dict[str, None]] = {}
    for config in configs:
        for name in SETTINGS:
            settings.setdefault(name.replace("_", " "), {})[_text(getattr(config, name))] = None
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
    tables = [
        Table(caption, ["name", "value"], [[name, ", ".join(values)] for name, values in listed.items()])
        for caption, listed in (("Settings", settings), ("Environment", facts))
    ]
    return Section("Configuration and versions", tables=tables)


def _text(value: Any) -> str:
    return {None: "none", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


def write_html(page: Page, path: Path) -> list[str]:
    """Write a page as one HTML file, and return a line for each figure that cannot be drawn.

    Raises:
        RunError: it cannot be written.
    """
    undrawn: list[str] = []
    html = to_html(page, undrawn)
    with atomic_write(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return undrawn


def write_figures(page: Page, folder: Path) -> tuple[list[Path], list[str]]:
    """Write a page's figures as PNG and SVG files.

    Returns:
        Their paths, and a line for each that cannot be drawn.

    Raises:
        RunError: the folder cannot be made or written to.
    """
    make_folder(folder)
    written, undrawn = [], []
    for drawing, ending in itertools.product(page.drawings, ("png", "svg")):
        path = folder / f"{drawing.name}.{ending}"
        try:
            figures.save(drawing.figure, path)
            written.append(path)
        except OodFashionError:
            raise
        except Exception as error:  # matplotlib raises a dozen kinds
            undrawn.append(f"{path}: {type(error).__name__}: {error}")
    return written, undrawn


def to_html(page: Page, undrawn: list[str] | None = None) -> str:
    """Return a page as HTML.

    Args:
        page: what it shows.
        undrawn: gets a line for each figure that cannot be drawn, in whose place that is said.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ood_fashion.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,  # no markup
    )
    environment.filters["sha256"] = _sha256
    environment.filters["svg"] = functools.partial(_inline_svg, undrawn=[] if undrawn is None else undrawn)
    script = environment.get_template("sort.js").render() if page.sortable else ""
    return environment.get_template("report.html").render(page=page, script=script, version=__version__)


def _sha256(script: str) -> str:
    """Return what a page's security policy calls a script that it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _inline_svg(drawing: Drawing, undrawn: list[str]) -> Markup:
    """Return a figure as an SVG element; its black is the page's text colour, and its ids begin with its name."""
    stream = io.StringIO()
    try:
        with mpl.rc_context({"svg.hashsalt": "ood-fashion"}):
            drawing.figure.savefig(stream, format="svg", transparent=True)
    except Exception as error:  # matplotlib raises a dozen kinds
        undrawn.append(f"{drawing.name}: {type(error).__name__}: {error}")
        return Markup("<p>Not drawn: {}</p>").format(printable(undrawn[-1]))
    svg = stream.getvalue()
    svg = re.sub(
        r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL
    )
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{drawing.name}-", svg).replace("#000000", "currentColor")
    opening, _, content = svg.partition(">")
    (view_box,) = re.findall(r'viewBox="[\d. ]+"', opening)
    return Markup('<svg role="img" aria-label="{}" {}>{}').format(
        printable(drawing.alternative), Markup(view_box), Markup(content)
    )
