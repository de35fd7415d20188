"""The command that shows models in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ood_fashion.cli.options import (
    data_dir_option,
    device_option,
    pixels_option,
    pretrained_option,
    trust_option,
)
from ood_fashion.cli.process import say
from ood_fashion.data.sources import Source


@click.command()
@click.option(
    "--run", "run_dirs", type=click.Path(path_type=Path), multiple=True, help="A run folder; may be repeated."
)
@pretrained_option(multiple=True)
@click.option(
    "--model-file",
    "model_files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A .keras file or SavedModel folder of any origin; may be repeated.",
)
@pixels_option
@trust_option
@click.option("--port", type=click.IntRange(1, 65535), help="The port.  [default: the first free one from 7860 on]")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on: this machine's own.")
@click.option("--share", is_flag=True, help="Make a link through Gradio's servers, by which everybody finds it.")
@click.option("--no-browser", is_flag=True, help="Open no browser.")
@device_option
@data_dir_option
def app(
    *,
    run_dirs: tuple[Path, ...],
    pretrained: tuple[str, ...],
    model_files: tuple[Path, ...],
    no_browser: bool,
    data_dir: Source | None,
    **options: Any,
) -> None:
    """Turn a picture and watch what models say.

    Runs and model files stand beside trained models of the package's own: a few, or those of --pretrained. The page is
    shown until the command is interrupted, to this machine's browsers only, and asks the network for nothing.

    Example: ood-fashion app --run runs/cnn3
    """
    from ood_fashion.api.opening import load_run
    from ood_fashion.api.serving import app

    models = [*map(load_run, run_dirs), *model_files]
    running = app(models, data_dir, pretrained=pretrained or None, browser=not no_browser, block=False, **options)
    say(str(running.shared or running.address))
    if not (running.opened or no_browser):
        say("Expected a browser. Received: none. Open this address in one.", err=True)
    running.wait()
