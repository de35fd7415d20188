"""Where its log matters, lines that are written to file descriptor 2 stand in for TensorFlow."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

LOGGED = "F0000 compiled to use AVX instructions, but these aren't available on your machine.\n"
REPORT = """
import json, sys
{}
import keras
before = [name for name in ("IPython", "matplotlib", "pandas", "sklearn") if name in sys.modules]
import matplotlib, pandas
print(json.dumps([before, keras.config.backend(), matplotlib.__name__, pandas.__name__]))
"""
COMMAND = """
from ood_fashion.cli import main
sys.argv = ["ood-fashion", "params", "--verify"]
try:
    main()
except SystemExit as done:
    assert not done.code
"""
WORKER = """
from ood_fashion import importing, parallel
importing.in_command = True
from tests.calls import imported
print(json.dumps(list(parallel.run_parallel(imported, [(1,), (2,)], backend="loky", address=None, jobs=2))))
"""


def run_within(*statements: str) -> subprocess.CompletedProcess[str]:
    """Run statements within `quiet_tensorflow` in a new process, after the log's lines."""
    lines = [f"os.write(2, {LOGGED!r}.encode())", *statements]
    code = "\n    ".join(["from ood_fashion.importing import *\nwith quiet_tensorflow():", *lines])
    return subprocess.run([sys.executable, "-c", f"{code}\nos.write(2, b'after')"], capture_output=True, text=True)


def test_an_import_that_succeeds_is_quiet() -> None:
    done = run_within("os.write(2, b'a line without an end')")
    assert (done.returncode, done.stderr) == (0, "after")


@pytest.mark.parametrize(
    ("statement", "ending"),
    [
        ("os.abort()", -signal.SIGABRT),
        (f"os.kill(os.getpid(), {int(signal.SIGILL)})", -signal.SIGILL),
        ("os._exit(3)", 3),
    ],
)
def test_a_process_that_dies_shows_the_log(statement: str, ending: int) -> None:
    died = run_within(statement)
    assert (died.returncode, died.stderr) == (ending, LOGGED)


def test_an_import_that_fails_shows_the_log() -> None:
    failed = run_within("import no_such_module")
    assert failed.returncode == 1
    assert failed.stderr.startswith(LOGGED)
    assert failed.stderr.endswith("No module named 'no_such_module'\n")


def test_an_import_that_is_interrupted_is_quiet() -> None:
    interrupted = run_within("raise KeyboardInterrupt")
    assert interrupted.returncode == -signal.SIGINT
    assert LOGGED not in interrupted.stderr


def test_standard_error_may_be_closed() -> None:
    code = "from ood_fashion.importing import *\nwith quiet_tensorflow(): print('imported')"
    done = subprocess.run(["sh", "-c", f'{sys.executable} -c "$0" 2>&-', code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "imported\n")


def run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_command_leaves_out_what_keras_imports_if_it_is_there() -> None:
    """And can import it itself afterwards; a notebook's Keras finds all."""
    before, *rest = json.loads(run(REPORT.format(COMMAND))[-1])
    assert (before, rest) == ([], ["tensorflow", "matplotlib", "pandas"])
    assert "pandas" in json.loads(run(REPORT.format("import ood_fashion._tensorflow"))[-1])[0]


def test_workers_import_as_their_command_does() -> None:
    assert json.loads(run(f"import json{WORKER}")[-1]) == [[], []]
