"""Sweeps: several models' accuracy over many shifts, kept in a folder from which a killed sweep goes on.

settings.json  what decides the figures; written first
hits.jsonl     a line per shift: which images each model is right about
results.json   what `Sweep.report` makes of them; written last, with results.csv beside it
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import InvalidValueError, ModelError, RunError
from ood_fashion.evaluation import baseline
from ood_fashion.evaluation.metrics import accuracy, corruption_errors, worst_case, worst_of_random
from ood_fashion.files import (
    access,
    atomic_write,
    is_file,
    is_folder,
    is_vacant,
    make_folder,
    match,
    reason,
    remove_leftovers,
    write_json,
)
from ood_fashion.shifts.corruptions import CORRUPTIONS, SEVERITIES
from ood_fashion.shifts.shift import Corrupt, Rotate, Shift, Translate

SWEEPS_ROOT = Path("sweeps")
"""Where sweeps go when no folder is named."""
RANDOM_SHIFTS, RANDOM_SEED = 10, 0
MAX_DISTANCE = 100
"""The largest distance of a translation in a sweep, in pixels: 40,401 shifts."""

Correct = NDArray[np.bool_]
Point = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """What to sweep over: points, each with its coordinates, and the shift there under "shift"."""

    kind: str
    points: tuple[Point, ...]

    @property
    def shifts(self) -> list[Shift]:
        """The shift of each point."""
        return [point["shift"] for point in self.points]

    def reference(self, name: str | None, models: Sequence[str], test: Split) -> str:
        """Return whose errors those of all models are divided by.

        Args:
            name: one of the models; None takes `baseline.REFERENCE` where its errors on these images under every shift
                are known, else the first model.
            models: their names.
            test: the images.

        Raises:
            InvalidValueError: there is no such model.
        """
        if name is None:
            known = baseline.applies(test) and set(map(str, self.shifts)) <= baseline.reference().keys()
            return baseline.REFERENCE if known else models[0]
        if name not in models:
            raise InvalidValueError(f"`reference`: expected one of {', '.join(models)}. Received: '{name}'.")
        return name

    def report(
        self, models: Sequence[str], correct: Correct, reference: str | None = None, *, standard: bool = False
    ) -> dict[str, Any]:
        """Summarise what was measured.

        Args:
            models: their names.
            correct: whether each model is right about each image at each point, (points, models, n).
            reference: what `reference` gave; None takes the first model.
            standard: whether `baseline.applies` to the images.

        Returns:
            "results", a record per model and point; "worst", two per model: the accuracy on images that the model gets
            right at every point, and at each of `RANDOM_SHIFTS` points drawn for every image; "reference"; and
            `over_shifts`.
        """
        reference = reference or models[0]
        results, worst = [], []
        for m, model in enumerate(models):
            for point, row in zip(self.points, correct[:, m], strict=True):
                results.append(
                    {"model": model, **point, "shift": str(point["shift"]), **accuracy(int(row.sum()), len(row))}
                )
            drawn = worst_of_random(correct[:, m], RANDOM_SHIFTS, RANDOM_SEED)
            for name, of in ((f"all {len(correct)}", worst_case(correct[:, m])), (f"{RANDOM_SHIFTS} random", drawn)):
                worst.append({"model": model, "worst of": name, **accuracy(int(of.sum()), len(of))})
        report = {"kind": self.kind, "models": list(models), "results": results, "worst": worst}
        over = over_shifts(results, reference, standard=standard)
        return {**report, "reference": reference, "standard": standard, "over_shifts": over}


def over_shifts(results: Sequence[Point], reference: str, *, standard: bool = False) -> list[Point]:
    """Summarise each model over all shifts but the identity.

    Args:
        results: those of `Sweep.report`.
        reference: one of the models, or `baseline.REFERENCE`.
        standard: whether `baseline.applies` to the images.

    Returns:
        A record per model: mean accuracy, the shift with the worst and the accuracy there; and where the identity is
        among the shifts, in_domain, the accuracy there, mce and relative_mce, the means of `metrics.corruption_errors`
        (None where there are none), for each of the two `_families`, how many errors it is the mean of, and
        `_left_out`, the families that have none; and if `standard` effective_robustness, the mean of
        `baseline.effective_robustness`, where every shift has one.
    """
    accuracies: dict[str, dict[str, float]] = {}
    for row in results:
        accuracies.setdefault(row["model"], {})[row["shift"]] = row["accuracy"]
    of_reference = accuracies[reference] if reference in accuracies else baseline.reference()
    records = []
    for model, by_shift in accuracies.items():
        shifted = {shift: accuracy for shift, accuracy in by_shift.items() if shift != "none"}
        if not shifted:
            continue
        worst = min(shifted, key=lambda shift: shifted[shift])
        record: Point = {"model": model, "mean": fmean(shifted.values()), "worst_shift": worst, "worst": shifted[worst]}
        if "none" in by_shift:
            record["in_domain"] = by_shift["none"]
            families = {Shift.parse(shift).family for shift in shifted}
            for name, relative in (("mce", False), ("relative_mce", True)):
                errors = corruption_errors(by_shift, of_reference, relative=relative)
                record[name] = fmean(errors.values()) if errors else None
                record[f"{name}_families"], record[f"{name}_left_out"] = len(errors), sorted(families - errors.keys())
            if standard and all(map(baseline.fit, shifted)):
                record["effective_robustness"] = fmean(
                    accuracy - float(baseline.predicted(shift, by_shift["none"])) for shift, accuracy in shifted.items()
                )
        records.append(record)
    return records


def translations(most: int = 8) -> Sweep:
    """Every translation by whole pixels, up to `most` in each axis.

    Raises:
        InvalidValueError: `most` is out of range.
    """
    if not 0 <= most <= MAX_DISTANCE:
        raise InvalidValueError(f"`most`: expected a whole number from 0 to {MAX_DISTANCE}. Received: {most}.")
    reach = range(-most, most + 1)
    points = ({"dx": dx, "dy": dy, "shift": Shift((Translate(dx, dy),))} for dy in reach for dx in reach)
    return Sweep("translate", tuple(points))


def rotations(step: float = 15.0) -> Sweep:
    """Every multiple of `step` degrees below 360.

    Raises:
        InvalidValueError: `step` is not above 0 or not finite.
    """
    if not 0.1 <= step <= 360:
        raise InvalidValueError(f"`step`: expected degrees from 0.1 to 360. Received: {step}.")
    exact = Fraction(str(float(step)))  # 13 steps of 7.2 are 93.6; as binary fractions they are 93.60000000000001
    angles = (float(number * exact) for number in range(math.ceil(360 / step - 1e-9)))  # 360 itself would be 0 again
    return Sweep("rotate", tuple({"degrees": angle, "shift": Shift((Rotate(angle),))} for angle in angles))


def corruptions(names: Iterable[str] = ()) -> Sweep:
    """The named corruptions, or all, at every severity, and severity 0 once."""
    chosen = list(dict.fromkeys(names)) or list(CORRUPTIONS)
    points = [
        {"corruption": name, "severity": severity, "shift": Shift((Corrupt(name, severity),))}
        for name in chosen
        for severity in SEVERITIES
    ]
    return Sweep("corruptions", ({"corruption": "none", "severity": 0, "shift": Shift()}, *points))


def settings(sweep: Sweep, model_files: dict[str, Path], dataset: Dataset, n: int) -> dict[str, Any]:
    """Return what decides a sweep's figures as JSON values.

    Raises:
        ModelError: a model file cannot be read.
    """
    hashes = {}
    for name, path in model_files.items():
        with access(path, ModelError, "a model file"):
            parts = [path]
            if is_folder(path, ModelError):
                if not is_file(path / "saved_model.pb", ModelError):
                    raise ModelError(f"{path}: expected a SavedModel folder. Received: one without saved_model.pb.")
                parts = [part for part in match(path, "**/*", ModelError) if is_file(part, ModelError)]
            digest = hashlib.sha256()
            for part in parts:
                digest.update(part.read_bytes())
            hashes[name] = digest.hexdigest()
    return {
        "kind": sweep.kind,
        "models": hashes,
        "images": dataset.sha256["test images"],
        "labels": dataset.sha256["test labels"],
        "n": n,
        "shifts": [str(shift) for shift in sweep.shifts],
    }


def _as_text(settings: dict[str, Any]) -> str:
    return json.dumps(settings, indent=2)


def default_folder(settings: dict[str, Any]) -> Path:
    """Name a sweep's folder after its `settings`."""
    return SWEEPS_ROOT / f"{settings['kind']}-{hashlib.sha256(_as_text(settings).encode()).hexdigest()[:8]}"


