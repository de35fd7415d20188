"""Settings of Keras that it cannot be imported with; it refuses them before it imports TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("variables", "file", "message"),
    [
        ({"KERAS_BACKEND": "jax"}, "{}", "KERAS_BACKEND: expected tensorflow. Received: jax. "),
        ({"KERAS_BACKEND": "none"}, "{}", "KERAS_BACKEND: expected tensorflow. Received: none. "),
        ({"KERAS_MAX_EPOCHS": "few"}, "{}", "Keras: expected it to be imported with TensorFlow. Received: ValueError"),
        ({}, '{"floatx": "bfloat16"}', "Keras: expected it to be imported with TensorFlow. Received: ValueError"),
        ({}, "[]", "Keras: expected it to be imported with TensorFlow. Received: AttributeError"),
    ],
)
def test_a_setting_that_keras_refuses_is_told_in_a_line(
    tmp_path: Path, variables: dict[str, str], file: str, message: str
) -> None:
    (tmp_path / "keras.json").write_text(file)
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "ood_fashion", "train", "--out", run],
        env={**os.environ, "KERAS_HOME": str(tmp_path), **variables},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {message}")
    assert done.stderr.count("\n") == 1
    assert not run.exists()
