"""The command that shows what a folder records."""

from __future__ import annotations

from pathlib import Path

import click

from ood_fashion.cli.base import data_dir_option, json_option, show
from ood_fashion.cli.process import say
from ood_fashion.errors import RunError
from ood_fashion.sources import Source
from ood_fashion.text import printable


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The HTML file.  [default: PATH/report.html]")
@click.option(
    "--figures", "figures_dir", type=click.Path(path_type=Path), help="Write the figures here as PNG and SVG."
)
@data_dir_option
@json_option
def report(path: Path, out: Path | None, figures_dir: Path | None, data_dir: Source | None, as_json: bool) -> None:
    """Show what a folder records as one HTML page.

    PATH is the folder of a run, a study, a reproduction or a sweep. The page holds its tables and figures, opens from
    disk, and asks the network for nothing.

    Example: ood-fashion report runs/momentum --figures figures
    """
    from ood_fashion import pages
    from ood_fashion.report_folders import read_page

    page = read_page(path, data_dir)
    out = out or path / "report.html"
    undrawn = pages.write_html(page, out)
    figures, unwritten = pages.write_figures(page, figures_dir) if figures_dir else ([], [])
    record = {"report": str(out), "figures": list(map(str, figures)), "damaged": list(page.damaged)}
    show(record, "\n".join(printable(str(file)) for file in [out, *figures]), as_json)
    for line in (*undrawn, *unwritten):
        say(f"Not drawn: {line}", err=True)
    if page.damaged:
        raise RunError(f"{len(page.damaged)} trainings cannot be read and are left out: {' '.join(page.damaged)}")
