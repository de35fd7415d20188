from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ood_fashion.evaluation.metrics import measure, measure_calibration
from ood_fashion.evaluation.results import AccuracyResult, ClassProbability, Metrics, Prediction, read_result

EVERYTHING: dict[str, Any] = {
    "shift": "up4", "accuracy": 0.5, "correct": 1, "n": 2, "ci95": [0.1, 0.9], "balanced_accuracy": 0.5,
    "class_accuracy": [0.5, None], "nll": 0.7, "brier": 0.5, "ece": 0.1, "ece_equal_width": 0.2,
    "bins": [{"n": 2, "confidence": 0.6, "accuracy": 0.5}], "flip_rate": 0.5, "flip_ci95": [0.1, 0.9],
    "class_change": [-0.5, None], "temperature": 1.5,
    "calibrated": {"nll": 0.6, "brier": 0.4, "ece": 0.0, "ece_equal_width": 0.1, "bins": []},
    "effective_robustness": -0.1, "effective_robustness_sd": 0.01,
}  # fmt: skip


def test_files_are_read_as_they_were_written() -> None:
    """Key by key and in their order, to the text."""
    result = read_result(EVERYTHING)
    assert isinstance(result, Metrics)
    assert json.dumps(result.to_json()) == json.dumps(EVERYTHING)
    assert (result.ci95, result.class_change, result.bins[0].confidence) == ((0.1, 0.9), (-0.5, None), 0.6)
    assert read_result(result.to_json()) == result


@pytest.mark.parametrize("temperature", [None, 2.0])
def test_what_is_measured_survives_a_file(temperature: float | None) -> None:
    probabilities, labels = np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([0, 0])
    result = measure("up4", probabilities, labels, probabilities)
    calibrated = measure_calibration(probabilities, labels)
    if temperature:
        result = Metrics(**{**vars(result), "temperature": temperature, "calibrated": calibrated})
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert ("calibrated" in record) == bool(temperature)
    assert record == result.to_json()
    assert read_result(record) == result


def test_versions_before_had_accuracies_alone() -> None:
    short = {name: EVERYTHING[name] for name in ("shift", "accuracy", "correct", "n", "ci95")}
    result = read_result({**short, "of a later version": 1})
    assert result == AccuracyResult("up4", 0.5, 1, 2, (0.1, 0.9))
    assert result.to_json() == short


@pytest.mark.parametrize("name", [name for name in EVERYTHING if name != "nll"])
@pytest.mark.parametrize("value", [..., "text", {}, [[]], ["x", 2], [0.5, 0.5, "x"], True])
def test_damaged_records_are_refused(name: str, value: Any) -> None:
    if value is True and name in ("correct", "n"):
        return  # True is 1
    if value == "text" and name == "shift":
        return
    record = {key: value if key == name else known for key, known in EVERYTHING.items()}
    if value is ...:
        del record[name]
    optional = ("temperature", "calibrated", "effective_robustness", "effective_robustness_sd")
    if value is ... and name in optional:
        assert getattr(read_result(record), name) is None
    else:
        with pytest.raises((KeyError, TypeError, ValueError)):
            read_result(record)


@pytest.mark.parametrize("record", [[], 3, None, "nll", ["nll"]])
def test_what_is_no_record_is_refused(record: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_result(record)


def test_a_prediction_in_json() -> None:
    top = (ClassProbability(9, "Ankle boot", 0.9), ClassProbability(7, "Sneaker", 0.1))
    assert Prediction("a.png", **vars(top[0]), prepared=("trimmed",), top=top).to_json() == {
        "image": "a.png",
        "prepared": ["trimmed"],
        "top": [
            {"label": 9, "class": "Ankle boot", "probability": 0.9},
            {"label": 7, "class": "Sneaker", "probability": 0.1},
        ],
    }
