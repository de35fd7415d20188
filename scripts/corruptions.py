"""Make what docs/corruptions.md shows: the table of the corruptions' parameters, and how long each takes.

table  the parameters, from `ood_fashion.shifts.corruptions`
times  seconds of each corruption at each severity over the test images, in this process
"""

from __future__ import annotations

import time

import click
from tabulate import tabulate

from ood_fashion.data.sources import load_dataset
from ood_fashion.shifts.corruptions import CORRUPTIONS, SEVERITIES
from ood_fashion.shifts.shift import Corrupt, Shift


def corruption_table() -> str:
    """Show the corruptions with their parameters, as a Markdown table."""
    headers = ["corruption", "what it does", "parameters", *map(str, SEVERITIES), "source"]
    rows = [headers, ["---"] * len(headers)]
    for name, corruption in CORRUPTIONS.items():
        values = ["; ".join(f"{value:g}" for value in row) for row in corruption.table]
        star = "" if corruption.is_random else " *"
        parameters = "; ".join(corruption.parameters)
        rows.append([f"`{name}`{star}", corruption.effect, parameters, *values, corruption.source])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@click.group()
def main() -> None:
    """Show what there is to say about the corruptions."""


@main.command()
def table() -> None:
    """Print the table of parameters."""
    click.echo(corruption_table())


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
