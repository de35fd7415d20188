"""Pages: what a report says, as one HTML file that needs nothing else, and its figures as files."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from ood_fashion import __version__, plots
from ood_fashion.files import atomic_write, make_folder


@dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of a row names it. `left` are columns of words; `notes` go below."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    left: Collection[int] = ()


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
    """A report. `damaged` has a line for everything that should be in it and cannot be read."""

    title: str
    kind: str
    lead: str
    sections: Sequence[Section]
    damaged: Sequence[str] = ()

    @property
    def drawings(self) -> list[Drawing]:
        """All figures, in their order."""
        return [drawing for section in self.sections for drawing in section.drawings]


def write_html(page: Page, path: Path) -> None:
    """Write a page as one HTML file.

    Raises:
        RunError: it cannot be written.
    """
    html = to_html(page)
    with atomic_write(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def write_figures(page: Page, folder: Path) -> list[Path]:
    """Write a page's figures as PNG and SVG files, and return their paths.

    Raises:
        RunError: the folder cannot be made or written to.
    """
    make_folder(folder)
    paths = [folder / f"{drawing.name}.{ending}" for drawing in page.drawings for ending in ("png", "svg")]
    for path, drawing in zip(paths, (drawing for drawing in page.drawings for _ in range(2)), strict=True):
        plots.save(drawing.figure, path)
    return paths


def to_html(page: Page) -> str:
    """Return a page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ood_fashion"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = _inline_svg
    return environment.get_template("report.html").render(page=page, version=__version__)


def _inline_svg(drawing: Drawing) -> Markup:
    """Return a figure as an SVG element; its black is the page's text colour, and its ids begin with its name."""
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "ood-fashion"}):
        drawing.figure.savefig(stream, format="svg", transparent=True)
    svg = stream.getvalue()
    svg = re.sub(
        r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL
    )
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{drawing.name}-", svg).replace("#000000", "currentColor")
    opening, _, content = svg.partition(">")
    (view_box,) = re.findall(r'viewBox="[\d. ]+"', opening)
    return Markup('<svg role="img" aria-label="{}" {}>{}').format(
        drawing.alternative, Markup(view_box), Markup(content)
    )
