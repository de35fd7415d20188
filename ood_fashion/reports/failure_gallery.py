"""Failure galleries: images that a shift makes a model get wrong, each with a link that opens it in the app."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ood_fashion.data.dataset import Dataset
from ood_fashion.data.sources import Source, load_dataset
from ood_fashion.errors import OodFashionError, PixelRangeWarning
from ood_fashion.evaluation.exploring import View
from ood_fashion.evaluation.failures import Failure, Failures, family, least_shifts, strength, weaker_shifts
from ood_fashion.evaluation.metrics import Predictions, to_probabilities
from ood_fashion.evaluation.sweeps import hash_model, read_correct
from ood_fashion.files import exists, is_file, read_json
from ood_fashion.reports import tables
from ood_fashion.reports.explorer_html import image_source
from ood_fashion.reports.page import Section
from ood_fashion.reports.table import Table
from ood_fashion.runs.run import Run
from ood_fashion.runs.search import distinct_name, find_runs, is_pretrained, pretrained_runs
from ood_fashion.shifts.shift import Shift
from ood_fashion.text import printable

APP_ADDRESS = "http://127.0.0.1:7860/"
"""Where the app is found, unless another program had taken the port."""
_TITLE = "Failures under shift"
_OF_A_RUN, _OF_A_SWEEP = 8, 4
"""Failures that are shown of a shift."""
_ASKED = 200
"""Failures of a sweep, the first, whose confidences a model is asked for."""

Ask = Callable[[Shift, NDArray[np.intp]], NDArray[np.float64]]
"""From a shift and places of test images to a model's probabilities, (n, classes)."""


@dataclass(frozen=True)
class _Known:
    """What is known of a model: its name in the app, the command's options that bring it there, and how to ask it.

    Where it cannot be asked, `reason` says why.
    """

    name: str
    options: tuple[tuple[str, str], ...]
    ask: Ask | None = None
    reason: str = ""


def run_section(run: Run, dataset: Dataset, predictions: Mapping[str, Predictions]) -> Section:
    """Show each shift's failures of a run by its predictions; its model is asked for the least shifts alone."""
    labels, found = dataset.test.labels, []
    option = "pretrained" if is_pretrained(run) else "run"
    if "none" not in predictions:
        return Section(_TITLE, "Not drawn: the run has no predictions for the images as they are.")
    known = _load(run.model_path, dataset, distinct_name(run), option)
    for text in filter(lambda text: text != "none", predictions):
        classes, confidences = predictions[text]
        before, after = predictions["none"].classes == labels, classes == labels
        flips = np.flatnonzero(before & ~after)
        chosen = flips[np.argsort(-confidences[flips], kind="stable")][:_OF_A_RUN]
        shift, least = Shift.parse(text), dict[int, Shift]()
        if known.ask and len(chosen) and len(shift.steps) == 1:
            tried = weaker_shifts(shift)
            classes_of = [known.ask(one, chosen).argmax(axis=1) for one in tried]
            least = dict(zip(chosen.tolist(), least_shifts(tried, np.stack(classes_of) != labels[chosen]), strict=True))
        shown = [Failure(i, int(classes[i]), float(confidences[i]), least.get(i)) for i in chosen.tolist()]
        found.append((text, Failures.count(shift, before, after, labels, dataset.num_classes, shown), known))
    return _section(dataset, found, "Least shifts")


def sweep_section(folder: Path, source: Source | None) -> Section:
    """Show each model's failures under the shift of each kind that it withstands least, by what a sweep has measured.

    The models are asked what they take the images for, where their files are still there.
    """
    try:
        settings = read_json(folder / "settings.json")
        n, hashes = int(settings["n"]), dict(settings["models"])
        dataset = load_dataset(source)
        if [dataset.sha256[f"test {kind}"] for kind in ("images", "labels")] != [
            settings["images"],
            settings["labels"],
        ]:
            return Section(_TITLE, f"Not drawn: the sweep's test images are others than those of {dataset.source}.")
        dataset = replace(dataset.with_test_images(n), origin=dataset.origin)  # of which the app shows more
        correct = {Shift.parse(text): rows for text, rows in read_correct(folder, len(hashes), n).items()}
    except (OodFashionError, KeyError, TypeError, ValueError) as error:
        return Section(_TITLE, f"Not drawn: {error}")
    if Shift() not in correct:
        return Section(_TITLE, "Not drawn: the sweep does not have the images as they are.")
    kinds: dict[str, list[Shift]] = {}
    for shift in sorted(filter(lambda shift: shift.steps, correct), key=strength):
        kinds.setdefault(family(shift), []).append(shift)
    found: dict[str, list[tuple[str, Failures, _Known]]] = {kind: [] for kind in kinds}
    for place, (name, sha256) in enumerate(hashes.items()):
        known = _find(name, sha256, dataset, settings)
        for kind, shifts in kinds.items():
            rows = {shift: correct[shift][place] for shift in (Shift(), *shifts)}
            failures = _of_kind(rows, dataset, known.ask)
            found[kind].append((f"{name} under {failures.shift}", failures, known))
    return _section(dataset, [one for of_kind in found.values() for one in of_kind], "Answers")


