"""Make the trained models that come with the package, and the tables about them.

ood-fashion study robust --seeds 3 --out studies/robust
python scripts/pretrained.py ship studies/robust
ood-fashion sweep rotate --out sweeps/angles $(printf -- '--run %s ' studies/robust/trials/*)
ood-fashion sweep corruptions --limit 2000 --out sweeps/corruptions $(python scripts/pretrained.py options)
python scripts/pretrained.py leaderboard studies/robust sweeps/angles sweeps/corruptions
python scripts/pretrained.py cards
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from ood_fashion import paper, specs
from ood_fashion.files import read_json
from ood_fashion.runs import PRETRAINED_ROOT, Run, pretrained_runs
from ood_fashion.statistics import summarize, wilson_interval
from ood_fashion.studies import STUDIES, StudyRun
from ood_fashion.study_tables import estimate
from ood_fashion.tables import table

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
SHIPPED_SEED = 1


@click.group()
def main() -> None:
    """Make the trained models that come with the package, and the tables about them."""


@main.command()
@click.argument("study", type=FOLDER)
def ship(study: Path) -> None:
    """Copy the first seed's run of every setting of the study into the package."""
    for trial in StudyRun(study).trials():
        if trial.config.seed == SHIPPED_SEED:
            folder = PRETRAINED_ROOT / trial.setting
            trial.open().require_complete()
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(trial.path, folder)
            click.echo(f"{folder.name}: {(folder / 'model.keras').stat().st_size:,} bytes")


@main.command()
def options() -> None:
    """Print --model NAME for every model, for the command line of a sweep."""
    click.echo(" ".join(f"--model {name}" for name in pretrained_runs()))


@main.command()
@click.argument("study", type=FOLDER)
@click.argument("angles", type=FOLDER)
@click.argument("corruptions", type=FOLDER)
def leaderboard(study: Path, angles: Path, corruptions: Path) -> None:
    """Print the README's table from the study's folder and two sweeps' folders."""
    summary = StudyRun(study).summarize()
    turned = _over_shifts(angles)
    errors = {record["model"]: record["mce"] for record in _over_shifts(corruptions)}
    rows = []
    for setting in summary["settings"]:
        name, measured = setting["setting"], setting["measures"]
        description = specs.describe(STUDIES["robust"].settings[name].model)
        accuracies = {shift: measured[f"accuracy {shift}"] for shift in paper.TEST_SETS}
        rotations = [accuracies[f"rotate{angle}"]["values"] for angle in (90, 180, 270)]
        every_angle = [row["mean"] for row in turned if Path(row["model"]).name.rpartition("-s")[0] == name]
        worst = [min(values) for values in zip(*(row["values"] for row in accuracies.values()), strict=True)]
        rows.append(
            [
                f"`{name}`",
                f"{description['parameters']:,}",
                f"{description['multiply_adds'] / 1e6:.1f} M",
                f"{measured['seconds']['mean'] / 60:.1f} min",
                estimate(accuracies["none"]),
                estimate(accuracies["up4"]),
                estimate(summarize([fmean(values) for values in zip(*rotations, strict=True)])),
                estimate(summarize(every_angle)),
                estimate(summarize(worst)),
                f"{errors[name]:.2f}",
            ]
        )
    headers = ["model", "parameters", "multiply-adds", "training", "in-domain", "up 4", "rotated 90, 180, 270"]
    click.echo(table(rows, [*headers, "every angle", "worst of five", "mCE"], right=range(1, 10), style="github"))


def _over_shifts(sweep: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_json(sweep / "results.json")["over_shifts"]
    return rows


@main.command()
def cards() -> None:
    """Print a card for every model: how it was trained, with what, and what it reaches."""
    click.echo("\n\n".join("\n".join(_card(name, Run.open(path))) for name, path in pretrained_runs().items()))


def _card(name: str, run: Run) -> Iterator[str]:
    config, record, metrics = run.config, run.record, run.read_metrics()
    default = type(config)().to_json()
    changed = {key: value for key, value in config.to_json().items() if value != default[key] or key == "seed"}
    versions = ", ".join(f"{package} {version}" for package, version in record["versions"].items())
    yield f"## `{name}`"
    yield f"- Settings, where they are not the document's: `{json.dumps(changed)}`"
    yield f"- Parameters: {specs.describe(config.model)['parameters']:,}; {run.model_path.stat().st_size:,} bytes"
    yield f"- Trained with {versions}, on the {record['device'].upper()}, at commit {record['git_revision']}"
    yield "- Epochs: {epochs}, of which {kept_epoch} is kept; updates: {updates:,}".format(**metrics["training"])
    yield ""
    rows = []
    for row in metrics["results"]:
        low, high = wilson_interval(row["correct"], row["n"])
        rows.append([row["shift"], f"{row['accuracy']:.4f}", f"{low:.4f} to {high:.4f}", f"{row['n']:,}"])
    yield table(rows, ["test set", "accuracy", "95% interval", "n"], right=[1, 3], style="github")


if __name__ == "__main__":
    main()
