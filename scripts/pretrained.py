r"""Make the trained models that come with the package, and the tables about them.

ood-fashion study robust --seeds 3 --out studies/robust
python scripts/pretrained.py ship studies/robust
for kind in rotate corruptions; do
    ood-fashion sweep $kind --limit 2000 --reference mlp --out sweeps/$kind $(python scripts/pretrained.py options)
done
python scripts/pretrained.py sweeps sweeps/rotate sweeps/corruptions
python scripts/pretrained.py leaderboard
python scripts/pretrained.py readmes
python scripts/pretrained.py cards
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

import ood_fashion as ood
from ood_fashion.evaluation.stats import wilson_interval
from ood_fashion.evaluation.sweep_report import SweepReport
from ood_fashion.files import read_json, write_json
from ood_fashion.models import specs
from ood_fashion.reports.card import model_card
from ood_fashion.reports.table import Table
from ood_fashion.runs.config import PROTOCOLS, TrainConfig
from ood_fashion.runs.run import Run
from ood_fashion.runs.search import PRETRAINED_ROOT, pretrained_runs
from ood_fashion.studies.study_run import StudyRun

_INTRODUCTION = """# Trained models

Measure a model that comes with the package, without training one:

    ood-fashion evaluate --pretrained p4mgap-augmented --all
    ood-fashion predict --pretrained p4mgap-augmented shoe.jpg
    ood-fashion compare cnn3-full p4mcnn

`evaluate`, `predict`, `sweep` and `app` take `--pretrained NAME`, `compare` and `export` the name. In Python,
`ood.pretrained(NAME)` is the run, and every function that takes a model takes the name.

The accuracies below are on Fashion-MNIST's 10,000 test images, with 95% Wilson intervals, which are the test set's
alone. [Robust models](robustness.md) has the means of three trainings.

Each model is the first of its three trainings, not the best. `ood-fashion study robust --seeds 3 --out studies/robust`
trained them, a process a core, but for `robust` and `robust-seen`, which `scripts/train_on_jax.py` trained on a GPU
[by the same settings](robustness.md#training-it). `python scripts/pretrained.py ship studies/robust` copied their run
folders to `ood_fashion/runs/pretrained/NAME`. The model file is `model.keras`, float32, without optimizer state.
`python scripts/pretrained.py cards` prints this page. `README.md` in the folder is the model's card for the Hugging
Face Hub, and `rotate.json` and `corruptions.json` are what sweeps say of it, for the [leaderboard](leaderboard.md).
"""

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
SHIPPED_SEED = 1


@click.group()
def main() -> None:
    """Make the trained models that come with the package, and the tables about them."""


@main.command()
@click.argument("study", type=FOLDER)
def ship(study: Path) -> None:
    """Copy the first seed's run of every setting of the study that has one into the package."""
    for trial in StudyRun(study).trials():
        if trial.config.seed == SHIPPED_SEED and not Run(trial.path).has_begun:
            click.echo(f"{trial.setting}: not in this study, left as it is")
        elif trial.config.seed == SHIPPED_SEED:
            folder = PRETRAINED_ROOT / trial.setting
            trial.open().require_complete()
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(trial.path, folder)
            click.echo(f"{folder.name}: {(folder / 'model.keras').stat().st_size:,} bytes")


@main.command()
def options() -> None:
    """Print --pretrained NAME for every model, for the command line of a sweep."""
    click.echo(" ".join(f"--pretrained {name}" for name in pretrained_runs()))


@main.command()
@click.argument("folders", nargs=-1, required=True, type=FOLDER)
def sweeps(folders: tuple[Path, ...]) -> None:
    """Copy what sweeps say of each model of the package into its folder, for `ood-fashion leaderboard`."""
    for folder in folders:
        report = SweepReport.from_json(read_json(folder / "results.json"))
        for name in report.models:
            alone = replace(
                report,
                models=(name,),
                results=tuple(one for one in report.results if one.model == name),
                worst=tuple(one for one in report.worst if one.model == name),
                over_shifts=tuple(one for one in report.over_shifts if one.model == name),
            )
            path = pretrained_runs()[name] / f"{report.kind}.json"
            write_json(path, alone.to_json())
            click.echo(f"{path}: {path.stat().st_size:,} bytes")


@main.command()
def leaderboard() -> None:
    """Bring docs/leaderboard.md and the page beside it up to date."""
    docs = Path(__file__).parents[1] / "docs"
    tables = "\n\n".join(table.to_markdown() for table in ood.leaderboard(page=docs / "leaderboard-page.html").tables)
    before, mark, rest = (docs / "leaderboard.md").read_text().partition("<!-- tables -->\n")
    after = rest.partition("<!-- end of tables -->\n")[2]
    (docs / "leaderboard.md").write_text(f"{before}{mark}\n{tables}\n\n<!-- end of tables -->\n{after}")


@main.command()
def readmes() -> None:
    """Write each model's card, as the Hugging Face Hub reads it, into its folder."""
    for name, path in pretrained_runs().items():
        (path / "README.md").write_text(model_card(Run.open(path), name))


@main.command()
def cards() -> None:
    """Print docs/pretrained.md, a card for every model: how it was trained, with what, and what it reaches."""
    click.echo(_INTRODUCTION)
    click.echo("\n\n".join("\n".join(_card(name, Run.open(path))) for name, path in pretrained_runs().items()))


def _command(config: TrainConfig) -> str:
    """Return what trains by a config with Keras, in the fewest words."""
    return min((_command_by(protocol, config) for protocol in PROTOCOLS), key=len)


def _command_by(protocol: str, config: TrainConfig) -> str:
    expected = {**TrainConfig().to_json(), "model": None, "seed": None, **PROTOCOLS[protocol]}
    words = ["ood-fashion train", *([] if protocol == "assignment" else [f"--protocol {protocol}"])]
    for name, value in config.to_json().items():
        if value != expected[name]:
            values = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')} {one}" for one in values]
    return " ".join(words)


def _card(name: str, run: Run) -> Iterator[str]:
    config, record, metrics = run.config, run.record, run.read_metrics()
    versions = ", ".join(f"{package} {version}" for package, version in record["versions"].items())
    yield f"## `{name}`"
    yield ""
    yield f"    {_command(config)}"
    yield ""
    yield f"- Parameters: {specs.describe(config.model)['parameters']:,}; {run.model_path.stat().st_size:,} bytes."
    threads = "1 thread" if record["threads"] == 1 else f"{record['threads']} threads"
    yield f"- With {versions}, on {'a GPU' if record['device'] == 'gpu' else f'{threads} of the CPU'}."
    if record["git_revision"]:
        yield f"- At commit {record['git_revision']}."
    yield "- Epochs: {epochs}, of which {kept_epoch} is kept; updates: {updates:,}.".format(**metrics["training"])
    yield ""
    rows = []
    for row in metrics["results"]:
        low, high = wilson_interval(row["correct"], row["n"])
        rows.append([row["shift"], f"{row['accuracy']:.4f}", f"{low:.4f} to {high:.4f}", f"{row['n']:,}"])
    yield Table("", ["test set", "accuracy", "95% interval", "n"], rows, left=(2,)).to_markdown()


if __name__ == "__main__":
    main()
