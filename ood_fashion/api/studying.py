"""Studies of many trainings, the reproduction of the assignment, and pages that show a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ood_fashion.api.data import Data, load_dataset, shareable_origin
from ood_fashion.api.measuring import _data_for
from ood_fashion.api.opening import Run, find_run
from ood_fashion.api.results import Reproduction, StudyResults
from ood_fashion.files import atomic_write, locked, new_path
from ood_fashion.runs.search import is_pretrained
from ood_fashion.studies import reproduction
from ood_fashion.studies.study import Study
from ood_fashion.studies.study_run import STUDIES_ROOT, StudyRun, run_studies
from ood_fashion.studies.trials import Progress


def study(
    study: str | Study,
    *,
    seeds: int | None = None,
    data: Data = None,
    out: str | Path | None = None,
    resume: bool = False,
    jobs: int | None = None,
    backend: str = "loky",
    address: str | None = None,
    device: str = "auto",
    progress: Progress = lambda outcomes, trials: outcomes,
    **changes: Any,
) -> StudyResults:
    """Train a grid of models over several seeds.

    Args:
        study: a name in `STUDIES`, or a `Study` of your own: `Study({"plain": {}, "moved": {"augment":
            ["translate:4"]}})` has a setting each.
        seeds: trainings of every setting, 3 unless given, or as many as `resume` finds.
        data: what `load_dataset` takes or gives; Fashion-MNIST unless given.
        out: the folder; studies/TIME-NAME unless given.
        resume: finish the study in `out`.
        jobs: trainings at a time, in processes of their own; up to 4 unless given.
        backend: "loky", worker processes of this machine, or "dask", a cluster.
        address: of the cluster.
        device: "auto", "cpu" or "gpu".
        progress: passes on the outcomes of the trainings, of which it is told.
        **changes: settings that all trainings have instead of their own: epochs, train_size, val_size, implementation.

    Returns:
        A row per setting; `plot()` draws the study's figure.

    Raises:
        InvalidValueError: there is no such study, or a change is out of range.
        RunError: the folder holds something else.

    Examples:
        >>> import ood_fashion as ood
        >>> settings = {"slow": {"model": "mlp", "learning_rate": 0.001}, "fast": {"model": "mlp"}}
        >>> sizes = {"epochs": 1, "train_size": 200, "val_size": 50}
        >>> result = ood.study(ood.Study(settings), seeds=1, jobs=1, out=folder / "study", **sizes)
        >>> [row.setting for row in result]
        ['slow', 'fast']
    """
    dataset = load_dataset(data)
    path = Path(out) if out else new_path(STUDIES_ROOT, study if isinstance(study, str) else "study")
    with locked(path):
        run = StudyRun.create(path, study, seeds=seeds, changes=changes, dataset=dataset, resume=resume)
        (summary,), failures = run_studies(
            [run], jobs=jobs, data_dir=shareable_origin(dataset, path), device=device, backend=backend, address=address,
            progress=progress,
        )  # fmt: skip
    return StudyResults(str(path), summary, failures)


def reproduce(
    *,
    seeds: int | None = None,
    data: Data = None,
    out: str | Path | None = None,
    resume: bool = False,
    jobs: int | None = None,
    backend: str = "loky",
    address: str | None = None,
    device: str = "auto",
    progress: Progress = lambda outcomes, trials: outcomes,
    **changes: Any,
) -> Reproduction:
    """Repeat the whole assignment, and compare its reported values and claims with what is measured.

    Args:
        seeds: trainings of every setting, 3 unless given, or as many as `resume` finds.
        data: what `load_dataset` takes or gives; Fashion-MNIST unless given.
        out: the folder; studies/TIME-reproduction unless given.
        resume: finish the reproduction in `out`.
        jobs: as for `study`.
        backend: as for `study`.
        address: as for `study`.
        device: "auto", "cpu" or "gpu".
        progress: as for `study`.
        **changes: as for `study`.

    Returns:
        A row per number of the assignment; printing shows the claims too.

    Examples:
        >>> import ood_fashion as ood
        >>> result = ood.reproduce(seeds=1, epochs=1, train_size=100, val_size=50, out=folder / "all")
        >>> result.rows[0].problem
        '3.1'
    """
    from ood_fashion.reports.study_tables import write_markdown

    dataset = load_dataset(data)
    path = Path(out) if out else new_path(STUDIES_ROOT, "reproduction")
    with locked(path):
        found, failures = reproduction.reproduce(
            path, seeds=seeds, changes=changes, dataset=dataset, resume=resume, jobs=jobs,
            data_dir=shareable_origin(dataset, path), device=device, backend=backend, address=address,
            progress=progress,
        )  # fmt: skip
        write_markdown(path, found)
    return Reproduction(str(path), found, failures)


@dataclass(frozen=True)
class ReportFiles:
    """What `report` has written.

    Attributes:
        path: of the HTML page.
        figures: the paths of the figures.
        damaged: a line for everything that could not be read.
        undrawn: a line for each figure that could not be drawn.
        card: the path of the model card, if one was asked for.
    """

    path: Path
    figures: Sequence[Path]
    damaged: Sequence[str]
    undrawn: Sequence[str]
    card: Path | None = None


def report(
    path: str | Path | Run,
    *,
    out: str | Path | None = None,
    figures: str | Path | None = None,
    card: str | Path | None = None,
    data: Data = None,
) -> ReportFiles:
    """Write one HTML page of what a run, a study, a reproduction or a sweep records.

    Args:
        path: its folder, a run, or the name of a pretrained model.
        out: the HTML file; report.html in the folder unless given, and NAME.html here for a pretrained model.
        figures: a folder to write the figures to, as PNG and SVG.
        card: a file, such as README.md, to write a run's model card to, as the Hugging Face Hub reads it.
        data: what a run began on; unless given, what it was trained on in this process, else Fashion-MNIST.

    Returns:
        The paths of what was written, and a line for everything that could not be read or drawn.

    Raises:
        RunError: the folder holds nothing of these, or cannot be written.

    Examples:
        >>> import ood_fashion as ood
        >>> ood.report(ood.pretrained("cnn3"), out=folder / "cnn3.html").path.name
        'cnn3.html'
    """
    from ood_fashion.reports.card import model_card
    from ood_fashion.reports.folders import read_page
    from ood_fashion.reports.page import folder_name, write_figures, write_html

    run = find_run(path)
    folder = run.path if run else Path(str(path))
    text = model_card(Run.open(folder), folder_name(folder)) if card else ""
    page = read_page(folder, load_dataset(_data_for(path, data)))
    here = Path(f"{folder.name}.html") if run and is_pretrained(run) else folder / "report.html"
    target = Path(out) if out else here
    undrawn = write_html(page, target)
    written, unwritten = write_figures(page, Path(figures)) if figures else ([], [])
    if card:
        with atomic_write(Path(card)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return ReportFiles(target, written, page.damaged, [*undrawn, *unwritten], Path(card) if card else None)
