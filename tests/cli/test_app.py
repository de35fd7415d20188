"""The command that shows models in a browser: what it refuses, in one line, and what it does without a browser."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from tests.app_page import start_app
from tests.conftest import Invoke


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with start_app("--pretrained", "mlp", "--port", port, "--no-browser") as process:
            out, err = process.communicate(timeout=240)
    assert (process.returncode, out) == (1, "")
    received = "Received: Address already in use. Choose another one, or leave it out."
    assert err == f"Error: --port {port}: expected a free port of 127.0.0.1. {received}\n"


@pytest.mark.parametrize(
    "host", ["256.1.1.1", "192.0.2.1", "a\nb", "ü" * 100], ids=["none", "another", "lines", "long"]
)
def test_a_host_of_another_machine_is_one_line(invoke: Invoke, host: str) -> None:
    result = invoke("app", "--pretrained", "mlp", "--host", host, "--no-browser")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("Error: --host ")
    assert ": expected an address of this machine. Received: " in result.stderr


def test_without_a_browser_the_address_is_said(tmp_path: Path) -> None:
    # Where JAX is installed, TensorFlow imports it, and it lets TensorFlow's log through.
    inherited = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment = {**inherited, "PATH": str(tmp_path), "BROWSER": "", "DISPLAY": ""}
    with start_app("--pretrained", "mlp", env=environment) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        assert process.stderr.readline() == "Expected a browser. Received: none. Open this address in one.\n"
        process.terminate()
        assert process.wait(120) == 143


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_does_not_fit_is_one_line(tmp_path: Path, invoke: Invoke) -> None:
    model = keras.Sequential([keras.Input((20, 20, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    model.save(tmp_path / "small.keras")
    result = invoke("app", "--model-file", "small.keras", "--no-browser")
    assert result.exit_code == 1
    assert re.fullmatch(
        r"Error: model .*: expected an input of shape \(n, 28, 28, 1\).*another model\.\n", result.stderr
    )


def test_without_gradio_one_line_says_what_to_install(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = invoke("app", "--no-browser")
    message = "Error: expected the package gradio. Received: none. Install it: pip install 'ood-fashion[app]'\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", message)


def test_the_example_runs() -> None:
    code = "import doctest, ood_fashion.api.serving as m; print(doctest.testmod(m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "TestResults(failed=0, attempted=4)\n"
