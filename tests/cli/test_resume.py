from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.conftest import Invoke

SIZES = ("--train-size", "200", "--val-size", "50")


def test_resume_knows_the_augmentations(invoke: Invoke, small_folder: Path) -> None:
    settings = ("--model", "mlp", *SIZES, "--epochs", 1, "--augment", "translate:2.0", "--augment", "rotate90")
    arguments = ("train", *settings, "--data-dir", small_folder, "--quiet", "--json", "--out", "run")
    document = json.loads(invoke(*arguments).stdout)
    assert json.loads(Path("run/config.json").read_text())["config"]["augment"] == ["translate:2", "rotate90"]
    assert json.loads(invoke(*arguments, "--resume").stdout) == document


@pytest.mark.parametrize("kills", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_sigkill_then_resume_gives_the_same_bits(
    invoke: Invoke, small_folder: Path, tmp_path: Path, kills: int
) -> None:
    """Kill a real process after its first checkpoint, the resumed one a moment after its own, and resume again."""
    settings = ["--model", "mlp", *SIZES, "--epochs", "20", "--no-early-stopping"]
    arguments = ["train", *settings, "--data-dir", str(small_folder), "--quiet", "--json", "--out"]
    command = [sys.executable, "-m", "ood_fashion", *arguments, "killed"]
    checkpoint = tmp_path / "killed/checkpoint.npz"
    for more, seconds in (((), 0.0), (("--resume",), 0.2))[:kills]:
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        process = subprocess.Popen([*command, *more], cwd=tmp_path, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not (checkpoint.exists() and checkpoint.stat().st_mtime_ns != before) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (tmp_path / "killed/metrics.json").exists()
    resumed, undisturbed = (
        json.loads(invoke(*arguments, *more).stdout) for more in (("killed", "--resume"), ("undisturbed",))
    )
    assert {**resumed, "run": ""} == {**undisturbed, "run": ""}
    weights = [
        keras.models.load_model(tmp_path / name / "model.keras").get_weights() for name in ("killed", "undisturbed")
    ]
    for received, expected in zip(*weights, strict=True):
        np.testing.assert_array_equal(received, expected)
