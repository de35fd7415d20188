"""Sweeps: several models' accuracy over many shifts, kept in a folder from which a killed sweep goes on.

settings.json  what decides the numbers; written first
correct.jsonl  a line per shift: which images each model is right about; hits.jsonl in folders of earlier versions
results.json   what `Sweep.report` makes of them; written last, with results.csv beside it
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.data.dataset import Dataset, Split
from ood_fashion.errors import InvalidValueError, ModelError, RunError
from ood_fashion.evaluation import baseline
from ood_fashion.evaluation.metrics import worst_of_random
from ood_fashion.evaluation.stats import Accuracy
from ood_fashion.evaluation.sweep_report import SweepPoint, SweepReport, WorstCase, over_shifts
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

MAX_ROW = 17
"""The most translations that are scored together, on images so much wider."""

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
        """Return whose errors on the images of `test` those of all models are divided by: the named model's.

        With no name, `baseline.REFERENCE`'s where these are known under every shift, else the first model's.
        """
        if name is None:
            known = baseline.applies(test) and set(map(str, self.shifts)) <= baseline.reference().keys()
            return baseline.REFERENCE if known else models[0]
        if name not in models:
            raise InvalidValueError(f"`reference`: expected one of {', '.join(models)}. Received: '{name}'.")
        return name

    def report(
        self, models: Sequence[str], correct: Correct, reference: str | None = None, **options: Any
    ) -> SweepReport:
        """Summarize whether each model is right about each image at each point, (points, models, n).

        `reference` is what the method of that name gave, or else the first model; the options are those of
        `over_shifts`.
        """
        reference = reference or models[0]
        results, worst = [], []
        accuracies: dict[str, dict[str, float]] = {model: {} for model in models}
        for model, of_model in zip(models, correct.swapaxes(0, 1), strict=True):
            for point, row in zip(self.points, of_model, strict=True):
                coordinates, shift, found = dict(point), str(point["shift"]), Accuracy.of(row)
                del coordinates["shift"]
                results.append(SweepPoint(model, shift, **asdict(found), coordinates=coordinates))
                accuracies[model][shift] = found.accuracy
            drawn = worst_of_random(of_model, RANDOM_SHIFTS, RANDOM_SEED)
            for name, of in ((f"all {len(correct)}", of_model.all(axis=0)), (f"{RANDOM_SHIFTS} random", drawn)):
                worst.append(WorstCase(model, name, **asdict(Accuracy.of(of))))
        over = over_shifts(accuracies, reference, **options)
        standard = options.get("standard", False)
        return SweepReport(
            self.kind, tuple(models), tuple(results), tuple(worst), reference, tuple(over), standard=standard
        )


def translations(extent: float = 8) -> Sweep:
    """Every translation by whole pixels, up to `extent` in each axis."""
    if not (0 <= extent <= MAX_DISTANCE and float(extent).is_integer()):
        raise InvalidValueError(f"`extent`: expected a whole number from 0 to {MAX_DISTANCE}. Received: {extent}.")
    reach = range(-int(extent), int(extent) + 1)
    points = ({"dx": dx, "dy": dy, "shift": Shift((Translate(dx, dy),))} for dy in reach for dx in reach)
    return Sweep("translate", tuple(points))


def rotations(extent: float = 15.0) -> Sweep:
    """Every multiple of `extent` degrees below 360."""
    if not 0.1 <= extent <= 360:
        raise InvalidValueError(f"`extent`: expected degrees from 0.1 to 360. Received: {extent}.")
    exact = Fraction(str(float(extent)))  # 13 steps of 7.2 are 93.6; as binary fractions they are 93.60000000000001
    angles = (float(number * exact) for number in range(math.ceil(360 / extent - 1e-9)))  # 360 itself would be 0 again
    return Sweep("rotate", tuple({"degrees": angle, "shift": Shift((Rotate(angle),))} for angle in angles))


def corruptions(names: str | Iterable[str] = ()) -> Sweep:
    """One or several corruptions by their names, or all, at every severity, and severity 0 once."""
    chosen = list(dict.fromkeys([names] if isinstance(names, str) else names)) or list(CORRUPTIONS)
    points = [
        {"corruption": name, "severity": severity, "shift": Shift((Corrupt(name, severity),))}
        for name in chosen
        for severity in SEVERITIES
    ]
    return Sweep("corruptions", ({"corruption": "none", "severity": 0, "shift": Shift()}, *points))


@dataclass(frozen=True)
class Row:
    """Shifts to score together: whole-pixel translations, each a pixel to the right of the one before, or any one."""

    shifts: tuple[Shift, ...]

    def __str__(self) -> str:
        return " to ".join(dict.fromkeys((str(self.shifts[0]), str(self.shifts[-1]))))

    def wide_images(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Lay (n, height, width) on black, (n, height, width + k - 1): its windows are the k shifts' images.

        The leftmost window is of the last shift.
        """
        wide = np.pad(images, ((0, 0), (0, 0), (0, len(self.shifts) - 1)))
        return self.shifts[-1].apply_uint8(wide)