def open_folder(path: Path, settings: dict[str, Any]) -> Path:
    """Make or find the folder of a sweep.

    Args:
        path: absent, empty, or that of a sweep with the same settings.
        settings: what `settings` gave.

    Returns:
        The path.

    Raises:
        RunError: the folder holds something else, or cannot be written.
    """
    text = _as_text(settings)
    file = path / "settings.json"
    make_folder(path)
    if is_vacant(path, file.name):
        with atomic_write(file) as temporary:
            temporary.write_text(text)
    with access(file):
        there = file.read_text() if is_file(file) else None
    if there != text:
        raise RunError(
            f"{path}: expected an absent or empty folder, or one of the same sweep. "
            "Received: another's content. Choose another folder."
        )
    remove_leftovers(path)
    return path


def measure(
    sweep: Sweep,
    models: int,
    n: int,
    function: Callable[[list[Shift]], Iterable[tuple[Shift, Correct]]],
    folder: Path,
    progress: Callable[[], object],
) -> Correct:
    """Measure the points that the folder does not have yet, and keep each at once.

    Args:
        sweep: the points.
        models: number of models.
        n: number of images.
        function: from shifts to each of them, in any order, with whether each model is right about each image,
            (models, n).
        folder: what `open_folder` gave.
        progress: called after each point.

    Returns:
        Bools (points, models, n).

    Raises:
        RunError: the folder cannot be written.
    """
    path = folder / "hits.jsonl"
    try:
        known = dict(_read_correct(path, models, n))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{path}: expected a line per shift. Received: {error!r}. Choose another folder.") from error
    missing = []
    for shift in sweep.shifts:
        if str(shift) in known:
            progress()
        else:
            missing.append(shift)
    try:
        # What a kill has cut off is left out, so that the next line starts on its own.
        with atomic_write(path) as temporary:
            temporary.write_text("".join(_correct_line(shift, correct) for shift, correct in known.items()))
        with path.open("a") as file:
            for shift, correct in function(missing):
                known[str(shift)] = correct
                file.write(_correct_line(str(shift), correct))
                file.flush()
                progress()
    except OSError as error:
        raise RunError(f"{path}: expected to be able to write it. Received: {reason(error)}.") from error
    return np.stack([known[str(shift)] for shift in sweep.shifts])


