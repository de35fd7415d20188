"""Progress of many equal steps on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

_LINES = 20


@contextmanager
def progress(total: int, unit: str, *, quiet: bool = False) -> Iterator[Callable[[], object]]:
    """Show how much is done, unless `quiet`: a bar on a terminal, else some lines, as many as a log can bear.

    What the context gives is to be called after each step.
    """
    from tqdm import tqdm

    on_terminal = sys.stderr.isatty()
    with tqdm(total=total, unit=unit, dynamic_ncols=True, disable=quiet or not on_terminal) as bar:
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            bar.update()
            if not (quiet or on_terminal) and done * _LINES // total > (done - 1) * _LINES // total:
                click.echo(f"{unit} {done}/{total}", err=True)

        yield advance
