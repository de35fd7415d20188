"""The command that shows what a folder records."""

from __future__ import annotations

from pathlib import Path

import click

from ood_fashion.cli.options import data_dir_option, json_option, show
from ood_fashion.cli.process import say
from ood_fashion.data.sources import Source
from ood_fashion.errors import RunError
from ood_fashion.text import printable


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The HTML file.  [default: PATH/report.html]")
@click.option(
    "--figures", "figures_dir", type=click.Path(path_type=Path), help="Write the figures here as PNG and SVG."
)
@click.option(
    "--card", type=click.Path(path_type=Path), help="Write a run's model card here, such as README.md, for the Hub."
)
@data_dir_option
@json_option
def report(
    path: Path,
    out: Path | None,
    figures_dir: Path | None,
    card: Path | None,
    data_dir: Source | None,
    as_json: bool,
) -> None:
    """Show what a folder records as one HTML page.

    PATH is the folder of a run, a study, a reproduction or a sweep. The page holds its tables and figures, opens from
    disk, and asks the network for nothing.

    Example: ood-fashion report runs/momentum --figures figures
    """
    from ood_fashion.api.studying import report

    written = report(path, out=out, figures=figures_dir, card=card, data=data_dir)
    files = [str(written.path), *map(str, written.figures)]
    record = {"report": files[0], "figures": files[1:], "damaged": list(written.damaged)}
    if written.card:
        files.append(str(written.card))
        record["card"] = files[-1]
    show(record, "\n".join(map(printable, files)), as_json)
    for line in written.undrawn:
        say(f"Not drawn: {line}", err=True)
    if written.damaged:
        shown = " ".join(written.damaged)
        raise RunError(f"{len(written.damaged)} trainings cannot be read and are left out: {shown}")
