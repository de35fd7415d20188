"""Measuring models: on shifted images, against each other, and over many shifts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from ood_fashion.api.data import Data, load_dataset, shareable_origin
from ood_fashion.api.opening import (
    Model,
    Run,
    find_run,
    is_keras,
    open_model,
    refuse_predictions,
    require_models,
    require_there,
    several,
)
from ood_fashion.api.results import Comparison, Evaluation, RunsEvaluation, SweepResults
from ood_fashion.data.dataset import Dataset, Split, split_train
from ood_fashion.errors import InvalidValueError
from ood_fashion.evaluation import baseline, classifier, comparison, sweeps
from ood_fashion.evaluation.classifier import Shifts, read_shifts
from ood_fashion.evaluation.prediction_files import is_predictions
from ood_fashion.files import absolute, locked
from ood_fashion.parallel import run_parallel
from ood_fashion.runs.predictions import saved_classes
from ood_fashion.runs.search import model_files, model_name
from ood_fashion.runs.start import require_same_dataset
from ood_fashion.shifts import orbits
from ood_fashion.shifts.augmentations import overlaps
from ood_fashion.shifts.orbits import Orbit
from ood_fashion.shifts.shift import TEST_SETS, Shift
from ood_fashion.studies import assignment

METRICS = ("accuracy", "all")

Progress = Callable[[int, Path], AbstractContextManager[Callable[[], object]]]
"""From the number of shifts and the sweep's folder to what is called after each shift."""


def evaluate(
    model: Model | Sequence[Model],
    shifts: Shifts = TEST_SETS,
    *,
    data: Data = None,
    metrics: str = "accuracy",
    tta: str | None = None,
    calibrate: bool = False,
    limit: int | None = None,
    outputs: str = "auto",
    pixel_range: str | None = None,
    batch_size: int = 500,
    device: str = "auto",
    trust: bool = False,
) -> Evaluation:
    """Measure a model's accuracy on shifted test images.

    Args:
        model: a run, a `keras.Model`, a path, the name of a pretrained model, or a callable from images, float32
            (n, height, width) in [0, 1], to scores (n, classes) or classes (n,). A method of a scikit-learn estimator
            that was fitted on height * width features is given rows. The path may be of a .csv or .npz file of
            predictions, with `index`, `shift`, and `class` or scores. A list means several trainings, whose accuracies
            are summarized.
        shifts: one shift or several, as text or `Shift`; the five test sets unless given.
        data: what `load_dataset` takes or gives; unless given, what a run was trained on in this process, else
            Fashion-MNIST.
        metrics: "accuracy", or "all" for likelihood, calibration and more.
        tta: what is done at test time, such as "c4": the mean over the quarter turns.
        calibrate: fit a temperature on the run's validation images, and show what it changes.
        limit: measure the first `limit` test images only.
        outputs: what the model gives: "probabilities", "logits", "classes", or "auto" to find out.
        pixel_range: the pixels that a Keras model takes: "0-1" or "0-255"; None to find out.
        batch_size: images in a call of a callable.
        device: "auto", "cpu" or "gpu".
        trust: as for `load_model`.

    Returns:
        A row per shift, which prints as a table; `["up4"]` is the row of a shift.

    Raises:
        InvalidValueError: an argument is out of range.
        DataError: the dataset is absent or damaged.
        ModelError: the model cannot be loaded, or does not fit the data.

    Examples:
        >>> import ood_fashion as ood
        >>> result = ood.evaluate("cnn3", ["none", "rotate:90"], limit=1000)
        >>> [row.shift for row in result]
        ['none', 'rotate90']
        >>> result["none"].accuracy > 0.8 > 0.2 > result["rotate90"].accuracy
        True
    """
    if metrics not in METRICS:
        raise InvalidValueError(f"`metrics`: expected one of {', '.join(METRICS)}. Received: {metrics!r}.")
    dataset, chosen = load_dataset(_data_for(model, data)), list(dict.fromkeys(read_shifts(shifts)))
    full = metrics == "all" or calibrate
    if isinstance(model, list | tuple):
        if full or tta:
            raise InvalidValueError(
                f"`metrics` all, `tta`, `calibrate`: expected one model. Received: a list of {len(model)}."
            )
        ways: dict[str, Any] = {"device": device, "pixel_range": pixel_range, "trust": trust}
        ways |= {"outputs": outputs, "batch_size": batch_size}
        sides = [_correct(one, dataset, chosen, limit, **ways) for one in require_models(model, "model")]
        names = [str(one) if isinstance(one, str | Path) else name for one, (name, _) in zip(model, sides, strict=True)]
        summaries = comparison.summarize_runs([correct for _, correct in sides])
        return RunsEvaluation(", ".join(names), (), dataset.class_names, models=names, summaries=summaries)
    _select_device(device, model)
    opened = open_model(model, pixel_range=pixel_range, trust=trust)
    run = opened.run
    test, options = dataset.with_test_images(limit), {"tta": tta} if tta else {}
    if (tta or calibrate) and not is_keras(opened.model):
        received = "a file of predictions" if is_predictions(model) else "a callable"
        raise InvalidValueError(f"`tta`, `calibrate`: expected a Keras model. Received: {received}.")
    orbit = orbits.parse_orbit(tta) if tta else None
    make_scorer = partial(opened.scorer, orbit=orbit, outputs=outputs, batch_size=batch_size)
    temperature = run.temperature if full and run and not tta else None
    if calibrate:
        validation = _validation(run, dataset)
        temperature = classifier.calibrate(make_scorer(dataset, validation), validation)
    score = make_scorer(test, decide_once=full)
    results = classifier.evaluate(score, test.test, chosen, full=full, temperature=temperature)
    beside = None
    if run and not tta:
        beside = assignment.comparable_model(run.config, genuine=test.is_genuine and run.is_genuine)
    return Evaluation(opened.name, results, test.class_names, beside, options)


