"""Which runs there are: a new one's name, the latest, an unfinished one, those that come with the package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ood_fashion.errors import RunError
from ood_fashion.evaluation.sweep_report import SweepPoint, SweepReport
from ood_fashion.files import exists, is_file, list_folder, match, new_path, read_json
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.run import Run

_SWEEPS = ("rotate.json", "corruptions.json")

RUNS_ROOT = Path("runs")
"""Where runs go and are looked for when none is named."""

PRETRAINED_ROOT = Path(__file__).parent / "pretrained"
"""The run folders of the trained models that come with the package; each is named as the model is."""

SUGGESTED = "robust"
"""The pretrained model to try first: the one that shifts hurt least, of those whose training had no corruptions."""


def new_run_path(config: TrainConfig) -> Path:
    """Name a new folder as `files.new_path` does: <time>-<model>-s<seed>, with numpy- before the model in NumPy."""
    model = config.model if config.implementation == "keras" else f"{config.implementation}-{config.model}"
    return new_path(RUNS_ROOT, f"{model}-s{config.seed}")


def find_runs() -> Iterator[Run]:
    """Give the runs in `RUNS_ROOT`, the latest start first; what is none, or cannot be read, is passed over."""
    for path in reversed(list_folder(RUNS_ROOT)):
        with suppress(RunError):
            yield Run.open(path)


def find_unfinished_run(given: Mapping[str, Any], out: Path | None) -> Run | None:
    """Find the run that goes on when training is resumed; None where there is nothing to resume.

    It has the given settings, and the implementation Keras unless given. It is the one in `out`, which may be complete,
    or else the latest incomplete one.
    """
    given = {"implementation": "keras", **given}
    if out is None:
        return next((run for run in find_runs() if not (run.is_complete or _differences(run, given))), None)
    if not Run(out).has_begun:
        return None
    run = Run.open(out)
    if differences := _differences(run, given):
        raise RunError(
            f"{out}: expected the settings that the run began with. Received: {', '.join(differences)}. "
            "Leave them out, or choose another folder."
        )
    return run


def _differences(run: Run, given: Mapping[str, Any]) -> list[str]:
    settings = run.config.to_json()
    return [f"`{name}` {value} instead of {settings[name]}" for name, value in given.items() if settings[name] != value]


def pretrained_runs() -> dict[str, Path]:
    """Return the run folders that come with the package, by the models' names."""
    return {path.name: path for path in list_folder(PRETRAINED_ROOT) if Run(path).is_complete}


def model_name(run: Run) -> str:
    """Return what a run's model is called: its architecture, or if it comes with the package, its folder's name."""
    return run.path.name if is_pretrained(run) else run.config.model


def distinct_name(run: Run) -> str:
    """Return what tells a run's model from those of all others: its path, or the name of one of the package."""
    return run.path.name if is_pretrained(run) else str(run.path)


def is_pretrained(run: Run) -> bool:
    """Say whether a run comes with the package."""
    return run.path.absolute().parent == PRETRAINED_ROOT.absolute()


def shipped_sweeps(run: Run) -> list[SweepPoint]:
    """Return what the package's sweeps over Fashion-MNIST say of a run's model, if it comes with the package."""
    paths = [run.path / name for name in _SWEEPS if is_pretrained(run)]
    return [point for path in paths if is_file(path) for point in SweepReport.from_json(read_json(path)).results]


def latest_complete_run() -> Run:
    """Return the run that started last among the complete ones of Keras."""
    for run in find_runs():
        if run.is_complete and run.config.implementation == "keras":
            return run
    raise RunError(
        f"no trained run in {RUNS_ROOT}. Train one with ood-fashion train, or use a model that comes with the package: "
        f"`pretrained` {SUGGESTED}."
    )


def model_files(run_dirs: Sequence[Path], files: Sequence[Path]) -> dict[str, Path]:
    """Name the model files of complete runs and others; those of the latest complete run if none is given.

    A run's is named as `model_name` does, and a file by its path. Where that names two, the paths of the user's own
    runs name them.
    """
    chosen = [Run.open(path).require_keras().require_complete() for path in run_dirs]
    if not chosen and not files:
        chosen = [latest_complete_run()]
    names = [model_name(run) for run in chosen]
    named = [
        (name if names.count(name) == 1 or is_pretrained(run) else str(run.path), run.model_path)
        for name, run in zip(names, chosen, strict=True)
    ]
    named += [(str(path), path) for path in files]
    if len(dict(named)) < len(named):
        raise RunError(f"expected every model once. Received: {', '.join(name for name, _ in named)}.")
    return dict(named)


def expand(pattern: str) -> list[Path]:
    """Return the run folders or model files that a path, a pattern with wildcards or a pretrained model's name means.

    What is there is taken literally, whatever its name: in "b[1]/s*" the folder b[1], if there is one.
    """
    folder, parts = Path(), list(Path(pattern).parts)
    if pattern in (pretrained := pretrained_runs()) and not exists(Path(pattern)):
        return [pretrained[pattern]]
    while parts and exists(folder / parts[0]):
        folder /= parts.pop(0)
    found = match(folder, str(Path(*parts))) if parts else [folder]
    if not found:
        raise RunError(
            f"{pattern}: expected a run folder, a .keras file, a pattern, or one of {', '.join(pretrained)}. "
            "Received: nothing there."
        )
    return found
