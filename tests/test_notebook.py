from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ood_fashion.data.sources import load_dataset
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.search import pretrained_runs

NOTEBOOK = Path(__file__).parents[1] / "docs/ood_fashion.ipynb"


def stand_in(folder: Path, name: str, data: Path) -> None:
    """Copy a pretrained run to where its name finds it first, as if the first test images had been all."""
    copy, dataset = Path(shutil.copytree(pretrained_runs()[name], folder / name)), load_dataset(data)
    record = json.loads((copy / "config.json").read_text())
    record["dataset"] |= {"source": dataset.source, "genuine": dataset.is_genuine, "sha256": dataset.sha256}
    (copy / "config.json").write_text(json.dumps(record))
    with np.load(copy / "predictions.npz") as saved:
        first = {key: values[: len(dataset.test)] for key, values in saved.items()}
    np.savez(copy / "predictions.npz", **first)


@pytest.mark.parametrize("genuine", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_notebook_runs_from_top_to_bottom(small_folder: Path, tmp_path: Path, genuine: bool) -> None:
    """Its cells are executed at a small size, but for the one that installs the package."""
    sizes, environment = "60,000 training and 10,000", dict(os.environ)
    if not genuine:
        stand_in(tmp_path, "robust", small_folder)
        sizes, environment["OOD_FASHION_DATA"] = "600 training and 200", str(small_folder)
    notebook = json.loads(NOTEBOOK.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    tagged = {tag: cell for cell in code for tag in cell["metadata"].get("tags", ())}
    tagged["install"]["source"] = ""
    tagged["parameters"]["source"] = "TRAIN_SIZE, VAL_SIZE, EPOCHS = 200, 100, 1"
    (tmp_path / "small.ipynb").write_text(json.dumps(notebook))
    command = [sys.executable, "-c", "from nbclient.cli import main; main()", "--inplace", "small.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    executed = json.loads((tmp_path / "small.ipynb").read_text())
    outputs = [output for cell in executed["cells"] for output in cell.get("outputs", ())]
    text = "".join("".join(output.get("text", ())) for output in outputs)
    assert f"{sizes} test images" in text
    html = "".join("".join(output.get("data", {}).get("text/html", ())) for output in outputs)
    assert html.count("<table>") == 5
    assert "Lowest training loss: momentum" in html
    assert "more accurate under" in html
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 4
    imports = [line for cell in code for line in cell["source"] if line.startswith(("import ", "from "))]
    assert len(imports) <= 6


def test_the_notebook_follows_the_assignments_protocol() -> None:
    config = TrainConfig()
    values = (config.train_size, config.val_size, config.epochs)
    assert "TRAIN_SIZE, VAL_SIZE, EPOCHS = {:_}, {:_}, {:_}".format(*values) in NOTEBOOK.read_text()
