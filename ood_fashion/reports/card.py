"""The model card of a run, as the Hugging Face Hub reads it: a README.md with a `model-index`."""

from __future__ import annotations

import json
from textwrap import fill
from typing import Any

from ood_fashion.evaluation.results import AccuracyResult, Metrics
from ood_fashion.models import specs
from ood_fashion.reports import tables
from ood_fashion.runs.run import Run
from ood_fashion.text import printable

_HUB_NAME = "fashion_mnist"


def model_card(run: Run, name: str) -> str:
    """Return the card of a complete run of a Keras model, as Markdown with its results for the Hub in front.

    Each test set is a dataset of its own there, whose config is the shift.
    """
    run.require_keras().require_complete()
    name, results, record = printable(name), run.read_results(), run.record
    data = "Fashion-MNIST" if run.is_genuine else printable(str(record["dataset"]["source"]))
    front = {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["ood-fashion", "out-of-distribution", "robustness"],
        **({"datasets": [_HUB_NAME]} if run.is_genuine else {}),
        "metrics": ["accuracy"],
        "model-index": [{"name": name, "results": [_result(one, data, run.is_genuine) for one in results]}],
    }
    parameters = specs.describe(run.config.model)["parameters"]
    versions = ", ".join(f"{package} {version}" for package, version in record["versions"].items())
    settings = {key: value for key, value in run.config.to_json().items() if value not in (None, [])}
    # JSON is YAML too, and keeps what is in a name from being read as anything else.
    head = ["---", *(f"{key}: {json.dumps(value)}" for key, value in front.items()), "---"]
    n = results[0].n
    parts = [
        f"# {name}",
        f"`{run.config.model}` ({parameters:,} parameters on 28 by 28 pixels with 10 classes), trained on {data} with "
        "ood-fashion: a classifier of grey images of one thing on a plain, dark background.",
        "## Use",
        "It takes images, float32 `(n, height, width, 1)`, with grey levels from 0 to 1 (8-bit ones divided by 255), "
        "and gives logits. `ood_fashion.load_model(PATH)` loads it.",
        f"Classes: {', '.join(map(printable, run.class_names)) or 'known by their numbers'}.",
        "## Accuracy",
        f"On {n:,} test images under each shift, with 95% Wilson intervals, which are the test set's alone: another "
        "training may differ by more.",
        tables.accuracy_table(results).to_markdown(),
        "## Limits",
        "What the table does not have is not said here: other shifts, colour, backgrounds, and things of other "
        "classes, for which the model names one of its own all the same.",
        "## Training",
        f"With {versions}, on the {record['device'].upper()}.",
        "```json\n" + json.dumps(settings, indent=2) + "\n```",
    ]
    lines = [part if "\n" in part else fill(part, 120) for part in parts]
    return "\n".join(head) + "\n\n" + "\n\n".join(lines) + "\n"


def _result(one: AccuracyResult, data: str, genuine: bool) -> dict[str, Any]:
    values = {"accuracy": one.accuracy}
    if isinstance(one, Metrics):
        values |= {"expected_calibration_error": one.ece, "brier_score": one.brier}
    return {
        "task": {"type": "image-classification"},
        "dataset": {
            "type": _HUB_NAME if genuine else "other",
            "name": data if one.shift == "none" else f"{data}, {one.shift}",
            "config": one.shift,
            "split": "test",
        },
        "metrics": [{"type": name, "value": value} for name, value in values.items()],
    }
