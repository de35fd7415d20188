"""The command line: parse, call one library function, show what it returned.

The result goes to standard output, progress and errors to standard error. Commands import for themselves what needs
TensorFlow or matplotlib, so that help and `params` answer at once.
"""

from __future__ import annotations

import click

from ood_fashion import __version__
from ood_fashion.cli.app import app
from ood_fashion.cli.data import data, params
from ood_fashion.cli.export import export
from ood_fashion.cli.measure import compare, evaluate, leaderboard, predict
from ood_fashion.cli.process import CommandGroup
from ood_fashion.cli.report import report
from ood_fashion.cli.scratch import scratch
from ood_fashion.cli.studies import reproduce, study
from ood_fashion.cli.sweep import sweep
from ood_fashion.cli.train import train


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Train small image classifiers on Fashion-MNIST, and measure them on shifted images.

    Example: ood-fashion train --model cnn3
    """


for command in (
    data, params, train, evaluate, compare, predict, sweep, leaderboard, scratch, study, reproduce, report, export,
    app,
):  # fmt: skip
    main.add_command(command)
