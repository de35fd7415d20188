"""Predictions that another program has written to a file, so that a model in any language can be measured.

A .csv file has the columns `index`, `shift` and `class`, or one for each class's score in place of the last; an .npz
file has arrays of these names, (rows,), or `scores`, (rows, classes). A row is one test image under one shift: its
place in the test set, the shift's text form, and what the model says. Rows may come in any order.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ood_fashion.data.dataset import Split
from ood_fashion.errors import InvalidValueError, ModelError
from ood_fashion.evaluation.classifier import Scorer, read_outputs
from ood_fashion.files import open_npz, read_text, reason
from ood_fashion.shifts.shift import Shift

ENDINGS = (".csv", ".npz")


@dataclass(frozen=True)
class PredictionFile:
    """What a file says: by the text form of the shift, the images' places in order, and the answers to them."""

    path: Path
    answers: Mapping[str, tuple[NDArray[np.int64], NDArray[Any]]]

    def scorer(self, test: Split, outputs: str = "auto") -> Scorer:
        """Return what gives the predictions for the images of a test set, as `classifier.score_callable` does."""
        images, classes = len(test), int(test.labels.max()) + 1

        def score(shift: Shift) -> NDArray[Any]:
            if str(shift) not in self.answers:
                raise ModelError(
                    f"{self.path}: expected predictions under {shift}. "
                    f"Received: those under {', '.join(self.answers)}. Ask the model about these images too."
                )
            places, given = self.answers[str(shift)]
            if missing := np.setdiff1d(np.arange(images), places).tolist():
                raise ModelError(
                    f"{self.path}: expected a row for each of the {images:,} test images under {shift}. "
                    f"Received: none for {len(missing):,}, the first of which is {missing[0]}."
                )
            return read_outputs(given[np.searchsorted(places, np.arange(images))], classes, outputs)

        return score


def is_predictions(model: Any) -> bool:
    """Say whether a model is the path of a file of predictions, by its ending."""
    return isinstance(model, str | Path) and Path(model).suffix in ENDINGS


def read_predictions(path: Path) -> PredictionFile:
    """Read a file of predictions.

    Raises:
        ModelError: it is not there, damaged or of another form, or has a shift that does not exist or two rows for an
            image under one.
    """
    try:
        columns = _read_npz(path) if path.suffix == ".npz" else _read_csv(path)
        index, shifts, given = (columns[name] for name in ("index", "shift", "given"))
        if not len(index) == len(shifts) == len(given) or not len(index):
            raise ValueError(f"{len(index):,} places, {len(shifts):,} shifts and {len(given):,} answers")
        if index.ndim != 1 or index.dtype.kind not in "iu" or index.min() < 0:
            raise ValueError(f"places {index.dtype} {index.shape} from {index.min()}")
        texts = {str(text): str(Shift.parse(str(text))) for text in np.unique(shifts)}
    except InvalidValueError as error:
        raise ModelError(f"{path}: {error}") from error
    except Exception as error:  # zipfile, zlib, NumPy and csv raise a dozen kinds on damaged files
        raise ModelError(
            f"{path}: expected rows of index, shift and class, or a score for each class. Received: {reason(error)}."
        ) from error
    answers = {}
    normal = np.array([texts[str(text)] for text in shifts])
    for shift in dict.fromkeys(texts.values()):
        rows = np.flatnonzero(normal == shift)
        rows = rows[np.argsort(index[rows], kind="stable")]
        places = index[rows].astype(np.int64)
        if (repeated := places[1:][np.diff(places) == 0]).size:
            raise ModelError(f"{path}: expected one row for an image under {shift}. Received: two for {repeated[0]}.")
        answers[shift] = (places, given[rows])
    return PredictionFile(path, answers)


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    with open_npz(path) as file:
        name = "scores" if "scores" in file else "class"
        if missing := [key for key in ("index", "shift", name) if key not in file]:
            raise ValueError(f"no {', no '.join(missing)}, only {', '.join(file.files) or 'an empty archive'}")
        return {"index": file["index"], "shift": file["shift"], "given": file[name]}


def _read_csv(path: Path) -> dict[str, NDArray[Any]]:
    header, *rows = csv.reader(io.StringIO(read_text(path).removeprefix("\ufeff")), strict=True)
    if not {"index", "shift"} < set(header):
        raise ValueError(f"the columns {', '.join(header) or 'of an empty line'}")
    scores = [name for name in header if name not in ("index", "shift")]
    if "class" in scores and len(scores) > 1:
        raise ValueError("a class and scores beside it")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"{len(row)} values in line {number}, below {len(header)} columns")
    columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(header, ())
    given = np.array([columns[name] for name in scores]).T.astype(np.int64 if scores == ["class"] else np.float64)
    return {
        "index": np.array(columns["index"], np.int64),
        "shift": np.array(columns["shift"], str),
        "given": given[:, 0] if scores == ["class"] else given,
    }