def _validation(run: Run | None, dataset: Dataset) -> Split:
    """Return the validation images of a run, to calibrate it on."""
    if run is None:
        raise InvalidValueError(
            "`calibrate`: expected a run, whose validation images are known. Received: a model of another origin."
        )
    require_same_dataset(run, dataset, "`calibrate` needs its validation images: leave it out, or train with it.")
    return split_train(dataset, run.config.train_size, run.config.val_size, seed=run.config.split_seed)[1]


def _data_for(model: Any, data: Data) -> Data:
    """Return the data that were given, or else those that the first run was trained on in this process."""
    first = next(iter(several(model)), None)
    return first.dataset if data is None and isinstance(first, Run) else data


def _select_device(device: str, model: Model) -> None:
    """Choose the device for what TensorFlow has to compute; a callable computes where it does."""
    if not is_predictions(model) and (isinstance(model, str | Path) or not callable(model)):
        from ood_fashion._tensorflow import select_device

        select_device(device)


def compare(
    a: Model | Sequence[Model],
    b: Model | Sequence[Model],
    shifts: Shifts = TEST_SETS,
    *,
    data: Data = None,
    limit: int | None = None,
    pixel_range: str | None = None,
    device: str = "auto",
    trust: bool = False,
) -> Comparison:
    """Test whether one model is more accurate than another on the same shifted images.

    Args:
        a: as for `evaluate`; a list of several trainings is compared over seeds.
        b: as many as `a`: one, or several.
        shifts: one shift or several; the five test sets unless given.
        data: as for `evaluate`, where `a` is what says it.
        limit: the first `limit` test images only.
        pixel_range: as for `evaluate`.
        device: "auto", "cpu" or "gpu".
        trust: as for `load_model`.

    Returns:
        A row per shift: the difference with its 95% interval, p, and p adjusted by Holm's method for the number of
        shifts; and a conclusion.

    Raises:
        InvalidValueError: one side has one training, and the other several.

    Examples:
        >>> import ood_fashion as ood
        >>> print(ood.compare("cnn3", "robust", "rotate90").conclusion)
        B is more accurate under rotate90. This is about these two trained models on images like these; trained again, \
they may differ otherwise. Compare several runs a side for that.
    """
    dataset, chosen = load_dataset(_data_for(a, data)), list(dict.fromkeys(read_shifts(shifts)))
    sides = [
        [
            _correct(one, dataset, chosen, limit, device=device, pixel_range=pixel_range, trust=trust)
            for one in require_models(side, argument)
        ]
        for argument, side in (("a", a), ("b", b))
    ]
    comparisons = comparison.compare(*([correct for _, correct in side] for side in sides))
    name_a, name_b = (", ".join(name for name, _ in side) for side in sides)
    return Comparison(name_a, name_b, comparisons, comparison.conclude(comparisons, "A", "B"))


def _correct(
    model: Model,
    dataset: Dataset,
    shifts: Sequence[Shift],
    limit: int | None,
    *,
    device: str,
    pixel_range: str | None,
    trust: bool,
    **scoring: Any,
) -> tuple[str, comparison.Correct]:
    """Name a model, and say which test images it recognizes under each shift; what a run has saved is read.

    What decides how a model is scored is as for `OpenedModel.scorer`.
    """
    run = find_run(model)
    saved = saved_classes(run, dataset) if run else {}
    test = dataset.with_test_images(limit)
    missing = [shift for shift in shifts if str(shift) not in saved]
    if run and not missing:
        name = model_name(run)
    else:
        _select_device(device, model)
        opened = open_model(model, pixel_range=pixel_range, trust=trust)
        name = opened.name
        saved |= classifier.predict_classes(opened.scorer(test, decide_once=False, **scoring), missing)
    return name, {str(shift): saved[str(shift)][:limit] == test.test.labels for shift in shifts}


KINDS: dict[str, Callable[..., sweeps.Sweep]] = {
    "translate": sweeps.translations,
    "rotate": sweeps.rotations,
    "corruptions": sweeps.corruptions,
}
"""What makes each kind of sweep, from its largest distance, its step, or the names of its corruptions."""