def _of_kind(rows: Mapping[Shift, NDArray[np.bool_]], dataset: Dataset, ask: Ask | None) -> Failures:
    """Find the failures under the worst of some shifts, by whether a model is right about each image under them."""
    (_, before), *shifted = rows.items()
    worst, after = min(shifted, key=lambda item: int(item[1].sum()))
    weaker = {shift: row for shift, row in shifted if strength(shift) <= strength(worst)}
    chosen = np.flatnonzero(before & ~after)[:_ASKED]
    least = least_shifts(list(weaker), ~np.stack(list(weaker.values()))[:, chosen])
    if ask and len(chosen):
        probabilities = ask(worst, chosen)
        answers, confidences = probabilities.argmax(axis=1).tolist(), probabilities.max(axis=1).tolist()
        order = np.argsort(-probabilities.max(axis=1), kind="stable")
    else:
        answers, confidences = [None] * len(chosen), [None] * len(chosen)
        order = np.argsort([strength(shift) for shift in least], kind="stable")
    shown = [Failure(int(chosen[i]), answers[i], confidences[i], least[i]) for i in order[:_OF_A_SWEEP]]
    return Failures.count(worst, before, after, dataset.test.labels, dataset.num_classes, shown)


def _find(name: str, sha256: str, dataset: Dataset, settings: Mapping[str, object]) -> _Known:
    """Find a sweep's model by its content: the package's, a run's that is found, or one whose path is its name."""
    runs = [*map(Run, pretrained_runs().values()), *find_runs(), Run(Path(name))]
    with suppress(OodFashionError):
        for run in runs:
            if is_file(run.path / "config.json") and exists(run.model_path) and hash_model(run.model_path) == sha256:
                option = "pretrained" if is_pretrained(run) else "run"
                return _load(run.model_path, dataset, distinct_name(run), option, settings)
        if exists(Path(name)) and hash_model(Path(name)) == sha256:
            return _load(Path(name), dataset, name, "model-file", settings)
    return _Known("", (), reason=f"the model {name} of the sweep is not found")


def _load(path: Path, dataset: Dataset, name: str, option: str, settings: Mapping[str, object] | None = None) -> _Known:
    pixel_range = (settings or {}).get("pixels") if option == "model-file" else None
    options = ((option, name), *((("pixels", str(pixel_range)),) if pixel_range else ()))
    if (settings or {}).get("tta"):
        return _Known(name, options, reason="the sweep was made with test-time augmentation")
    if not exists(path) or path.suffix == ".npz":
        return _Known(name, options, reason="the run has no Keras model")
    try:
        from ood_fashion.evaluation.pipelines import shifted_pixels
        from ood_fashion.evaluation.scorer import make_image_scorer
        from ood_fashion.runs.model_files import load_model

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PixelRangeWarning)
            score = make_image_scorer(load_model(path, str(pixel_range) if pixel_range else None), dataset)
    except OodFashionError as error:
        return _Known(name, options, reason=str(error))
    images = dataset.test.images
    return _Known(
        name, options, lambda shift, places: to_probabilities(score(shifted_pixels(images[places], shift, places)))
    )


def _section(dataset: Dataset, found: Sequence[tuple[str, Failures, _Known]], missing: str) -> Section:
    options = [option for options in dict.fromkeys(known.options for _, _, known in found) for option in options]
    if isinstance(dataset.origin, str | Path) and not dataset.is_genuine:
        options.append(("data-dir" if isinstance(dataset.origin, Path) else "dataset", str(dataset.origin)))
    command = ["ood-fashion", "app", *(word for name, value in options for word in (f"--{name}", value))]
    text = (
        "Images that a model gets right as they are and wrong under the shift; first those that it is surest of. The "
        "least shift is the first that is enough, of those tried from none to this one. The links open an image in the "
        f"app, while it runs at {APP_ADDRESS}: {shlex.join(command)}"
    )
    reasons = dict.fromkeys(f"{missing} are not known: {known.reason}." for _, _, known in found if known.reason)
    return Section(_TITLE, " ".join([text, *reasons]), tables=[_table(dataset, *one) for one in found])


def _table(dataset: Dataset, title: str, failures: Failures, known: _Known) -> Table:
    names, labels = dataset.class_names, dataset.test.labels
    hurt, _ = tables.class_changes(failures.class_change, names)
    title += f": {failures.flips:,} of {failures.right:,} right answers become wrong. Class hurt most: {hurt}"
    shift, rows = failures.shift, []
    indices = np.array([one.index for one in failures.shown], np.int64)
    for one, pixels in zip(failures.shown, shift.apply(dataset.test.images[indices], indices), strict=True):
        picture = Markup('<img src="{}" alt="Test image {} under {}"/>').format(
            image_source(np.rint(pixels * 255).astype(np.uint8)), one.index, str(shift)
        )
        query = View(one.index, shift, (known.name,) if known.name else None).query
        answer = "-" if one.answer is None or one.confidence is None else f"{names[one.answer]} {one.confidence:.1%}"
        link = Markup('<a href="{}?{}">{}</a>').format(APP_ADDRESS, query, printable(query))
        rows.append([picture, names[labels[one.index]], answer, str(one.least or "-"), link])
    return Table(title, ["image", "class", "taken for", "least shift", "in the app"], rows, left=(1, 2, 3, 4))
