"""The commands that describe data and models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ood_fashion.cli.options import data_dir_option, json_option, shift_option, show
from ood_fashion.cli.progress import progress
from ood_fashion.data import export, sources
from ood_fashion.data.dataset import Dataset
from ood_fashion.data.sources import Source
from ood_fashion.errors import ModelError
from ood_fashion.models.specs import MODELS
from ood_fashion.shifts.shift import SHIFTS, Shift

if TYPE_CHECKING:
    from ood_fashion.api.auditing import AuditResults


@click.command()
@data_dir_option
@click.option("--offline", is_flag=True, help="Do not download when no source is there.")
@click.option("--preview", type=click.Path(path_type=Path), help="Draw an image per class under each shift here.")
@click.option("--gallery", type=click.Path(path_type=Path), help="Draw every corruption at every severity here.")
@click.option(
    "--audit",
    type=click.Path(path_type=Path),
    help="Look for duplicates, images that show nothing, and doubtful labels, and write an HTML page of them here.",
)
@click.option("--export", "folder", type=click.Path(path_type=Path), help="Write both sets under each shift here.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(list(export.FORMATS)),
    default="npz",
    show_default=True,
    help="How --export writes them.",
)
@shift_option
@json_option
def data(
    *,
    data_dir: Source | None,
    offline: bool,
    preview: Path | None,
    gallery: Path | None,
    audit: Path | None,
    folder: Path | None,
    file_format: str,
    shifts: tuple[Shift, ...],
    as_json: bool,
) -> None:
    """Find, check and describe the dataset.

    --preview and --export take the shifts of --shift, or else the assignment's five test sets.

    Example: ood-fashion data --preview shifts.png --shift up4 --shift rotate:45

    Example: ood-fashion data --export shifted --format idx --shift fog:3

    Example: ood-fashion data --audit audit.html
    """
    from ood_fashion.data.dataset import describe
    from ood_fashion.reports import tables

    if preview or gallery:
        from ood_fashion.reports import figures

        for picture in filter(None, (preview, gallery)):
            figures.check_format(picture)
    dataset = sources.load_dataset(data_dir, download=not offline)
    chosen = shifts or tuple(SHIFTS.values())
    record = describe(dataset)
    if folder:
        record["export"] = {"folder": str(folder), **export.export(dataset, chosen, folder, file_format)}
    if preview:
        figures.save(figures.shift_gallery(dataset, chosen), preview)
    if gallery:
        figures.save(figures.corruption_gallery(dataset), gallery)
    found = _audit(dataset, audit) if audit else None
    text = "\n\n".join([tables.dataset_table(record), *([str(found)] if found else [])])
    show({**record, **({"audit": found.record} if found else {})}, text, as_json)


def _audit(dataset: Dataset, page: Path) -> AuditResults:
    from ood_fashion.api.auditing import audit
    from ood_fashion.evaluation.audit import steps

    with progress(steps(dataset), "block") as advance:
        return audit(dataset, page=page, progress=advance)


@click.command()
@click.option(
    "--model", "names", type=click.Choice(list(MODELS)), multiple=True, help="Only this model. May be repeated."
)
@click.option("--verify", is_flag=True, help="Compare with the Keras models, layer by layer; exit 1 on a difference.")
@json_option
def params(names: tuple[str, ...], verify: bool, as_json: bool) -> None:
    """Count the parameters, layer by layer.

    Each layer is shown with its output shape and its formula, each model with the assignment's total.

    Example: ood-fashion params --model cnn3 --verify
    """
    from ood_fashion.api.data import count_parameters

    counts = [count_parameters(name, verify=verify) for name in names or MODELS]
    differences = [line for count in counts for line in count.differences]
    text = "\n\n".join(map(str, counts))
    if verify and not differences:
        text += "\n\nVerified: the Keras models have these layers, shapes and counts."
    show([count.record for count in counts], text, as_json)
    if differences:
        raise ModelError(*differences)
