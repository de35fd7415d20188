"""Make what docs/corruptions.md shows: the table of the corruptions' parameters, and how long each takes.

table  the parameters and their sources, from `ood_fashion.shifts.corruptions`
times  seconds of each corruption at each severity over the test images, in this process
"""

from __future__ import annotations

import time
from textwrap import fill

import click
from tabulate import tabulate

from ood_fashion.data.sources import load_dataset
from ood_fashion.shifts.corruptions import CORRUPTIONS, SEVERITIES
from ood_fashion.shifts.shift import Corrupt, Shift


def corruption_tables() -> str:
    """Show the corruptions, their parameters and the sources of these, as two Markdown tables and a list."""
    effects, values = [], []
    sources: dict[str, list[str]] = {}
    for name, corruption in CORRUPTIONS.items():
        star = "" if corruption.is_random else " *"
        effects.append([f"`{name}`{star}", corruption.effect, "; ".join(corruption.parameters)])
        values.append([f"`{name}`", *("; ".join(f"{value:g}" for value in row) for row in corruption.table)])
        sources.setdefault(corruption.source, []).append(f"`{name}`")
    items = (f"{', '.join(names)}: {source}." for source, names in sources.items())
    return "\n\n".join(
        [
            _markdown(["corruption", "what it does", "parameter"], effects),
            _markdown(["corruption", *map(str, SEVERITIES)], values),
            "\n".join(fill(item, 116, initial_indent="- ", subsequent_indent="  ") for item in items),
        ]
    )


def _markdown(headers: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [headers, ["---"] * len(headers), *rows])


@click.group()
def main() -> None:
    """Show what there is to say about the corruptions."""


@main.command()
def table() -> None:
    """Print the tables of parameters, and their sources."""
    click.echo(corruption_tables())


@main.command()
@click.option("--limit", type=int, help="So many test images.  [default: all]")
def times(limit: int | None) -> None:
    """Time every corruption at every severity."""
    images = load_dataset(download=False).test.images[:limit]
    rows, total = [], 0.0
    for name in CORRUPTIONS:
        seconds = []
        for severity in SEVERITIES:
            start = time.perf_counter()
            Shift((Corrupt(name, severity),)).apply(images)
            seconds.append(time.perf_counter() - start)
        total += sum(seconds)
        rows.append((f"`{name}`", *(f"{second:.2f}" for second in seconds)))
    click.echo(tabulate(rows, ["corruption", *map(str, SEVERITIES)], tablefmt="github", disable_numparse=True))
    click.echo(f"\n{len(images):,} images, all corruptions at all severities: {total:.0f} s")


if __name__ == "__main__":
    main()
