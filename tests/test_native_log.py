"""TensorFlow is stood in for by lines that are written to file descriptor 2, as its C++ side does."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

LOGGED = "F0000 compiled to use AVX instructions, but these aren't available on your machine.\n"


def run_within(*statements: str) -> subprocess.CompletedProcess[str]:
    """Run statements within `quiet_tensorflow` in a new process, after the log's lines."""
    lines = [f"os.write(2, {LOGGED!r}.encode())", *statements]
    code = "\n    ".join(["from ood_fashion.native_log import *\nwith quiet_tensorflow():", *lines])
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
    code = "from ood_fashion.native_log import *\nwith quiet_tensorflow(): print('imported')"
    done = subprocess.run(["sh", "-c", f'{sys.executable} -c "$0" 2>&-', code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "imported\n")
