"""Results in JSON follow the published schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import ood_fashion as ood
from ood_fashion.data.dataset import Dataset
from ood_fashion.evaluation import results
from ood_fashion.evaluation.results import require_known_schema
from ood_fashion.evaluation.sweep_report import SweepReport
from ood_fashion.runs.search import pretrained_runs
from tests.conftest import Invoke
from tests.records import write_run

SCHEMA = json.loads(Path(results.__file__).with_name("results.schema.json").read_text())


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for member in value:
            yield from keys(member)


def check(document: str) -> dict[str, Any]:
    """Validate a document, and find every key of it in the schema's text."""
    record: dict[str, Any] = json.loads(document)
    jsonschema.Draft202012Validator(SCHEMA).validate(record)
    assert set(keys(record)) <= set(keys(SCHEMA))
    return record


def test_the_schema_is_one_and_of_this_version() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"] == {"const": results.SCHEMA}


def test_what_evaluate_writes(invoke: Invoke, small_fashion: Dataset, small_folder: Path) -> None:
    for name in ("a", "b"):
        write_run(Path("runs") / name, small_fashion)
    model = ("--pretrained", "mlp")
    for options in (model, (*model, "--metrics", "all"), (*model, "--tta", "c4"), ("--run", "runs/*")):
        result = invoke("evaluate", "--all", *options, "--data-dir", small_folder, "--json")
        assert result.exit_code == 0, result.stderr
        assert check(result.stdout)["results"][0]["n"] == 200


def test_what_training_writes(invoke: Invoke, small_folder: Path, tmp_path: Path) -> None:
    sizes = ("--train-size", 100, "--val-size", 50, "--epochs", 1, "--calibrate")
    result = invoke("train", "--model", "mlp", *sizes, "--data-dir", small_folder, "--out", "run", "--quiet", "--json")
    check(result.stdout)
    metrics = check((tmp_path / "run/metrics.json").read_text())
    assert "calibrated" in metrics["results"][0]
    assert json.loads(ood.load_run("run").results.to_json())["results"] == metrics["results"]


@pytest.mark.parametrize(("kind", "extent"), [("rotate", 90), ("translate", 1), ("corruptions", ["fog"])])
def test_what_a_sweep_writes(kind: str, extent: Any, small_folder: Path, tmp_path: Path) -> None:
    result = ood.sweep(["mlp", "cnn2"], kind, extent, data=small_folder, limit=20, out=tmp_path / "sweep")
    check(result.to_json())
    check((tmp_path / "sweep/results.json").read_text())


def test_what_a_sweep_of_published_sets_writes(small_fashion: Dataset, tmp_path: Path) -> None:
    for name in ("identity", "fog"):
        images, labels = small_fashion.test
        np.savez(tmp_path / f"{name}.npz", x_test=images[:20], y_test=labels[:20])
    check(ood.sweep_published(tmp_path, "mlp").to_json())


@pytest.mark.parametrize("name", pretrained_runs())
def test_files_of_before_have_no_version_and_load(name: str) -> None:
    text = (pretrained_runs()[name] / "metrics.json").read_text()
    check(json.dumps({"schema": 1, **json.loads(text)}))
    assert len(ood.pretrained(name).results) == 5


@pytest.mark.parametrize("damage", [{"results": [{"shift": "none"}]}, {"schema": 2}, {"results": 3}, {"model": None}])
def test_what_does_not_follow_is_refused(damage: dict[str, Any], small_fashion: Dataset) -> None:
    record = json.loads(ood.evaluate(lambda images: images[:, 0, :10], "none", data=small_fashion).to_json())
    check(json.dumps(record))
    with pytest.raises(jsonschema.ValidationError):
        check(json.dumps(record | damage))


@pytest.mark.parametrize("version", [2, 0, "1", None, [1]])
def test_other_versions_are_refused(version: Any) -> None:
    with pytest.raises(ValueError, match="of schema"):
        require_known_schema({"schema": version})
    require_known_schema({})


def test_a_sweep_of_before_loads() -> None:
    record = SweepReport("rotate", ("a",), (), (), "a", ()).to_json()
    assert record.pop("schema") == 1
    assert SweepReport.from_json(record).to_json() == {"schema": 1, **record}