def sweep(
    models: Model | Sequence[Model] = None,
    kind: str = "rotate",
    extent: Any = None,
    *,
    data: Data = None,
    limit: int | None = None,
    reference: str | None = None,
    tta: str | None = None,
    out: str | Path | None = None,
    jobs: int | None = 1,
    backend: str = "loky",
    address: str | None = None,
    pixel_range: str | None = None,
    device: str = "auto",
    trust: bool = False,
    progress: Progress = lambda total, folder: nullcontext(lambda: None),
) -> SweepResults:
    """Measure models over many shifts.

    The results are kept in a folder as they come: the same call again goes on after a kill, and shows what is complete
    without measuring it again.

    Args:
        models: one or several of: a run, a path, the name of a pretrained model; the latest complete run unless given.
        kind: "translate", "rotate" or "corruptions".
        extent: of "translate" the largest distance in pixels, 8 unless given; of "rotate" the degrees between two
            angles, 15 unless given; of "corruptions" their names, all unless given.
        data: as for `evaluate`.
        limit: the first `limit` test images only.
        reference: the model whose errors make an mCE of 1, by its name; the assignment's MLP unless given, or the first
            model on other data.
        tta: as for `evaluate`, for all models.
        out: the folder; sweeps/KIND-HASH unless given.
        jobs: worker processes; 1 measures in this process.
        backend: "loky", worker processes of this machine, or "dask", a cluster.
        address: of the cluster.
        pixel_range: as for `evaluate`.
        device: "auto", "cpu" or "gpu".
        trust: as for `load_model`.
        progress: shows how many shifts are done; nothing unless given.

    Returns:
        A row per model and shift; `plot()` draws them.

    Raises:
        InvalidValueError: there is no such kind, or its extent is out of range.
        RunError: the folder holds something else.

    Examples:
        >>> import ood_fashion as ood
        >>> result = ood.sweep(["mlp", "cnn3"], "rotate", 90, limit=200, out=folder / "sweep")
        >>> [(row.model, row.shift) for row in result][:2]
        [('mlp', 'none'), ('mlp', 'rotate90')]
    """
    if kind not in KINDS:
        raise InvalidValueError(f"`kind`: expected one of {', '.join(KINDS)}. Received: {kind!r}.")
    chosen = KINDS[kind](*([] if extent is None else [extent]))
    dataset = load_dataset(_data_for(models, data))
    test = dataset.with_test_images(limit).test
    from ood_fashion.runs.model_files import ModelFiles, correct_under, load_scorer, run_of

    files = model_files(*_runs_and_files([] if models is None else require_models(models, "models")))
    reference = chosen.reference(reference, list(files), test)

    settings = sweeps.settings(chosen, files, dataset, len(test)) | (
        ({"pixels": pixel_range} if pixel_range else {}) | ({"tta": tta} if tta else {})
    )
    folder = Path(out) if out else sweeps.default_folder(settings)
    asked = ModelFiles(
        paths=tuple(map(absolute, files.values())),
        pixel_ranges=tuple(pixel_range if str(path) == name else None for name, path in files.items()),
        data_dir=shareable_origin(dataset, folder.parent),
        limit=limit,
        device=device,
        content=json.dumps(settings),
        sha256=(settings["images"], settings["labels"]),
        trust=trust,
        orbit=orbits.parse_orbit(tta) if tta else Orbit(),
    )
    load_scorer(asked, None)  # so that what is wrong with a model is known before there is a folder
    with locked(folder):
        sweeps.open_folder(folder, settings)
        with progress(len(chosen.points), folder) as advance:
            correct = sweeps.measure(
                chosen,
                len(files),
                len(test),
                lambda shifts: chain.from_iterable(
                    run_parallel(
                        correct_under,
                        [(row, asked) for row in sweeps.rows(shifts)],
                        backend=backend,
                        address=address,
                        jobs=jobs,
                    )
                ),
                folder,
                advance,
            )
        runs = {name: run for name, path in files.items() if (run := run_of(path))}
        seen = {name: overlaps(run.config.augmentations) for name, run in runs.items()}
        report = chosen.report(list(files), correct, reference, standard=baseline.applies(test), seen=seen)
        sweeps.write_report(folder, report)
    return SweepResults(str(folder), report)


def _runs_and_files(models: Sequence[Model]) -> tuple[list[Path], list[Path]]:
    """Separate the folders of runs from model files."""
    run_dirs, files = [], []
    for model in models:
        if run := find_run(model):
            run_dirs.append(run.path)
        elif isinstance(model, str | Path):
            require_there(refuse_predictions(model))
            files.append(Path(model))
        else:
            raise InvalidValueError(
                "`models`: expected runs, paths or names of pretrained models, which a worker process can load. "
                f"Received: {type(model).__name__}. Save it first: model.save('NAME.keras')."
            )
    return run_dirs, files