def _correct_line(shift: str, correct: Correct) -> str:
    packed = base64.b64encode(np.packbits(correct).tobytes()).decode()
    return json.dumps({"shift": shift, "hits": packed}) + "\n"


def _read_correct(path: Path, models: int, n: int) -> Iterator[tuple[str, Correct]]:
    for line in path.read_text().splitlines(keepends=True) if is_file(path) else ():
        if line.endswith("\n"):
            record = json.loads(line)
            bits = np.frombuffer(base64.b64decode(record["hits"]), np.uint8)
            if len(bits) != -(-models * n // 8):
                raise ValueError(f"{len(bits)} bytes for {models} models and {n} images")
            yield record["shift"], np.unpackbits(bits, count=models * n).reshape(models, n).astype(bool)


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Write results.csv, where names that are no UTF-8 have escapes, and results.json.

    Raises:
        RunError: the folder cannot be written.
    """
    rows = [{name: value for name, value in row.items() if name != "ci95"} for row in report["results"]]
    for row, record in zip(rows, report["results"], strict=True):
        row["ci95_low"], row["ci95_high"] = record["ci95"]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(folder / "results.csv") as temporary:
        temporary.write_bytes(text.getvalue().encode(errors="backslashreplace"))
    write_json(folder / "results.json", report)