def rows(shifts: Iterable[Shift]) -> list[Row]:
    """Put shifts, in their order, into rows."""
    found: list[list[Shift]] = []
    before = None
    for shift in shifts:
        moved = _whole_pixels(shift)
        if before and moved == Translate(before.dx + 1, before.dy) and len(found[-1]) < MAX_ROW:
            found[-1].append(shift)
        else:
            found.append([shift])
        before = moved
    return [Row(tuple(row)) for row in found]


def _whole_pixels(shift: Shift) -> Translate | None:
    """Return the translation by whole pixels that a shift is, if it is one."""
    step = shift.steps[0] if shift.steps else Translate(0, 0)
    return step if len(shift.steps) < 2 and isinstance(step, Translate) and step.is_whole else None


def hash_model(path: Path) -> str:
    """Return the SHA-256 of a model file, or of the files of a SavedModel folder."""
    with access(path, ModelError, "a model file"):
        parts = [path]
        if is_folder(path, ModelError):
            if not is_file(path / "saved_model.pb", ModelError):
                raise ModelError(f"{path}: expected a SavedModel folder. Received: one without saved_model.pb.")
            parts = [part for part in match(path, "**/*", ModelError) if is_file(part, ModelError)]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part.read_bytes())
        return digest.hexdigest()


def settings(sweep: Sweep, model_files: dict[str, Path], dataset: Dataset, n: int) -> dict[str, Any]:
    """Return what decides a sweep's numbers as JSON values."""
    return {
        "kind": sweep.kind,
        "models": {name: hash_model(path) for name, path in model_files.items()},
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
    """Make the folder of a sweep with these `settings`, or find one of the same sweep; return its path."""
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
    """Measure the points that the folder does not have yet, and keep each at once; return bools (points, models, n).

    The function gives shifts, in any order, each with whether each model is right about each image, (models, n).
    Progress is called after each point.
    """
    path, known, missing = _correct_path(folder), read_correct(folder, models, n), []
    for shift in sweep.shifts:
        if str(shift) in known:
            progress()
        else:
            missing.append(shift)
    try:
        # What a kill has cut off is left out, so that the next line starts on its own.
        with atomic_write(path) as temporary:
            temporary.write_text("".join(_correct_line(path, shift, correct) for shift, correct in known.items()))
        with path.open("a") as file:
            for shift, correct in function(missing):
                known[str(shift)] = correct
                file.write(_correct_line(path, str(shift), correct))
                file.flush()
                progress()
    except OSError as error:
        raise RunError(f"{path}: expected to be able to write it. Received: {reason(error)}.") from error
    return np.stack([known[str(shift)] for shift in sweep.shifts])


def _correct_path(folder: Path) -> Path:
    earlier = folder / "hits.jsonl"
    return earlier if is_file(earlier) else folder / "correct.jsonl"


def read_correct(folder: Path, models: int, n: int) -> dict[str, Correct]:
    """Return which images each model is right about, (models, n), by the text forms of the shifts measured so far."""
    path = _correct_path(folder)
    try:
        return dict(_read_correct(path, models, n))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{path}: expected a line per shift. Received: {error!r}. Choose another folder.") from error


def _correct_line(path: Path, shift: str, correct: Correct) -> str:
    """Return a line of the file, whose name is that of the key, too."""
    packed = base64.b64encode(np.packbits(correct).tobytes()).decode()
    return json.dumps({"shift": shift, path.stem: packed}) + "\n"


def _read_correct(path: Path, models: int, n: int) -> Iterator[tuple[str, Correct]]:
    for line in path.read_text().splitlines(keepends=True) if is_file(path) else ():
        if line.endswith("\n"):
            record = json.loads(line)
            bits = np.frombuffer(base64.b64decode(record[path.stem]), np.uint8)
            if len(bits) != -(-models * n // 8):
                raise ValueError(f"{len(bits)} bytes for {models} models and {n} images")
            yield record["shift"], np.unpackbits(bits, count=models * n).reshape(models, n).astype(bool)


def write_report(folder: Path, report: SweepReport) -> None:
    """Write results.csv, where names that are no UTF-8 have escapes, and results.json."""
    rows = [point.to_json() for point in report.results]
    for row in rows:
        row["ci95_low"], row["ci95_high"] = row.pop("ci95")
    encoding: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    with atomic_write(folder / "results.csv") as temporary, temporary.open("w", **encoding) as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    write_json(folder / "results.json", report.to_json())
